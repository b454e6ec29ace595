"""Who may approve, and what: the admission policies, as an editor and as two approvers meet them."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e import flights
from tests.e2e.team import Obj, Team, eventually, kubectl, manifest, refused

EDITOR, APPROVER = "erin@example.com", "anna@example.com"


def given_people(team: Team) -> None:
    """Bind an editor, and an approver who may look at versions and approve them."""
    for user, role in ((EDITOR, "edit"), (APPROVER, "fairlead-approve")):
        name = role.rsplit("-", 1)[-1]
        team.kubectl("create", "rolebinding", name, f"--clusterrole={role}", f"--user={user}")
    for user, verb in ((EDITOR, "patch"), (APPROVER, "approve")):
        may = ("auth", "can-i", verb, "modelversions.fairlead.dev", "-n", team.namespace, "--as", user)
        eventually(lambda may=may: kubectl(*may, check=False).strip() == "yes", f"{user} may not {verb} yet")


def patch(team: Team, user: str, approval: dict[str, Any]) -> tuple[str, ...]:
    body = json.dumps({"spec": {"approval": approval}})
    return ("patch", "mver", "flights-v1", "-n", team.namespace, "--type=merge", "-p", body, "--as", user)


def test_only_an_approver_approves_in_their_own_name_what_they_looked_at(team: Team) -> None:
    given_people(team)
    flights.given_dataset(team)
    asks = {"gates": [{"name": "floor", "metric": "accuracy", "min": 0.5}], "approval": {"required": True}}
    as_editor = ("apply", "-n", team.namespace, "-f", "-", "--as", EDITOR)
    waived = manifest("TrainingRun", "flights-v1", flights.run_spec())
    assert "versionTemplate.approval.required: false needs the verb approve" in refused(*as_editor, given=waived)
    assert "may not approve" in refused(
        *as_editor, given=manifest("ModelVersion", "by-hand", flights.version_spec("flights-v1"))
    )
    assert "needs the verb approve" in refused(*as_editor, given=a_monitor_that_waives())
    asked = manifest("TrainingRun", "flights-v1", flights.run_spec(versionTemplate=asks))
    kubectl(*as_editor, given=json.dumps(asked))
    message = team.until_says("ModelVersion", "flights-v1", "ApprovalRequired", 240)
    assert "kubectl fairlead approve flights-v1" in message
    version: Obj = team.get("ModelVersion", "flights-v1") or {}
    assert version["status"]["stage"] == "PendingApproval"
    digest = version["status"]["evaluation"]["inputDigest"]
    right = {"decision": "Approved", "by": APPROVER, "reason": "read the card", "evaluationDigest": digest}
    stale = {**right, "evaluationDigest": "sha256:" + "0" * 64}
    assert "may not approve ModelVersions here" in refused(*patch(team, EDITOR, {**right, "by": EDITOR}))
    assert "may not approve" in refused(*patch(team, EDITOR, {"required": False}))
    assert f"write your own name, {APPROVER}" in refused(*patch(team, APPROVER, {**right, "by": "kim@example.com"}))
    assert "copy status.evaluation.inputDigest" in refused(*patch(team, APPROVER, stale))
    kubectl(*patch(team, APPROVER, right))
    approved = team.until_ready("ModelVersion", "flights-v1")
    assert approved["status"]["stage"] == "Approved"
    assert approved["status"]["approvedBy"] == APPROVER
    kubectl("label", "mver", "flights-v1", "-n", team.namespace, "seen=by-editor", "--as", EDITOR)
    a_refusal_is_for_ever(team, digest)


def a_refusal_is_for_ever(team: Team, digest: str) -> None:
    """An approver takes it back: refused it stays, whatever is said later."""
    kubectl(*patch(team, APPROVER, {"decision": "Rejected", "by": APPROVER, "reason": "unfair"}))
    assert "unfair" in team.until_says("ModelVersion", "flights-v1", "RejectedByApprover")
    again = {"decision": "Approved", "by": APPROVER, "reason": "no, fine", "evaluationDigest": digest}
    kubectl(*patch(team, APPROVER, again))
    seen = team.until(
        "ModelVersion", "flights-v1", lambda o: o["status"]["observedGeneration"] == o["metadata"]["generation"]
    )
    assert seen["status"]["stage"] == "Rejected"


def a_monitor_that_waives() -> Obj:
    retrain = {"triggers": {"newData": {}}, "template": {"spec": flights.run_spec()}}
    return manifest("DriftMonitor", "flights", {"inferenceService": {"name": "flights"}, "retrain": retrain})
