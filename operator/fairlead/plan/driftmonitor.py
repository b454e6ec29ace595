"""Decides what a DriftMonitor does: keep its CronJob right, count finished windows, start retrainings.

| state | condition | next |
|---|---|---|
| the service does not exist | Reconciling ServiceMissing | goes on when the InferenceService appears |
| the service has no stable version | Reconciling NoVersionServing | goes on when a version serves |
| a schedule cannot be read | Stalled BadSchedule | goes on when the schedule is corrected |
| the service captures nothing | Stalled CaptureOff | goes on when capture.percent is over 0 |
| spec.suspend | Reconciling Suspended | goes on when spec.suspend is false; the CronJob rests |
| no window finished yet | Ready Scheduled | the first window at the next scheduled time |
| the newest check failed | Reconciling, the Job's reason | tried again at the next scheduled time |
| a check stands before an obstacle | Reconciling, the obstacle's reason | goes on by itself when it is gone |
| windows are checked | Ready Monitoring | the conditions of driftfindings.py say what was found |
| a retraining runs | Ready Retraining | Monitoring when the TrainingRun ended |

Finding drift is a result: Ready stays True. Must never count a Job twice, a window of another version, or two
windows that overlap. Called by `controllers/driftmonitor.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from fairlead.api import names
from fairlead.api.conditions import Condition, ready, stalled, working
from fairlead.api.driftmonitor import DriftMonitor, DriftMonitorStatus, Streak, WindowResult
from fairlead.api.inferenceservice import InferenceService
from fairlead.api.modelversion import ModelVersion
from fairlead.api.trainingrun import TrainingRun
from fairlead.contract import keys
from fairlead.contract.base import duration_s
from fairlead.contract.jobs import CleanupInput, MonitorInput, MonitorSummary

from .children import CLEANUP_SCHEDULE, Image, JobOrder, artifact_ref, build_cron_job, owner_of
from .driftfindings import findings, window_cut
from .jobs import Failed, Running, Succeeded, observe_job
from .pending_pods import Problem
from .retraining import Retraining, plan_retraining
from .schedule import BadSchedule, next_time
from .status import new_status, sentence
from .types import Action, Apply, Delete, Obj, Plan

SERVICE_MISSING = "ServiceMissing"
NO_VERSION_SERVING = "NoVersionServing"
CAPTURE_OFF = "CaptureOff"
BAD_SCHEDULE = "BadSchedule"
SUSPENDED = "Suspended"
SCHEDULED = "Scheduled"
MONITORING = "Monitoring"
RETRAINING = "Retraining"

MONITOR_ROLE = "monitor"


@dataclass(frozen=True)
class DriftMonitorSnapshot:
    """All that the decision needs; `checks` are the monitor's Jobs, oldest first, each with its pods."""

    monitor: DriftMonitor
    service: InferenceService | None
    version: ModelVersion | None
    cron_jobs: Mapping[str, Obj]
    checks: tuple[tuple[Obj, tuple[Obj, ...]], ...]
    runs: Mapping[str, TrainingRun]
    dataset_revision: str
    image: Image


def plan_driftmonitor(snapshot: DriftMonitorSnapshot, now: datetime) -> Plan:
    """Return what to do for one DriftMonitor."""
    monitor = snapshot.monitor
    status = _count_checks(snapshot, monitor.status, now)
    waiting = _obstacle(snapshot, now)
    retraining = Retraining(status)
    if waiting is None:
        retraining = plan_retraining(monitor, status, snapshot.runs, snapshot.dataset_revision, now)
    state = waiting or _state(snapshot, retraining.status, now)
    cut = window_cut(monitor.spec, snapshot.service)
    conditions = [*state, *findings(monitor.spec, retraining.status.last_window), *cut]
    return Plan(
        actions=(*_cron_jobs(snapshot, waiting), *retraining.actions),
        status=new_status(replace(monitor, status=retraining.status), conditions, now),
        requeue_after_s=retraining.requeue_after_s,
    )


def _unreadable_schedule(monitor: DriftMonitor, now: datetime) -> str:
    retrain = monitor.spec.retrain
    for schedule in (monitor.spec.schedule, retrain.triggers.schedule if retrain else None):
        try:
            if schedule:
                next_time(schedule, now)
        except BadSchedule as error:
            return str(error)
    return ""


