"""Deletion of each kind in several states: nothing keeps running, nothing that others need is lost."""

from __future__ import annotations

from tests.e2e import flights
from tests.e2e.team import Team, eventually, kubectl, manifest, refused
from tests.e2e.test_trainingrun import program, running

SERVING = "deployments,replicasets,hpa,httproutes,services,pdb"
WAITS = "import threading; threading.Event().wait()"


def test_deletion_while_jobs_run_ends_them(team: Team) -> None:
    uri = team.put("flights.csv", flights.csv())
    team.apply(manifest("Dataset", "flights", flights.dataset_spec(uri)))
    eventually(lambda: team.children("pods", "flights"), "the snapshot has no pod")
    team.remove("Dataset", "flights")
    team.until_gone("jobs,pods", "flights")
    dataset = flights.given_dataset(team)
    team.apply(
        manifest("TrainingRun", "waits", program(WAITS)),
        manifest("TrainingRun", "flights-v1", flights.run_spec()),
    )
    eventually(lambda: running(team, "waits"), "the program did not start", 120)
    team.remove("TrainingRun", "waits")
    team.until_gone("jobs,pods", "waits", 90)
    assert team.get("ModelVersion", "waits") is None
    team.until("ModelVersion", "flights-v1", lambda o: bool(o["status"].get("attempt")), 240)
    team.remove("ModelVersion", "flights-v1")
    team.until_gone("jobs", "flights-v1-evaluate")
    run = team.until_ready("TrainingRun", "flights-v1")
    assert run["status"]["dataset"]["revision"] == dataset["status"]["revision"]
    eventually(lambda: not evaluations(team), "the evaluation goes on")
    team.remove("Dataset", "flights")
    assert team.stored(f"datasets/{team.namespace}/flights/"), "revisions outlive their Dataset"
    assert team.stored(f"models/{team.namespace}/flights/"), "bytes outlive their ModelVersion"


def evaluations(team: Team) -> list[str]:
    return [job["metadata"]["name"] for job in team.children("jobs") if "-evaluate-" in job["metadata"]["name"]]


def test_deletion_of_what_is_ready(team: Team) -> None:
    flights.given_dataset(team)
    flights.given_version(team)
    hostname = f"{team.namespace}.example.com"
    service = manifest("InferenceService", "flights", flights.service_spec(hostname))
    team.apply(service)
    eventually(lambda: team.children("pods", "flights"), "the first version has no pod")
    team.remove("InferenceService", "flights")  # while its pod starts
    team.until_gone(SERVING, "flights", 90)
    team.apply(service)
    team.until_ready("InferenceService", "flights", 120)
    in_production = lambda o: o["status"]["stage"] == "Production"  # noqa: E731
    team.until("ModelVersion", "flights-v1", in_production)
    words = refused("delete", "mver", "flights-v1", "-n", team.namespace)
    assert "serves in Production; move its InferenceService to another version first" in words
    team.remove("TrainingRun", "flights-v1")
    team.remove("Dataset", "flights")
    assert (team.get("ModelVersion", "flights-v1") or {})["status"]["stage"] == "Production"
    team.remove("InferenceService", "flights")
    team.until_gone(SERVING, "flights", 90)
    team.until("ModelVersion", "flights-v1", lambda o: o["status"]["stage"] == "Archived")
    team.apply(service)
    team.until_ready("InferenceService", "flights", 120)
    team.until("ModelVersion", "flights-v1", in_production)
    kubectl("delete", "namespace", team.namespace, "--wait", "--timeout=120s")
    assert team.stored(f"models/{team.namespace}/flights/"), "the store keeps what a namespace made"
