"""Where an object stands, in one word: from its conditions, and from the requests that status has not answered yet.

Pure. Used by `tree.py`, `why.py` and `wait`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fairlead.api import names
from fairlead.api.conditions import READY, STALLED, find_condition, is_true
from fairlead.contract.base import digest_of, short
from fairlead.plan.dataset import Tick

Obj = Mapping[str, Any]
HANDLED_MAX = 256  # status keeps this much of an annotation that it acted on


class Standing(StrEnum):
    """What a person wants to know first."""

    READY = "Ready"
    WORKING = "Working"
    STALLED = "Stalled"


@dataclass(frozen=True)
class State:
    """Standing, and the reason and message of Ready."""

    standing: Standing
    reason: str
    message: str

    def __str__(self) -> str:
        """Return standing and reason as one phrase."""
        return f"{self.standing} {self.reason}".strip()


def state_of(obj: Obj) -> State:
    """Return where an object stands; status of an older spec, or older than a request, is not an answer yet."""
    ready = find_condition(obj, READY)
    if names.ANNOTATION_RESTORING in (obj["metadata"].get("annotations") or {}):
        message = "The operator leaves it alone until it is restored: `kubectl fairlead restore -f <the backup>`."
        return State(Standing.WORKING, "Restoring", message)
    if ready is None:
        return State(Standing.WORKING, "NotSeenYet", "The operator has not looked at it yet; does it run?")
    reason, message = str(ready.get("reason") or ""), str(ready.get("message") or "")
    if int(ready.get("observedGeneration") or 0) < int(obj["metadata"].get("generation") or 0):
        return State(Standing.WORKING, reason, f"Its spec is newer than its status, which says: {message}")
    if is_unanswered(obj):
        return State(Standing.WORKING, reason, f"A request by annotation is not answered yet. {message}")
    if ready.get("status") == "True":
        return State(Standing.READY, reason, message)
    return State(Standing.STALLED if is_true(obj, STALLED) else Standing.WORKING, reason, message)


def is_unanswered(obj: Obj) -> bool:
    """Say whether an annotation asks for something that status does not show as done."""
    annotations, status = obj["metadata"].get("annotations") or {}, obj.get("status") or {}
    if obj["kind"] == names.INFERENCE_SERVICE.kind:
        handled = status.get("handled") or {}
        asked = {"retry": names.ANNOTATION_RETRY, "rollback": names.ANNOTATION_ROLLBACK}
        return any(
            annotations.get(annotation, "")[:HANDLED_MAX] not in ("", handled.get(name))
            for name, annotation in asked.items()
        )
    if obj["kind"] == names.DATASET.kind and annotations.get(names.ANNOTATION_REFRESH):
        wanted = short(digest_of(annotations[names.ANNOTATION_REFRESH]), 8)
        return Tick.parse((status.get("lastCheck") or {}).get("tick") or "").request != wanted
    return False
