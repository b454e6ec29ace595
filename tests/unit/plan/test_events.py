"""Events are of transitions: over all stories, and never of a look that only counted further."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.support.status_laws import StatusLaws
from tests.unit.plan import serving
from tests.unit.plan.simulation import seconds
from tests.unit.plan.telling import FOLDER, Teller, read_story, reconcile, story_paths
from tests.unit.plan.test_stories import KINDS

from fairlead.api.conditions import READY, STALLED, find_condition
from fairlead.controllers.failures import Transition, transition

Obj = Mapping[str, Any]


class Seen(StatusLaws):
    """Every state of the subject, in order, as the loop writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[Obj] = []

    def see(self, obj: Obj, *, secrets: Iterable[str] = ()) -> None:
        super().see(obj, secrets=secrets)
        if not self.states or obj.get("status") != self.states[-1].get("status"):
            self.states.append(obj)

    def events(self) -> list[Transition]:
        """Return what the recorder would be told."""
        found = (transition(before, after) for before, after in pairwise(self.states))
        return [change for change in found if change is not None]


def told(path: Path) -> tuple[Teller, Seen]:
    teller, seen = Teller(read_story(path), KINDS[path.parent.name]), Seen()
    teller._laws = seen
    return teller, seen


def standing(obj: Obj) -> tuple[Any, ...]:
    ready = find_condition(obj, READY) or {}
    return ready.get("status"), ready.get("reason"), find_condition(obj, STALLED) is not None


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_story_speaks_one_event_for_each_transition(kind: str) -> None:
    written = spoken = 0
    for path in story_paths():
        if path.parent.name != kind:
            continue
        teller, seen = told(path)
        teller.tell()
        events = seen.events()
        changes = [b for a, b in pairwise(seen.states) if standing(a) != standing(b)]
        reasons = [(find_condition(obj, READY) or {})["reason"] for obj in changes]
        assert [event.reason for event in events] == reasons, path.stem
        assert all(event.message for event in events), path.stem
        written, spoken = written + len(seen.states), spoken + len(events)
    assert 0 < spoken < written, "some writes of status are no transition"


def test_hundreds_of_looks_at_a_canary_speak_no_event() -> None:
    path = FOLDER / "inferenceservice" / "a_second_version_is_canaried_and_promoted.yaml"
    teller, seen = told(path)
    teller.tell(until=lambda obj: ((obj.get("status") or {}).get("rollout") or {}).get("state") == "Step")
    serving.gateway_answers(teller.world)
    reconcile(teller.world, teller.key, teller.controller, seen)
    states, events = len(seen.states), len(seen.events())
    for _ in range(300):
        serving.requests(teller.world, 7)  # 5 % of these: the step never has its 200 canary requests
        teller.world.now += seconds(2)
        reconcile(teller.world, teller.key, teller.controller, seen)
    assert len(seen.states) - states > 100, "status says what was counted"
    assert len(seen.events()) == events
