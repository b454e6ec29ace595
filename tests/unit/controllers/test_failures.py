from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.support.status_laws import breaches

from fairlead.api.conditions import Condition, find_condition, is_true, merge_conditions, ready, stalled, working
from fairlead.controllers.failures import REMEDIES, failure_of, is_shown, overlay, transition
from fairlead.kube.errors import InvalidError, KubeError, NameTakenError, ServerError

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def toy(conditions: tuple[Condition, ...], generation: int = 3) -> dict[str, Any]:
    merged = merge_conditions((), conditions, generation=generation, now=NOW)
    return {
        "kind": "Toy",
        "metadata": {"name": "a", "namespace": "ns", "uid": "u", "generation": generation},
        "status": {"observedGeneration": generation, "kept": "yes", "conditions": merged},
    }


def test_a_failure_replaces_the_summary_and_keeps_the_rest() -> None:
    obj = toy((*ready("Fine", "fine"), Condition("DataDrift", "True", "Drifted", "two features")))
    for error, type_ in ((ServerError("down"), "Reconciling"), (NameTakenError("x exists; rename"), "Stalled")):
        status = overlay(obj["status"], failure_of(error), obj, NOW)
        after = {**obj, "status": status}
        assert is_true(after, type_)
        assert is_true(after, "DataDrift")
        assert not is_true(after, "Ready")
        assert status["kept"] == "yes"
        assert breaches(after) == []


def test_the_same_failure_over_the_same_status_is_the_same() -> None:
    obj = toy(working("Making", "making"))
    shown = {**obj, "status": overlay(obj["status"], failure_of(ServerError("down")), obj, NOW)}
    later = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
    planned = merge_conditions(shown["status"]["conditions"], working("Making", "making"), generation=3, now=later)
    again = overlay({**obj["status"], "conditions": planned}, failure_of(ServerError("down")), shown, later)
    assert again == shown["status"]


def test_no_failure_changes_nothing() -> None:
    obj = toy(ready("Fine", "fine"))
    assert overlay(obj["status"], None, obj, NOW) is obj["status"]


def test_unexpected_errors_tell_their_type_and_nothing_of_their_text() -> None:
    failure = failure_of(KeyError("hunter2"))
    assert failure.reason == "InternalError"
    assert "KeyError" in failure.message
    assert "hunter2" not in failure.message
    assert not failure.terminal
    assert failure_of(TimeoutError()).reason == "TimedOut"


def kinds_of_error(kind: type[KubeError] = KubeError) -> Iterator[type[KubeError]]:
    for one in kind.__subclasses__():
        yield from (one, *kinds_of_error(one))


def test_every_answer_of_the_api_server_comes_with_a_remedy() -> None:
    shown = {one.reason for one in kinds_of_error()} - {"ApiError", "LeadershipLost"} | {"QuotaExceeded"}
    assert set(REMEDIES) <= shown
    for reason in shown - {"NameTaken"}:
        message = failure_of(KubeError("create Job demo/a: no", reason=reason)).message
        assert message.startswith("create Job demo/a: no. ")
        assert len(message) > len("create Job demo/a: no. ")


def test_only_what_lasts_or_needs_a_person_is_shown() -> None:
    assert not is_shown(ServerError("x"), 2)
    assert is_shown(ServerError("x"), 3)
    assert is_shown(InvalidError("x"), 1)
    assert is_shown(KeyError("x"), 1)


def test_transitions_are_changes_of_reason_or_standing() -> None:
    making, fine = toy(working("Making", "m")), toy(ready("Fine", "f"))
    bad, other = toy(stalled("Bad", "b")), toy(working("Making", "another message"))
    nothing: dict[str, Any] = {"metadata": {}}
    assert transition(making, other) is None
    assert transition(nothing, nothing) is None
    first = transition(nothing, making)
    assert first is not None
    assert (first.warning, first.reason) == (False, "Making")
    done = transition(making, fine)
    assert done is not None
    assert not done.warning
    for before, after in ((making, bad), (fine, making), (fine, bad)):
        change = transition(before, after)
        assert change is not None
        assert change.warning
    assert find_condition(bad, "Stalled") is not None
