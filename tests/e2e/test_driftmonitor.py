"""DriftMonitors on the real cluster: one window of shifted requests, its report, and a retraining."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.e2e import asking, flights
from tests.e2e.team import Obj, Team, condition, eventually, manifest
from tests.e2e.test_lineage import captured

NEVER = "0 0 1 1 *"  # the test starts its window itself
REQUESTS, ROWS_EACH = 60, 10


def shifted(count: int) -> list[dict[str, Any]]:
    """Return requests of another world: three times as far, all at night."""
    return [{**row, "distance": row["distance"] * 3, "hour": 23} for row in flights.features(count)]


def monitor_spec(**changes: Any) -> dict[str, Any]:
    retrain = {"triggers": {"drift": {"consecutive": 2}}, "template": {"spec": flights.run_spec(seed=9)}}
    return {
        "inferenceService": {"name": "flights"},
        "schedule": NEVER,
        "window": "1h",
        "resources": flights.MODEST,
        "retrain": retrain,
        **changes,
    }


def test_a_window_of_shifted_requests_and_a_retraining_on_request(team: Team) -> None:
    flights.given_dataset(team)
    flights.given_version(team)
    hostname = f"{team.namespace}.example.com"
    spec = flights.service_spec(hostname, capture={"percent": 100})
    team.apply(manifest("InferenceService", "flights", spec), manifest("DriftMonitor", "flights", monitor_spec()))
    team.until_ready("InferenceService", "flights", 120)
    ask = asking.by_gateway(hostname)
    asking.until_answered(ask, shifted(ROWS_EACH))
    answers = asking.ask_often(ask, shifted(ROWS_EACH), REQUESTS)
    assert {answer.status for answer in answers} == {200}
    rows = REQUESTS * ROWS_EACH
    eventually(lambda: len(captured(team)) >= rows, f"fewer than {rows} rows were captured")
    assert team.until_says("DriftMonitor", "flights", "Scheduled").endswith("(UTC).")
    job = check_now(team, "flights")
    monitor = team.until("DriftMonitor", "flights", lambda o: bool(o["status"].get("lastWindow")), 150)
    window = monitor["status"]["lastWindow"]
    assert window["job"] == job
    assert window["rows"] >= rows
    assert condition(monitor, "DataDrift")["status"] == "True"
    assert {each["name"] for each in window["worst"] if each["drifted"]} >= {"distance", "hour"}
    assert condition(monitor, "PerformanceDrop")["status"] == "Unknown", "no label came back"
    assert condition(monitor, "Ready")["reason"] == "Monitoring", "drift is a result, not a failure"
    assert not monitor["status"].get("retrainings"), "one window of the two that were asked for"
    the_report_is_there(team, window)
    a_request_retrains(team)
    a_monitor_leaves_its_runs(team)


def check_now(team: Team, monitor: str) -> str:
    """Start a check by hand, as its CronJob would at the next minute; return the Job's name."""
    job = f"{monitor}-monitor-{int(time.time()) // 60 + 1}"
    of_monitor = {f"{monitor}-monitor", f"{monitor}-cleanup"}
    eventually(lambda: of_monitor <= names_of(team.children("cronjobs")), "check and clean-up have no CronJobs")
    team.kubectl("create", "job", job, f"--from=cronjob/{monitor}-monitor")
    return job


def the_report_is_there(team: Team, window: Obj) -> None:
    page = team.read(window["reportKey"]).decode()
    assert "<svg" in page
    assert "distance" in page
    document = json.loads(team.read(window["reportKey"].replace(".html", ".json")))
    assert document["summary"]["dataDrift"] is True
    assert document["modelVersion"] == "flights-v1"


def a_request_retrains(team: Team) -> None:
    stamp = {"metadata": {"annotations": {"fairlead.dev/retrain": "1"}}}
    team.patch("DriftMonitor", "flights", stamp)
    monitor = team.until("DriftMonitor", "flights", lambda o: bool(o["status"].get("retrainings")))
    record = monitor["status"]["retrainings"][0]
    run = team.until_ready("TrainingRun", record["run"], 180)
    assert record["revision"] == run["status"]["dataset"]["revision"]
    monitor = team.until("DriftMonitor", "flights", lambda o: o["status"]["retrainings"][0]["outcome"] == "Succeeded")
    assert len(monitor["status"]["retrainings"]) == 1
    assert (team.get("ModelVersion", record["run"]) or {})["spec"]["source"]["trainingRun"]["name"] == record["run"]


def a_monitor_leaves_its_runs(team: Team) -> None:
    run = (team.get("DriftMonitor", "flights") or {})["status"]["retrainings"][0]["run"]
    reports = team.stored("reports/")
    job = f"flights-monitor-{int(time.time()) // 60 + 2}"
    team.kubectl("create", "job", job, "--from=cronjob/flights-monitor")
    team.remove("DriftMonitor", "flights")  # while a check begins
    only = {"flights-captures"}  # the service's own: captures outlive the monitor
    eventually(lambda: names_of(team.children("cronjobs")) == only, "the monitor's CronJobs are still there")
    eventually(lambda: job not in names_of(team.children("jobs")), "a check of a monitor that is gone goes on")
    assert team.get("TrainingRun", run), "a retraining is a record: it outlives its monitor"
    assert team.stored("reports/") == reports


def names_of(objects: list[Obj]) -> set[str]:
    return {obj["metadata"]["name"] for obj in objects}
