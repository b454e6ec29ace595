"""What people and machines do in the middle of a rollout: other specs, a third version, no operator, evictions."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from tests.e2e import load, misbehaving
from tests.e2e.misbehaving import quick, service
from tests.e2e.rollouts.story import ENDLESS, at_weight, in_state, pods_of, rollout_of, serves, switch
from tests.e2e.team import SYSTEM, Obj, Team, eventually, kubectl
from tests.support.status_laws import breaches

DOWN_S = float(os.environ.get("FAIRLEAD_DOWN_S", "20"))
SCALED_S = float(os.environ.get("FAIRLEAD_SCALED_S", "90"))
OPERATOR = ("deployment", "-l", "app.kubernetes.io/component=operator", "-n", SYSTEM)


def outcomes(service_: Obj) -> list[tuple[str, str]]:
    """Return version and outcome of each line of history, the oldest first."""
    return [(line["version"], line["outcome"]) for line in reversed(service_["status"].get("history") or ())]


def arms(team: Team) -> dict[str, str]:
    """Return the versions of stable and canary."""
    status = (team.get("InferenceService", "tumor") or {})["status"]
    return {role: status[role]["version"] for role in ("stable", "canary") if status.get(role)}


def test_specs_that_change_in_the_middle_of_each_state(team: Team) -> None:
    """It goes back or goes on, never has two canaries, and no request fails."""
    misbehaving.given_versions(team, v1="onnx", v2="better", v3="good", hangs="hangs")
    hostname = f"{team.namespace}.example.com"
    team.apply(service("v1", hostname, rollout=quick(stepsPercent=[20, 50], step=ENDLESS)))
    team.until_ready("InferenceService", "tumor", 180)

    def until(holds: Any, timeout_s: float = 120) -> Obj:
        found = team.until("InferenceService", "tumor", holds, timeout_s)
        assert len(team.children("deployments", "tumor")) <= 4, "stable, baseline, canary, and one that goes"
        return found

    with load.steady(hostname, misbehaving.rows(100), 20) as sent:
        load.until_routed(sent)
        switch(team, "hangs")
        until(in_state("Preparing", version="hangs"))
        switch(team, "v2")  # in Preparing: another version
        until(in_state("Preparing", "Step", version="v2"))
        until(in_state("Step", version="v2"), 180)
        team.patch("InferenceService", "tumor", {"spec": {"rollout": {"stepsPercent": [20, 40, 60]}}})
        until(at_weight(20))  # in Step: other steps, the same rollout
        began = rollout_of(team.get("InferenceService", "tumor") or {})["startedAt"]
        switch(team, "v3")  # in Step: a third version
        until(in_state("RollingBack"))
        team.patch("InferenceService", "tumor", {"spec": {"suspend": True}})  # in RollingBack: suspended
        until(lambda o: not rollout_of(o), 120)
        assert arms(team) == {"stable": "v1"}
        team.patch("InferenceService", "tumor", {"spec": {"suspend": False, "rollout": {"step": {"minRequests": 20}}}})
        stepping = until(in_state("Step", version="v3"), 180)
        assert rollout_of(stepping)["startedAt"] > began
        team.patch("InferenceService", "tumor", {"spec": {"suspend": True}})  # in Step: held
        until(lambda o: rollout_of(o).get("heldFor") == "Suspended", 60)
        team.patch("InferenceService", "tumor", {"spec": {"suspend": False, "rollout": {"bake": {"duration": "45s"}}}})
        until(in_state("Baking"), 240)
        switch(team, "v2")  # in Baking: it waits
        waiting = until(in_state("Baking"))
        assert waiting["status"]["stable"]["version"] == "v3"
        until(in_state("Preparing", "Step", version="v2"), 180)
        switch(team, "v3")  # back to what serves
        ended = until(serves("v3"), 120)
    assert not sent.failed(), sent.failed()[:3]
    told = outcomes(ended)
    assert told[:1] == [("v1", "Promoted")]
    assert [line for line in told if line[1] != "Superseded"][1:] == [("v3", "Promoted")]
    assert {version for version, outcome in told if outcome == "Superseded"} == {"hangs", "v2"}
    assert not ended["status"].get("rejected")
    assert not breaches(ended)


def test_the_operator_is_away_in_the_middle(team: Team) -> None:
    """Shares stay, nobody's request fails, and the next step is the next one. 10 minutes in `make soak-rollouts`."""
    misbehaving.given_versions(team, v1="onnx", v2="better")
    hostname = f"{team.namespace}.example.com"
    steps = [10, 30, 50, 70]
    rollout = quick(stepsPercent=steps, step={"minRequests": 30, "minDuration": "6s"}, deadline="2h")
    team.apply(service("v1", hostname, rollout=rollout))
    team.until_ready("InferenceService", "tumor", 180)
    seen: list[int] = []
    with load.steady(hostname, misbehaving.rows(100), 30) as sent:
        load.until_routed(sent)
        switch(team, "v2")
        team.until("InferenceService", "tumor", at_weight(30), 240)
        before = rollout_of(team.get("InferenceService", "tumor") or {})
        with_operator(0)
        gone_at = time.monotonic()
        eventually(lambda: time.monotonic() > gone_at + DOWN_S, "time does not pass", DOWN_S + 60)
        away = rollout_of(team.get("InferenceService", "tumor") or {})
        share = share_of(sent, gone_at + 3, time.monotonic())
        with_operator(1)

        def note(service_: Obj) -> bool:
            weight = rollout_of(service_).get("weight", 0)
            if weight and weight not in seen:
                seen.append(weight)
            return serves("v2")(service_)

        ended = team.until("InferenceService", "tumor", note, 300)
    assert away["weight"] in (before["weight"], 50), "at most the step that was due when it went"
    assert abs(share - away["weight"] / 100) < 0.15, f"{share:.2f} of the requests at {away['weight']} %"
    left = [step for step in steps if step >= away["weight"]]  # the first may have been due when it came back
    assert seen in (left, left[1:]), "no step lost, none left out"
    assert ended["status"]["history"][0]["outcome"] == "Promoted"
    assert not sent.failed(), sent.failed()[:3]


