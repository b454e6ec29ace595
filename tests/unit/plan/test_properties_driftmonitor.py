"""Whatever happens to a DriftMonitor: brakes hold, no Job counts twice, a retraining is made exactly once."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given, settings
from tests.unit.plan.simulation import Simulation
from tests.unit.plan.walks import TIME, Said, Step, Walker, walks

from fairlead.api import names
from fairlead.api.conditions import parse_time

COOLDOWN_S, PER_MONTH = 3600, 2
TEMPLATE = {"dataset": {"name": "d"}, "model": "m", "trainer": {"sklearn": {"estimator": "a.B"}}}
SPEC = {
    "inferenceService": {"name": "s"},
    "performance": {"metric": "accuracy", "dropPercent": 5},
    "retrain": {
        "triggers": {"drift": {"consecutive": 2}, "performanceDrop": {}, "schedule": "0 * * * *", "newData": {}},
        "cooldown": "1h",
        "maxPerMonth": PER_MONTH,
        "template": {"spec": TEMPLATE},
    },
}
LABELS = {
    names.LABEL_MANAGED_BY: names.MANAGED_BY,
    names.LABEL_OWNER: "w",
    names.LABEL_OWNER_KIND: "DriftMonitor",
    names.LABEL_ROLE: "monitor",
}


def _check(minute: int) -> Said:
    document = json.dumps({"artifact": {"version": "v1"}})
    template = {"metadata": {"labels": LABELS, "annotations": {names.ANNOTATION_INPUT: document}}, "spec": {}}
    metadata = {"name": f"w-monitor-{minute}", "labels": LABELS}
    return {"create": {"kind": "Job", "metadata": metadata, "spec": {"template": template}}}


def _ends(minute: int, **found: Any) -> Said:
    window = {"windowStart": f"2026-01-01T{minute:02}:00:00Z", "windowEnd": f"2026-01-01T{minute + 1:02}:00:00Z"}
    summary = {"kind": "Monitor", **window, "rows": 900, "enoughRows": True, **found}
    return {"job succeeds": f"w-monitor-{minute}", "with": summary}


def _performance(dropped: bool) -> dict[str, Any]:
    return {"metric": "accuracy", "value": 0.8, "labels": 900, "dropped": dropped}


def _change(kind_name: str, **to: Any) -> Said:
    return {"change": kind_name, "to": to}


HAPPENINGS: tuple[Said, ...] = (
    *TIME,
    {"time passes": "40d"},
    *(_check(minute) for minute in range(3)),
    *(_ends(minute, dataDrift=True) for minute in range(3)),
    *(_ends(minute, dataDrift=False, performance=_performance(True)) for minute in range(3)),
    {"job times out": "w-monitor-1"},
    *(_change("Dataset/d", status={"revision": f"sha256:{letter}"}) for letter in "ab"),
    *({"change": "DriftMonitor/w", "to": {"metadata": {"annotations": {names.ANNOTATION_RETRAIN: n}}}} for n in "12"),
    _change("DriftMonitor/w", spec={"suspend": True}),
    _change("DriftMonitor/w", spec={"suspend": False}),
    _change("InferenceService/s", status={"stable": None}),
    _change("InferenceService/s", status={"stable": {"revision": "sha256:r", "version": "v1", "digest": "sha256:m"}}),
    *({"end run": outcome} for outcome in ("Succeeded", "Failed")),
    {"delete run": ""},
)


def _walker() -> Walker:
    world = Simulation()
    stable = {"revision": "sha256:r", "version": "v1", "digest": "sha256:m"}
    service = {"model": {"name": "m"}, "capture": {"percent": 100}}
    world.create({"kind": "DriftMonitor", "name": "w", "spec": SPEC})
    world.create({"kind": "InferenceService", "name": "s", "spec": service, "status": {"stable": stable}})
    source = {"model": "m", "source": {"trainingRun": {"name": "v1"}}}
    world.create({"kind": "ModelVersion", "name": "v1", "spec": source, "status": {"artifact": {"digest": "sha256:m"}}})
    dataset = {"source": {"configMap": {"name": "a", "key": "a"}}, "format": "CSV"}
    world.create({"kind": "Dataset", "name": "d", "spec": dataset, "status": {"revision": "sha256:a"}})
    return Walker("DriftMonitor", "w", world)


def _happening(walker: Walker, step: Step) -> Step | None:
    """Return the step as it can happen now, or None: a Job is made once and ends once, a run ends while it runs."""
    said = step.said
    jobs = {job["metadata"]["name"]: job for job in walker.world.list(names.JOB)}
    if "create" in said:
        return None if said["create"]["metadata"]["name"] in jobs else step
    wanted = said.get("job succeeds") or said.get("job times out")
    if wanted:
        return step if wanted in jobs and not jobs[wanted].get("status") else None
    if "end run" in said or "delete run" in said:
        runs = [r for r in walker.world.list(names.TRAINING_RUN) if not (r.get("status") or {}).get("outcome")]
        if not runs:
            return None
        name = f"TrainingRun/{runs[0]['metadata']['name']}"
        if "delete run" in said:
            return Step({"delete": name}, step.dies_after)
        return Step(_change(name, status={"outcome": said["end run"]}), step.dies_after)
    return step


@settings(max_examples=100, deadline=None)
@given(walks(HAPPENINGS, longest=16))
def test_a_monitor_retrains_within_its_brakes_and_each_run_is_made_once(steps: list[Step]) -> None:
    walker = _walker()
    for step in steps:
        possible = _happening(walker, step)
        if possible is not None:
            walker.take(possible)
        _check_brakes(walker)


def _check_brakes(walker: Walker) -> None:
    records = walker.status.get("retrainings") or []
    planned = {body["metadata"]["name"] for body in walker.created if body["kind"] == "TrainingRun"}
    assert planned <= {record["run"] for record in records}, "a TrainingRun that status does not know"
    for newer, older in itertools.pairwise(records):
        pause_s = (parse_time(newer["at"]) - parse_time(older["at"])).total_seconds()
        assert newer["reason"] == "Requested" or pause_s >= COOLDOWN_S, "the cooldown did not hold"
        assert newer["reason"] == "Requested" or newer["inputs"] != older["inputs"], "the same training again"
    months = [record["at"][:7] for record in records]
    assert all(months.count(month) <= PER_MONTH for month in months), "over the monthly limit"
    running = [record for record in records if record.get("outcome", "") in ("", "Started")]
    assert len(running) <= 1, "two retrainings at once"
