"""When an object counts as Ready, Stalled or at work."""

from __future__ import annotations

import pytest

from fairlead.api import names
from fairlead.cli.states import Standing, is_unanswered, state_of
from fairlead.contract.base import digest_of, short

from .objects import Obj, dataset, monitor, ready, service


@pytest.mark.parametrize(
    ("conditions", "standing"),
    [
        (ready("Serving"), Standing.READY),
        (ready("Training", "", "False", Reconciling="True"), Standing.WORKING),
        (ready("GateFailed", "", "False", Stalled="True"), Standing.STALLED),
        ([], Standing.WORKING),
    ],
)
def test_conditions_say_the_standing(conditions: list[Obj], standing: Standing) -> None:
    assert state_of(service(conditions=conditions)).standing is standing


def test_status_of_an_older_spec_is_no_answer() -> None:
    obj = service(conditions=ready("Serving"))
    obj["metadata"]["generation"] = 2
    assert state_of(obj).standing is Standing.WORKING
    assert "newer than its status" in state_of(obj).message


def _asked(obj: Obj, annotation: str, value: str) -> Obj:
    obj["metadata"]["annotations"] = {annotation: value}
    return obj


@pytest.mark.parametrize(
    ("name", "annotation"), [("retry", names.ANNOTATION_RETRY), ("rollback", names.ANNOTATION_ROLLBACK)]
)
def test_a_service_has_answered_what_status_shows_as_handled(name: str, annotation: str) -> None:
    long = "x" * 300  # status keeps the first 256 characters
    assert is_unanswered(_asked(service(), annotation, long))
    assert is_unanswered(_asked(service(handled={name: "earlier"}), annotation, long))
    assert not is_unanswered(_asked(service(handled={name: long[:256]}), annotation, long))


def test_a_dataset_has_answered_when_the_asked_read_has_its_result() -> None:
    read = {"at": "t", "valid": True, "tick": f"a/{short(digest_of('now'), 8)}/"}
    assert is_unanswered(_asked(dataset(), names.ANNOTATION_REFRESH, "now"))
    assert not is_unanswered(_asked(dataset(lastCheck=read), names.ANNOTATION_REFRESH, "now"))
    assert not is_unanswered(dataset())


def test_a_monitor_that_waits_for_its_retraining_is_ready() -> None:
    assert not is_unanswered(_asked(monitor(), names.ANNOTATION_RETRAIN, "now"))
