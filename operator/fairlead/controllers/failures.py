"""What an object's status says while the shell itself cannot do what the plan wants. Pure; used by `loop.py`.

A failure is laid over the planner's status, and stays laid over it on each further attempt until one succeeds: so
attempts that fail alike write nothing, and never flicker between the planner's words and the error's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fairlead.api.conditions import (
    READY,
    RECONCILING,
    STALLED,
    Condition,
    find_condition,
    merge_conditions,
    stalled,
    working,
)
from fairlead.kube.errors import KubeError, TerminalError
from fairlead.plan.status import sentence
from fairlead.plan.types import Obj

SHOWN_AFTER = 3  # attempts in a row; most retryable errors are over by then
WORDS_HOLD_S = 60.0  # the words of one and the same failure change at most this often
TERMINAL_RETRY_S = 300.0  # nobody tells us when a foreign object is renamed, so look now and then
AGAIN = "It is tried again by itself."
REMEDIES = {  # what a person does about an answer of the API server; a reason that is not here mends itself
    "ApiUnauthorized": f"Give the operator valid credentials. {AGAIN}",
    "AwaitingDeletion": "If it stays, look at its finalizers.",
    "Forbidden": f"Give the operator that right, or change the policy that forbids it. {AGAIN}",
    "Invalid": "Change spec, or what else the message names, so that the API server accepts it.",
    "NameTaken": "",  # its message says it, with the name
    "NamespaceTerminating": "The object goes with its namespace.",
    "QuotaExceeded": f"Raise the quota, free some of it, or ask for less. {AGAIN}",
}
_SUMMARY = (READY, RECONCILING, STALLED)


@dataclass(frozen=True)
class Failure:
    """Why the last attempts failed, as conditions say it."""

    reason: str
    message: str
    terminal: bool
    generation: int = 0
    since: float = 0.0  # monotonic

    def is_newly_worded(self, shown: Failure | None) -> bool:
        """Say whether only the words differ from what is shown, and that not long ago.

        A text may differ each time (a webhook's request id, a map's order). Written each time it would be a change that
        is seen, tried again and written anew without end.
        """
        if shown is None or self.since - shown.since > WORDS_HOLD_S:
            return False
        return (self.reason, self.terminal, self.generation) == (shown.reason, shown.terminal, shown.generation)

    def conditions(self) -> tuple[Condition, ...]:
        """Return Ready with Stalled (terminal) or with Reconciling."""
        return (stalled if self.terminal else working)(self.reason, self.message)


def failure_of(error: BaseException) -> Failure:
    """Return what to say of an error; of an unexpected one only its type, since its text may hold anything."""
    if isinstance(error, KubeError):
        message = f"{sentence(error.message)} {REMEDIES.get(error.reason, AGAIN)}".rstrip()
        return Failure(error.reason, message, isinstance(error, TerminalError))
    if isinstance(error, TimeoutError):
        return Failure("TimedOut", "looking at this object took too long; it is tried again", False)
    name = type(error).__name__
    text = f"an unexpected {name} stopped the work on this object; the operator's log has it; it is tried again"
    return Failure("InternalError", text, False)


def is_shown(error: BaseException, failures: int) -> bool:
    """Say whether an error belongs into status by now: unexpected and terminal ones at once, others when they last."""
    return failures >= SHOWN_AFTER or isinstance(error, TerminalError) or not isinstance(error, KubeError)


def overlay(status: Obj, failure: Failure | None, obj: Obj, now: datetime) -> Obj:
    """Return the status with the failure's Ready, Reconciling and Stalled in place of its own."""
    if failure is None:
        return status
    generation = obj["metadata"].get("generation", 0)
    before = (obj.get("status") or {}).get("conditions") or ()
    kept = [condition for condition in status.get("conditions") or () if condition["type"] not in _SUMMARY]
    merged = merge_conditions(before, failure.conditions(), generation=generation, now=now)
    return {**status, "observedGeneration": generation, "conditions": _sorted([*merged, *kept])}


def _sorted(conditions: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(conditions, key=lambda condition: (condition["type"] != READY, condition["type"]))


@dataclass(frozen=True)
class Transition:
    """A change of what Ready or Stalled say, worth an Event."""

    warning: bool
    reason: str
    message: str


def transition(before: Obj, after: Obj) -> Transition | None:
    """Return what changed between two states of an object, if Ready's status or reason, or Stalled, did."""
    old, new = find_condition(before, READY), find_condition(after, READY)
    if new is None or _gist(before) == _gist(after):
        return None
    warning = find_condition(after, STALLED) is not None or (old is not None and old.get("status") == "True")
    return Transition(warning and new.get("status") != "True", new["reason"], new["message"])


def _gist(obj: Obj) -> tuple[Any, ...]:
    ready, halted = find_condition(obj, READY) or {}, find_condition(obj, STALLED)
    return ready.get("status"), ready.get("reason"), halted is not None
