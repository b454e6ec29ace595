"""Every message of a state that waits or is stalled names the remedy, and the remedy, applied, ends that state.

remedies.yaml holds both, a row for each such state; a state without a row fails here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.plan.happenings import happen
from tests.unit.plan.simulation import NAMESPACE
from tests.unit.plan.telling import Teller, read_story, reconcile, story_paths
from tests.unit.plan.test_stories import KINDS
from tests.unit.plan.verdicts import DONE, DOWN, WORKS, is_looked_at, row_of, state_of, word_of

from fairlead.api import names
from fairlead.api.conditions import READY, find_condition
from fairlead.plan.types import Key, Obj

ROWS: Mapping[str, Mapping[str, Any]] = yaml.safe_load((Path(__file__).parent / "remedies.yaml").read_text())
CASES = [(kind, state) for kind, rows in ROWS.items() for state in rows]


@cache
def stories_of(kind: str) -> dict[str, tuple[Obj, ...]]:
    """Return the states that the subject of each story of a kind is in, in order."""
    found = {}
    for path in story_paths():
        if KINDS[path.parent.name] == kind:
            teller = Teller(read_story(path), kind)
            teller.tell()
            found[path.stem] = tuple(obj for obj in teller.states if find_condition(obj, READY) and is_looked_at(obj))
    return found


def open_states(kind: str) -> Iterator[tuple[str, str, str]]:
    """Yield story, state and Ready's message of each state that is not over by itself."""
    for story, states in stories_of(kind).items():
        for obj in states:
            if row_of(obj) not in (WORKS, DONE):
                yield story, state_of(obj), str((find_condition(obj, READY) or {})["message"])


@pytest.mark.parametrize("kind", KINDS.values())
def test_every_state_that_waits_or_is_stalled_has_a_remedy(kind: str) -> None:
    assert {state for _, state, _ in open_states(kind)} == set(ROWS[kind])


@pytest.mark.parametrize("kind", KINDS.values())
def test_messages_name_the_remedy(kind: str) -> None:
    mute = {
        f"{story}: {state}: {message}"
        for story, state, message in open_states(kind)
        if not re.search(ROWS[kind][state]["says"], message)
    }
    assert not mute, "\n".join(sorted(mute))


def tell_until(kind: str, state: str, story: str) -> Teller:
    """Return a story told up to the first step that ends in a state."""
    path = next(path for path in story_paths() if path.stem == story and KINDS[path.parent.name] == kind)
    teller = Teller(read_story(path), kind)
    teller.tell(until=lambda obj: state_of(obj) == state)
    return teller


def present(teller: Teller, key: Key) -> Obj:
    """Return an object of a story's world."""
    obj = teller.world.get(names.BY_KIND[key.kind], key.namespace, key.name)
    assert obj is not None
    return obj


@pytest.mark.parametrize(("kind", "state"), CASES, ids=[f"{kind}-{state}" for kind, state in CASES])
def test_the_remedy_ends_the_state(kind: str, state: str) -> None:
    row = ROWS[kind][state]
    story = row.get("in") or next(story for story, found, _ in open_states(kind) if found == state)
    teller = tell_until(kind, state, story)
    key = teller.key
    assert state_of(present(teller, key)) == state
    for said in row["remedy"]:
        happen(teller.world, said)
    successor = Key(kind, NAMESPACE, row["by"]) if "by" in row else key
    for one in {key: None, successor: None}:
        reconcile(teller.world, one, teller.controller)
    if "by" in row:
        assert state_of(present(teller, key)) == state, "a final state changed"
    after = present(teller, successor)
    said = (find_condition(after, READY) or {}).get("message")
    assert word_of(after) in (WORKS, DONE) or (word_of(after) == DOWN and state_of(after) != state), (
        f"after the remedy it is {state_of(after)}: {said}"
    )