def share_of(sent: load.Load, since: float, until: float) -> float:
    counts = sent.by_version(since, until)
    return counts["v2"] / sum(counts.values())


def with_operator(replicas: int) -> None:
    """Scale the operator, and wait until it is so."""
    names = json.loads(kubectl("get", *OPERATOR, "-o", "json"))["items"]
    (name,) = (each["metadata"]["name"] for each in names)
    kubectl("scale", "deployment", name, "-n", SYSTEM, f"--replicas={replicas}")
    pods = ("get", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator", "-o", "json")

    def there() -> bool:
        found = json.loads(kubectl(*pods))["items"]
        ready = [c for pod in found for c in pod["status"].get("containerStatuses", ()) if c["ready"]]
        return len(found) == replicas and len(ready) == replicas

    eventually(there, f"there are not {replicas} operators", 120)


def test_autoscalers_of_both_arms_are_not_fought_over(team: Team) -> None:
    """Under load that comes and goes, replicas of an arm within its bounds change by its autoscaler alone.

    30 minutes in `make soak-rollouts`. What an autoscaler sets is told from what the operator sets by managedFields.
    """
    misbehaving.given_versions(team, v1="steady", v2="slow")
    hostname = f"{team.namespace}.example.com"
    scaling = {"minReplicas": 1, "maxReplicas": 3, "targetCPUPercent": 30}  # of 20m: a little load is enough
    team.apply(service("v1", hostname, cpu="20m", scaling=scaling, rollout=quick(step=ENDLESS, deadline="2h")))
    team.until_ready("InferenceService", "tumor", 180)
    seen: dict[str, list[tuple[str, int]]] = {}
    with load.steady(hostname, misbehaving.rows(100), 30) as sent:
        load.until_routed(sent)
        switch(team, "v2")
        team.until("InferenceService", "tumor", at_weight(50), 240)
        for deployment in team.children("deployments", "tumor"):
            seen[deployment["metadata"]["name"]] = [_scaled(deployment)]
        began = time.monotonic()

        def looked() -> bool:
            for deployment in team.children("deployments", "tumor"):
                known = seen[deployment["metadata"]["name"]]
                if known[-1] != _scaled(deployment):
                    known.append(_scaled(deployment))
            return time.monotonic() > began + SCALED_S

        eventually(looked, "time does not pass", SCALED_S + 60)
    changes = {name: found[1:] for name, found in seen.items()}
    print(changes)
    assert any(changes.values()), "no autoscaler changed anything: the test shows nothing"
    assert {manager for found in changes.values() for manager, _ in found} == {"kube-controller-manager"}, changes
    assert not sent.failed(), sent.failed()[:3]


def _scaled(deployment: Obj) -> tuple[str, int]:
    """Return who set the replicas of a Deployment last, and to what."""
    entries = [e for e in deployment["metadata"].get("managedFields") or () if e.get("subresource") == "scale"]
    last = max(entries, key=lambda entry: entry.get("time", ""), default={"manager": "fairlead"})
    return str(last["manager"]), int(deployment["spec"]["replicas"])


def test_every_pod_is_evicted_with_the_budget_in_force(team: Team) -> None:
    """At rest, then in a step: the budget lets one go at a time, others answer, and no request fails."""
    misbehaving.given_versions(team, v1="onnx", v2="better")
    hostname = f"{team.namespace}.example.com"
    scaling = {"minReplicas": 2, "maxReplicas": 3, "targetCPUPercent": 500}
    team.apply(service("v1", hostname, scaling=scaling, rollout=quick(stepsPercent=[60], step=ENDLESS)))
    team.until_ready("InferenceService", "tumor", 180)
    with load.steady(hostname, misbehaving.rows(100), 40) as sent:
        load.until_routed(sent)
        evict_all(team, "v1")
        assert not sent.failed(), f"at rest: {sent.failed()[:3]}"
        switch(team, "v2")
        team.until("InferenceService", "tumor", at_weight(60), 240)
        evict_all(team, "v2")
        team.until("InferenceService", "tumor", at_weight(60), 240)
        assert not sent.failed(), f"in a step: {sent.failed()[:3]}"
    after = team.get("InferenceService", "tumor") or {}
    assert not after["status"].get("rejected"), "pods that the cluster takes away prove nothing"


def evict_all(team: Team, version: str) -> None:
    """Evict every pod that serves a version now, one after the other, as a drain does; 429 means: later."""
    names = [pod["metadata"]["name"] for pod in pods_of(team, version)]
    eventually(lambda: len(_ready(team, version)) >= len(names), "not all of its pods are ready", 180)
    for pod in names:
        place = f"/api/v1/namespaces/{team.namespace}/pods/{pod}/eviction"
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": team.namespace}}
        words = ("create", "--raw", place, "-f", "-", "-n", team.namespace)
        gone = lambda: kubectl(*words, given=json.dumps(body), check=False)  # noqa: B023, E731
        eventually(gone, f"the budget never let {pod} go", 180)
    eventually(lambda: len(_ready(team, version)) >= len(names), "its pods did not come back", 180)


def _ready(team: Team, version: str) -> list[Obj]:
    return [
        pod
        for pod in pods_of(team, version)
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())
    ]
