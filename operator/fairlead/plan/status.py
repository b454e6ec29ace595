"""Builds the whole new status of an object from the old one and what a planner says.

The only place where planners make status; conditions follow the laws of `api/conditions.py`. Used by every planner
that keeps its status as a typed model.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fairlead.api.conditions import Condition, merge_conditions
from fairlead.api.meta import Resource

from .types import Obj


def new_status(obj: Resource[Any, Any], said: Iterable[Condition], now: datetime, **changes: Any) -> Obj:
    """Return the old status with `changes` (Python field names) and these conditions, as JSON."""
    old_conditions = (obj.raw.get("status") or {}).get("conditions") or ()
    update = {**changes, "observed_generation": obj.generation, "conditions": None}
    body: dict[str, Any] = obj.status.model_copy(update=update).to_json_object()
    return {**body, "conditions": merge_conditions(old_conditions, said, generation=obj.generation, now=now)}


def sentence(text: str) -> str:
    """Return the text with a full stop, so that another sentence may follow."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
