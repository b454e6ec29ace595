"""What a person says of a state that an object is in: verdicts.yaml, read.

It must never be asked what a tool says; tests hold tools against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fairlead.api.conditions import READY, STALLED, find_condition

TABLE: Mapping[str, Mapping[str, Any]] = yaml.safe_load((Path(__file__).parent / "verdicts.yaml").read_text())
WORKS, DONE, DOWN = "works", "is as asked", "is down"
Obj = Mapping[str, Any]


def is_looked_at(obj: Obj) -> bool:
    """Say whether status is about the present spec."""
    return bool(obj["status"].get("observedGeneration") == obj["metadata"]["generation"])


def state_of(obj: Obj) -> str:
    """Return the row of a state: Ready's reason, with "given up" where the table tells the two apart."""
    ready = find_condition(obj, READY)
    assert ready is not None, "an object without Ready has no state"
    given_up = f"{ready['reason']}, given up"
    is_told_apart = given_up in TABLE[obj["kind"]] and find_condition(obj, STALLED) is not None
    return given_up if is_told_apart else str(ready["reason"])


def word_of(obj: Obj) -> str:
    """Return a person's words for an object; what nobody has looked at yet is under way."""
    if find_condition(obj, READY) is None or not is_looked_at(obj):
        return WORKS
    if (find_condition(obj, "Available") or {}).get("reason") == "NoReadyPods" and not find_condition(obj, STALLED):
        return DOWN
    return row_of(obj)


def row_of(obj: Obj) -> str:
    """Return a person's words for what Ready says."""
    state = state_of(obj)
    assert state in TABLE[obj["kind"]], f"say in verdicts.yaml what a person says of {obj['kind']} {state}"
    return str(TABLE[obj["kind"]][state])
