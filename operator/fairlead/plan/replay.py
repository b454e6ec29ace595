"""Replay before exposure: captured requests to the candidate and to the stable revision, before its first user.

A Job sends them (`fairlead_runtime.replay`); here it is ordered and followed, and its result is read. It must never
decide on a transition: that is `rollout.py`. Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fairlead.api import names
from fairlead.api.inferenceservice import (
    InferenceService,
    InferenceServiceSpec,
    InferenceServiceStatus,
    ReplayStatus,
    RevisionStatus,
)
from fairlead.contract.jobs import ReplayInput, ReplayLimits, ReplaySummary, ServeInput

from .attempts import Lost, Pursuit, Step, Tries, pursue, restart, retired, seen_job, stuck_in
from .children import Image, JobOrder, owner_of
from .jobs import Failed
from .pending_pods import Problem
from .sizes import REPLAYING, active_state
from .status import sentence
from .types import Action, Obj

ROLE = "replay"
PASSED, FAILED, NOT_POSSIBLE, NOT_RUN = "Passed", "Failed", "NotPossible", "NotRun"
TIMEOUT_S = 900.0
RETRIES = 2
_TEXT = 280
_NOBODY = RevisionStatus(revision="")


@dataclass(frozen=True)
class Jobs:
    """What is there of the service's own Jobs: they, and the pods of the present attempt."""

    owned: tuple[Obj, ...]
    pods: tuple[Obj, ...]
    image: Image


@dataclass(frozen=True)
class ReplayNow:
    """What to do for the replay now, and what stands in its way."""

    actions: tuple[Action, ...] = ()
    problem: Problem | None = None
    again_s: float | None = None


def follow(
    service: InferenceService, status: InferenceServiceStatus, jobs: Jobs, now: datetime
) -> tuple[InferenceServiceStatus, ReplayNow]:
    """Return the status with what is known of the replay, and what to do for it."""
    rollout = status.rollout
    mine = [job for job in jobs.owned if (job["metadata"].get("labels") or {}).get(names.LABEL_ROLE) == ROLE]
    if rollout is None or active_state(rollout) != REPLAYING or service.spec.rollout.replay is None:
        return status, ReplayNow(retired(mine, ()))
    before = rollout.replay or ReplayStatus()
    if before.outcome:
        return status, ReplayNow(retired(mine, (before.attempt,)))
    why = _why_not(status)
    if why:
        told = before.model_copy(update={"outcome": NOT_POSSIBLE, "message": why})
        return status.model_copy(update={"rollout": rollout.model_copy(update={"replay": told})}), ReplayNow()
    step = _step(service, status, before, Jobs(tuple(mine), jobs.pods, jobs.image), now)
    after = _told(before, step)
    status = status.model_copy(update={"rollout": rollout.model_copy(update={"replay": after})})
    cleared = retired(mine, (before.attempt, after.attempt))
    return status, ReplayNow((*step.actions, *cleared), step.problem, step.requeue_after_s)


def _why_not(status: InferenceServiceStatus) -> str:
    """Return why no Job is needed to know that a replay is not possible."""
    for arm in (status.canary, status.stable):
        if arm is not None and (arm.serve or {}).get("upstream"):
            return f"{arm.version} is served by a container of your own, and only Fairlead's server answers replays."
    return ""


def _step(
    service: InferenceService, status: InferenceServiceStatus, before: ReplayStatus, jobs: Jobs, now: datetime
) -> Step:
    pursuit = Pursuit(_order(service, status, jobs.image), stuck_in(service))
    tries = Tries(before.attempt, before.failures, before.retry_at)
    seen = seen_job(jobs.owned, before.attempt, jobs.pods)
    step = pursue(pursuit, tries, seen, now)
    if isinstance(step.outcome, Lost):
        return restart(pursuit, step.tries, step.outcome, seen, now)
    return step


def _told(before: ReplayStatus, step: Step) -> ReplayStatus:
    """Return what status remembers after a step."""
    tries, found = step.tries, step.outcome
    known = {"attempt": tries.attempt, "failures": tries.failures, "retry_at": tries.retry_at}
    if isinstance(found, ReplaySummary):
        by_latency = all(check.signal == "Latency" for check in found.checks if check.failed)
        known |= {
            "outcome": found.outcome,
            "refuses": ("revision" if by_latency else "digest") if found.outcome == FAILED else "",
            "requests": found.requests,
            "message": found.message[:_TEXT],
            "result_key": found.result_key,
        }
    elif isinstance(found, Failed):
        known |= {"outcome": NOT_RUN, "message": f"{found.reason}: {sentence(found.message)}"[:_TEXT]}
    elif found is not None:
        text = "The Job ended with another kind of summary; is the jobs image right?"
        known |= {"outcome": NOT_RUN, "message": text}
    return before.model_copy(update=known)


def _order(service: InferenceService, status: InferenceServiceStatus, image: Image) -> JobOrder:
    spec, rollout = service.spec.rollout.replay, status.rollout
    assert spec is not None
    assert rollout is not None
    stable, candidate = status.baseline or status.stable or _NOBODY, status.canary or _NOBODY
    judge = service.spec.rollout.judge
    document = ReplayInput(
        namespace=service.namespace,
        name=service.name,
        rollout=rollout.started_at,
        stable=_served(stable.serve).artifact,
        stable_url=_url(stable, service),
        candidate=_served(candidate.serve).artifact,
        candidate_url=_url(candidate, service),
        requests=spec.requests,
        min_requests=spec.min_requests,
        slices=spec.slices or [],
        limits=ReplayLimits(
            max_disagreement_percent=spec.max_disagreement_percent,
            max_more_errors_points=judge.error_rate.max_increase_points,
            slow_ms=judge.latency.threshold_ms if judge.latency else None,
            max_more_slow_points=judge.latency.max_increase_points if judge.latency else None,
            confidence_percent=judge.confidence_percent,
        ),
    )
    return JobOrder(
        owner=owner_of(names.INFERENCE_SERVICE, service),
        role=ROLE,
        document=document,
        image=image,
        overrides=service.spec.predictor.model_copy(update={"resources": None}),
        timeout_s=TIMEOUT_S,
        retries=RETRIES,
    )


def _served(document: Mapping[str, object] | None) -> ServeInput:
    return ServeInput.model_validate(document)


def _url(revision: RevisionStatus, service: InferenceService) -> str:
    return f"http://{revision.name}.{service.namespace}.svc"


def is_due(service: InferenceServiceSpec, status: InferenceServiceStatus) -> bool:
    """Say whether captured requests are still to be replayed before the first user."""
    replayed = status.rollout.replay if status.rollout else None
    return service.rollout.replay is not None and (replayed is None or not replayed.outcome)
