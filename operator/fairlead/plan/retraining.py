"""Decides when a DriftMonitor retrains, and what holds it back.

Triggers: a request by annotation, drift or a performance drop in enough windows, a schedule, new data. Brakes: one
retraining at a time, a cooldown, a monthly limit, and no repetition on the same data with the same parameters.
A retraining is remembered in status before its TrainingRun is made, so a crash in between makes it once.
Called by `plan/driftmonitor.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from fairlead.api import names
from fairlead.api.conditions import format_time, parse_time
from fairlead.api.driftmonitor import DriftMonitor, DriftMonitorStatus, Retrain, RetrainRecord, Streak
from fairlead.api.trainingrun import TrainingRun
from fairlead.contract.base import digest_of, duration_s

from .children import Json, child_labels, owner_of
from .schedule import next_time
from .types import Action, Create

REQUESTED = "Requested"
DRIFT = "Drift"
PERFORMANCE_DROP = "PerformanceDrop"
SCHEDULE = "Schedule"
NEW_DATA = "NewData"

IN_PROGRESS = "InProgress"
COOLDOWN = "Cooldown"
MONTHLY_LIMIT = "MonthlyLimit"
NO_NEW_DATA = "NoNewData"
DATASET_NOT_READY = "DatasetNotReady"

STARTED = "Started"
DELETED = "Deleted"
RECORDS = 10  # in status; with 20 features of the newest window it stays well under 16 KiB
RUN_NAME_BASE = 27  # plus a dash and ten digits of time: within the 40 of an object name


@dataclass(frozen=True)
class Retraining:
    """What follows: the status with the decision in it, TrainingRuns to make, when to look again."""

    status: DriftMonitorStatus
    actions: tuple[Action, ...] = ()
    requeue_after_s: float | None = None


def plan_retraining(
    monitor: DriftMonitor,
    status: DriftMonitorStatus,
    runs: Mapping[str, TrainingRun],
    revision: str,
    now: datetime,
) -> Retraining:
    """Return the status after the decision and the TrainingRun it asks for; `revision` is the dataset's current."""
    spec = monitor.spec.retrain
    if spec is None:
        return Retraining(status)
    status = _with_outcomes(status, runs)
    status = _with_clock(spec, status, revision, now)
    reason = _trigger(monitor, spec, status, revision, now)
    blocked = _brake(spec, status, reason, revision, now) if reason else ""
    if reason and not blocked:
        status = _started(monitor, spec, status, (reason, revision), now)
        status = status.model_copy(update=_consumed(monitor, spec, status, now))
    status = status.model_copy(update={"retrain_blocked": blocked})
    return Retraining(status, _missing_runs(monitor, spec, status, runs), _look_again_s(spec, status, now))


def _with_outcomes(status: DriftMonitorStatus, runs: Mapping[str, TrainingRun]) -> DriftMonitorStatus:
    records = [_with_outcome(record, runs.get(record.run)) for record in status.retrainings or ()]
    return status.model_copy(update={"retrainings": records or None})


def _with_outcome(record: RetrainRecord, run: TrainingRun | None) -> RetrainRecord:
    if record.outcome not in ("", STARTED):
        return record
    if run is None:
        return record.model_copy(update={"outcome": DELETED if record.outcome == STARTED else ""})
    return record.model_copy(update={"outcome": run.status.outcome or STARTED})


def _with_clock(spec: Retrain, status: DriftMonitorStatus, revision: str, now: datetime) -> DriftMonitorStatus:
    """Fill in what is remembered from the first sight on: the month, the next scheduled time, the seen revision."""
    month = now.strftime("%Y-%m")
    changes: Json = {}
    if status.month != month:  # a clock that is set back comes to a month again, with what was started in it
        again = sum(record.at.startswith(month) for record in status.retrainings or ())
        changes = {"month": month, "month_count": again}
    if spec.triggers.schedule is None:
        changes["next_scheduled_retrain"] = None
    elif status.next_scheduled_retrain is None:
        changes["next_scheduled_retrain"] = format_time(next_time(spec.triggers.schedule, now))
    if not status.seen_revision:
        changes["seen_revision"] = revision
    return status.model_copy(update=changes)


def _trigger(monitor: DriftMonitor, spec: Retrain, status: DriftMonitorStatus, revision: str, now: datetime) -> str:
    """Return the first reason to retrain, or ""."""
    on = spec.triggers
    due, drops = status.next_scheduled_retrain, status.performance_drop.count
    facts = (
        (REQUESTED, monitor.annotations.get(names.ANNOTATION_RETRAIN, "") != status.handled),
        (DRIFT, on.drift is not None and status.drift.count >= on.drift.consecutive),
        (PERFORMANCE_DROP, on.performance_drop is not None and drops >= on.performance_drop.consecutive),
        (SCHEDULE, due is not None and now >= parse_time(due)),
        (NEW_DATA, on.new_data is not None and bool(revision) and revision != status.seen_revision),
    )
    return next((reason for reason, holds in facts if holds), "")


