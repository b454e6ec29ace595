"""Decides what a Dataset does: read its source when a refresh is due, and keep the last valid revision current.

| state | condition | next |
|---|---|---|
| first read, or spec changed | Reconciling Snapshotting | Valid, or the reason why not |
| the read stands before an obstacle | Reconciling, the obstacle's reason | goes on by itself when it is gone |
| the store failed 6 times | Reconciling, the store's reason | tried again after 1, 2, 4, 8, then every 10 min |
| newest read valid | Ready Valid | Refreshing at the next scheduled time or request |
| a refresh of something Ready runs | Ready Refreshing | Valid, or the reason why not |
| newest read not valid | Stalled, the check's reason | the last valid revision stays; read again when due |
| the Job failed | Stalled, the Job's reason | the last valid revision stays; read again when due |
| the schedule cannot be read | Stalled BadSchedule | goes on when spec.refresh.schedule is right |
| spec.suspend | Reconciling Suspended | what runs ends and counts; goes on when spec.suspend is false |

The condition Validated says what the newest read found. A tick names a refresh: the spec's digest, the request
annotation and the scheduled minute; missed minutes make one tick. Must never drop the current revision, start two
reads at once, or remove a revision that something refers to. Called by `controllers/dataset.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fairlead.api import names
from fairlead.api.conditions import Condition, format_time, parse_time, ready, stalled, working
from fairlead.api.dataset import Dataset, DatasetSpec, DatasetStatus, LastCheck, RevisionSummary
from fairlead.contract.base import digest_of, short
from fairlead.contract.data import SchemaPolicy
from fairlead.contract.jobs import CleanupSummary, SnapshotSummary

from .attempts import Lost, Pursuit, Seen, Step, Tries, find_begun, pursue, restart, retired, seen_job, stuck_in
from .children import Image
from .datasetjobs import cleanup_order, snapshot_order
from .jobs import PROGRAM_FAILED, Failed, is_finished
from .schedule import BadSchedule, last_time, next_time
from .status import new_status, sentence
from .types import Action, Create, Obj, Plan

SNAPSHOTTING = "Snapshotting"
REFRESHING = "Refreshing"
VALID = "Valid"
SUSPENDED = "Suspended"
BAD_SCHEDULE = "BadSchedule"
CLEANUP_FAILED = "CleanupFailed"

VALIDATED = "Validated"
CLEANED = "Cleaned"
_NOT_READ = ("suspend", "refresh", "keepRevisions")  # fields that do not change what a read finds


@dataclass(frozen=True)
class DatasetSnapshot:
    """All that the decision needs; `jobs` are those the Dataset owns, `pods` by Job name."""

    dataset: Dataset
    image: Image
    jobs: tuple[Obj, ...] = ()
    pods: Mapping[str, tuple[Obj, ...]] | None = None
    referred: frozenset[str] = frozenset()  # revisions that a TrainingRun or ModelVersion refers to

    def seen(self, attempt: Any) -> Seen:
        """Return an attempt's Job and pods."""
        return seen_job(self.jobs, attempt, (self.pods or {}).get(attempt.job, ()) if attempt else ())


@dataclass(frozen=True)
class Tick:
    """Which refresh: what was asked for, by which request, at which scheduled minute."""

    spec: str
    request: str = ""
    minute: str = ""

    def __str__(self) -> str:
        """Return the form that status and the Job's input hold."""
        return f"{self.spec}/{self.request}/{self.minute}"

    @staticmethod
    def parse(text: str) -> Tick:
        """Return the tick that a status holds; "" is none."""
        return Tick(*(text.split("/", 2) if text else ("",)))


@dataclass(frozen=True)
class Outcome:
    """What planning one part gives: changed status fields, actions, conditions, when to look again."""

    changes: Mapping[str, Any]
    said: tuple[Condition, ...]
    actions: tuple[Action, ...] = ()
    requeue_after_s: float | None = None


