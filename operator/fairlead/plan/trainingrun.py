"""Decides what a TrainingRun does: pin its data, train once, keep the outcome for ever, make the ModelVersion.

| state | condition | next |
|---|---|---|
| the dataset does not exist | Reconciling DatasetMissing | goes on when the Dataset appears |
| the dataset has no valid revision | Reconciling DatasetNotReady | goes on when it has one |
| another object has the version's name | Stalled NameTaken | goes on when that ModelVersion is gone |
| the Job trains | Reconciling Training | Succeeded, or the reason why not |
| the Job stands before an obstacle | Reconciling, the obstacle's reason | goes on by itself when it is gone |
| the store failed 6 times | Reconciling, the store's reason | tried again after 1, 2, 4, 8, then every 10 min |
| the Job or its result is gone | Reconciling Collecting | Succeeded from the store, or ResultLost |
| trained | Ready Succeeded | final; the ModelVersion of the same name goes on |
| ended without a model | Stalled, its reason | final; make a new TrainingRun |

Once status.outcome is set nothing changes it, whatever becomes of Jobs, pods or the dataset. Evictions, node losses and
the store use up no retries. Must never train twice, nor make the ModelVersion twice. Called by
`controllers/trainingrun.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from fairlead.api.conditions import READY, Condition, find_condition, format_time, ready, stalled, working
from fairlead.api.dataset import Dataset
from fairlead.api.trainingrun import Artifact, Failure, PinnedDataset, TrainingRun
from fairlead.contract import env
from fairlead.contract.data import DatasetRevision
from fairlead.contract.jobs import TrainSummary
from fairlead.contract.redaction import redact
from fairlead.contract.training import Progress

from .attempts import Lost, Pursuit, Seen, Step, Tries, pursue, restart, retired, seen_job, stuck_in
from .children import Image
from .jobs import PROGRAM_FAILED, RESULT_LOST, Failed, image_digest, tail_of
from .status import new_status, sentence
from .trainjobs import build_train_job, collect_order, program_container, train_order
from .types import Action, Create, Obj, Plan
from .versions import is_version_of, version_body

DATASET_MISSING = "DatasetMissing"
DATASET_NOT_READY = "DatasetNotReady"
NAME_TAKEN = "NameTaken"
TRAINING = "Training"
COLLECTING = "Collecting"
SUCCEEDED = "Succeeded"

OUTCOME_SUCCEEDED, OUTCOME_FAILED = "Succeeded", "Failed"
PROGRESS_EVERY_S = 10.0
MAX_METRICS = 20
MAX_TAIL = 6000  # characters of the last lines; a status has 16 KiB


@dataclass(frozen=True)
class TrainingRunSnapshot:
    """All that the decision needs; `log` is the last lines of the newest pod's program."""

    run: TrainingRun
    image: Image
    dataset: Dataset | None = None
    version: Obj | None = None  # the ModelVersion that has this run's name
    jobs: tuple[Obj, ...] = ()
    pods: tuple[Obj, ...] = ()
    log: tuple[str, ...] = ()

    @property
    def seen(self) -> Seen:
        """The attempt's Job and pods."""
        return seen_job(self.jobs, self.run.status.attempt, self.pods)


def plan_trainingrun(snapshot: TrainingRunSnapshot, now: datetime) -> Plan:
    """Return the plan that brings a TrainingRun one step forward."""
    run = snapshot.run
    if run.status.outcome:
        return _ended(snapshot, {}, now)
    if run.status.attempt is None and snapshot.version is not None and not is_version_of(run, snapshot.version):
        return Plan(status=new_status(run, _name_taken(run), now))
    pinned = run.status.dataset or _pin(snapshot)
    if not isinstance(pinned, PinnedDataset):
        return Plan(status=new_status(run, pinned, now))
    return _pursue(snapshot, pinned, now)


def _pin(snapshot: TrainingRunSnapshot) -> PinnedDataset | tuple[Condition, ...]:
    """Return the revision to train on, or the conditions that say what is waited for."""
    wanted, dataset = snapshot.run.spec.dataset, snapshot.dataset
    if dataset is None:
        message = f"Dataset {wanted.name} does not exist in this namespace; create it, and the training starts."
        return working(DATASET_MISSING, message)
    revision = wanted.revision or dataset.status.revision
    if revision:
        return PinnedDataset(name=wanted.name, revision=revision)
    why = find_condition(dataset.raw, READY)
    said = f" It says {why['reason']}: {sentence(str(why.get('message', '')))}" if why else ""
    message = f"Dataset {wanted.name} has no valid revision yet; the training starts when it has one.{said}"
    return working(DATASET_NOT_READY, message)


