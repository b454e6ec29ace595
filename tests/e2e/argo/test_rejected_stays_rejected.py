"""A real Argo CD asks for a refused version again and again: nobody is answered by it, and its diff stays empty.

In both of Argo CD's ways to apply and compare. Everything of the team is in Git: data, versions and the service.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hack.demo.cluster import CONTEXT
from tests.e2e import load, misbehaving
from tests.e2e.argo.application import Application, Repository
from tests.e2e.argo.rollout_states import states_of
from tests.e2e.misbehaving import put_version, quick
from tests.e2e.rollouts.story import in_state, pods_of, rolled_back, serves
from tests.e2e.team import SYSTEM, Obj, Team, condition, eventually, kubectl

from fairlead.cli.main import main

APPLIES, FORCED, REPLACED = 50, 5, 2
BODIES = {"v1": "onnx", "bad": "fails", "renamed": "fails", "v3": "better"}
WHY = "the feature store was down, not the model"
OPERATOR = ("-n", SYSTEM, "-l", "app.kubernetes.io/component=operator")


@dataclass(frozen=True)
class Way:
    """How Argo CD applies and compares, and how kubectl applies the same."""

    options: Sequence[str] = ()
    compare: str = ""
    kubectl: Sequence[str] = ("apply",)
    forced: bool = True  # kubectl has no --force beside --server-side, which takes all fields by itself


WAYS = {
    "client-side": Way(),
    "server-side": Way(
        ("ServerSideApply=true",),
        "ServerSideDiff=true",
        ("apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller"),
        forced=False,
    ),
}


@dataclass
class Refused:
    """The digest that was refused, and the traffic that must not meet it."""

    team: Team
    sent: load.Load
    digest: str
    since: float
    outage: tuple[float, float] = (0.0, 0.0)  # when the test itself took all pods away

    def stays_away(self, answers: int) -> None:
        """Wait for that many good answers more; none since the refusal came from the refused bytes, under any name."""
        known = len(self.good())
        eventually(lambda: len(self.good()) >= known + answers, "nobody is answered any more", 120)
        met = [one for one in self.sent.sent if one.at > self.since and one.digest == self.digest]
        assert not met, f"{len(met)} requests reached {self.digest}: {met[:3]}"
        assert not pods_of(self.team, "bad"), "pods of the refused version are there"
        assert not pods_of(self.team, "renamed"), "pods of the refused bytes are there"

    def good(self) -> list[load.Sent]:
        """Return the good answers since the refusal."""
        return [one for one in self.sent.sent if one.at > self.since and one.status == 200]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_rejected_stays_rejected(argocd: None, team: Team, tmp_path: Path, way: Way) -> None:
    versions = {name: put_version(team, name, body) for name, body in BODIES.items()}
    repository = Repository(tmp_path / "git")
    repository.commit("the first version", misbehaving.patients(team), versions["v1"], service(team, "v1"))
    application = Application(team, repository, way.options, way.compare)
    with application.running():
        application.until(lambda s: s.in_sync and s.health == "Healthy", "the first version does not serve", 300)
        application.nothing_may_differ()
        with load.steady(hostname(team), misbehaving.rows(200), 60) as sent, states_of(team) as states:
            load.until_routed(sent)
            application.commit("a bad version", versions["bad"], service(team, "bad"))
            refused = until_refused(application, sent)
            insist(application, refused, way)
            application.commit("the same bytes, renamed", versions["renamed"], service(team, "renamed"))
            until_degraded(application, "renamed")
            refused.stays_away(120)
            application.commit("as before", service(team, "bad"), without=["ModelVersion/renamed"])
            until_degraded(application, "bad")
            refused.stays_away(60)
            override(application, refused)
            application.commit("a better version", versions["v3"], service(team, "v3"))
            team.until("InferenceService", "tumor", serves("v3"), 300)
            until_said(application, "InferenceService", "tumor", "Healthy", "Serving: ")
            until_said(application, "ModelVersion", "bad", "Degraded", "RejectedByService: ")
            application.commit("without the bad one", without=["ModelVersion/bad"])
            application.until(lambda s: s.in_sync and s.health == "Healthy", "it is not Healthy")
            kept = (team.get("InferenceService", "tumor") or {})["status"]["rejected"]
            assert refused.digest in {entry["digest"] for entry in kept}, "the service forgot what it refused"
            refused.stays_away(60)
    assert not application.surprises(), application.surprises()[:3]
    failed = [one for one in sent.failed("bad") if not refused.outage[0] <= one.at <= refused.outage[1]]
    assert not failed, f"{len(failed)} requests failed that nothing explains: {failed[:3]}"
    compared = states.compared(application)
    print(
        f"\n{len(sent.sent)} requests, failed: {len(sent.failed('bad'))} while all pods were away; compared: {compared}"
    )
    lacking = {"Step 20 bad", "RolledBack", "Step 20 v3", "Step 40 v3", "Baking"} - compared.keys()
    assert not lacking, f"nothing was compared in {lacking}, so that shows nothing"


def insist(application: Application, refused: Refused, way: Way) -> None:
    """Do everything by which tools and people bring a refused version back, one after the other."""
    for how in (
        heal,
        partial(force, way=way),
        replace,
        partial(apply_often, way=way),
        restart_operator,
        delete_deployments,
    ):
        began = time.monotonic()
        how(application)
        refused.stays_away(60)
    refused.outage = (began, time.monotonic())
    application.team.until_says("InferenceService", "tumor", "RolledBack")
    found = application.team.get("InferenceService", "tumor") or {}
    lines = [(line["version"], line["outcome"]) for line in found["status"]["history"]]
    assert lines[0] == ("bad", "RolledBack"), lines
    assert lines.count(lines[0]) == 1, f"it was tried again: {lines}"


def hostname(team: Team) -> str:
    return f"{team.namespace}.example.com"


def service(team: Team, version: str) -> Obj:
    """Return the service's manifest: it asks for a version by name. A few hundred requests are enough to judge."""
    rollout = quick(
        stepsPercent=[20, 40],
        judge=quick()["judge"] | {"errorRate": {"maxIncreasePoints": 5}},
        step={"minRequests": 20, "minDuration": "5s"},
        bake={"duration": "6s"},
    )
    return misbehaving.service(version, hostname(team), rollout=rollout)


