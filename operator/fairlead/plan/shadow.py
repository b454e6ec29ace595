"""The answers of a shadow against those that users got: when a Job compares them, and what its result says.

A Job compares once the shadow's errors and latency passed; an undecided comparison is done again with more answers.
Look k may err in alpha / 2^k of all shadows, so all looks together in at most alpha. It must never promote or refuse:
that is `rollout.py`. Used by `plan/inferenceservice.py`, `rollout.py` and `stops.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fairlead.api import names
from fairlead.api.conditions import format_time
from fairlead.api.inferenceservice import (
    InferenceService,
    InferenceServiceSpec,
    InferenceServiceStatus,
    RevisionStatus,
)
from fairlead.api.strategies import Comparison
from fairlead.contract.base import short
from fairlead.contract.compare import Answering, CompareInput, CompareSummary

from .children import Image, JobOrder, build_job, owner_of
from .jobs import Failed, Running, Succeeded, observe_job
from .replay import Jobs
from .sizes import SHADOW, STEP, active_state
from .types import Action, Create, Delete, Obj

ROLE = "compare"
AGREES, DISAGREES, UNDECIDED = "Agrees", "Disagrees", "Undecided"
AGAIN_S = 60.0  # between two looks: more answers are captured meanwhile
_TIMEOUT_S = 1200.0


def is_compared(status: InferenceServiceStatus) -> bool:
    """Say whether both revisions capture answers."""
    return _captures(status.stable) and _captures(status.canary)


def _captures(revision: RevisionStatus | None) -> bool:
    capture = ((revision and revision.serve) or {}).get("capture") or {}
    return int(capture.get("percent", 0)) > 0


def agrees(status: InferenceServiceStatus) -> bool:
    """Say whether nothing that was captured stands against the shadow."""
    comparison = status.rollout.comparison if status.rollout else None
    return not is_compared(status) or (comparison is not None and comparison.decision == AGREES)


def due(comparison: Comparison | None, now: datetime, since_s: float) -> Comparison | None:
    """Return the look that should begin now, if one should; `since_s` seconds after the last one began."""
    if comparison is None:
        return Comparison(look=1, until=format_time(now))
    if comparison.decision == UNDECIDED and since_s >= AGAIN_S:
        return comparison.model_copy(update={"look": comparison.look + 1, "until": format_time(now), "decision": ""})
    return None


def follow(
    service: InferenceService, status: InferenceServiceStatus, jobs: Jobs, now: datetime
) -> InferenceServiceStatus:
    """Return the status with what the comparing Job says now."""
    order, rollout = _order(service, status, jobs.image), status.rollout
    job = next((job for job in jobs.owned if order and job["metadata"]["name"] == order.name), None)
    if job is None or rollout is None or rollout.comparison is None:
        return status
    comparison = _record(rollout.comparison, job, jobs.pods, service.spec, now)
    return status.model_copy(update={"rollout": rollout.model_copy(update={"comparison": comparison})})


def actions(service: InferenceService, status: InferenceServiceStatus, jobs: Jobs) -> tuple[Action, ...]:
    """Return what makes the comparing Job be there while it is needed, and no longer."""
    order = _order(service, status, jobs.image)
    mine = [job for job in jobs.owned if (job["metadata"].get("labels") or {}).get(names.LABEL_ROLE) == ROLE]
    stale = [Delete(job) for job in mine if order is None or job["metadata"]["name"] != order.name]
    missing = order is not None and len(stale) == len(mine)
    return (*stale, *((Create(build_job(order)),) if order is not None and missing else ()))


def _order(service: InferenceService, status: InferenceServiceStatus, image: Image) -> JobOrder | None:
    rollout, stable, canary = status.rollout, status.stable, status.canary
    if rollout is None or rollout.kind != SHADOW or active_state(rollout) != STEP or not stable or not canary:
        return None
    comparison = rollout.comparison
    if comparison is None or comparison.decision:
        return None
    rules = service.spec.rollout
    document = CompareInput(
        namespace=service.namespace,
        service=service.name,
        stable=Answering(version=stable.version, ids=short(stable.revision)),
        candidate=Answering(version=canary.version, ids=short(canary.revision)),
        since=rollout.step_since,
        until=comparison.until,
        max_disagreement_percent=rules.shadow.max_disagreement_percent,
        alpha=(1 - rules.judge.confidence_percent / 100) / 2**comparison.look,
    )
    overrides = service.spec.predictor.model_copy(update={"resources": None})
    owner = owner_of(names.INFERENCE_SERVICE, service)
    return JobOrder(owner, ROLE, document, image, overrides, _TIMEOUT_S, retries=2)


def _record(
    comparison: Comparison, job: Obj, pods: Sequence[Obj], spec: InferenceServiceSpec, now: datetime
) -> Comparison:
    """Return the comparison with what its Job says now."""
    state = observe_job(job, pods, now)
    if isinstance(state, Succeeded) and isinstance(state.summary, CompareSummary):
        found = state.summary
        seen = found.model_dump(include={"compared", "disagreeing", "low_percent", "high_percent", "report_key"})
        worst = {"worst": found.worst or None, "message": ""}
        return comparison.model_copy(update={**seen, **worst, "decision": _decision(found, spec)})
    if isinstance(state, Running):
        return comparison.model_copy(update={"message": state.problem.message if state.problem else ""})
    why = state.message if isinstance(state, Failed) else "The result of the comparing Job is lost."
    return comparison.model_copy(update={"decision": UNDECIDED, "message": why[:280]})


def _decision(found: CompareSummary, spec: InferenceServiceSpec) -> str:
    limit = spec.rollout.shadow.max_disagreement_percent
    if found.compared and found.high_percent <= limit:
        return AGREES
    return DISAGREES if found.compared and found.low_percent > limit else UNDECIDED


def sentence(status: InferenceServiceStatus, spec: InferenceServiceSpec) -> str:
    """Return half a sentence about the answers."""
    if not is_compared(status):
        return "answers are not compared, for capture.percent is 0 in one of the revisions"
    comparison = status.rollout.comparison if status.rollout else None
    if comparison is None:
        return "answers are compared once errors and latency passed"
    if comparison.message:
        return f"answers cannot be compared yet: {comparison.message}"
    if not comparison.compared:
        return "answers are being compared"
    percent = 100 * comparison.disagreeing / comparison.compared
    limit = spec.rollout.shadow.max_disagreement_percent
    worst = comparison.worst[0] if comparison.worst else None
    where = f", most where {worst.column} is {worst.value}" if worst else ""
    return f"{percent:.1f} % of {comparison.compared} answers differ{where} (limit {limit:g} %)"
