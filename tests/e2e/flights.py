"""Small real data for e2e tests: a few thousand flights, and the manifests that most tests begin with."""

from __future__ import annotations

from typing import Any

from hack.demo.lake import FEATURES, flights_of
from tests.e2e.team import Team, manifest

ROWS = 6000
MODEST = {"requests": {"cpu": "30m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}  # many side by side


def csv(rows: int = ROWS, first: int = 1, last: int = 1) -> bytes:
    """Return flights of some months as CSV."""
    return bytes(flights_of(first, last).head(rows).to_csv(index=False).encode())


def dataset_spec(uri: str, **changes: Any) -> dict[str, Any]:
    """Return a Dataset's spec on an s3 uri."""
    spec = {
        "source": {"s3": {"uri": uri}},
        "format": "CSV",
        "target": "late",
        "timestamp": "departs",
        "identifiers": ["flight_id"],
        "checks": [{"name": "key", "column": "flight_id", "notNull": {}}],
        "split": {"method": "Stratified", "seed": 1},
        "resources": MODEST,
    }
    return {**spec, **changes}


def run_spec(estimator: str = "sklearn.linear_model.LogisticRegression", **changes: Any) -> dict[str, Any]:
    """Return a TrainingRun's spec that needs no approval."""
    spec = {
        "dataset": {"name": "flights"},
        "model": "flights",
        "trainer": {"sklearn": {"estimator": estimator, "features": FEATURES}},
        "versionTemplate": {"approval": {"required": False}},
        "retries": 0,
        "resources": MODEST,
    }
    return {**spec, **changes}


def version_spec(run: str, **changes: Any) -> dict[str, Any]:
    """Return a ModelVersion's spec on what a TrainingRun made, approved by its gates alone."""
    spec = {
        "model": "flights",
        "source": {"trainingRun": {"name": run}},
        "approval": {"required": False},
        "resources": MODEST,
    }
    return {**spec, **changes}


def features(count: int) -> list[dict[str, Any]]:
    """Return rows as requests have them."""
    rows: list[dict[str, Any]] = flights_of(1, 1).head(count)[FEATURES].to_dict("records")
    return rows


def given_dataset(team: Team, rows: int = ROWS) -> dict[str, Any]:
    """Put flights into the lake, apply the Dataset `flights`, return it once it is Ready."""
    uri = team.put("flights.csv", csv(rows))
    team.apply(manifest("Dataset", "flights", dataset_spec(uri)))
    return team.until_ready("Dataset", "flights", 120)


def given_version(team: Team, name: str = "flights-v1", **changes: Any) -> dict[str, Any]:
    """Apply a TrainingRun, return its ModelVersion once it is approved."""
    team.apply(manifest("TrainingRun", name, run_spec(**changes)))
    team.until_ready("TrainingRun", name, 180)
    return team.until_ready("ModelVersion", name, 180)


def service_spec(hostname: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return an InferenceService's spec: one small replica, with the cluster's gateway when there is a hostname."""
    spec: dict[str, Any] = {
        "model": {"name": "flights"},
        "predictor": {"resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}},
        "scaling": {"minReplicas": 1, "maxReplicas": 2, "targetCPUPercent": 500},
        "rollout": {"step": {"minRequests": 50, "minDuration": "5s"}, "bake": {"duration": "5s"}},
    }
    if hostname:
        spec["traffic"] = {"gateway": {"name": "public", "namespace": "gateways"}, "hostname": hostname}
    return {**spec, **changes}
