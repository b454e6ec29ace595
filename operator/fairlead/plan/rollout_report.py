"""The report of each rollout that was judged: one Job writes it to the store when the rollout is over.

What the report is made of stands in `status.reports` until the Job is there, so an operator that dies in between loses
nothing; from then on it is the Job's input, and further rollouts may end before that is done. A report that cannot be
made holds nothing up: its line of history says why. It must never decide about traffic. Used by
`plan/inferenceservice.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from .sizes import BAKING, FIRST, RETURN, active_state
from .types import Action, Create, Delete, Obj

ROLE = "report"
TIMEOUT_S = 3600.0  # a store that is down for less costs no report
MAKE_S = 600.0  # a quota or a webhook that refuses the Job is shown on the service, and not for ever
NOT_TAKEN = "not made: the API server took no Job for it within 10 min"
OVERTAKEN = "not made: the API server took no Job for it before the next rollout was over"
AT_ONCE = 4  # pending reports in status, which is at most 16 KiB
LEFT = f"not known: it was still being written when {AT_ONCE} newer rollouts were over"
RETRIES = 2
KEEP_FINISHED = 3
WHY_MAX = 160
_RESOURCES = Resources(requests={"cpu": "50m", "memory": "128Mi"}, limits={"cpu": "1", "memory": "512Mi"})


@dataclass(frozen=True)
class ReportJobs:
    """The Jobs that the service owns, the pods of the pending reports', and the image to make one with."""

    jobs: Sequence[Obj]
    pods: Sequence[Obj]
    image: Image


@dataclass(frozen=True)
class Reported:
    """The status with what became of reports, and what to do."""

    status: InferenceServiceStatus
    actions: tuple[Action, ...] = ()
    again_s: float | None = None


@dataclass(frozen=True)
class _Step:
    """A pending report after this look: it waits on, or `told` says what its line of history says of it."""

    report: PendingReport
    told: str = ""
    make: JobOrder | None = None
    again_s: float | None = None


def plan_reports(
    service: InferenceService, status: InferenceServiceStatus, there: ReportJobs, now: datetime
) -> Reported:
    """Return the status with every pending report one step further, and one begun for a rollout that has just ended."""
    steps = [_pursued(service, pending, there, now) for pending in status.reports or ()]
    begun = _begun(service, status, there.image)
    if begun is not None:
        steps = [begun, *(_overtaken(step, place) for place, step in enumerate(steps, 2))]
    kept = [step.report for step in steps if not step.told]
    written = {_rollout_of(step.report): step.told for step in steps if step.told}
    history = [_with_report(line, written) for line in status.history or ()]
    return Reported(
        status.model_copy(update={"reports": kept or None, "history": history or None}),
        (*(Create(build_job(step.make)) for step in steps if step.make is not None), *_old(there)),
        next((step.again_s for step in steps if step.again_s is not None), None),
    )


def _with_report(line: RolloutSummary, written: Mapping[tuple[str, str], str]) -> RolloutSummary:
    told = written.get(_rollout_of(line), "")
    return line.model_copy(update={"report": told}) if told else line


def _rollout_of(entry: PendingReport | RolloutSummary) -> tuple[str, str]:
    """Return what tells a rollout from every other: a time alone does not, for times are whole seconds."""
    return entry.started_at, entry.revision


def _begun(service: InferenceService, status: InferenceServiceStatus, image: Image) -> _Step | None:
    """Return the report of a rollout that has just ended; status remembers what it is made of."""
    line = _ended(service.status, status)
    if line is None or service.status.rollout is None:
        return None
    record = _record(service, service.status.rollout, line)
    document = ReportInput(namespace=service.namespace, name=service.name, rollout=record)
    order = _order(service, document, image)
    pending = PendingReport(
        job=order.name, started_at=line.started_at, revision=line.revision, document=document.to_json_object()
    )
    return _Step(pending, make=order)


def _overtaken(step: _Step, place: int) -> _Step:
    """Return the step of a report behind a newer one: status has room for few, and for what one of them is made of."""
    if step.told:
        return step
    if step.report.document is not None:
        return _Step(step.report, OVERTAKEN)
    return step if place <= AT_ONCE else _Step(step.report, LEFT)


def _ended(before: InferenceServiceStatus, after: InferenceServiceStatus) -> RolloutSummary | None:
    """Return the line of history of a judged rollout that is over since the last look."""
    rollout = before.rollout
    if rollout is None or rollout.kind in (FIRST, RETURN) or after.rollout is not None:
        return None
    judged = before.stable if active_state(rollout) == BAKING else before.canary
    ended = (rollout.started_at, judged.revision if judged else "")
    return next((line for line in after.history or () if _rollout_of(line) == ended and line.ended_at), None)


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


def _pursued(service: InferenceService, pending: PendingReport, there: ReportJobs, now: datetime) -> _Step:
    job = next((job for job in there.jobs if job["metadata"]["name"] == pending.job), None)
    if job is None and pending.document is not None:
        document = ReportInput.model_validate(pending.document)
        late = (now - parse_time(document.rollout.ended_at)).total_seconds() > MAKE_S
        return _Step(pending, NOT_TAKEN) if late else _Step(pending, make=_order(service, document, there.image))
    state = observe_job(job, there.pods, now)
    if isinstance(state, Running):
        waiting = pending.model_copy(update={"document": None})  # the Job has it now
        return _Step(waiting, again_s=PODS_WAIT.total_seconds() if job is not None and is_finished(job) else None)
    return _Step(pending, _told(state))


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