def until_refused(application: Application, sent: load.Load) -> Refused:
    """Wait until the bad version went back, and Argo CD says why it is Degraded."""
    entry = rolled_back(application.team, "bad", 300)
    since = time.monotonic()
    assert (entry["reason"], entry.get("revision", "")) == ("ErrorRate", "")
    assert sent.by_version()["bad"] > 0
    until_degraded(application, "bad")
    eventually(lambda: not pods_of(application.team, "bad"), "its pods do not go", 90)
    return Refused(application.team, sent, entry["digest"], since)


def until_degraded(application: Application, version: str) -> None:
    """Wait until Argo CD says of the service, whose other version serves, that this one was refused."""

    until_said(application, "InferenceService", "tumor", "Degraded", "RolledBack: ", f"Version {version} ")
    application.until(lambda s: s.in_sync and s.health == "Degraded", "in sync and Degraded is not what it says")
    found = application.team.get("InferenceService", "tumor") or {}
    assert condition(found, "Available")["status"] == "True"
    assert found["status"]["stable"]["version"] == "v1"


def until_said(application: Application, kind: str, name: str, health: str, *words: str) -> None:
    """Wait until Argo CD makes this of an object, in these words."""

    def said() -> bool:
        found, message = application.health(kind, name)
        return found == health and message.startswith(words[0]) and all(word in message for word in words)

    eventually(said, f"Argo CD does not say {health}, {words} of {kind} {name}", 120)


