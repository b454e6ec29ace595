"""Carries one Job through to its outcome: starts it, waits, gives up on a store that is down and tries again later.

The same input is the same Job; a further attempt of it has the next number. It decides about the Job alone: what an
outcome means is each planner's part. Must never run two attempts of one input at a time, and never let a failure of
the store or of the cluster become a final state. Used by Dataset, TrainingRun and ModelVersion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from fairlead.api import meta, names
from fairlead.api.conditions import READY, RECONCILING, find_condition, format_time, is_true, parse_time
from fairlead.api.meta import JobAttempt
from fairlead.contract.jobs import ErrorInfo, Summary

from . import jobs, pending_pods
from .children import JobOrder, Json, build_job
from .jobs import PODS_WAIT, Absent, Counts, Failed, Running, Succeeded, finished_at, is_finished, observe_job
from .pending_pods import Problem
from .status import sentence
from .types import Action, Create, Delete, Obj

MAX_STORE_FAILURES = 6  # pods that end by exit code 20 before the Job is given up
BACKOFF_S, BACKOFF_MAX_S = 60.0, 600.0  # 1, 2, 4, 8, 10, 10 ... minutes between attempts
LOOK_AGAIN_S = 30.0  # while a pod is to start: a volume that does not come has no event; all else has one
KEEP_FINISHED = 3
_NONE = Counts()

# What a Job may wait for without being at fault; a time-out behind one of these is tried again.
WAITING_REASONS = frozenset(
    {
        pending_pods.STORE_SECRET_MISSING,
        pending_pods.SECRET_MISSING,
        pending_pods.IMAGE_PULL_FAILED,
        pending_pods.UNSCHEDULABLE,
        jobs.VOLUME_NOT_READY,
        jobs.STORE_UNREACHABLE,
        jobs.STORE_DENIED,
        jobs.QUEUED,
    }
)


@dataclass(frozen=True)
class Tries:
    """What status remembers of the Job: the attempt, failures of the store in a row, when to try again."""

    attempt: JobAttempt | None = None
    failures: int = 0
    retry_at: str = ""


@dataclass(frozen=True)
class Seen:
    """The attempt's Job and the pods of its name, as the store has them."""

    job: Obj | None = None
    pods: tuple[Obj, ...] = ()


@dataclass(frozen=True)
class Lost:
    """The Job ended or went, and what it found is not known; `gone` when the Job itself is no longer there."""

    gone: bool


@dataclass(frozen=True)
class Step:
    """What to do now, what to remember, and the outcome once there is one.

    `problem` is what stands in the way while there is no outcome.
    """

    tries: Tries
    actions: tuple[Action, ...] = ()
    outcome: Summary | Failed | Lost | None = None
    problem: Problem | None = None
    counts: Counts = _NONE
    requeue_after_s: float | None = None


@dataclass(frozen=True)
class Pursuit:
    """One wanted Job: the order, how its body is built, and what was said to be in the way before."""

    order: JobOrder
    stuck: Problem | None = None
    build: Callable[[JobOrder], Json] = build_job
    collect: bool = False  # it looks for the result of a Job that is gone
    once: bool = False  # what was begun is never begun anew, also when a newer operator would ask differently


def pursue(pursuit: Pursuit, tries: Tries, seen: Seen, now: datetime) -> Step:
    """Return the next step towards the outcome of the ordered Job.

    A Job of another input that still runs is deleted first: its result is no longer wanted.
    """
    attempt = tries.attempt
    if attempt is None or not (pursuit.once or attempt.input_digest == pursuit.order.input_digest):
        return _supersede(pursuit, seen, now)
    if tries.retry_at:
        return _after_backoff(pursuit, tries, seen, now)
    state = observe_job(seen.job, seen.pods, now)
    if isinstance(state, Absent):
        return _absent(pursuit, tries, now)
    tries = replace(tries, attempt=_with_uid(attempt, seen.job))
    if isinstance(state, Running):
        return _running(state, tries, seen, now)
    if isinstance(state, Succeeded):
        return _succeeded(state, tries)
    return _failed(state, pursuit, tries, seen, now)