def _obstacle(snapshot: DriftMonitorSnapshot, now: datetime) -> tuple[Condition, ...] | None:
    spec, service = snapshot.monitor.spec, snapshot.service
    name = spec.inference_service.name
    unreadable = _unreadable_schedule(snapshot.monitor, now)
    if unreadable:
        return stalled(BAD_SCHEDULE, unreadable)
    if service is None:
        return working(
            SERVICE_MISSING,
            f"InferenceService {name} is not in this namespace; create it or correct spec.inferenceService.name.",
        )
    if spec.suspend:
        return working(SUSPENDED, "spec.suspend is true; set it to false to check again.")
    if service.spec.capture.percent == 0:
        return stalled(
            CAPTURE_OFF, f"InferenceService {name} captures no requests; set its spec.capture.percent over 0."
        )
    if service.status.stable is None or snapshot.version is None or snapshot.version.status.artifact is None:
        return working(NO_VERSION_SERVING, f"InferenceService {name} serves no version yet; checks begin when it does.")
    return None


def _state(snapshot: DriftMonitorSnapshot, status: DriftMonitorStatus, now: datetime) -> tuple[Condition, ...]:
    trouble = _trouble(snapshot, now)
    if trouble is not None:
        return working(
            trouble.reason, f"{sentence(trouble.message)} The check is tried again at {snapshot.monitor.spec.schedule}."
        )
    newest = status.retrainings[0] if status.retrainings else None
    if newest is not None and newest.outcome in ("", "Started"):
        return ready(RETRAINING, f"TrainingRun {newest.run} trains a challenger because of {newest.reason}.")
    blocked = f" A retraining is wanted but held back: {status.retrain_blocked}." if status.retrain_blocked else ""
    if status.last_window is None:
        return ready(SCHEDULED, f"The first window is checked at {snapshot.monitor.spec.schedule} (UTC).{blocked}")
    window = status.last_window
    found = f"{window.rows} requests from {window.start} to {window.end}"
    if window_cut(snapshot.monitor.spec, snapshot.service):
        found += " (older ones than the service keeps are missing, see WindowCut)"
    if not window.enough_rows:
        found += f", fewer than the {snapshot.monitor.spec.min_rows} that a verdict needs"
    return ready(MONITORING, f"The newest window has {found}.{blocked}")


def _trouble(snapshot: DriftMonitorSnapshot, now: datetime) -> Problem | None:
    """Return what keeps the newest check from its result."""
    if not snapshot.checks:
        return None
    state = observe_job(*snapshot.checks[-1], now)
    if isinstance(state, Failed):
        return state.problem or Problem(state.reason, state.message)
    return state.problem if isinstance(state, Running) else None


def scheduled_minute(job_name: str) -> int:
    """Return the scheduled minute (since 1970) that ends the name of a CronJob's Job; 0 for a Job made by hand."""
    suffix = job_name.rsplit("-", 1)[-1]
    return int(suffix) if suffix.isdigit() else 0


def _count_checks(snapshot: DriftMonitorSnapshot, status: DriftMonitorStatus, now: datetime) -> DriftMonitorStatus:
    for job, pods in snapshot.checks:
        name = job["metadata"]["name"]
        if scheduled_minute(name) <= scheduled_minute(status.last_job):
            continue
        state = observe_job(job, pods, now)
        if isinstance(state, Succeeded) and isinstance(state.summary, MonitorSummary):
            status = count_window(status, _window(name, job, state.summary))
        elif not isinstance(state, Succeeded | Failed):
            break
        else:
            status = status.model_copy(update={"last_job": name})
    return status


def _window(name: str, job: Obj, summary: MonitorSummary) -> WindowResult:
    annotations = job["spec"]["template"]["metadata"].get("annotations") or {}
    document = json.loads(annotations.get(names.ANNOTATION_INPUT, "{}"))
    return WindowResult(
        job=name,
        version=(document.get("artifact") or {}).get("version", ""),
        start=summary.window_start,
        end=summary.window_end,
        rows=summary.rows,
        enough_rows=summary.enough_rows,
        features=summary.features,
        drifted_features=summary.drifted_features,
        worst=summary.worst or None,
        data_drift=summary.data_drift,
        not_compared=summary.not_compared,
        label_drift=summary.label_drift,
        predictions=summary.predictions,
        performance=summary.performance,
        report_key=summary.report_key,
    )


