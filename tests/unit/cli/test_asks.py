"""What is written when a person decides or asks."""

from __future__ import annotations

import pytest

from fairlead.api import names
from fairlead.api.inferenceservice import InferenceServiceSpec, InferenceServiceStatus
from fairlead.api.meta import read
from fairlead.cli.asks import CannotAskError, Signature, build_decision, build_override, build_request
from fairlead.plan.selection import read_override

from .objects import dataset, digest, monitor, service, version

BY = Signature("alice@example.com", "2026-11-21T12:00:00Z")
EVALUATED = {"evaluation": {"inputDigest": digest("e")}, "stage": "PendingApproval"}


def test_an_approval_is_bound_to_the_evaluation_that_was_looked_at() -> None:
    ask = build_decision(version("fraud-2", "b", **EVALUATED), "Approved", "alice", "read the card")
    assert ask.patch == {
        "spec": {
            "approval": {
                "decision": "Approved", "by": "alice", "reason": "read the card", "evaluationDigest": digest("e")
            }
        }
    }  # fmt: skip
    assert ask.said == "ModelVersion fraud-2 (2/2 passed) approved by alice: read the card"


def test_a_rejection_needs_no_evaluation() -> None:
    ask = build_decision(version("fraud-2", "b"), "Rejected", "alice", "wrong data")
    assert ask.patch["spec"]["approval"]["evaluationDigest"] is None


def test_what_is_not_evaluated_cannot_be_approved() -> None:
    with pytest.raises(CannotAskError, match="not evaluated yet"):
        build_decision(version("fraud-2", "b"), "Approved", "alice", "x")


def test_what_was_rejected_stays_rejected() -> None:
    with pytest.raises(CannotAskError, match="make a new version"):
        build_decision(version("fraud-2", "b", **{**EVALUATED, "stage": "Rejected"}), "Approved", "alice", "x")


@pytest.mark.parametrize(
    ("verb", "obj", "annotation"),
    [
        ("rollback", service(previous={"version": "fraud-1"}), names.ANNOTATION_ROLLBACK),
        ("retry", service(inconclusive={"version": "fraud-3"}), names.ANNOTATION_RETRY),
        ("retrain", monitor(), names.ANNOTATION_RETRAIN),
        ("refresh", dataset(), names.ANNOTATION_REFRESH),
    ],
)
def test_a_request_is_an_annotation_that_says_who_and_when(verb: str, obj: dict[str, object], annotation: str) -> None:
    ask = build_request(verb, obj, BY)
    assert ask.patch == {"metadata": {"annotations": {annotation: "2026-11-21T12:00:00Z by alice@example.com"}}}
    assert ask.resource.kind == obj["kind"]


@pytest.mark.parametrize("verb", ["rollback", "retry"])
def test_a_service_without_a_past_is_asked_for_nothing(verb: str) -> None:
    with pytest.raises(CannotAskError, match="InferenceService fraud"):
        build_request(verb, service(), BY)


def test_an_override_is_written_as_the_planner_reads_it() -> None:
    ask = build_override(service(), version("fraud-3", "c"), BY, "the upstream bug is mended")
    written = service()
    written["metadata"] |= {"uid": "u", "annotations": ask.patch["metadata"]["annotations"]}
    override = read_override(read({**written, "status": {}}, InferenceServiceSpec, InferenceServiceStatus))
    assert override is not None
    assert (override.valid, override.digest, override.who) == (True, digest("c"), "alice@example.com")
    assert override.why == "the upstream bug is mended"


def test_only_what_was_refused_can_be_overridden() -> None:
    with pytest.raises(CannotAskError, match="did not refuse ModelVersion fraud-2"):
        build_override(service(), version("fraud-2", "b"), BY, "x")
    remembered = version("fraud-2", "b", rejectedBy=[{"inferenceService": "fraud"}])
    assert build_override(service(rejected=None), remembered, BY, "x").name == "fraud"


def test_an_override_counts_once_so_the_same_words_are_not_asked_again() -> None:
    words = f"{digest('c')} by alice@example.com: the upstream bug is mended"
    handled = service(handled={"override": words, "overrideDigest": digest("c")})
    kept = [{"inferenceService": "fraud", "by": "alice@example.com", "why": "the upstream bug is mended"}]
    for asked, refused in ((handled, version("fraud-3", "c")), (service(), version("fraud-3", "c", overrides=kept))):
        with pytest.raises(CannotAskError, match="what is new"):
            build_override(asked, refused, BY, "the upstream bug is mended")
        assert build_override(asked, refused, BY, "its feature is filled now").name == "fraud"
