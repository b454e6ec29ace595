"""What stories and properties of InferenceService let happen: pods of Deployments, a gateway, requests, counters.

Pods are addressed by the role that the service's status gives their revision: stable, canary, baseline, previous;
`all` is every Deployment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.unit.plan.happenings import HAPPENINGS
from tests.unit.plan.simulation import NAMESPACE, Address, Simulation

from fairlead.api import names
from fairlead.api.conditions import format_time
from fairlead.contract.base import short
from fairlead.contract.jobs import ArmReport, PredictionCounts
from fairlead.controllers.types import ArmFailure

LABEL_ARM = "app.kubernetes.io/instance"
Json = dict[str, Any]
_READY = {"type": "Ready", "status": "True"}
_UNREADY = {"type": "Ready", "status": "False"}


def service_of(world: Simulation, name: str | None = None) -> Json:
    """Return the service by its name, or the oldest one."""
    found = [obj for obj in world.objects.values() if obj["kind"] == "InferenceService"]
    return dict(next(obj for obj in found if name in (None, obj["metadata"]["name"])))


def arm_names(world: Simulation, role: str) -> list[str]:
    """Return the names of the Deployments that a role has."""
    if role == "all":
        return [obj["metadata"]["name"] for obj in world.list(names.DEPLOYMENT)]
    revision = (service_of(world).get("status") or {}).get(role)
    assert revision, f"the service has no {role}"
    return [revision["name"]]


def pods_of(world: Simulation, arm: str) -> list[Json]:
    """Return the pods of one Deployment."""
    return [dict(pod) for pod in world.list(names.POD) if pod["metadata"]["labels"].get(LABEL_ARM) == arm]


def _address(pod: Mapping[str, Any]) -> Address:
    return "Pod", pod["metadata"]["namespace"], pod["metadata"]["name"]


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Say whether a pod is ready."""
    return _READY in (pod["status"].get("conditions") or ())


def _add_pod(world: Simulation, deployment: Address, status: Json) -> Json:
    body = world.objects[deployment]
    template = body["spec"]["template"]
    owner = {"kind": "Deployment", "name": deployment[2], "uid": body["metadata"]["uid"], "controller": True}
    name = f"{deployment[2]}-{len(world.objects):03d}-{world._next():04d}"
    metadata = {
        "name": name,
        "namespace": deployment[1],
        "labels": dict(template["metadata"]["labels"]),
        "ownerReferences": [owner],
    }
    pod = world.create({"kind": "Pod", "metadata": metadata, "spec": template["spec"], "status": status})
    world.arms[name] = ArmReport(start_id=name, revision="", requests=0, failed=0, slow=0, refused=0)
    return pod


def running(world: Simulation) -> Json:
    """Return the status of a ready pod."""
    container = {"name": "main", "restartCount": 0, "state": {"running": {"startedAt": format_time(world.now)}}}
    return {"phase": "Running", "conditions": [dict(_READY)], "containerStatuses": [container]}


def pods_run(world: Simulation, role: str = "all", more: Mapping[str, Any] | None = None) -> None:
    """Let every Deployment of a role have its pods, ready; those beyond its replicas go."""
    at_most = (more or {}).get("at most", 1_000)
    for name in arm_names(world, role):
        deployment = world.find(f"Deployment/{name}")
        replicas = min(world.objects[deployment]["spec"]["replicas"], at_most)
        pods = pods_of(world, name)
        for pod in pods[replicas:]:
            world.remove(_address(pod))
        for pod in pods[:replicas]:
            if not is_ready(pod):
                world.remove(_address(pod))
                _add_pod(world, deployment, running(world))
        for _ in range(replicas - len(pods)):
            _add_pod(world, deployment, running(world))


def _set_pods(world: Simulation, role: str, status: Json, *, only_new: bool = False) -> None:
    for name in arm_names(world, role):
        deployment = world.find(f"Deployment/{name}")
        there = [_address(pod) for pod in pods_of(world, name)] if only_new else []
        for _ in range(world.objects[deployment]["spec"]["replicas"] - len(pods_of(world, name))):
            _add_pod(world, deployment, status)
        for pod in pods_of(world, name):
            if _address(pod) not in there:
                world.update(_address(pod), {"status": None})
                world.update(_address(pod), {"status": status})


def _terminated(exit_code: int, message: Any, reason: str, restarts: int) -> Json:
    text = message if isinstance(message, str) else json.dumps(message)
    ended = {"exitCode": exit_code, "message": text, "reason": reason}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    return {"name": "main", "restartCount": restarts, "state": waiting, "lastState": {"terminated": ended}}


