"""InferenceServices on the real cluster: a canary by whole pods, addresses, and bytes that somebody changed."""

from __future__ import annotations

from typing import Any

from tests.e2e import asking, flights
from tests.e2e.team import Obj, Team, condition, eventually, is_ready, manifest

LENIENT = {  # two good versions: little evidence is enough, and a busy machine is no reason
    "stepsPercent": [50],
    "judge": {
        "errorRate": {"maxIncreasePoints": 20},
        "latency": {"thresholdMs": 5000, "maxIncreasePoints": 50},
    },
    "step": {"minRequests": 30, "minDuration": "2s"},
    "bake": {"duration": "3s"},
}


def test_canary_by_whole_pods_without_a_gateway(team: Team) -> None:
    flights.given_dataset(team)
    other = {"sklearn": flights.run_spec()["trainer"]["sklearn"] | {"parameters": {"C": 0.5}}}
    team.apply(
        manifest("TrainingRun", "flights-v1", flights.run_spec()),
        manifest("TrainingRun", "flights-v2", flights.run_spec(trainer=other)),
    )
    first = team.until_ready("ModelVersion", "flights-v1", 240)
    spec = flights.service_spec(model={"version": "flights-v1"}, rollout=LENIENT)
    team.apply(manifest("InferenceService", "flights", spec))
    service = team.until_ready("InferenceService", "flights", 120)
    assert service["status"]["history"][0]["reason"] == "FirstVersion"
    the_autoscaler_has_its_bounds(team)
    ask = asking.by_service(team.namespace, "flights")
    answer = asking.until_answered(ask, flights.features(3))
    assert answer.version == "flights-v1"
    assert answer.headers[asking.DIGEST] == first["status"]["artifact"]["digest"]
    team.until_ready("ModelVersion", "flights-v2", 240)
    team.patch("InferenceService", "flights", {"spec": {"model": {"version": "flights-v2"}}})
    with asking.all_the_time(ask, flights.features(1)) as answers:
        stepping = team.until("InferenceService", "flights", in_step, 120)
        shares = {share["role"]: share["requested"] for share in stepping["status"]["traffic"]}
        assert shares["canary"] >= 50, "whole pods, rounded up"
        assert shares["baseline"] > 0
        service = team.until("InferenceService", "flights", serves("flights-v2"), 180)
    assert service["status"]["history"][0]["outcome"] == "Promoted"
    previous = service["status"]["previous"]
    assert previous["version"] == "flights-v1"
    eventually(lambda: at_rest(team, previous["name"]), "the previous revision still has pods or an autoscaler")
    assert {answer.version for answer in answers} == {"flights-v1", "flights-v2"}
    assert not [answer for answer in answers if answer.status != 200], "users saw nothing of it"
    assert (team.get("ModelVersion", "flights-v1") or {})["status"]["stage"] == "Archived"
    a_person_goes_back(team)


def at_rest(team: Team, revision: str) -> bool:
    """Whether a revision is kept for a way back, without pods."""
    scalers = {scaler["metadata"]["name"] for scaler in team.children("hpa", "flights")}
    (kept,) = [one for one in team.children("deployments", "flights") if one["metadata"]["name"] == revision]
    return bool(kept["spec"]["replicas"] == 0) and revision not in scalers


def a_person_goes_back(team: Team) -> None:
    stamp = {"metadata": {"annotations": {"fairlead.dev/rollback": "1"}}}
    team.patch("InferenceService", "flights", stamp)
    service = team.until("InferenceService", "flights", lambda o: stable_of(o) == "flights-v1", 120)
    service = team.until("InferenceService", "flights", lambda o: bool(condition(o, "Stalled")["reason"]), 60)
    assert condition(service, "Ready")["reason"] == "RolledBack"
    assert service["status"]["rejected"][0]["reason"] == "RolledBackByRequest"


def test_addresses_gateways_and_changed_bytes(team: Team) -> None:
    flights.given_dataset(team)
    version = flights.given_version(team)
    hostname = f"{team.namespace}.example.com"
    missing = {"gateway": {"name": "no-gateway"}, "hostname": f"other.{hostname}"}
    team.apply(manifest("InferenceService", "flights", flights.service_spec(hostname)))
    service = team.until_ready("InferenceService", "flights", 120)
    assert condition(service, "Routed")["status"] == "True"
    team.apply(
        manifest("InferenceService", "late", flights.service_spec(hostname)),
        manifest("InferenceService", "lost", flights.service_spec(traffic=missing)),
    )
    message = team.until_says("InferenceService", "late", "HostnameConflict")
    assert f"InferenceService {team.namespace}/flights is older" in message
    assert "no-gateway" in team.until_says("InferenceService", "lost", "GatewayMissing", 120)
    ask = asking.by_gateway(hostname)
    assert asking.until_answered(ask, flights.features(1)).version == "flights-v1"
    assert not team.children("httproutes", "late"), "an address that is taken gets no route"
    moved = {"gateway": {"name": "public", "namespace": "gateways"}, "hostname": f"late.{hostname}"}
    team.patch("InferenceService", "late", {"spec": {"traffic": moved}})
    team.until_ready("InferenceService", "late", 120)
    team.patch("InferenceService", "late", {"spec": {"traffic": {"gateway": None, "hostname": None}}})
    team.until_gone("httproutes", "late")  # who leaves the gateway has no address there any more
    team.until_ready("InferenceService", "late", 120)
    team.remove("InferenceService", "lost")
    bytes_are_changed(team, version)
    assert ask(flights.features(1)).status == 200, "what serves goes on serving"


def bytes_are_changed(team: Team, version: Obj) -> None:
    """Somebody overwrites the model in the store: a new service refuses it, and so does the version."""
    digest = version["status"]["artifact"]["digest"].removeprefix("sha256:")
    key = f"models/{team.namespace}/flights/{digest}/model.onnx"
    body = bytearray(team.read(key))
    body[len(body) // 2] ^= 0xFF
    team.overwrite(key, bytes(body))
    team.apply(manifest("InferenceService", "fooled", flights.service_spec()))
    message = team.until_says("InferenceService", "fooled", "FirstVersionFailed", 120)
    assert "DigestMismatch" in message
    assert not team.children("httproutes", "fooled")
    refusals = team.until("ModelVersion", "flights-v1", lambda o: bool(o["status"].get("rejectedBy")))
    assert refusals["status"]["rejectedBy"][0]["inferenceService"] == "fooled"


def the_autoscaler_has_its_bounds(team: Team) -> None:
    (autoscaler,) = eventually(lambda: team.children("hpa", "flights"), "there is no autoscaler")
    assert (autoscaler["spec"]["minReplicas"], autoscaler["spec"]["maxReplicas"]) == (1, 2)
    assert autoscaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 500
    able = eventually(lambda: reads_metrics(team), "the autoscaler cannot read the pods' CPU", 120)
    assert able


def reads_metrics(team: Team) -> bool:
    (autoscaler,) = team.children("hpa", "flights")
    conditions = autoscaler["status"].get("conditions") or ()
    return any(c["type"] == "ScalingActive" and c["status"] == "True" for c in conditions)


def in_step(service: Obj) -> bool:
    rollout = service["status"].get("rollout") or {}
    return bool(rollout.get("state") == "Step" and service["status"].get("traffic"))


def stable_of(service: Obj) -> Any:
    return (service["status"].get("stable") or {}).get("version")


def serves(version: str) -> Any:
    return lambda service: stable_of(service) == version and is_ready(service)