def _pursue(snapshot: TrainingRunSnapshot, pinned: PinnedDataset, now: datetime) -> Plan:
    run = snapshot.run
    tries = Tries(run.status.attempt, run.status.failures, run.status.retry_at)
    collecting = tries.attempt is not None and tries.attempt.collect
    pursuit = _collect(snapshot) if collecting else _train(snapshot, pinned)
    step = pursue(pursuit, tries, snapshot.seen, now)
    if isinstance(step.outcome, Lost):
        pursuit = _collect(snapshot)
        step = (
            restart(pursuit, step.tries, step.outcome, snapshot.seen, now)
            if collecting
            else pursue(pursuit, Tries(), Seen(), now)
        )
    changes = {"dataset": pinned, **_remembered(run, step, snapshot.seen), **_progress(snapshot)}
    changes["started_at"] = run.status.started_at or format_time(now)
    if step.outcome is None:
        status = new_status(run, _under_way(step), now, **changes)
        cleared = retired(snapshot.jobs, (run.status.attempt, step.tries.attempt))
        return Plan((*step.actions, *cleared), status, _look_again(step, snapshot))
    ending = _succeeded(snapshot, step.outcome, pinned) if isinstance(step.outcome, TrainSummary) else None
    ending = ending or _failed(snapshot, step.outcome, pursuit.collect)
    return _ended(snapshot, {**changes, **ending, "finished_at": format_time(now)}, now)


def _train(snapshot: TrainingRunSnapshot, pinned: PinnedDataset) -> Pursuit:
    run = snapshot.run
    left = max(0, run.spec.retries - run.status.program_failures)
    dataset = DatasetRevision(name=pinned.name, revision=pinned.revision)
    return Pursuit(train_order(run, dataset, snapshot.image, left), stuck_in(run), build_train_job, once=True)


def _collect(snapshot: TrainingRunSnapshot) -> Pursuit:
    return Pursuit(collect_order(snapshot.run, snapshot.image), stuck_in(snapshot.run), collect=True, once=True)


def _remembered(run: TrainingRun, step: Step, seen: Seen) -> dict[str, Any]:
    """Return what status remembers of the Job; counts of pods never go down, also when pods are removed."""
    status, counts = run.status, step.counts
    # A later Job is given the retries that earlier ones left over: the difference is what those used up.
    earlier = run.spec.retries - int(seen.job["spec"].get("backoffLimit", run.spec.retries)) if seen.job else 0
    lost = counts.store + counts.disrupted
    return {
        "attempt": step.tries.attempt,
        "failures": step.tries.failures,
        "retry_at": step.tries.retry_at,
        "program_failures": max(status.program_failures, earlier + counts.program if counts.program else 0),
        "infrastructure_failures": max(status.infrastructure_failures, lost),
    }


def _progress(snapshot: TrainingRunSnapshot) -> dict[str, Any]:
    for line in reversed(snapshot.log):
        if line.startswith(env.PROGRESS_PREFIX):
            found = parse_progress(line.removeprefix(env.PROGRESS_PREFIX))
            return {"progress": found} if found else {}
    return {}


def parse_progress(text: str) -> Progress | None:
    """Return the progress that a line holds, or None: a program may print what it likes."""
    try:
        return Progress.model_validate(json.loads(text))
    except (ValueError, ValidationError):
        return None


def _under_way(step: Step) -> tuple[Condition, ...]:
    if step.problem is not None:
        return working(step.problem.reason, step.problem.message)
    attempt = step.tries.attempt
    job = attempt.job if attempt else ""
    if attempt and attempt.collect:
        return working(COLLECTING, f"The training's Job or its result is gone; Job {job} looks for it in the store.")
    return working(TRAINING, f"Job {job} trains.")