def plan_dataset(snapshot: DatasetSnapshot, now: datetime) -> Plan:
    """Return the plan that brings a Dataset one step forward."""
    dataset = snapshot.dataset
    try:
        wanted = wanted_tick(dataset, now)
        due_s, next_refresh = _next_refresh(dataset.spec, now)
    except BadSchedule as error:
        said = stalled(BAD_SCHEDULE, f"spec.refresh.schedule: {sentence(str(error))}")
        return _finish(dataset, Outcome({}, (*said, *_validated(dataset.status.last_check))), now)
    tick = _tick_to_pursue(snapshot, wanted)
    outcome = _pursue(snapshot, tick, now) if tick else _settled(snapshot, now)
    outcome = replace(outcome, changes={**outcome.changes, "next_refresh": next_refresh})
    again = min((s for s in (due_s, outcome.requeue_after_s) if s is not None), default=None)
    current = (dataset.status.attempt, dataset.status.cleanup)
    cleared = retired(snapshot.jobs, (*current, outcome.changes.get("attempt"), outcome.changes.get("cleanup")))
    return _finish(dataset, replace(outcome, actions=(*outcome.actions, *cleared), requeue_after_s=again), now)


def wanted_tick(dataset: Dataset, now: datetime) -> Tick:
    """Return the refresh that should be the newest by now; equal to status.tick when none is due.

    Raises:
        BadSchedule: the schedule cannot be read.
    """
    spec, status = dataset.spec, dataset.status
    request = dataset.annotations.get(names.ANNOTATION_REFRESH, "")
    minute = Tick.parse(status.tick).minute
    if spec.refresh and status.tick_at and next_time(spec.refresh.schedule, parse_time(status.tick_at)) <= now:
        minute = format_time(last_time(spec.refresh.schedule, now))
    return Tick(spec_digest(spec), short(digest_of(request), 8) if request else "", minute)


def spec_digest(spec: DatasetSpec) -> str:
    """Return 10 digits that change when the source has to be read again."""
    return short(digest_of({key: value for key, value in _said(spec).items() if key not in _NOT_READ}))


def shape_digest(spec: DatasetSpec) -> str:
    """Return the digest of what decides the columns: under Infer a new one lets them change."""
    return digest_of({key: value for key, value in _said(spec).items() if key in ("source", "format", "schema")})


def _said(spec: DatasetSpec) -> dict[str, Any]:
    """Return the spec without defaults, so that a field which a newer operator brings reads nothing again."""
    return spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


def is_decided(status: DatasetStatus) -> bool:
    """Say whether the newest refresh that was started has its result."""
    return status.last_check is not None and status.last_check.tick == status.tick


def _next_refresh(spec: DatasetSpec, now: datetime) -> tuple[float | None, str | None]:
    if spec.refresh is None or spec.suspend:
        return None, None
    at = next_time(spec.refresh.schedule, now)
    return (at - now).total_seconds(), format_time(at)


def _tick_to_pursue(snapshot: DatasetSnapshot, wanted: Tick) -> Tick | None:
    """Return the refresh to work for: the one that runs, unless spec changed; then one that is due."""
    spec, status = snapshot.dataset.spec, snapshot.dataset.status
    current = Tick.parse(status.tick)
    if status.tick and not is_decided(status) and (current.spec == wanted.spec or spec.suspend):
        return current
    if wanted == current or spec.suspend or _cleanup_runs(snapshot):
        return None
    return wanted


def _pursue(snapshot: DatasetSnapshot, tick: Tick, now: datetime) -> Outcome:
    dataset = snapshot.dataset
    status, new = dataset.status, str(tick) != dataset.status.tick
    order = snapshot_order(dataset, str(tick), snapshot.image, _previous_revision(dataset))
    pursuit = Pursuit(order, stuck_in(dataset))
    tries = find_begun(pursuit, Tries(status.attempt, status.failures, status.retry_at), snapshot.jobs, now)
    seen = snapshot.seen(tries.attempt)
    step = pursue(pursuit, tries, seen, now)
    if isinstance(step.outcome, Lost):
        step = restart(pursuit, step.tries, step.outcome, seen, now)
    if dataset.spec.suspend and any(isinstance(action, Create) for action in step.actions):
        return Outcome({}, _suspended())
    begun = {"tick": str(tick), "tick_at": format_time(now)} if new else {}
    changes = {**begun, **_remembered(step)}
    if step.outcome is None:
        return Outcome(changes, _under_way(dataset, tick, step), step.actions, step.requeue_after_s)
    return _decided(snapshot, {**changes, **_result(dataset, tick, step.outcome, now)}, now)