def heal(application: Application) -> None:
    """A person changes the service by hand; Argo CD undoes it. So self-heal is there, and has nothing else to heal."""
    team = application.team

    def baked() -> str:
        return str((team.get("InferenceService", "tumor") or {})["spec"]["rollout"]["bake"]["duration"])

    known = len(application.seen)
    with application.may_differ():
        team.patch("InferenceService", "tumor", {"spec": {"rollout": {"bake": {"duration": "77s"}}}})
        eventually(lambda: baked() == "6s", "self-heal did not undo a change by hand", 60)
        application.until(lambda s: s.in_sync and s.operation == "Succeeded", "it is not in sync again")
    assert any("InferenceService/tumor" in seen.differs for seen in application.seen[known:]), "a diff was not noted"


def force(application: Application, way: Way) -> None:
    for _ in range(FORCED):
        application.sync({"apply": {"force": True} if way.forced else {}})


def replace(application: Application) -> None:
    """With `Replace=true` Argo CD puts the whole object anew."""
    for _ in range(REPLACED):
        application.sync({"apply": {}}, "Replace=true")


def apply_often(application: Application, way: Way) -> None:
    """The same manifests, as Argo CD renders them, by kubectl."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": application.rendered()})
    for _ in range(APPLIES):
        application.team.kubectl(*way.kubectl, "-f", "-", given=text)


def restart_operator(_application: Application) -> None:
    """Its pod is deleted; another one takes over."""

    def ready() -> set[str]:
        found = json.loads(kubectl("get", "pods", *OPERATOR, "-o", "json"))["items"]
        here = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return {pod["metadata"]["uid"] for pod in here if condition(pod, "Ready")["status"] == "True"}

    before = ready()
    kubectl("delete", "pods", *OPERATOR, "--wait")
    eventually(lambda: ready() - before, "there is no new operator", 120)


def delete_deployments(application: Application) -> None:
    """What serves is made again, and nothing else: until then nobody is answered."""
    team = application.team
    before = {one["metadata"]["uid"] for one in team.children("deployments")}
    team.kubectl("delete", "deployments", "--all", "--wait")

    def again() -> bool:
        found = team.children("deployments", "tumor")
        return any(one["status"].get("readyReplicas") and one["metadata"]["uid"] not in before for one in found)

    eventually(again, "no Deployment was made again", 120)


def override(application: Application, refused: Refused) -> None:
    """A person lifts the refusal, on record; it is tried once, judged, and refused again."""
    team, began = application.team, time.monotonic()
    words = ["override", "--context", CONTEXT, "--namespace", team.namespace, "tumor", "--version", "bad"]
    assert main([*words, "--reason", WHY]) == 0
    team.until("InferenceService", "tumor", in_state("Step", version="bad"), 180)
    eventually(lambda: refused.sent.by_version(began)["bad"], "an override brings no request", 60)
    lifted = (team.get("InferenceService", "tumor") or {})["status"]["history"][0]
    assert (lifted["outcome"], lifted["version"]) == ("Overridden", "bad")
    assert lifted["message"].endswith(f": {WHY}"), lifted
    who = lifted["message"].removesuffix(f": {WHY}")
    assert who == json.loads(kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    found = team.until("ModelVersion", "bad", lambda o: o["status"]["rejectedBy"][0].get("overriddenAt"), 60)
    kept = found["status"]["overrides"]
    assert [(one["inferenceService"], one["by"], one["why"]) for one in kept] == [("tumor", who, WHY)]
    rolled_back(team, "bad", 300)
    refused.since = time.monotonic()
    until_degraded(application, "bad")
    eventually(lambda: not pods_of(team, "bad"), "its pods do not go", 90)
    restart_operator(application)
    assert main([*words, "--reason", WHY]) != 0, "the same words do not count again, and are not taken for it"
    refused.stays_away(60)
