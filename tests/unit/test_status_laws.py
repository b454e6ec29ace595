"""The checker of the status laws sees each breach, and lets what Fairlead says pass."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.status_laws import StatusLaws, breaches

from fairlead.api.conditions import Condition, merge_conditions, ready, stalled, working

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def obj(*said: Condition, version: int = 1, **status: Any) -> dict[str, Any]:
    conditions = merge_conditions((), said, generation=1, now=NOW)
    metadata = {"uid": "u", "name": "a", "namespace": "demo", "generation": 1, "resourceVersion": str(version)}
    return {
        "kind": "TrainingRun",
        "metadata": metadata,
        "status": {"observedGeneration": 1, "conditions": conditions, **status},
    }


@pytest.mark.parametrize("said", [ready("A", "b"), working("A", "b"), stalled("A", "b")])
def test_what_planners_say_breaks_no_law(said: tuple[Condition, ...]) -> None:
    assert not breaches(obj(*said))


@pytest.mark.parametrize(
    ("said", "breach"),
    [
        ((Condition("Ready", "False", "A", "b"),), "neither Reconciling nor Stalled"),
        ((*ready("A", "b"), Condition("Stalled", "True", "A", "b")), "beside Stalled"),
        ((*working("A", "b"), Condition("Stalled", "True", "A", "b")), "Reconciling=True beside Stalled"),
        (ready("A", ""), "no reason or no message"),
        ((Condition("Available", "True", "A", "b"),), "Ready is absent"),
    ],
)
def test_each_breach_in_one_state_is_seen(said: tuple[Condition, ...], breach: str) -> None:
    assert any(breach in found for found in breaches(obj(*said)))


def test_a_status_ahead_of_its_spec_is_seen() -> None:
    assert breaches(obj(*ready("A", "b"), observedGeneration=2))


@pytest.mark.parametrize(
    ("before", "after", "breach"),
    [
        (obj(*ready("A", "b"), outcome="Succeeded"), obj(*stalled("C", "d"), outcome="Failed"), "outcome"),
        (
            obj(*stalled("GateFailed", "b"), stage="Rejected"),
            obj(*ready("Approved", "d"), stage="Approved"),
            "stage Rejected became Approved",
        ),
        (obj(*ready("A", "b")), obj(*ready("A", "b"), observedGeneration=0), "observedGeneration went back"),
    ],
)
def test_each_breach_between_two_states_is_seen(before: dict[str, Any], after: dict[str, Any], breach: str) -> None:
    laws = StatusLaws()
    laws.see(before)
    assert not laws.found
    laws.see(after)
    assert any(breach in found for found in laws.found)


def test_a_state_that_a_watch_showed_is_not_looked_at_twice() -> None:
    laws = StatusLaws()
    laws.see(obj(*ready("A", "b")))
    laws.look_at(obj(*ready("A", ""), version=1))
    assert not laws.found
    laws.look_at(obj(*ready("A", ""), version=2))
    assert laws.found