def _remembered(step: Step) -> dict[str, Any]:
    tries = step.tries
    return {"attempt": tries.attempt, "failures": tries.failures, "retry_at": tries.retry_at}


def _previous_revision(dataset: Dataset) -> str | None:
    """Return the revision whose columns must be kept: under Infer, as long as nobody changed what is read."""
    spec, status = dataset.spec, dataset.status
    if spec.table_schema.policy != SchemaPolicy.INFER or status.shape != shape_digest(spec):
        return None
    return status.revision or None


def _under_way(dataset: Dataset, tick: Tick, step: Step) -> tuple[Condition, ...]:
    job = step.tries.attempt.job if step.tries.attempt else ""
    if dataset.spec.suspend:
        return (*_suspended(), *_validated(dataset.status.last_check))
    if step.problem is not None:
        said = working(step.problem.reason, step.problem.message)
    elif _was_valid_under(dataset.status, tick):
        said = ready(REFRESHING, f"Job {job} reads the source again. {_stays(dataset.status)}")
    else:
        said = working(SNAPSHOTTING, f"Job {job} reads the source and checks it.")
    return (*said, *_validated(dataset.status.last_check))


def _was_valid_under(status: DatasetStatus, tick: Tick) -> bool:
    last = status.last_check
    return last is not None and last.valid and Tick.parse(last.tick).spec == tick.spec


def _result(dataset: Dataset, tick: Tick, outcome: Any, now: datetime) -> dict[str, Any]:
    """Return the status fields that record a read for this refresh."""
    check = LastCheck(at=format_time(now), tick=str(tick), **_said_by(outcome))
    if isinstance(outcome, SnapshotSummary) and check.valid:
        return _valid(dataset, outcome, check)
    return {"last_check": check}


def _said_by(outcome: Any) -> dict[str, Any]:
    if isinstance(outcome, SnapshotSummary) and outcome.valid and outcome.revision:
        return {"valid": True, "reason": VALID, "message": outcome.message}
    if isinstance(outcome, SnapshotSummary):
        failed, reason = outcome.failed_checks or None, outcome.reason or "ChecksFailed"
        return {"reason": reason, "message": outcome.message, "failed_checks": failed}
    if isinstance(outcome, Failed):
        return {"reason": outcome.reason, "message": outcome.message}
    text = f"The Job ended with a summary of kind {outcome.kind} instead of Snapshot; is the jobs image right?"
    return {"reason": PROGRAM_FAILED, "message": text}


def _valid(dataset: Dataset, found: SnapshotSummary, check: LastCheck) -> dict[str, Any]:
    known = list(dataset.status.revisions or ())
    again = next((entry for entry in known if entry.revision == found.revision), None)
    first = again or RevisionSummary(revision=found.revision or "", at=check.at, rows=found.rows)
    return {
        "last_check": check,
        "revision": found.revision,
        "rows": found.rows,
        "columns": found.columns,
        "train_rows": found.train_rows,
        "validation_rows": found.validation_rows,
        "test_rows": found.test_rows,
        "shape": shape_digest(dataset.spec),
        "revisions": [first, *(entry for entry in known if entry.revision != found.revision)],
    }


def _decided(snapshot: DatasetSnapshot, changes: dict[str, Any], now: datetime) -> Outcome:
    """Return the outcome of a status that has just got its result."""
    status = snapshot.dataset.status.model_copy(update=changes)
    updated = replace(snapshot, dataset=replace(snapshot.dataset, status=status))
    settled = _settled(updated, now)
    return replace(settled, changes={**changes, **settled.changes})


def _settled(snapshot: DatasetSnapshot, now: datetime) -> Outcome:
    """Nothing is read: say what the newest read found, and let go of what is beyond keepRevisions."""
    changes = _trimmed(snapshot.dataset)
    status = snapshot.dataset.status.model_copy(update=changes)
    current = replace(snapshot, dataset=replace(snapshot.dataset, status=status))
    cleaning = _clean_up(current, now)
    said = (*_verdict(current.dataset), *cleaning.said)
    return Outcome({**changes, **cleaning.changes}, said, cleaning.actions, cleaning.requeue_after_s)


