"""Decides where a ModelVersion stands: know its bytes, evaluate, weigh the gates, ask for approval, follow services.

| state | condition | next |
|---|---|---|
| the training run does not exist | Reconciling TrainingRunMissing | goes on when it appears |
| the training run has not ended | Reconciling TrainingRunNotFinished | goes on when it ends |
| the training run failed | Stalled TrainingRunFailed | make a new run and version |
| the run trained another model | Stalled ModelMismatch | make a version with the run's model |
| the evaluation dataset does not exist | Reconciling DatasetMissing | goes on when the Dataset appears |
| the evaluation dataset has no valid revision | Reconciling DatasetNotReady | goes on when it has one |
| a gate names a service that does not exist | Reconciling InferenceServiceMissing | goes on when it appears |
| two services could name the champion | Stalled AmbiguousChampion | goes on when one is left; or name it anew |
| the evaluation runs | Reconciling Evaluating | the gates decide |
| the evaluation stands before an obstacle | Reconciling, the obstacle's reason | goes on by itself when it is gone |
| the evaluation cannot be made | Stalled, its reason | evaluated again when pod overrides or the champion change |
| a gate failed | Stalled GateFailed | final: stage Rejected |
| a gate is inconclusive | Stalled GateInconclusive | evaluated again when the champion changes |
| gates passed, approval wanted | Reconciling ApprovalRequired | stage PendingApproval; a decision of a person |
| approved by an older evaluation | Reconciling ApprovalOutdated | approve what the current evaluation says |
| an approver refused | Stalled RejectedByApprover | final: stage Rejected |
| approved | Ready Approved | stage Approved; services may roll it out |
| stable in a service | Ready InProduction | stage Production |
| was stable, is no longer | Ready Archived | stage Archived; Production when a service returns to it |
| a service's judge refused the bytes | Stalled RejectedByService | make a new version, or override at the service |
| a person lifted the refusal there | Ready Approved or Archived | the service tries it again: Production, or refused |

A changed champion means a new evaluation until the version is approved or rejected; then it is never evaluated again.
Must never approve without an evaluation of what is current, forget a rejection, or trust a pickle that no run of this
installation made unless spec says so. Called by `controllers/modelversion.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fairlead.api import names
from fairlead.api.conditions import Condition, format_time, ready, stalled, working
from fairlead.api.dataset import Dataset
from fairlead.api.meta import PodOverrides
from fairlead.api.modelversion import (
    EvaluationFailure,
    EvaluationResult,
    ModelVersion,
    ModelVersionStatus,
    Refusal,
)
from fairlead.api.trainingrun import TrainingRun
from fairlead.contract.base import digest_of
from fairlead.contract.jobs import ArtifactRef, EvaluateInput, EvaluateSummary

from .attempts import Lost, Pursuit, Seen, Step, Tries, pursue, restart, retired, seen_job, start, stuck_in
from .children import Image, JobOrder, artifact_ref, owner_of
from .gates import Champion, Impasse, ServiceFacts, describe, find_champion, summary, weigh
from .jobs import PROGRAM_FAILED, Failed
from .sources import Waiting, find_artifact, find_dataset
from .standing import bytes_refusal, stage_of, standing
from .status import new_status, sentence
from .types import Obj, Plan

EVALUATING = "Evaluating"
GATE_FAILED = "GateFailed"
GATE_INCONCLUSIVE = "GateInconclusive"
APPROVAL_REQUIRED = "ApprovalRequired"
APPROVAL_OUTDATED = "ApprovalOutdated"
REJECTED_BY_APPROVER = "RejectedByApprover"
REJECTED_BY_SERVICE = "RejectedByService"
APPROVED = "Approved"
IN_PRODUCTION = "InProduction"
ARCHIVED = "Archived"
MEASURED = "Measured"

EVALUATED = "Evaluated"
EVALUATION_TIMEOUT_S = 3600.0
EVALUATION_RETRIES = 2
MAX_METRICS = 20


@dataclass(frozen=True)
class ModelVersionSnapshot:
    """All that the decision needs; `champions` are the ModelVersions that are stable somewhere, by name."""

    version: ModelVersion
    image: Image
    run: TrainingRun | None = None
    dataset: Dataset | None = None
    services: tuple[ServiceFacts, ...] = ()
    champions: Mapping[str, Champion] | None = None
    jobs: tuple[Obj, ...] = ()
    pods: tuple[Obj, ...] = ()

    @property
    def seen(self) -> Seen:
        """The attempt's Job and pods."""
        return seen_job(self.jobs, self.version.status.attempt, self.pods)


