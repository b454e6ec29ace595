"""Absent references: each kind names what it waits for, makes nothing meanwhile, and goes when it is deleted."""

from __future__ import annotations

from typing import Any

from tests.e2e import flights
from tests.e2e.team import Team, condition, manifest


def test_absent_references_are_named_and_waited_for(team: Team) -> None:
    monitor: dict[str, Any] = {"inferenceService": {"name": "flights"}}
    claim = {"persistentVolumeClaim": {"name": "no-claim", "path": "rows.csv"}}
    config_map = {"configMap": {"name": "no-map", "key": "rows.csv"}}
    artifact = {"artifact": {"uri": "s3://lake/model/", "digest": "sha256:" + "0" * 64}}
    by_name = {"model": {"version": "no-version"}}
    evaluation = {"dataset": {"name": "no-data"}}
    team.apply(
        manifest("TrainingRun", "run", flights.run_spec()),
        manifest("ModelVersion", "made", flights.version_spec("no-run")),
        manifest("ModelVersion", "foreign", flights.version_spec("", source=artifact, evaluation=evaluation)),
        manifest("InferenceService", "family", flights.service_spec()),
        manifest("InferenceService", "named", flights.service_spec(**by_name)),
        manifest("DriftMonitor", "monitor", monitor | {"inferenceService": {"name": "no-service"}}),
        manifest("DriftMonitor", "blind", monitor | {"inferenceService": {"name": "family"}}),
        manifest("DriftMonitor", "never", monitor | {"schedule": "0 0 30 2 *"}),
        manifest("Dataset", "map", flights.dataset_spec("s3://x/y", source=config_map)),
        manifest("Dataset", "claim", flights.dataset_spec("s3://x/y", source=claim)),
    )
    told = {
        ("TrainingRun", "run"): ("DatasetMissing", "Dataset flights"),
        ("ModelVersion", "made"): ("TrainingRunMissing", "no-run"),
        ("ModelVersion", "foreign"): ("DatasetMissing", "no-data"),
        ("InferenceService", "family"): ("NoApprovedVersion", "model flights"),
        ("InferenceService", "named"): ("VersionNotFound", "no-version"),
        ("DriftMonitor", "monitor"): ("ServiceMissing", "no-service"),
        ("DriftMonitor", "blind"): ("CaptureOff", "capture.percent"),
        ("DriftMonitor", "never"): ("BadSchedule", "0 0 30 2 *"),
        ("Dataset", "map"): ("VolumeNotReady", "no-map"),
        ("Dataset", "claim"): ("Unschedulable", "no-claim"),
    }
    for (kind, name), (reason, words) in told.items():
        assert words in team.until_says(kind, name, reason, 90)
        waits = "Stalled" if reason in ("CaptureOff", "BadSchedule") else "Reconciling"
        assert condition(team.get(kind, name), waits)["reason"] == reason
    assert not team.children("deployments,hpa,httproutes"), "nothing serves yet"
    for kind, name in told:
        team.remove(kind, name)
    team.until_gone("jobs,pods,cronjobs")