def start(pursuit: Pursuit, number: int, failures: int, now: datetime) -> Step:
    """Return the step that makes attempt `number`."""
    order = replace(pursuit.order, attempt=number)
    return Step(Tries(_attempt(pursuit, order, now), failures), (Create(pursuit.build(order)),))


def _attempt(pursuit: Pursuit, order: JobOrder, now: datetime) -> JobAttempt:
    return JobAttempt(
        job=order.name,
        input_digest=order.input_digest,
        number=order.attempt,
        collect=pursuit.collect,
        started_at=format_time(now),
    )


def find_begun(pursuit: Pursuit, tries: Tries, owned: Iterable[Obj], now: datetime) -> Tries:
    """Return what status would remember had it been written: a very first Job of this order that is there already."""
    job = next((job for job in owned if job["metadata"]["name"] == pursuit.order.name), None)
    if tries.attempt is not None or job is None or "deletionTimestamp" in job["metadata"]:
        return tries
    return replace(tries, attempt=_with_uid(_attempt(pursuit, pursuit.order, now), job))


def give_up(tries: Tries, seen: Seen, problem: Problem, now: datetime) -> Step:
    """Return the step that deletes the Job and waits: 1 minute, then 2, 4, 8, and 10 from then on."""
    failures = tries.failures + 1
    wait_s = min(BACKOFF_S * 2 ** (failures - 1), BACKOFF_MAX_S)
    retry_at = format_time(now + timedelta(seconds=wait_s))
    said = Problem(problem.reason, f"{sentence(problem.message)} Given up {failures}x; tried again at {retry_at}.")
    return Step(replace(tries, failures=failures, retry_at=retry_at), _delete(seen.job), None, said, _NONE, wait_s)


def restart(pursuit: Pursuit, tries: Tries, lost: Lost, seen: Seen, now: datetime) -> Step:
    """Return the step after a lost result when doing the work twice does no harm: again, by the next number."""
    number = tries.attempt.number if tries.attempt else 0
    if lost.gone:
        return start(pursuit, number + 1, tries.failures, now)
    message = f"Job {tries.attempt.job if tries.attempt else ''} ended without a summary that can be read."
    return give_up(tries, seen, Problem(jobs.RESULT_LOST, message), now)


def retired(owned: Iterable[Obj], attempts: Iterable[JobAttempt | None]) -> tuple[Action, ...]:
    """Return deletions of Jobs that are of no use: ended ones but for the last 3 of each role, and unwanted ones.

    A Job that runs and is of none of these attempts was superseded just before the operator died.
    """
    kept = {attempt.job for attempt in attempts if attempt is not None}
    by_role: dict[str, list[Obj]] = {}
    deletions: list[Action] = []
    for job in owned:
        if is_finished(job):
            by_role.setdefault((job["metadata"].get("labels") or {}).get(names.LABEL_ROLE, ""), []).append(job)
        elif job["metadata"]["name"] not in kept:
            deletions += _delete(job)
    for group in by_role.values():
        ended = sorted(group, key=lambda job: (finished_at(job), job["metadata"]["name"]))
        for job in ended[:-KEEP_FINISHED]:
            if job["metadata"]["name"] not in kept:
                deletions += _delete(job)
    return tuple(deletions)


def stuck_in(obj: meta.Resource[Any, Any]) -> Problem | None:
    """Return what an object's status says it waits for, as the problem of its Job."""
    condition = find_condition(obj.raw, READY)
    if condition is None or not is_true(obj.raw, RECONCILING):
        return None
    return Problem(str(condition["reason"]), str(condition.get("message", "")))


