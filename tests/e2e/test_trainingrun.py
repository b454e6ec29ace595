"""TrainingRuns on the real cluster: searches, retries, and every way in which a training goes wrong."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e import flights
from tests.e2e.team import Obj, Team, condition, eventually, manifest, refused

SMALL_ROWS = 2000
FOREST = "sklearn.ensemble.RandomForestClassifier"


def program(text: str, **changes: Any) -> dict[str, Any]:
    """Return the spec of a run whose training program is this Python text."""
    container = {"image": "fairlead-jobs:dev", "command": ["python", "-c"], "args": [text]}
    return flights.run_spec(trainer={"container": container}, **changes)


def failure(team: Team, name: str, reason: str, timeout_s: float = 150) -> tuple[str, Obj]:
    """Return Ready's message and status.failure once a run is Stalled for this reason."""
    message = team.until_says("TrainingRun", name, reason, timeout_s)
    run = team.get("TrainingRun", name) or {}
    assert run["status"]["outcome"] == "Failed"
    assert condition(run, "Stalled")["reason"] == reason
    assert "make a new TrainingRun" in message
    return message, dict(run["status"]["failure"])


def test_searches_keep_the_best_trial_within_their_budget(team: Team) -> None:
    random = {"method": "Random", "trials": 3, "metric": "roc_auc", "space": {"max_depth": {"int": [2, 6]}}}
    grid = {"method": "Grid", "metric": "roc_auc", "space": {"C": {"choice": ["0.01", 1]}}}
    brief = {**random, "trials": 400, "maxDuration": "1s"}
    few = flights.run_spec(FOREST)["trainer"]["sklearn"] | {"parameters": {"n_estimators": 5}}
    team.apply(  # before there is any data: runs wait for it
        manifest("TrainingRun", "random", flights.run_spec(trainer={"sklearn": few}, search=random)),
        manifest("TrainingRun", "brief", flights.run_spec(trainer={"sklearn": few}, search=brief)),
        manifest("TrainingRun", "grid", flights.run_spec(search=grid, seed=5)),
    )
    assert "create it" in team.until_says("TrainingRun", "grid", "DatasetMissing")
    dataset = flights.given_dataset(team, SMALL_ROWS)
    runs = {name: team.until_ready("TrainingRun", name, 240)["status"] for name in ("random", "brief", "grid")}
    assert runs["random"]["trials"] == 3
    assert 1 <= runs["brief"]["trials"] < 400
    assert runs["grid"]["trials"] == 2
    assert 2 <= json.loads(runs["random"]["parameters"])["max_depth"] <= 6
    for name, status in runs.items():
        assert status["dataset"]["revision"] == dataset["status"]["revision"]
        assert status["lineage"]["dataRevision"] == dataset["status"]["revision"]
        assert 0.5 < status["metrics"]["roc_auc"] <= 1
        version = team.until("ModelVersion", name, lambda obj: bool(obj["spec"]))
        assert version["spec"]["source"] == {"trainingRun": {"name": name}}
        digest = status["artifact"]["digest"].removeprefix("sha256:")
        kept = {key.rsplit("/", 1)[-1] for key in team.stored(f"models/{team.namespace}/flights/{digest}/")}
        assert {"model.onnx", "signature.json", "lineage.json", "profile.json", "manifest.json"} <= kept
    change = json.dumps({"spec": {"seed": 9}})
    words = refused("patch", "trun", "grid", "-n", team.namespace, "--type=merge", "-p", change)
    assert "spec is immutable: create a new object with another name instead" in words


def test_input_that_cannot_be_trained_on(team: Team) -> None:
    rows = flights.csv(SMALL_ROWS)
    uri = team.put("flights.csv", rows)
    always = team.put("always.csv", rows.replace(b",True\n", b",False\n"))
    random = {"method": "Random", "seed": 1}
    untargeted = {k: v for k, v in flights.dataset_spec(uri, split=random).items() if k != "target"}
    spec = flights.run_spec()
    other = {"features": ["hour", "no_such"], "estimator": spec["trainer"]["sklearn"]["estimator"]}
    team.apply(
        manifest("Dataset", "flights", flights.dataset_spec(uri)),
        manifest("Dataset", "always", flights.dataset_spec(always, split=random)),
        manifest("Dataset", "untargeted", untargeted),
        manifest("TrainingRun", "single-class", {**spec, "dataset": {"name": "always"}}),
        manifest("TrainingRun", "no-target", {**spec, "dataset": {"name": "untargeted"}}),
        manifest("TrainingRun", "estimator", flights.run_spec("os.system")),
        manifest("TrainingRun", "feature", flights.run_spec(trainer={"sklearn": other})),
    )
    assert "two classes" in failure(team, "single-class", "SingleClass")[0]
    assert "spec.target" in failure(team, "no-target", "TargetMissing")[0]
    assert "sklearn, lightgbm, xgboost" in failure(team, "estimator", "EstimatorNotAllowed")[0]
    assert "no_such" in failure(team, "feature", "FeatureMissing")[0]
    assert not team.cluster.list("ModelVersion"), "a failed run makes no version"


def test_a_program_exits_3_runs_out_of_memory_or_hangs(team: Team) -> None:
    little = {"requests": {"cpu": "30m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "300Mi"}}
    flights.given_dataset(team, SMALL_ROWS)
    team.apply(
        manifest("TrainingRun", "exits", program("import sys; print('no licence found'); sys.exit(3)", retries=1)),
        manifest("TrainingRun", "eats", program("kept = [bytearray(8 << 20) for _ in range(900)]", resources=little)),
        manifest("TrainingRun", "hangs", program("import threading; threading.Event().wait()", timeout="45s")),
    )
    message, found = failure(team, "exits", "ProgramFailed")
    assert "exit code 3" in message
    assert found["exitCode"] == 3
    assert found["tail"][-1] == "no licence found"
    assert (team.get("TrainingRun", "exits") or {})["status"]["programFailures"] == 2, "one attempt and one retry"
    assert "300Mi" in failure(team, "eats", "OutOfMemory")[0]
    assert "timeout of 45 s" in failure(team, "hangs", "TimedOut")[0]
    team.until_gone("pods", "hangs", 90)


def test_an_eviction_uses_up_no_retry(team: Team) -> None:
    flights.given_dataset(team, SMALL_ROWS)
    text = "import threading; print('waiting', flush=True); threading.Event().wait()"
    team.apply(manifest("TrainingRun", "evicted", program(text, retries=0)))
    pod = eventually(lambda: running(team, "evicted"), "no pod of the run is training", 90)
    place = f"/api/v1/namespaces/{team.namespace}/pods/{pod}/eviction"
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": team.namespace}}
    team.kubectl("create", "--raw", place, "-f", "-", given=json.dumps(body))
    again = eventually(lambda: running(team, "evicted", pod), "no other pod took over", 120)
    run = team.get("TrainingRun", "evicted") or {}
    assert again != pod
    assert run["status"]["programFailures"] == 0
    assert not run["status"]["outcome"]
    team.until("TrainingRun", "evicted", lambda obj: obj["status"]["infrastructureFailures"] == 1)


def running(team: Team, run: str, other_than: str = "") -> str:
    """Return the name of a pod whose training program runs, or ""."""
    for pod in team.children("pods", run):
        states = {each["name"]: each["state"] for each in pod["status"].get("initContainerStatuses", ())}
        if pod["metadata"]["name"] != other_than and "running" in states.get("train", {}):
            return str(pod["metadata"]["name"])
    return ""
