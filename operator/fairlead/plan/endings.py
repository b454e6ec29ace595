"""How a rollout ends: what is refused, what is only inconclusive, and the line that history keeps.

| ending | refused |
|---|---|
| errors, predictions, labels, signature, digest, replay, a person's word | the model digest, in any predictor |
| crash, out of memory, not ready, latency | the revision: other resources make a new one |
| what the judge finds in a user's own container; any of these when the same bytes serve | the revision |
| deadline, unschedulable, no replay, image or Secret absent | nothing: it is tried again on a new spec or a retry |
| superseded by another target | nothing |
| promoted | |

It must never decide when: that is `rollout.py`, which calls this.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fairlead.api.conditions import format_time
from fairlead.api.inferenceservice import (
    Inconclusive,
    InferenceServiceStatus,
    Rejection,
    ReplayStatus,
    RevisionStatus,
    RolloutSummary,
)

from .analysis import Finding, describe_signal
from .judge import Verdict
from .serving_pods import CANARY_NOT_READY, ArmFacts, Fault
from .sizes import BAKING, COMPARED, FIRST, ROLLING_BACK, active_state

ERROR_RATE, LATENCY, PREDICTIONS, LABELS, OUTCOMES = "ErrorRate", "Latency", "Predictions", "Labels", "Outcomes"
DISAGREEMENT = "Disagreement"
RETURNED_BY_REQUEST = "RolledBackByRequest"
SUPERSEDED = "Superseded"
DEADLINE = "DeadlineExceeded"
REPLAY_FAILED = "ReplayFailed"
NOT_REPLAYED = "NotReplayed"
PROMOTED, ROLLED_BACK, UNDECIDED = "Promoted", "RolledBack", "Inconclusive"

REFUSALS = "RequestsRefused"
_SIGNALS = {
    "errors": ERROR_RATE,
    "latency": LATENCY,
    "predictions": PREDICTIONS,
    "labels": LABELS,
    "refusals": REFUSALS,
    "outcomes": OUTCOMES,
}
_REJECTED_AT_MOST, _HISTORY = 8, 10  # of the status; the versions remember every refusal
_TEXT, _LINE = 280, 120  # characters; a status is at most 16 KiB


@dataclass(frozen=True)
class Ending:
    """Why a rollout goes back; `refuses`: "digest", "revision", "nothing" (inconclusive) or "" (superseded)."""

    outcome: str
    reason: str
    message: str
    refuses: str = ""
    verdict: Verdict | None = None


def by_fault(fault: Fault) -> Ending:
    """End by a fact that needs no statistics."""
    return Ending(ROLLED_BACK, fault.reason, _ended(fault.message), "digest" if fault.of_bytes else "revision")


def by_judge(verdict: Verdict) -> Ending:
    """End by the judge's FAIL: latency refuses the revision, everything else the bytes."""
    reason = _SIGNALS.get(verdict.signal or "", ERROR_RATE)
    refuses = "revision" if reason == LATENCY else "digest"
    return Ending(ROLLED_BACK, reason, _capital(verdict.reason) + ".", refuses, verdict)


def by_replay(replayed: ReplayStatus) -> Ending:
    """End by what captured requests showed, before the first user."""
    return Ending(ROLLED_BACK, REPLAY_FAILED, replayed.message, replayed.refuses)


def by_no_replay(message: str) -> Ending:
    """End because captured requests could not be replayed: that proves nothing."""
    return Ending(UNDECIDED, NOT_REPLAYED, f"Captured requests were not replayed. {message}", "nothing")


def by_answers(sentence: str) -> Ending:
    """End by a shadow's answers: too many differ from those that users got."""
    return Ending(ROLLED_BACK, DISAGREEMENT, _capital(sentence) + ".", "digest")


def by_person() -> Ending:
    """End by the rollback annotation: what was there is refused, or it would come back at once."""
    return Ending(ROLLED_BACK, RETURNED_BY_REQUEST, "The annotation fairlead.dev/rollback asked for it.", "digest")


def superseded(target: RevisionStatus | None) -> Ending:
    """End because another revision should serve now."""
    now = f"version {target.version}" if target else "the stable revision"
    return Ending(SUPERSEDED, SUPERSEDED, f"The spec or the newest approved version changed: {now} should serve.")


def without_gateway() -> Ending:
    """End because only a gateway can copy requests or keep users at a revision."""
    message = "spec.traffic.gateway is gone; without a gateway there is no Shadow and no ABTest."
    return Ending(SUPERSEDED, SUPERSEDED, message)


def by_unreadiness(canary: ArmFacts, baseline: ArmFacts, limit_s: float) -> Ending:
    """End Preparing or Promoting at its deadline: the cluster's fault is nobody's, else the revision is refused."""
    hindrance = canary.hindrance or baseline.hindrance
    if hindrance is not None:
        return Ending(UNDECIDED, hindrance.reason, _ended(hindrance.message), "nothing")
    if canary.ready > 0 or not canary.exists:
        message = f"Not all of its pods and of the baseline's were ready within {limit_s:g} s."
        return Ending(UNDECIDED, CANARY_NOT_READY, message, "nothing")
    message = f"None of its pods became ready within {limit_s:g} s; look at `kubectl logs` of one."
    return Ending(ROLLED_BACK, CANARY_NOT_READY, message, "revision")


def by_deadline(deadline: str, finding: Finding | None, held_for: str = "") -> Ending:
    """End at the deadline of the rollout without a verdict: a time-out proves nothing."""
    why = held_for or f"{lacking(finding)}."
    message = f"No verdict within {deadline}: {why}"
    return Ending(UNDECIDED, DEADLINE, message, "nothing", finding.verdict if finding else None)


