"""The laws of conditions, whatever planners say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from fairlead.api.conditions import (
    MESSAGE_MAX,
    READY,
    RECONCILING,
    STALLED,
    Condition,
    find_condition,
    format_time,
    is_true,
    merge_conditions,
    parse_time,
    ready,
    stalled,
    working,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
SAYINGS = st.sampled_from([working("A", "a"), stalled("B", "b"), ready("C", "c")])
EXTRA = st.lists(
    st.builds(
        Condition, st.sampled_from(["X", "Y"]), st.sampled_from(["True", "False", "Unknown"]), st.just("R"), st.text()
    ),
    max_size=2,
    unique_by=lambda condition: condition.type,
)


@given(st.lists(st.tuples(SAYINGS, EXTRA), min_size=1, max_size=5))
def test_the_laws_hold_after_any_history(history: list[tuple[tuple[Condition, ...], list[Condition]]]) -> None:
    merged: list[dict[str, object]] = []
    for turn, (said, extra) in enumerate(history):
        merged = merge_conditions(merged, [*said, *extra], generation=turn, now=NOW + timedelta(hours=turn))
        found = {str(condition["type"]): condition for condition in merged}
        assert len(found) == len(merged)
        assert merged[0]["type"] == READY
        assert all(found[name]["status"] == "True" for name in (RECONCILING, STALLED) if name in found)
        assert not (found[READY]["status"] == "True" and {RECONCILING, STALLED} & set(found))
        assert all(condition["observedGeneration"] == turn for condition in merged)
        assert all(len(str(condition["message"])) <= MESSAGE_MAX for condition in merged)


def test_the_transition_time_moves_only_with_status() -> None:
    first = merge_conditions([], working("A", "a"), generation=1, now=NOW)
    second = merge_conditions(first, working("B", "b"), generation=2, now=LATER)
    assert [c["lastTransitionTime"] for c in second] == [c["lastTransitionTime"] for c in first]
    third = merge_conditions(second, ready("C", "c"), generation=2, now=LATER)
    assert third[0]["lastTransitionTime"] == format_time(LATER)


def test_what_is_said_again_changes_nothing() -> None:
    first = merge_conditions([], stalled("A", "a"), generation=1, now=NOW)
    assert merge_conditions(first, stalled("A", "a"), generation=1, now=LATER) == first


def test_a_condition_that_is_no_longer_said_is_dropped() -> None:
    first = merge_conditions([], [*ready("A", "a"), Condition("Validated", "True", "V", "v")], generation=1, now=NOW)
    assert [c["type"] for c in merge_conditions(first, ready("A", "a"), generation=1, now=NOW)] == [READY]


def test_finding_in_objects_without_status() -> None:
    assert find_condition(None, READY) is None
    assert find_condition({"metadata": {}}, READY) is None
    assert not is_true({"status": {"conditions": None}}, READY)
    assert is_true({"status": {"conditions": [{"type": READY, "status": "True"}]}}, READY)


@given(st.integers(0, 4_000_000_000), st.integers(-12, 12))
def test_times_are_utc_to_the_second(since_1970: int, hours: int) -> None:
    at = datetime.fromtimestamp(since_1970, tz=timezone(timedelta(hours=hours)))
    text = format_time(at)
    assert text.endswith("Z")
    assert parse_time(text) == at
