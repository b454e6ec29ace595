"""What a backup holds and what of it becomes live again, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.api import names
from fairlead.cli import saved
from fairlead.cli.saved import SavedError
from fairlead.cli.states import state_of

from .objects import Obj, digest, ready, run, service, thing, version, world

AT = "2026-11-21T12:00:00Z"


def live(obj: Obj) -> Obj:
    metadata = {**obj["metadata"], "uid": f"uid-{obj['metadata']['name']}", "ownerReferences": [{"uid": "gone"}]}
    return {**obj, "apiVersion": names.API_VERSION, "metadata": {**metadata, "finalizers": ["others/x"]}}


def kept(obj: Obj) -> dict[str, Any]:
    return saved.save(live(obj), AT)


def test_a_file_is_read_as_it_was_written_in_the_order_of_making() -> None:
    objects = [kept(obj) for kind in world().values() for obj in kind]
    found = saved.read(saved.render(reversed(objects), "namespace fraud", AT))
    order = [resource.kind for resource in saved.MAKE_ORDER]
    assert [order.index(obj["kind"]) for obj in found] == sorted(order.index(obj["kind"]) for obj in objects)
    key = lambda obj: (obj["kind"], obj["metadata"]["name"])  # noqa: E731
    assert sorted(found, key=key) == sorted(objects, key=key)


def test_owners_finalizers_and_versions_of_a_cluster_that_is_gone_are_not_made_again() -> None:
    born = saved.birth(kept(service()), {})
    assert set(born["metadata"]) == {"name", "namespace", "annotations"}
    assert saved.is_held(born)


def test_a_version_is_born_undecided_and_belongs_to_its_run_again() -> None:
    approval = {"required": True, "decision": "Approved", "by": "anna", "reason": "r", "evaluationDigest": digest("e")}
    obj = version("fraud-2", "b", approval, evaluation={"inputDigest": digest("e")})
    obj["metadata"]["labels"] = {saved.LABEL_OWNER_UID: "uid-old"}
    whole = kept(obj)
    born = saved.birth(whole, {"uid-old": "uid-new"})
    assert born["spec"]["approval"] == {"required": True}
    assert born["metadata"]["labels"] == {saved.LABEL_OWNER_UID: "uid-new"}
    assert saved.decision_of(whole) == approval
    assert saved.may_be_decided(whole)


def test_an_approval_of_another_evaluation_has_to_be_given_again() -> None:
    approval = {"required": True, "decision": "Approved", "by": "anna", "reason": "r", "evaluationDigest": digest("x")}
    assert not saved.may_be_decided(kept(version("fraud-2", "b", approval, evaluation={"inputDigest": digest("e")})))
    refused = {**approval, "decision": "Rejected"}
    assert saved.may_be_decided(kept(version("fraud-2", "b", refused)))


def test_a_run_that_had_not_ended_keeps_only_its_data() -> None:
    pinned = {"name": "tx", "revision": digest("1")}
    begun = run("fraud-2", outcome="", attempt={"job": "j", "uid": "u"}, dataset=pinned, programFailures=1)
    assert saved.status_of(kept(begun), 1) == {"dataset": pinned}
    ended = saved.status_of(kept(run("fraud-2", attempt={"job": "j", "uid": "u"})), 1)
    assert "attempt" not in ended
    assert ended["outcome"] == "Succeeded"


@pytest.mark.parametrize(
    ("rollout", "serves"),
    [
        (None, "v2"),
        ({"state": "Step"}, "v2"),
        ({"state": "Promoting"}, "v2"),
        ({"state": "RollingBack"}, "v2"),
        ({"state": "Baking"}, "v1"),
        ({"state": "Held", "resume": "Baking"}, "v1"),
        ({"state": "Held", "resume": "Step"}, "v2"),
    ],
)
def test_a_rollout_begins_anew_and_what_had_not_baked_has_to_pass_again(rollout: Any, serves: str) -> None:
    roles = {"stable": {"version": "v2"}, "previous": {"version": "v1"}, "canary": {"version": "v3"}}
    status = saved.status_of(kept(service(**roles, rollout=rollout, baseline={}, traffic=[])), 1)
    assert status["stable"]["version"] == serves
    assert not {"rollout", "canary", "baseline", "traffic"} & set(status)
    assert status["rejected"]


@pytest.mark.parametrize("document", [{}, {"document": {"kind": "Report"}}])
def test_a_report_that_was_on_its_way_is_not_known_and_not_waited_for(document: Any) -> None:
    """Its Job is gone, and whether it wrote the report after the backup nobody can tell."""
    known = {"version": "v2", "outcome": "Promoted", "startedAt": "2026-11-20T12:00:00Z", "report": "rollouts/x"}
    newest = {"version": "v3", "revision": "sha256:cc", "outcome": "RolledBack", "startedAt": AT}
    first = {"version": "v1", "revision": "sha256:aa", "outcome": "Promoted", "startedAt": AT}
    pending = {"job": "fraud-report-1", "startedAt": AT, "revision": "sha256:cc", **document}
    status = saved.status_of(kept(service(history=[newest, known, first], reports=[pending])), 1)
    assert "reports" not in status
    assert status["history"] == [{**newest, "report": saved.REPORT_UNKNOWN}, known, first]
    recorded = service(history=[known])
    assert saved.status_of(kept(recorded), 1)["history"] == [known], "what is on record stays"


def test_what_is_restored_is_of_the_new_object_and_no_claim_about_the_present() -> None:
    """A service that was Ready has no pod yet: whoever waits for it waits until the operator has looked."""
    obj = service(observedGeneration=7, inconclusive={"generation": 6, "reason": "r"})
    obj["metadata"]["generation"] = 7
    obj["status"]["conditions"] = [{**c, "observedGeneration": 7} for c in ready("Serving")]
    status = saved.status_of(kept(obj), 1)
    assert status["observedGeneration"] == 0
    assert status["inconclusive"]["generation"] == 0
    assert {c["observedGeneration"] for c in status["conditions"]} == {0}
    obj["status"]["inconclusive"]["generation"] = 7
    assert saved.status_of(kept(obj), 1)["inconclusive"]["generation"] == 1, "the same wish stays undecided"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not YAML"),
        ("kind: Secret\n", "document 1: 'Secret' is no kind of Fairlead"),
        ("- 1\n", "document 1: 'list'"),
        ("apiVersion: fairlead.dev/v9\nkind: Dataset\n", "is not fairlead.dev/v1alpha1"),
        ("apiVersion: fairlead.dev/v1alpha1\nkind: Dataset\nmetadata: {name: a}\n", "metadata.namespace"),
    ],
)
def test_what_is_no_backup_is_told(text: str, words: str) -> None:
    with pytest.raises(SavedError, match=words):
        saved.read(text)


def test_an_object_that_waits_for_its_restoration_says_so() -> None:
    held = thing("Dataset", "tx", {}, annotations={names.ANNOTATION_RESTORING: AT})
    assert "kubectl fairlead restore" in state_of(held).message