def count_window(status: DriftMonitorStatus, window: WindowResult) -> DriftMonitorStatus:
    """Return the status with one more finished window: the newest result, and the streaks that it continues or ends.

    A window of another version than the last one's starts both streaks anew.
    """
    same = status.last_window is not None and status.last_window.version == window.version
    drift, drop = (status.drift, status.performance_drop) if same else (Streak(), Streak())
    drifted = window.data_drift or bool(window.predictions and window.predictions.drifted)
    labelled = window.performance is not None and window.performance.value is not None
    dropped = bool(window.performance and window.performance.dropped)
    return status.model_copy(
        update={
            "last_job": window.job,
            "last_window": window,
            "drift": next_streak(drift, drifted if window.enough_rows else None, window),
            "performance_drop": next_streak(drop, dropped if labelled else None, window),
        }
    )


def next_streak(streak: Streak, found: bool | None, window: WindowResult) -> Streak:
    """Return the streak after a window: None leaves it, False ends it, True counts unless the window overlaps."""
    if found is None:
        return streak
    if not found:
        return Streak()
    return streak if window.start < streak.last_end else Streak(count=streak.count + 1, last_end=window.end)


def _cron_jobs(snapshot: DriftMonitorSnapshot, obstacle: tuple[Condition, ...] | None) -> tuple[Action, ...]:
    """Return the applies of both CronJobs; with nothing to check, the monitor's own goes, or rests when suspended."""
    spec = snapshot.monitor.spec
    if obstacle is not None and obstacle[0].reason == BAD_SCHEDULE:
        return ()
    cleanup = _apply(snapshot, _cleanup_order(snapshot), CLEANUP_SCHEDULE, suspend=spec.suspend)
    order = _monitor_order(snapshot)
    if order is not None:
        return cleanup, _apply(snapshot, order, spec.schedule, suspend=obstacle is not None)
    stale = snapshot.cron_jobs.get(names.child_name(snapshot.monitor.name, MONITOR_ROLE))
    return (cleanup, Delete(stale)) if stale else (cleanup,)


def _apply(snapshot: DriftMonitorSnapshot, order: JobOrder, schedule: str, *, suspend: bool) -> Apply:
    body = build_cron_job(order, schedule, suspend=suspend)
    return Apply(body, observed=snapshot.cron_jobs.get(body["metadata"]["name"]))


def _cleanup_order(snapshot: DriftMonitorSnapshot) -> JobOrder:
    monitor = snapshot.monitor
    document = CleanupInput(
        prefix=keys.report(monitor.namespace, monitor.name, "").rstrip("/") + "/",
        keep_newest=1,  # status shows it, also when the last check was long ago
        older_than_days=duration_s(monitor.spec.keep_reports) / 86400,
    )
    return _order(snapshot, "cleanup", document)


def _order(snapshot: DriftMonitorSnapshot, role: str, document: MonitorInput | CleanupInput) -> JobOrder:
    monitor = snapshot.monitor
    return JobOrder(
        owner=owner_of(names.DRIFT_MONITOR, monitor),
        role=role,
        document=document,
        image=snapshot.image,
        overrides=monitor.spec,
        timeout_s=duration_s(monitor.spec.timeout),
        retries=1,
    )


def _monitor_order(snapshot: DriftMonitorSnapshot) -> JobOrder | None:
    monitor, spec, service, version = snapshot.monitor, snapshot.monitor.spec, snapshot.service, snapshot.version
    artifact = version.status.artifact if version else None
    if service is None or version is None or artifact is None:
        return None
    metrics = (version.status.evaluation.metrics if version.status.evaluation else None) or {}
    document = MonitorInput(
        namespace=monitor.namespace,
        name=monitor.name,
        inference_service=service.name,
        artifact=artifact_ref(monitor.namespace, version.spec.model, version.name, artifact),
        window_s=duration_s(spec.window),
        not_before=service.status.promoted_at or None,
        min_rows=spec.min_rows,
        data=spec.data,
        predictions=spec.predictions,
        performance=spec.performance,
        reference_metric=metrics.get(spec.performance.metric) if spec.performance else None,
    )
    return _order(snapshot, MONITOR_ROLE, document)
