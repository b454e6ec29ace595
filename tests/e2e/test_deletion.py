"""Deletion of each kind in several states: nothing keeps running, nothing that others need is lost."""

from __future__ import annotations

from tests.e2e import asking, flights
from tests.e2e.team import Team, condition, eventually, is_ready, kubectl, manifest, refused
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
    monitor = {"inferenceService": {"name": "flights"}, "schedule": "0 0 1 1 *", "resources": flights.MODEST}
    team.apply(manifest("DriftMonitor", "watch", monitor))
    eventually(lambda: checks(team) == ["watch-monitor"], "the monitor has no CronJob")
    team.remove("InferenceService", "flights")
    team.until_gone(SERVING, "flights", 90)
    team.until_says("DriftMonitor", "watch", "ServiceMissing")
    eventually(lambda: not checks(team), "a service that is gone is still checked")
    team.until("ModelVersion", "flights-v1", lambda o: o["status"]["stage"] == "Archived")
    team.apply(service)
    team.until_ready("InferenceService", "flights", 120)
    team.until("ModelVersion", "flights-v1", in_production)
    kubectl("delete", "namespace", team.namespace, "--wait", "--timeout=120s")
    assert team.stored(f"models/{team.namespace}/flights/"), "the store keeps what a namespace made"


def checks(team: Team) -> list[str]:
    crons = team.children("cronjobs", "watch")
    return [c["metadata"]["name"] for c in crons if c["metadata"]["labels"]["fairlead.dev/role"] == "monitor"]


OF_THE_SERVICE = "flights,fairlead.dev/owner-kind=InferenceService"  # the Dataset has that name, too
NEVER_ENDS = {"stepsPercent": [50], "step": {"minRequests": 1_000_000, "minDuration": "1s"}, "deadline": "2h"}


def test_deletion_in_the_middle_of_a_canary(team: Team) -> None:
    flights.given_dataset(team)
    flights.given_version(team)
    hostname = f"{team.namespace}.example.com"
    canaried = flights.service_spec(hostname, model={"version": "flights-v1"}, rollout=NEVER_ENDS)
    bystander = flights.service_spec(model={"version": "flights-v1"})
    team.apply(manifest("InferenceService", "flights", canaried), manifest("InferenceService", "other", bystander))
    weaker = {"sklearn": flights.run_spec()["trainer"]["sklearn"] | {"parameters": {"C": 0.5}}}
    flights.given_version(team, "flights-v2", trainer=weaker)
    for name in ("flights", "other"):
        team.until_ready("InferenceService", name, 120)
    team.patch("InferenceService", "flights", {"spec": {"model": {"version": "flights-v2"}}})
    team.until("InferenceService", "flights", lambda o: (o["status"].get("rollout") or {}).get("state") == "Step", 120)
    roles = (team.get("InferenceService", "flights") or {})["status"]
    assert {roles[role]["version"] for role in ("stable", "canary", "baseline")} == {"flights-v1", "flights-v2"}
    stays = names_of(team, "other")
    team.remove("InferenceService", "flights")
    team.until_gone(f"{SERVING},pods,cronjobs", OF_THE_SERVICE, 90)
    assert names_of(team, "other") == stays, "what serves beside it is not touched"
    assert asking.by_service(team.namespace, "other")(flights.features(1)).status == 200
    candidate = team.until_ready("ModelVersion", "flights-v2")
    assert (candidate["status"]["stage"], condition(candidate, "Ready")["reason"]) == ("Approved", "Approved")
    assert not candidate["status"].get("rejectedBy"), "nobody judged it"
    stable = team.until("ModelVersion", "flights-v1", lambda o: o["status"].get("productionIn") == ["other"])
    assert stable["status"]["stage"] == "Production"
    team.remove("ModelVersion", "flights-v2")
    for name in ("flights-v1", "flights-v2"):
        assert is_ready(team.get("TrainingRun", name) or {})


def names_of(team: Team, owner: str) -> list[str]:
    return sorted(child["metadata"]["uid"] for child in team.children(f"{SERVING},pods", owner))


def test_deletion_of_versions_before_they_are_approved(team: Team) -> None:
    """One waits for a person, one was refused by a gate, one waits for its run: each goes, and nothing else."""
    flights.given_dataset(team)
    by_hand = {"approval": {"required": True}}
    hopeless = {"approval": {"required": False}, "gates": [{"name": "floor", "metric": "accuracy", "min": 0.999}]}
    team.apply(
        manifest("TrainingRun", "asks", flights.run_spec(versionTemplate=by_hand)),
        manifest("TrainingRun", "fails", flights.run_spec(versionTemplate=hopeless)),
        manifest("ModelVersion", "early", flights.version_spec("no-such-run")),
    )
    team.until_says("ModelVersion", "early", "TrainingRunMissing")
    assert "kubectl fairlead approve asks" in team.until_says("ModelVersion", "asks", "ApprovalRequired", 240)
    assert (team.get("ModelVersion", "asks") or {})["status"]["stage"] == "PendingApproval"
    team.until_says("ModelVersion", "fails", "GateFailed", 240)
    runs = {name: (team.get("TrainingRun", name) or {})["status"] for name in ("asks", "fails")}
    for name in ("asks", "fails", "early"):
        team.remove("ModelVersion", name)
        team.until_gone("jobs,pods", f"{name}-evaluate")
    evaluated = lambda: [e for e in evaluations(team) if not e.startswith("flights")]  # noqa: E731
    eventually(lambda: not evaluated(), "an evaluation outlives its version")
    for name, status in runs.items():
        team.patch("TrainingRun", name, {"metadata": {"annotations": {"looked": "again"}}})
        run = team.until_ready("TrainingRun", name)
        assert run["status"] == status, "a run that ended stays as it ended"
        assert team.get("ModelVersion", name) is None, "what a person deleted is not made again"
    assert team.stored(f"models/{team.namespace}/flights/"), "bytes outlive their ModelVersion"
    assert is_ready(team.get("Dataset", "flights") or {})
