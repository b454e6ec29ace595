"""The report of each rollout that was judged: one Job writes it to the store when the rollout is over.

What the report is made of stands in `status.report` until the Job is there, so an operator that dies in between loses
nothing; from then on it is the Job's input. A report that cannot be made holds nothing up: its line of history says
why. It must never decide about traffic. Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fairlead.api import names
from fairlead.api.conditions import parse_time
from fairlead.api.inferenceservice import (
    InferenceService,
    InferenceServiceSpec,
    InferenceServiceStatus,
    PendingReport,
    RolloutStatus,
    RolloutSummary,
)
from fairlead.api.meta import PodOverrides, Resources
from fairlead.contract.jobs import ReportInput, ReportSummary
from fairlead.contract.rollouts import RolloutRecord, Trail

from .children import Image, JobOrder, build_job, owner_of
from .jobs import PODS_WAIT, Failed, JobState, Running, Succeeded, finished_at, is_finished, observe_job
from .sizes import FIRST, RETURN
from .types import Action, Create, Delete, Obj

ROLE = "report"
TIMEOUT_S = 3600.0  # a store that is down for less costs no report
MAKE_S = 600.0  # a quota or a webhook that refuses the Job is shown on the service, and not for ever
NOT_TAKEN = "not made: the API server took no Job for it within 10 min"
RETRIES = 2
KEEP_FINISHED = 3
WHY_MAX = 160
_RESOURCES = Resources(requests={"cpu": "50m", "memory": "128Mi"}, limits={"cpu": "1", "memory": "512Mi"})


@dataclass(frozen=True)
class ReportJobs:
    """The Jobs that the service owns, the pods of the pending report's, and the image to make one with."""

    jobs: Sequence[Obj]
    pods: Sequence[Obj]
    image: Image


@dataclass(frozen=True)
class Reported:
    """The status with what became of reports, and what to do."""

    status: InferenceServiceStatus
    actions: tuple[Action, ...] = ()
    again_s: float | None = None


def plan_report(
    service: InferenceService, status: InferenceServiceStatus, there: ReportJobs, now: datetime
) -> Reported:
    """Return the status with a report begun for a rollout that has just ended, or one step further."""
    line = _ended(service.status.rollout, status)
    if line is not None and service.status.rollout is not None:
        record = _record(service, service.status.rollout, line)
        document = ReportInput(namespace=service.namespace, name=service.name, rollout=record)
        return _begun(service, status, document, there)
    pending = status.report
    return Reported(status, _old(there)) if pending is None else _pursued(service, status, pending, there, now)


def _begun(
    service: InferenceService, status: InferenceServiceStatus, document: ReportInput, there: ReportJobs
) -> Reported:
    """Return the status that remembers what the Job is made of, and the Job."""
    order = _order(service, document, there.image)
    started_at = document.rollout.started_at
    begun = PendingReport(job=order.name, started_at=started_at, document=document.to_json_object())
    made = Create(build_job(order))
    return Reported(status.model_copy(update={"report": begun}), (made, *_old(there)))


def _ended(before: RolloutStatus | None, after: InferenceServiceStatus) -> RolloutSummary | None:
    """Return the line of history of a judged rollout that is over since the last look."""
    if before is None or before.kind in (FIRST, RETURN):
        return None
    if after.rollout is not None:
        return None
    lines = after.history or ()
    return next((line for line in lines if line.started_at == before.started_at and line.ended_at), None)


def _record(service: InferenceService, rollout: RolloutStatus, line: RolloutSummary) -> RolloutRecord:
    status = service.status
    known = (status.baseline, status.previous, status.stable)
    others = [arm.version for arm in known if arm is not None and arm.version != line.version]
    return RolloutRecord(
        service=service.name,
        model_version=line.version,
        digest=line.digest,
        revision=line.revision,
        previous_version=others[0] if others else "",
        strategy=rollout.kind,
        outcome=line.outcome,
        reason=line.reason,
        message=rollout.message or line.message,
        started_at=line.started_at,
        ended_at=line.ended_at,
        steps_percent=list(service.spec.rollout.steps_percent),
        rules=_rules(service.spec),
        trail=Trail.model_validate(rollout.trail or {}),
    )