@dataclass(frozen=True)
class Outcome:
    """What planning one part gives: changed status fields, conditions, and the step of the Job if there is one."""

    changes: Mapping[str, Any]
    said: tuple[Condition, ...]
    step: Step | None = None


def plan_modelversion(snapshot: ModelVersionSnapshot, now: datetime) -> Plan:
    """Return the plan that brings a ModelVersion one step forward."""
    version = snapshot.version
    outcome = _decide(snapshot, now)
    status = version.status.model_copy(update=dict(outcome.changes))
    where = standing(version, status, snapshot.services)
    status = status.model_copy(update=where)
    waiting = any(c.reason in (APPROVAL_REQUIRED, APPROVAL_OUTDATED) for c in outcome.said)
    stage = stage_of(status, waiting=waiting)
    said = outcome.said or _final_conditions(status)
    changes = {**outcome.changes, **where, "stage": stage}
    body = new_status(version, (*said, *_evaluated(status, said)), now, **changes)
    step = outcome.step
    cleared = retired(snapshot.jobs, (version.status.attempt, status.attempt))
    actions = (*(step.actions if step else ()), *cleared)
    return Plan(actions, body, step.requeue_after_s if step else None)


def _decide(snapshot: ModelVersionSnapshot, now: datetime) -> Outcome:
    """Return what is decided; conditions are left empty for a version that is approved or refused."""
    approval, status = snapshot.version.spec.approval, snapshot.version.status
    if approval.decision == "Rejected" and status.refusal is None:
        message = f"{approval.by or 'An approver'} refused it: {approval.reason or 'no reason was given'}"
        return _refuse(REJECTED_BY_APPROVER, message, now)
    if status.refusal is not None or status.approved_at:
        return Outcome({}, ())
    return _learn(snapshot, now)


def _learn(snapshot: ModelVersionSnapshot, now: datetime) -> Outcome:
    """Go through what has to be known before the gates can be weighed: bytes, rows, champion, evaluation."""
    version = snapshot.version
    found = find_artifact(version, snapshot.run)
    if isinstance(found, Waiting):
        return Outcome({}, found.conditions)
    known: dict[str, Any] = {"artifact": found.artifact, "lineage": found.lineage}
    pinned = find_dataset(version, snapshot.run, snapshot.dataset)
    if isinstance(pinned, Waiting):
        return Outcome(known, pinned.conditions)
    known["dataset"] = pinned
    champion = _champion(snapshot)
    if isinstance(champion, Impasse):
        say = stalled if champion.final else working
        return Outcome(known, say(champion.problem.reason, champion.problem.message))
    order = _order(snapshot, known, champion)
    evaluated = _evaluate(snapshot, order, champion, now)
    return replace(evaluated, changes={**known, **evaluated.changes})


def _refuse(reason: str, message: str, now: datetime) -> Outcome:
    refusal = Refusal(reason=reason, message=message[:1024], at=format_time(now))
    return Outcome({"refusal": refusal, "approved_at": "", "approved_by": ""}, ())


def _champion(snapshot: ModelVersionSnapshot) -> Champion | Impasse | None:
    version = snapshot.version
    gates = version.spec.gates or ()
    return find_champion(version.name, version.spec.model, gates, snapshot.services, snapshot.champions or {})