def _verdict(dataset: Dataset) -> tuple[Condition, ...]:
    last, status = dataset.status.last_check, dataset.status
    if dataset.spec.suspend:
        said = _suspended()
    elif last is None:
        said = working(SNAPSHOTTING, "The source is about to be read.")
    elif last.valid:
        said = ready(VALID, f"Revision {status.revision} with {status.rows} rows is current.")
    else:
        fix = f"Fix it and set the annotation {names.ANNOTATION_REFRESH}, change spec, or wait for the next refresh."
        said = stalled(last.reason, f"{sentence(last.message[:600])} {fix} {_stays(status)}")
    return (*said, *_validated(last))


def _suspended() -> tuple[Condition, ...]:
    return working(SUSPENDED, "Nothing is read while spec.suspend is true; set it to false to go on.")


def _stays(status: DatasetStatus) -> str:
    return f"Revision {status.revision} stays current." if status.revision else "There is no valid revision yet."


def _validated(last: LastCheck | None) -> tuple[Condition, ...]:
    if last is None:
        return ()
    message = last.message or f"The read of {last.at} passed all checks."
    return (Condition(VALIDATED, "True" if last.valid else "False", last.reason, message),)


def _trimmed(dataset: Dataset) -> dict[str, Any]:
    """Return the revisions cut to keepRevisions, and what was cut as dropped."""
    known, dropped = list(dataset.status.revisions or ()), list(dataset.status.dropped or ())
    kept, cut = known[: dataset.spec.keep_revisions], known[dataset.spec.keep_revisions :]
    held = {entry.revision for entry in kept}
    gone = [revision for revision in [*dropped, *(entry.revision for entry in cut)] if revision not in held]
    return {"revisions": kept or None, "dropped": sorted(set(gone))[-50:] or None}


def _cleanup_runs(snapshot: DatasetSnapshot) -> bool:
    """Say whether a clean-up may still delete: it does not know a revision that is read meanwhile."""
    job = snapshot.seen(snapshot.dataset.status.cleanup).job
    return job is not None and not is_finished(job)


def _clean_up(snapshot: DatasetSnapshot, now: datetime) -> Outcome:
    """Remove dropped revisions that nothing refers to, one Job at a time."""
    dataset = snapshot.dataset
    status = dataset.status
    removable = [revision for revision in status.dropped or () if revision not in snapshot.referred]
    if not removable or dataset.spec.suspend:
        return Outcome({"cleanup": None} if not removable else {}, ())
    listed = [entry.revision for entry in status.revisions or ()]
    order = cleanup_order(dataset, {*listed, *snapshot.referred}, snapshot.image)
    step = pursue(Pursuit(order), Tries(status.cleanup), snapshot.seen(status.cleanup), now)
    if isinstance(step.outcome, CleanupSummary):
        left = [revision for revision in status.dropped or () if revision in snapshot.referred]
        return Outcome({"cleanup": None, "dropped": left or None}, ())
    if step.outcome is None and not step.tries.retry_at:
        return Outcome({"cleanup": step.tries.attempt}, (), step.actions, step.requeue_after_s)
    return Outcome({"cleanup": step.tries.attempt}, (_not_cleaned(step),), step.actions)


def _not_cleaned(step: Step) -> Condition:
    why = step.outcome.message if isinstance(step.outcome, Failed) else step.problem.message if step.problem else "lost"
    message = f"Old revisions could not be removed: {sentence(why)} They are removed after the next new revision."
    return Condition(CLEANED, "False", CLEANUP_FAILED, message)


def _finish(dataset: Dataset, outcome: Outcome, now: datetime) -> Plan:
    status = new_status(dataset, outcome.said, now, **outcome.changes)
    # The very first Job is found by its name if status never comes to be, so it need not wait for status.
    first = dataset.status.attempt is None and any(isinstance(action, Create) for action in outcome.actions)
    return Plan(outcome.actions, status, outcome.requeue_after_s, status_first=not first)
