"""A user's own server on the real cluster: canaried, captured, and rolled back when one in five answers fails."""

from __future__ import annotations

import io
from typing import Any

import pyarrow.parquet as pq
from tests.e2e import asking, container_image, flights
from tests.e2e.team import Obj, Team, eventually, manifest
from tests.e2e.test_inferenceservice import LENIENT, in_step, serves

BOOSTING = "sklearn.ensemble.HistGradientBoostingClassifier"  # no converter takes it, so it stays joblib
STRICT = LENIENT | {
    "judge": {"errorRate": {"maxIncreasePoints": 5}, "latency": {"thresholdMs": 5000, "maxIncreasePoints": 50}}
}


def container(image: str, program: str = "app:app", threads: int = 2) -> dict[str, Any]:
    """Return the part of a spec that names the server."""
    variables = [{"name": "OMP_NUM_THREADS", "value": str(threads)}]
    said = {"image": image, "port": 8080, "readinessPath": "/health", "args": [program], "env": variables}
    resources = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    return {"container": said, "resources": resources}


def test_an_unmodified_server_is_canaried_captured_and_rolled_back(team: Team) -> None:
    image = container_image.ready()
    flights.given_dataset(team, rows=2000)
    trained = flights.run_spec(BOOSTING)
    team.apply(manifest("TrainingRun", "flights-v1", trained))
    version = team.until_ready("ModelVersion", "flights-v1", 600)
    assert version["status"]["artifact"]["format"] == "joblib"
    hostname = f"{team.namespace}.example.com"
    spec = flights.service_spec(hostname, predictor=container(image), rollout=LENIENT, capture={"percent": 100})
    team.apply(manifest("InferenceService", "flights", spec))
    team.until_ready("InferenceService", "flights", 400)
    ask = asking.by_gateway(hostname)
    answer = asking.until_answered(ask, flights.features(3))
    assert answer.version == "flights-v1"
    assert answer.headers[asking.DIGEST] == version["status"]["artifact"]["digest"]
    a_server_that_fails_goes_back(team, image, ask)
    what_was_asked_is_captured(team)
    another_setting_is_canaried_and_promoted(team, image, ask)


def a_server_that_fails_goes_back(team: Team, image: str, ask: asking.Ask) -> None:
    good = revision_of(team)
    bad = {"predictor": container(image, "faulty:app"), "rollout": STRICT}
    with asking.all_the_time(ask, flights.features(1)) as answers:
        team.patch("InferenceService", "flights", {"spec": bad})
        message = team.until_says("InferenceService", "flights", "RolledBack", 600)
    assert "ErrorRate" in message
    service = team.get("InferenceService", "flights") or {}
    assert stable_revision(service) == good
    assert [entry["reason"] for entry in service["status"]["rejected"]] == ["ErrorRate"]
    failed = [answer for answer in answers if answer.status != 200]
    assert {answer.status for answer in failed} == {500}, "only what the server itself failed"
    assert good not in {answer.headers[asking.REVISION] for answer in failed}


def what_was_asked_is_captured(team: Team) -> None:
    prefix = f"captures/{team.namespace}/flights/"
    keys = eventually(lambda: [k for k in team.stored(prefix) if k.endswith(".parquet")], "nothing was captured", 60)
    assert not [key for key in keys if "/_opaque/" in key], "every request was of the signature"
    table = pq.read_table(io.BytesIO(team.read(keys[0])))
    assert {"id", "time", "version", "out.label", "out.probability"} < set(table.column_names)
    assert "in.distance" in table.column_names
    assert set(table["version"].to_pylist()) == {"flights-v1"}
    assert table["out.label"].null_count == 0
    assert table["in.distance"].null_count == 0


def another_setting_is_canaried_and_promoted(team: Team, image: str, ask: asking.Ask) -> None:
    first = revision_of(team)
    with asking.all_the_time(ask, flights.features(1)) as answers:
        change = {"predictor": container(image, threads=1), "rollout": LENIENT}
        team.patch("InferenceService", "flights", {"spec": change})
        team.until("InferenceService", "flights", in_step, 400)
        team.until("InferenceService", "flights", lambda o: stable_revision(o) != first, 400)
        team.until("InferenceService", "flights", serves("flights-v1"), 240)
    assert not [answer.text for answer in answers if answer.status != 200], "users saw nothing of it"
    assert len({answer.headers[asking.REVISION] for answer in answers}) == 2


def revision_of(team: Team) -> str:
    return stable_revision(team.get("InferenceService", "flights") or {})


def stable_revision(service: Obj) -> str:
    return str((service["status"].get("stable") or {}).get("revision"))