def seen_job(owned: Sequence[Obj], attempt: JobAttempt | None, pods: Iterable[Obj]) -> Seen:
    """Return the attempt's Job among the Jobs that the object owns."""
    if attempt is None:
        return Seen()
    job = next((job for job in owned if job["metadata"]["name"] == attempt.job), None)
    return Seen(job, tuple(pods))


def _supersede(pursuit: Pursuit, seen: Seen, now: datetime) -> Step:
    old = () if seen.job is None or is_finished(seen.job) else _delete(seen.job)
    step = start(pursuit, 1, 0, now)
    return replace(step, actions=(*old, *step.actions))


def _after_backoff(pursuit: Pursuit, tries: Tries, seen: Seen, now: datetime) -> Step:
    wait_s = (parse_time(tries.retry_at) - now).total_seconds()
    is_due = wait_s <= 0 or wait_s > BACKOFF_MAX_S  # further off than we ever put it: the clock was set back
    if is_due and tries.attempt is not None:
        return start(pursuit, tries.attempt.number + 1, tries.failures, now)
    problem = pursuit.stuck or Problem(jobs.STORE_UNREACHABLE, f"Tried again at {tries.retry_at}.")
    return Step(tries, _delete(seen.job), None, problem, _NONE, wait_s)


def _absent(pursuit: Pursuit, tries: Tries, now: datetime) -> Step:
    assert tries.attempt is not None
    if tries.attempt.uid:
        return Step(tries, outcome=Lost(gone=True))
    # Status was written and the Job was not made: the same attempt again, with its time. A Job that is refused for good
    # would else be a new status at each second, and each status a further attempt.
    since = parse_time(tries.attempt.started_at) if tries.attempt.started_at else now
    return start(pursuit, tries.attempt.number, tries.failures, since)


def _running(state: Running, tries: Tries, seen: Seen, now: datetime) -> Step:
    if state.counts.store >= MAX_STORE_FAILURES:
        unknown = Problem(jobs.STORE_UNREACHABLE, jobs.STORE_SILENT)
        return replace(give_up(tries, seen, state.problem or unknown, now), counts=state.counts)
    return Step(tries, problem=state.problem, counts=state.counts, requeue_after_s=_again_s(seen))


def _again_s(seen: Seen) -> float | None:
    if seen.job is not None and is_finished(seen.job):
        return PODS_WAIT.total_seconds()  # its last pod is yet to be seen: it ends in a moment, also without an event
    is_starting = any((pod.get("status") or {}).get("phase", "Pending") == "Pending" for pod in seen.pods)
    return LOOK_AGAIN_S if is_starting else None


def _succeeded(state: Succeeded, tries: Tries) -> Step:
    if state.summary is None:
        return Step(tries, outcome=Lost(gone=False))
    outcome: Summary | Failed = state.summary
    if isinstance(state.summary, ErrorInfo):
        outcome = Failed(state.summary.reason, state.summary.message, 0)
    return Step(replace(tries, failures=0), outcome=outcome, requeue_after_s=None)


def _failed(state: Failed, pursuit: Pursuit, tries: Tries, seen: Seen, now: datetime) -> Step:
    waited_for = pursuit.stuck if pursuit.stuck and pursuit.stuck.reason in WAITING_REASONS else None
    problem = state.problem or waited_for
    if state.reason == jobs.TIMED_OUT and problem is not None:
        return replace(give_up(tries, seen, problem, now), counts=state.counts)
    return Step(tries, outcome=state, counts=state.counts, requeue_after_s=None)


def _with_uid(attempt: JobAttempt, job: Obj | None) -> JobAttempt:
    uid = str(job["metadata"].get("uid", "")) if job else ""
    return attempt if attempt.uid == uid else attempt.model_copy(update={"uid": uid})


def _delete(job: Obj | None) -> tuple[Action, ...]:
    return () if job is None or "deletionTimestamp" in job["metadata"] else (Delete(job),)