def _order(snapshot: ModelVersionSnapshot, known: Mapping[str, Any], champion: Champion | None) -> JobOrder:
    version, spec = snapshot.version, snapshot.version.spec
    document = EvaluateInput(
        namespace=version.namespace,
        name=version.name,
        artifact=artifact_ref(version.namespace, spec.model, version.name, known["artifact"]),
        dataset=known["dataset"],
        split=spec.evaluation.split if spec.evaluation else "Test",
        gates=spec.gates or [],
        champion=_reference(version.namespace, champion) if champion else None,
    )
    return JobOrder(
        owner=owner_of(names.MODEL_VERSION, version),
        role="evaluate",
        document=document,
        image=snapshot.image,
        overrides=spec,
        timeout_s=EVALUATION_TIMEOUT_S,
        retries=EVALUATION_RETRIES,
    )


def _reference(namespace: str, champion: Champion) -> ArtifactRef:
    return artifact_ref(namespace, champion.model, champion.version, champion.artifact)


def _evaluate(snapshot: ModelVersionSnapshot, order: JobOrder, champion: Champion | None, now: datetime) -> Outcome:
    """Return the verdict when the current evaluation is known, else the next step towards it."""
    version = snapshot.version
    status = version.status
    if status.evaluation is not None and status.evaluation.input_digest == order.input_digest:
        return _judge(version, status, now)
    inputs = _inputs(version, order)
    if status.failure is not None and status.failure.inputs == inputs:
        return Outcome({}, _not_evaluated(status.failure))
    step = _step(snapshot, order, now)
    changes: dict[str, Any] = {
        "attempt": step.tries.attempt,
        "failures": step.tries.failures,
        "retry_at": step.tries.retry_at,
        "failure": None,
    }
    if step.outcome is None:
        return Outcome(changes, _under_way(step, champion), step)
    if not isinstance(step.outcome, EvaluateSummary):
        failure = _failure(step.outcome, inputs)
        return Outcome({**changes, "failure": failure}, _not_evaluated(failure), step)
    changes |= _result(version, order, champion, step.outcome, now)
    judged = _judge(version, status.model_copy(update=changes), now)
    return replace(judged, changes={**changes, **judged.changes}, step=step)


def _inputs(version: ModelVersion, order: JobOrder) -> str:
    """Return the digest of all that a failed evaluation hung on: its input and where its pod ran."""
    overrides = PodOverrides.model_validate(version.spec.to_json_object())
    return digest_of([order.input_digest, overrides.to_json_object()])


def _step(snapshot: ModelVersionSnapshot, order: JobOrder, now: datetime) -> Step:
    status = snapshot.version.status
    pursuit = Pursuit(order, stuck_in(snapshot.version))
    attempt = status.attempt
    if status.failure is not None and attempt is not None and attempt.input_digest == order.input_digest:
        return start(pursuit, attempt.number + 1, 0, now)
    tries = Tries(attempt, status.failures, status.retry_at)
    step = pursue(pursuit, tries, snapshot.seen, now)
    if isinstance(step.outcome, Lost):
        return restart(pursuit, step.tries, step.outcome, snapshot.seen, now)
    return step


def _under_way(step: Step, champion: Champion | None) -> tuple[Condition, ...]:
    if step.problem is not None:
        return working(step.problem.reason, step.problem.message)
    job = step.tries.attempt.job if step.tries.attempt else ""
    against = f" beside the champion {champion.version}" if champion else ""
    return working(EVALUATING, f"Job {job} measures it on the frozen split{against}.")


def _failure(outcome: Any, inputs: str) -> EvaluationFailure:
    if isinstance(outcome, Failed):
        return EvaluationFailure(reason=outcome.reason, message=outcome.message[:1024], inputs=inputs)
    text = f"The Job ended with a summary of kind {outcome.kind} instead of Evaluate; is the jobs image right?"
    return EvaluationFailure(reason=PROGRAM_FAILED, message=text, inputs=inputs)


def _not_evaluated(failure: EvaluationFailure) -> tuple[Condition, ...]:
    again = "It is evaluated again when spec's pod overrides or the champion change; else make a new version."
    return stalled(failure.reason, f"{sentence(failure.message[:800])} {again}")