def lacking(finding: Finding | None) -> str:
    """Return what the judge lacked, as half a sentence."""
    return finding.verdict.reason if finding else "the step never had its share of requests"


def is_refused(status: InferenceServiceStatus, revision: RevisionStatus) -> bool:
    """Say whether a revision is among the refused ones of this status."""
    return any(
        entry.content == revision.content if entry.revision else entry.digest == revision.digest
        for entry in status.rejected or ()
    )


def give_up(status: InferenceServiceStatus, now: datetime, ending: Ending) -> InferenceServiceStatus:
    """Go back: the bad revision is the canary from here on and has no weight; in a bake the previous one returns."""
    rollout = status.rollout
    assert rollout is not None
    if active_state(rollout) == BAKING and status.previous is not None:
        back = {"stable": status.previous, "previous": None, "canary": status.stable}
        status = status.model_copy(update=back)
    elif active_state(rollout) == BAKING:
        return _without_return(status, now, ending)
    bad = status.canary
    assert bad is not None
    status = _recorded(status, bad, now, ending)
    time = format_time(now)
    signals = [describe_signal(signal) for signal in ending.verdict.signals] if ending.verdict else rollout.signals
    moved = rollout.model_copy(
        update={
            "state": ROLLING_BACK,
            "resume": "",
            "held_for": "",
            "weight": 0,
            "next_weight": 0,
            "state_since": time,
            "verdict": ending.outcome,
            "reason": ending.reason,
            "message": ending.message[:_TEXT],
            "signals": signals,
        }
    )
    return status.model_copy(update={"rollout": moved})


def _without_return(status: InferenceServiceStatus, now: datetime, ending: Ending) -> InferenceServiceStatus:
    """Refuse the stable revision though there is none to return to: it goes on serving until something new comes."""
    assert status.stable is not None
    recorded = _recorded(status, status.stable, now, ending)
    return recorded.model_copy(update={"rollout": None, "baseline": None})


def _recorded(
    status: InferenceServiceStatus, bad: RevisionStatus, now: datetime, ending: Ending
) -> InferenceServiceStatus:
    assert status.rollout is not None
    time, message = format_time(now), ending.message[:_TEXT]
    update: dict[str, object] = {"history": _with_line(status, bad, now, ending)}
    refuses = _refused(status, bad, ending)
    if refuses in ("digest", "revision"):
        update["rejected"] = _with_rejection(status, bad, refuses, ending.reason, message, time)
    if ending.refuses == "nothing":
        update["inconclusive"] = Inconclusive(
            content=bad.content,
            version=bad.version,
            generation=status.rollout.generation,
            reason=ending.reason,
            message=message,
            at=time,
        )
    return status.model_copy(update=update)


def _refused(status: InferenceServiceStatus, bad: RevisionStatus, ending: Ending) -> str:
    """Return what is refused: not the model's bytes where they serve as well, nor for what a user's own code did."""
    back = status.stable
    same = back is not None and back.name != bad.name and back.digest == bad.digest
    own_code = ending.verdict is not None and bool((bad.predictor or {}).get("container"))
    return "revision" if ending.refuses == "digest" and (same or own_code) else ending.refuses


def _with_rejection(
    status: InferenceServiceStatus, bad: RevisionStatus, refuses: str, reason: str, message: str, time: str
) -> list[Rejection]:
    entry = Rejection(
        digest=bad.digest,
        revision=bad.revision if refuses == "revision" else "",
        content=bad.content,
        version=bad.version,
        reason=reason,
        message=message,
        at=time,
    )
    same = (entry.digest, entry.revision)
    others = [known for known in status.rejected or () if (known.digest, known.revision) != same]
    return [*others, entry][-_REJECTED_AT_MOST:]


def refuse_stable(status: InferenceServiceStatus, now: datetime) -> InferenceServiceStatus:
    """Refuse what serves now, because a person asked for the revision before it."""
    assert status.stable is not None
    person = by_person()
    rejected = _with_rejection(status, status.stable, "digest", person.reason, person.message, format_time(now))
    return status.model_copy(update={"rejected": rejected})


def _with_line(
    status: InferenceServiceStatus, of: RevisionStatus, now: datetime, ending: Ending
) -> list[RolloutSummary]:
    line = RolloutSummary(
        version=of.version,
        digest=of.digest,
        revision=of.revision,
        outcome=ending.outcome,
        reason=ending.reason,
        message=ending.message[:_LINE],
        started_at=status.rollout.started_at if status.rollout else "",
        ended_at=format_time(now),
    )
    return [line, *(status.history or ())][:_HISTORY]


def finish(status: InferenceServiceStatus, now: datetime) -> InferenceServiceStatus:
    """End a rollout well: the stable revision has all traffic, the one before it rests."""
    rollout, stable = status.rollout, status.stable
    assert rollout is not None
    assert stable is not None
    how = {FIRST: ("FirstVersion", "Nothing served before, so there was no baseline to compare it with.")}
    plain = ("ReturnedToLastGood", "It had served before, so no analysis was needed.")
    reason, message = how.get(rollout.kind, plain)
    if rollout.kind in COMPARED:
        reason, message = "Passed", "It passed every step and its bake."
    line = _with_line(status, stable, now, Ending(PROMOTED, reason, message))
    return status.model_copy(update={"rollout": None, "baseline": None, "history": line})


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ended(text: str) -> str:
    """Return a text of others as a sentence that others may follow."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