def _pods_crash(world: Simulation, role: str, more: Mapping[str, Any]) -> None:
    said = _terminated(more.get("exit", 1), more.get("with", ""), more.get("because", "Error"), more.get("restarts", 2))
    status: Json = {"phase": "Running", "conditions": [dict(_UNREADY)], "containerStatuses": [said]}
    if more.get("container") == "proxy":  # a sidecar that does not start: the main container waits for it
        waiting = {"name": "main", "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}
        said = {**said, "name": "proxy"}
        status = {**status, "phase": "Pending", "initContainerStatuses": [said], "containerStatuses": [waiting]}
    _set_pods(world, role, status)


def _pods_wait(world: Simulation, role: str, more: Mapping[str, Any]) -> None:
    if "unschedulable" in more:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        pending = {"phase": "Pending", "conditions": [{**condition, "message": more["unschedulable"]}]}
        _set_pods(world, role, pending, only_new=more.get("only new", False))
        return
    waiting = {"reason": more.get("because", "ContainerCreating"), "message": more.get("message", "")}
    container = {"name": "main", "restartCount": 0, "state": {"waiting": waiting}}
    _set_pods(world, role, {"phase": "Pending", "conditions": [dict(_UNREADY)], "containerStatuses": [container]})


def _pods_refused(world: Simulation, role: str, more: Mapping[str, Any]) -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": more["message"]}
    for name in arm_names(world, role):
        world.update(world.find(f"Deployment/{name}"), {"status": {"conditions": [condition]}})


def _pods_unready(world: Simulation, role: str, _more: Mapping[str, Any]) -> None:
    container = {"name": "main", "restartCount": 0, "state": {"running": {}}}
    _set_pods(world, role, {"phase": "Running", "conditions": [dict(_UNREADY)], "containerStatuses": [container]})


def _pods_go(world: Simulation, role: str, _more: Mapping[str, Any]) -> None:
    for name in arm_names(world, role):
        for pod in pods_of(world, name):
            world.remove(_address(pod))


def gateway_answers(world: Simulation, _subject: Any = "", more: Mapping[str, Any] | None = None) -> None:
    """Let the gateway take every route as it is, or with `refusing` refuse it."""
    refusing = (more or {}).get("refusing")
    for route in world.list(names.HTTP_ROUTE):
        condition = {
            "type": "Accepted",
            "status": "False" if refusing else "True",
            "reason": "NotAllowedByListeners" if refusing else "Accepted",
            "message": refusing or "",
            "observedGeneration": route["metadata"]["generation"],
        }
        parents = [{"parentRef": route["spec"]["parentRefs"][0], "conditions": [condition]}]
        address = ("HTTPRoute", route["metadata"]["namespace"], route["metadata"]["name"])
        world.update(address, {"status": {"parents": parents}})


def shares(world: Simulation) -> dict[str, float]:
    """Return the part of the requests that each Deployment gets now: by the route, or by ready pods."""
    routes = world.list(names.HTTP_ROUTE)
    if routes:
        split = routes[0]["spec"]["rules"][0]
        copied = {
            f["requestMirror"]["backendRef"]["name"]: f["requestMirror"]["percent"] / 100
            for f in split.get("filters") or ()
            if f["type"] == "RequestMirror"
        }
        return {ref["name"]: ref["weight"] / 100 for ref in split["backendRefs"]} | copied
    ready = {name: sum(map(is_ready, _selected(world, name))) for name in arm_names(world, "all")}
    total = sum(ready.values())
    return {name: count / total for name, count in ready.items() if count} if total else {}


def _selected(world: Simulation, arm: str) -> list[Json]:
    """Return the pods of one Deployment that the Service in front of all selects."""
    front = world.objects["Service", NAMESPACE, service_of(world)["metadata"]["name"]]
    wanted = front["spec"]["selector"].items()
    return [pod for pod in pods_of(world, arm) if wanted <= pod["metadata"]["labels"].items()]


def requests(world: Simulation, count: int, more: Mapping[str, Any] | None = None) -> None:
    """Let requests come in; `failing`, `slow` and `refusing` give percents by role.

    `predicting` gives by role how many of ten answers lie in which bin; every pod of another role counts no bins.
    `labelled` gives by role the percents of answers whose truth came back, and of these that were wrong.
    """
    more = more or {}
    labelled = {arm_names(world, role)[0]: percents for role, percents in (more.get("labelled") or {}).items()}
    predicting = {arm_names(world, role)[0]: ten for role, ten in (more.get("predicting") or {}).items()}
    bad = {kind: _percents(world, more.get(kind) or {}) for kind in ("failing", "slow", "refusing")}
    for name, share in shares(world).items():
        ready = [pod for pod in pods_of(world, name) if is_ready(pod)]
        for pod in ready:
            known = world.arms[pod["metadata"]["name"]]
            if isinstance(known, ArmReport):
                new = round(count * share / len(ready))
                update = {
                    "requests": known.requests + new,
                    "failed": known.failed + round(new * bad["failing"].get(name, 0) / 100),
                    "slow": known.slow + round(new * bad["slow"].get(name, 0) / 100),
                }
                if known.refused is not None:
                    update["refused"] = known.refused + round(new * bad["refusing"].get(name, 0) / 100)
                if name in labelled:
                    back = round(new * labelled[name][0] / 100)
                    update["labelled"] = (known.labelled or 0) + back
                    update["wrong"] = known.wrong + round(back * labelled[name][1] / 100)
                if name in predicting:
                    before = known.predictions[0].counts if known.predictions else [0] * len(predicting[name])
                    counts = [b + round(new * n / 10) for b, n in zip(before, predicting[name], strict=True)]
                    update["predictions"] = [PredictionCounts(bins="ab12", counts=counts)]
                world.arms[pod["metadata"]["name"]] = known.model_copy(update=update)


def _outcomes(world: Simulation, count: int, more: Mapping[str, Any]) -> None:
    """Let outcomes of both revisions come in, all of them at pods of the stable one; `bad` gives percents by role."""
    taker = next(pod for pod in pods_of(world, arm_names(world, "stable")[0]) if is_ready(pod))["metadata"]["name"]
    report = world.arms[taker]
    assert isinstance(report, ArmReport)
    status, outcomes = service_of(world)["status"], dict(report.outcomes)
    for role in ("stable", "canary"):
        revision = short(status[role]["revision"])
        known, bad = outcomes.get(revision, (0, 0))
        outcomes[revision] = known + count, bad + round(count * more.get("bad", {}).get(role, 0) / 100)
    world.arms[taker] = report.model_copy(update={"outcomes": outcomes})


def _percents(world: Simulation, by_role: Mapping[str, float]) -> dict[str, float]:
    return {arm_names(world, role)[0]: percent for role, percent in by_role.items()}


def _autoscalers_add(world: Simulation, count: int, _more: Mapping[str, Any]) -> None:
    for scaler in world.list(names.AUTOSCALER):
        address = world.find(f"Deployment/{scaler['metadata']['name']}")
        replicas = max(0, world.objects[address]["spec"]["replicas"] + count)
        world.update(address, {"spec": {"replicas": replicas}})


def _counters_fail(world: Simulation, role: str, more: Mapping[str, Any]) -> None:
    for name in arm_names(world, role):
        for pod in pods_of(world, name):
            world.arms[pod["metadata"]["name"]] = ArmFailure(more.get("with", "timed out"))


def _counters_answer(world: Simulation, role: str, _more: Mapping[str, Any]) -> None:
    for name in arm_names(world, role):
        for pod in pods_of(world, name):
            told = pod["metadata"]["name"]
            world.arms[told] = ArmReport(start_id=told, revision="", requests=0, failed=0, slow=0, refused=0)


def _without_gateway_api(world: Simulation, present: bool, _more: Mapping[str, Any]) -> None:
    world.settings = type(world.settings)(**{**vars(world.settings), "gateway_api_present": present})


def _watches(world: Simulation, namespaces: list[str], _more: Mapping[str, Any]) -> None:
    world.settings = type(world.settings)(**{**vars(world.settings), "namespaces": tuple(namespaces)})


def _operator_image(world: Simulation, image: str, _more: Mapping[str, Any]) -> None:
    world.settings = type(world.settings)(**{**vars(world.settings), "server_image": image})


HAPPENINGS |= {
    "pods run": pods_run,
    "pods crash": _pods_crash,
    "pods wait": _pods_wait,
    "pods refused": _pods_refused,
    "pods lose readiness": _pods_unready,
    "pods go": _pods_go,
    "gateway answers": gateway_answers,
    "requests": requests,
    "autoscalers add": _autoscalers_add,
    "outcomes": _outcomes,
    "counters fail": _counters_fail,
    "counters answer": _counters_answer,
    "gateway api is there": _without_gateway_api,
    "operator watches": _watches,
    "operator has server image": _operator_image,
}