def _result(
    version: ModelVersion, order: JobOrder, champion: Champion | None, found: EvaluateSummary, now: datetime
) -> dict[str, Any]:
    document = order.document
    assert isinstance(document, EvaluateInput)
    results = list({result.name: result for result in found.gates}.values())
    gates = version.spec.gates or []
    evaluation = EvaluationResult(
        input_digest=order.input_digest,
        dataset=document.dataset.name,
        revision=document.dataset.revision,
        split=document.split,
        champion=champion.version if champion else "",
        rows=found.rows,
        metrics=dict(sorted(found.metrics.items())[:MAX_METRICS]),
        card_key=found.card_key,
        at=format_time(now),
    )
    return {"evaluation": evaluation, "gates": results or None, "gates_summary": summary(gates, results)}


def _judge(version: ModelVersion, status: ModelVersionStatus, now: datetime) -> Outcome:
    """Weigh the gates of the current evaluation; then it is a person's turn, or nobody's."""
    gates, results = version.spec.gates or [], status.gates or []
    verdict = weigh(gates, results)
    if verdict.failed:
        return _refuse(GATE_FAILED, describe(verdict.failed), now)
    if verdict.blocking:
        more = "It stays a candidate; give it more rows in a new version, or let a person decide (RequireApproval)."
        return Outcome({}, stalled(GATE_INCONCLUSIVE, f"{describe(verdict.blocking)} {more}"))
    if not (version.spec.approval.required or verdict.asking):
        return Outcome({"approved_at": format_time(now)}, ())
    return _approval(version, status, describe(verdict.asking), now)


def _approval(version: ModelVersion, status: ModelVersionStatus, doubts: str, now: datetime) -> Outcome:
    approval = version.spec.approval
    digest = status.evaluation.input_digest if status.evaluation else ""
    how = (
        f"Approve with `kubectl fairlead approve {version.name}`, or set spec.approval decision, by, reason and "
        f"evaluationDigest {digest}."
    )
    if approval.decision == "Approved" and approval.evaluation_digest == digest:
        return Outcome({"approved_at": format_time(now), "approved_by": approval.by or ""}, ())
    if approval.decision == "Approved":
        named = approval.evaluation_digest or "none"
        message = f"The approval names evaluation {named}, and the current one is another. {how}"
        return Outcome({}, working(APPROVAL_OUTDATED, message))
    passed = f"{status.gates_summary or 'No gate stands in its way'}. {doubts}".strip()
    return Outcome({}, working(APPROVAL_REQUIRED, f"{passed} {how}"))


def _final_conditions(status: ModelVersionStatus) -> tuple[Condition, ...]:
    """Return the conditions of a version that is decided."""
    serves = ", ".join(status.production_in or ())
    if status.refusal is not None:
        still = f" It still serves in {serves}: roll that back." if serves else ""
        message = f"{sentence(status.refusal.message[:900])} It may never go live; make a new version.{still}"
        return stalled(status.refusal.reason, message)
    if serves:
        return ready(IN_PRODUCTION, f"It is the stable version of InferenceService {serves}.")
    entry = bytes_refusal(status)
    if entry is not None:
        message = f"InferenceService {entry.inference_service} refused its bytes, {entry.reason}: {entry.message[:500]}"
        return stalled(REJECTED_BY_SERVICE, f"{sentence(message)} Make a new version, or override at the service.")
    if status.was_production:
        return ready(ARCHIVED, "It was in production and is no longer; a service may return to it.")
    by = f" by {status.approved_by}" if status.approved_by else ""
    return ready(APPROVED, f"Approved{by} at {status.approved_at}; services of its model may roll it out.")


def _evaluated(status: ModelVersionStatus, said: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Return the condition Evaluated: True while the evaluation in status is the one that counts."""
    evaluation = status.evaluation
    if evaluation is None or status.failure is not None or any(c.reason == EVALUATING for c in said):
        return ()
    on = f"{evaluation.rows} rows of {evaluation.dataset} {evaluation.revision}"
    gates = status.gates_summary or "no gates"
    return (Condition(EVALUATED, "True", MEASURED, f"On {on}: {gates}; evaluation {evaluation.input_digest}."),)