def _look_again(step: Step, snapshot: TrainingRunSnapshot) -> float | None:
    runs = any((pod.get("status") or {}).get("phase") in ("Running", "Pending") for pod in snapshot.pods)
    return min(step.requeue_after_s or PROGRESS_EVERY_S, PROGRESS_EVERY_S) if runs else step.requeue_after_s


def _succeeded(snapshot: TrainingRunSnapshot, found: TrainSummary, pinned: PinnedDataset) -> dict[str, Any]:
    return {
        "outcome": OUTCOME_SUCCEEDED,
        "artifact": Artifact(digest=found.digest, format=found.format, size_bytes=found.size_bytes),
        "metrics": dict(sorted(found.metrics.items())[:MAX_METRICS]),
        "trials": found.trials,
        "parameters": found.parameters,
        "parity": found.parity,
        "lineage": _lineage(snapshot, found, pinned),
        "progress": None,
    }


def _lineage(snapshot: TrainingRunSnapshot, found: TrainSummary, pinned: PinnedDataset) -> dict[str, str]:
    """Return what made the artifact: what the Job saw, and what only the objects know. At most 20 entries."""
    run = snapshot.run
    code = run.spec.code
    known = {"dataset": pinned.name, "dataRevision": pinned.revision, "attempt": run.uid, "seed": str(run.spec.seed)}
    known |= {"repository": redact(code.repository)[:512], "commit": code.commit} if code else {}
    digest = image_digest(snapshot.pods, program_container(run))
    known |= {"imageDigest": digest} if digest else {}
    said = {key: redact(value)[:512] for key, value in found.lineage.items()}
    return dict(sorted({**known, **said}.items())[:20])


def _failed(snapshot: TrainingRunSnapshot, outcome: Any, collecting: bool) -> dict[str, Any]:
    if not isinstance(outcome, Failed):
        text = f"The Job ended with a summary of kind {outcome.kind} instead of Train; is the jobs image right?"
        outcome = Failed(PROGRAM_FAILED, text)
    reason, message = outcome.reason, outcome.message
    if collecting and reason != RESULT_LOST:
        reason, message = RESULT_LOST, f"The result of the lost Job could not be found: {message}"
    tail = _tail(snapshot.log) or list(outcome.tail)
    failure = Failure(reason=reason, message=message[:1024], exit_code=outcome.exit_code, tail=tail or None)
    return {"outcome": OUTCOME_FAILED, "failure": failure, "progress": None}


def _tail(log: Sequence[str]) -> list[str]:
    lines = list(tail_of("\n".join(line for line in log if not line.startswith(env.PROGRESS_PREFIX))))
    while sum(map(len, lines)) > MAX_TAIL:
        lines.pop(0)
    return lines


def _ended(snapshot: TrainingRunSnapshot, changes: Mapping[str, Any], now: datetime) -> Plan:
    """The outcome is known and stays; what may be left to do is the ModelVersion."""
    run = snapshot.run
    status = run.status.model_copy(update=dict(changes))
    actions: list[Action] = []
    said = _final_conditions(run, status)
    made = status.model_version
    if status.outcome == OUTCOME_SUCCEEDED and not made:
        if snapshot.version is None:
            actions.append(Create(version_body(run, status.dataset)))
        elif is_version_of(run, snapshot.version):
            made = run.name
        else:
            said = _name_taken(run)
    body = new_status(run, said, now, **{**changes, "model_version": made})
    return Plan((*actions, *retired(snapshot.jobs, (run.status.attempt, status.attempt))), body)


def _final_conditions(run: TrainingRun, status: Any) -> tuple[Condition, ...]:
    if status.outcome == OUTCOME_SUCCEEDED:
        digest = status.artifact.digest if status.artifact else ""
        return ready(SUCCEEDED, f"Trained {digest}; ModelVersion {run.name} takes it through its gates.")
    failure = status.failure or Failure(reason=RESULT_LOST, message="Nothing is known of how it ended.")
    again = "This run stays as it is: mend the cause and make a new TrainingRun."
    return stalled(failure.reason, f"{sentence(failure.message[:900])} {again}")


def _name_taken(run: TrainingRun) -> tuple[Condition, ...]:
    message = (
        f"ModelVersion {run.name} exists and is not of this run. Delete it, or make a TrainingRun with another name."
    )
    return stalled(NAME_TAKEN, message)