def _rules(spec: InferenceServiceSpec) -> list[tuple[str, str]]:
    rollout, judge = spec.rollout, spec.rollout.judge
    latency = judge.latency
    return [
        ("confidence", f"{judge.confidence_percent:g} %"),
        ("errors, at most", f"+{judge.error_rate.max_increase_points:g} points"),
        *([("slower than", f"{latency.threshold_ms:g} ms"), ("slow answers, at most",
            f"+{latency.max_increase_points:g} points")] if latency else []),
        ("a step has at least", f"{rollout.step.min_requests:,} requests, {rollout.step.min_duration}"),
        ("deadline", rollout.deadline),
        ("bake", f"{rollout.bake.duration}, {rollout.bake.holdback_percent} % held back"),
    ]  # fmt: skip


def _order(service: InferenceService, document: ReportInput, image: Image) -> JobOrder:
    predictor = service.spec.predictor.to_json_object() | {"resources": None}
    overrides = PodOverrides.model_validate(predictor).model_copy(update={"resources": _RESOURCES})
    owner = owner_of(names.INFERENCE_SERVICE, service)
    return JobOrder(owner, ROLE, document, image, overrides, TIMEOUT_S, RETRIES)


def _pursued(
    service: InferenceService,
    status: InferenceServiceStatus,
    pending: PendingReport,
    there: ReportJobs,
    now: datetime,
) -> Reported:
    job = next((job for job in there.jobs if job["metadata"]["name"] == pending.job), None)
    if job is None and pending.document is not None:
        document = ReportInput.model_validate(pending.document)
        late = (now - parse_time(document.rollout.ended_at)).total_seconds() > MAKE_S
        return _closed(status, pending, NOT_TAKEN, there) if late else _begun(service, status, document, there)
    state = observe_job(job, there.pods, now)
    if isinstance(state, Running):
        waiting = pending.model_copy(update={"document": None})  # the Job has it now
        again_s = PODS_WAIT.total_seconds() if job is not None and is_finished(job) else None
        return Reported(status.model_copy(update={"report": waiting}), _old(there), again_s)
    return _closed(status, pending, _told(state), there)


def _closed(status: InferenceServiceStatus, pending: PendingReport, told: str, there: ReportJobs) -> Reported:
    """Return the status without the pending report, its line of history saying what became of it."""
    lines = list(status.history or ())
    # newest first, as `_ended` found it: two rollouts may begin within one second, and only this one was reported
    own = next((place for place, line in enumerate(lines) if line.started_at == pending.started_at), None)
    if own is not None:
        lines[own] = lines[own].model_copy(update={"report": told})
    return Reported(status.model_copy(update={"report": None, "history": lines or None}), _old(there))


def _told(state: JobState) -> str:
    """Return where the report lies, or why there is none."""
    if isinstance(state, Succeeded):
        summary = state.summary
        return summary.report_key if isinstance(summary, ReportSummary) else "not known: its Job's pod is gone"
    return f"not made: {state.message}"[:WHY_MAX] if isinstance(state, Failed) else "not made: its Job was deleted"


def _old(there: ReportJobs) -> tuple[Action, ...]:
    """Return deletions of ended report Jobs but for the last three."""
    ended = [
        job
        for job in there.jobs
        if (job["metadata"].get("labels") or {}).get(names.LABEL_ROLE) == ROLE and is_finished(job)
    ]
    ended.sort(key=lambda job: (finished_at(job), job["metadata"]["name"]))
    return tuple(Delete(job) for job in ended[:-KEEP_FINISHED] if "deletionTimestamp" not in job["metadata"])
