"""ModelVersions on the real cluster: every gate, versions made by hand, and bytes that are not the ones named."""

from __future__ import annotations

from typing import Any

from hack.demo.lake import BUCKET
from tests.e2e import flights
from tests.e2e.team import Team, condition, manifest

GATES = [
    {"name": "floor", "metric": "accuracy", "min": 0.5},
    {"name": "loss", "metric": "log_loss", "max": 2},
    {"name": "champion", "metric": "roc_auc", "versusChampion": {"maxLoss": 0.01}},
    {"name": "airports", "metric": "accuracy", "slices": ["origin"], "maxGap": 0.5},
    {"name": "fair", "fairness": {"metric": "DemographicParityDifference", "attribute": "origin", "max": 0.9}},
    {"name": "speed", "latency": {"percentile": 90, "maxMs": 5000}},
    {"name": "size", "artifactSize": {"max": "50Mi"}},
]


def test_gates_decide_and_versions_by_hand_are_held_to_the_same(team: Team) -> None:
    flights.given_dataset(team)
    team.apply(manifest("TrainingRun", "flights-v1", flights.run_spec(versionTemplate=template(GATES))))
    run = team.until_ready("TrainingRun", "flights-v1", 180)
    artifact = run["status"]["artifact"]["digest"]
    evaluation = {"dataset": {"name": "flights"}}
    foreign = {"artifact": {"uri": model_uri(team, artifact), "digest": artifact}}
    altered = {"artifact": {"uri": model_uri(team, artifact), "digest": "sha256:" + "0" * 64}}
    nowhere = {"artifact": {"uri": f"s3://{BUCKET}/no/such/model/", "digest": artifact}}
    unreachable = [{"name": "floor", "metric": "accuracy", "min": 0.999}]
    unknown = [{"name": "charm", "metric": "charm", "min": 0.5}]
    undecided = [{"name": "floor", "metric": "accuracy", "min": accuracy(run)}]
    team.apply(
        manifest("ModelVersion", "low", flights.version_spec("flights-v1", gates=unreachable)),
        manifest("ModelVersion", "unknown", flights.version_spec("flights-v1", gates=unknown)),
        manifest("ModelVersion", "close", flights.version_spec("flights-v1", gates=undecided)),
        manifest("ModelVersion", "foreign", flights.version_spec("", source=foreign, evaluation=evaluation)),
        manifest("ModelVersion", "altered", flights.version_spec("", source=altered, evaluation=evaluation)),
        manifest("ModelVersion", "nowhere", flights.version_spec("", source=nowhere, evaluation=evaluation)),
    )
    all_gates_pass(team, artifact)
    assert "floor" in team.until_says("ModelVersion", "low", "GateFailed", 240)
    assert (team.get("ModelVersion", "low") or {})["status"]["stage"] == "Rejected"
    message = team.until_says("ModelVersion", "unknown", "UnknownMetric", 240)
    assert "'charm'" in message
    assert "balanced_accuracy" in message
    assert "RequireApproval" in team.until_says("ModelVersion", "close", "GateInconclusive", 240)
    assert team.until_ready("ModelVersion", "foreign", 240)["status"]["artifact"]["digest"] == artifact
    assert artifact in team.until_says("ModelVersion", "altered", "DigestMismatch", 240), "it says what was found"
    assert "no/such/model" in team.until_says("ModelVersion", "nowhere", "ArtifactNotFound", 240)


def template(gates: list[dict[str, Any]]) -> dict[str, Any]:
    return {"gates": gates, "approval": {"required": False}}


def model_uri(team: Team, digest: str) -> str:
    """Return where the trained artifact lies, as somebody outside would name it."""
    folder = f"models/{team.namespace}/flights/{digest.removeprefix('sha256:')}/"
    return f"s3://{BUCKET}/e2e/{team.namespace}/{folder}"


def accuracy(run: dict[str, Any]) -> float:
    return round(float(run["status"]["metrics"]["accuracy"]), 3)


def all_gates_pass(team: Team, artifact: str) -> None:
    version = team.until_ready("ModelVersion", "flights-v1", 240)
    status = version["status"]
    assert {gate["name"]: gate["outcome"] for gate in status["gates"]} == {gate["name"]: "Passed" for gate in GATES}
    assert status["artifact"]["digest"] == artifact
    assert status["gatesSummary"] == f"{len(GATES)}/{len(GATES)} passed"
    floor = next(gate for gate in status["gates"] if gate["name"] == "floor")
    assert floor["low"] <= floor["value"] <= floor["high"]
    assert condition(version, "Evaluated")["status"] == "True"
    card = team.read(status["evaluation"]["cardKey"]).decode()
    assert "<svg" in card
    assert artifact[:19] in card