def _brake(spec: Retrain, status: DriftMonitorStatus, reason: str, revision: str, now: datetime) -> str:
    """Return what holds the retraining back, or ""; a request by a person waits for neither cooldown nor new data."""
    newest = status.retrainings[0] if status.retrainings else None
    person = reason == REQUESTED
    facts = (
        (DATASET_NOT_READY, not revision),
        (IN_PROGRESS, newest is not None and newest.outcome in ("", STARTED)),
        (COOLDOWN, not person and newest is not None and now < _cool_at(spec, newest)),
        (MONTHLY_LIMIT, status.month_count >= spec.max_per_month),
        (NO_NEW_DATA, not person and newest is not None and newest.inputs == _inputs(spec, revision)),
    )
    return next((brake for brake, holds in facts if holds), "")


def _cool_at(spec: Retrain, newest: RetrainRecord) -> datetime:
    return parse_time(newest.at) + timedelta(seconds=duration_s(spec.cooldown))


def _inputs(spec: Retrain, revision: str) -> str:
    return digest_of({"revision": revision, "spec": spec.template.spec.to_json_object()})


def _started(
    monitor: DriftMonitor, spec: Retrain, status: DriftMonitorStatus, why: tuple[str, str], now: datetime
) -> DriftMonitorStatus:
    reason, revision = why
    record = RetrainRecord(
        run=_run_name(monitor, status, now),
        at=format_time(now),
        reason=reason,
        revision=revision,
        inputs=_inputs(spec, revision),
    )
    return status.model_copy(
        update={
            "retrainings": [record, *(status.retrainings or ())][:RECORDS],
            "month_count": status.month_count + 1,
            "drift": Streak(),
            "performance_drop": Streak(),
            "seen_revision": revision,
        }
    )


def _run_name(monitor: DriftMonitor, status: DriftMonitorStatus, now: datetime) -> str:
    """Return a name by the minute; the next free one when the clock was set back to a minute that has a run."""
    taken, at = {record.run for record in status.retrainings or ()}, now
    while (name := f"{monitor.name[:RUN_NAME_BASE].rstrip('-')}-{at:%y%m%d%H%M}") in taken:
        at += timedelta(minutes=1)
    return name


def _consumed(monitor: DriftMonitor, spec: Retrain, status: DriftMonitorStatus, now: datetime) -> Json:
    """Return what a started retraining answers: the request, and the scheduled time that was due.

    What a brake holds back stays wanted: it starts when the brake is off.
    """
    changes: Json = {"handled": monitor.annotations.get(names.ANNOTATION_RETRAIN, "")}
    due = status.next_scheduled_retrain
    if spec.triggers.schedule is not None and due is not None and now >= parse_time(due):
        changes["next_scheduled_retrain"] = format_time(next_time(spec.triggers.schedule, now))
    return changes


def _missing_runs(
    monitor: DriftMonitor, spec: Retrain, status: DriftMonitorStatus, runs: Mapping[str, TrainingRun]
) -> tuple[Action, ...]:
    wanted = [record for record in status.retrainings or () if not record.outcome and record.run not in runs]
    return tuple(Create(build_run(monitor, spec, record)) for record in wanted)


def build_run(monitor: DriftMonitor, spec: Retrain, record: RetrainRecord) -> Json:
    """Return the TrainingRun of a retraining: the template on the recorded revision; a record, so without an owner."""
    body = spec.template.spec.to_json_object()
    body["dataset"] = {**body["dataset"], "revision": record.revision}
    return {
        "apiVersion": names.TRAINING_RUN.api_version,
        "kind": names.TRAINING_RUN.kind,
        "metadata": {
            "name": record.run,
            "namespace": monitor.namespace,
            "labels": child_labels(owner_of(names.DRIFT_MONITOR, monitor), "retrain"),
        },
        "spec": body,
    }


def _look_again_s(spec: Retrain, status: DriftMonitorStatus, now: datetime) -> float | None:
    times = [parse_time(status.next_scheduled_retrain)] if status.next_scheduled_retrain else []
    if status.retrain_blocked == COOLDOWN and status.retrainings:
        times.append(_cool_at(spec, status.retrainings[0]))
    return max(1.0, (min(times) - now).total_seconds()) if times else None
