"""Sole author of conditions: merges what a planner says into status by the status laws.

Laws: Ready is always present; Reconciling and Stalled only while True; Ready=True never stands beside
Reconciling=True; lastTransitionTime moves only with status; messages end at 1,024 characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from .redaction import redact

Truth = Literal["True", "False", "Unknown"]
READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
_ONLY_WHILE_TRUE = (RECONCILING, STALLED)
MESSAGE_MAX = 1024


@dataclass(frozen=True)
class Condition:
    """What a planner says of one aspect; times and generations are added on merging."""

    type: str
    status: Truth
    reason: str
    message: str


def working(reason: str, message: str) -> tuple[Condition, ...]:
    """Say Ready=False and Reconciling=True: in progress, or waiting for what `message` names."""
    return Condition(READY, "False", reason, message), Condition(RECONCILING, "True", reason, message)


def stalled(reason: str, message: str) -> tuple[Condition, ...]:
    """Say Ready=False and Stalled=True: nothing happens until someone changes what `message` names."""
    return Condition(READY, "False", reason, message), Condition(STALLED, "True", reason, message)


def ready(reason: str, message: str) -> tuple[Condition, ...]:
    """Say Ready=True: as asked."""
    return (Condition(READY, "True", reason, message),)


def format_time(at: datetime) -> str:
    """Return RFC 3339 in UTC to the second, as Kubernetes writes times."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """Return the aware datetime that an RFC 3339 text stands for."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def merge_conditions(
    old: Iterable[Mapping[str, Any]], new: Iterable[Condition], *, generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Return the conditions list of the new status, sorted by type with Ready first.

    Conditions that `new` does not name are dropped: a planner always says all it knows.
    """
    before = {condition["type"]: condition for condition in old}
    merged = [
        _merge_one(before.get(condition.type), condition, generation, now)
        for condition in new
        if not (condition.type in _ONLY_WHILE_TRUE and condition.status != "True")
    ]
    return sorted(merged, key=lambda condition: (condition["type"] != READY, condition["type"]))


def _merge_one(before: Mapping[str, Any] | None, new: Condition, generation: int, now: datetime) -> dict[str, Any]:
    same = before is not None and before.get("status") == new.status
    return {
        "type": new.type,
        "status": new.status,
        "reason": new.reason,
        "message": redact(new.message)[:MESSAGE_MAX],
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if same and before is not None else format_time(now),
    }


def find_condition(obj: Mapping[str, Any] | None, type_: str) -> Mapping[str, Any] | None:
    """Return a condition of an object's status, or None."""
    conditions = ((obj or {}).get("status") or {}).get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == type_), None)


def is_true(obj: Mapping[str, Any] | None, type_: str) -> bool:
    """Say whether an object's condition is True."""
    condition = find_condition(obj, type_)
    return condition is not None and condition.get("status") == "True"
