"""Why an object is as it is, in plain words: its state, its conditions, and the evidence of its kind.

Pure: everything shown comes from the one object. Called by `commands.py`, `outcome.py` and `tracing.py`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fairlead.api import names
from fairlead.api.conditions import READY

from .evidence import (
    Section,
    dataset_evidence,
    driftmonitor_evidence,
    inferenceservice_evidence,
    modelversion_evidence,
    trainingrun_evidence,
)
from .states import state_of

Obj = Mapping[str, Any]
WIDTH = 100
_EVIDENCE: Mapping[str, Callable[[Obj], Iterable[Section]]] = {
    names.DATASET.kind: dataset_evidence,
    names.TRAINING_RUN.kind: trainingrun_evidence,
    names.MODEL_VERSION.kind: modelversion_evidence,
    names.INFERENCE_SERVICE.kind: inferenceservice_evidence,
    names.DRIFT_MONITOR.kind: driftmonitor_evidence,
}


def render_why(obj: Obj) -> str:
    """Return a page of at most 100 columns about one object."""
    state = state_of(obj)
    head = f"{obj['kind']} {obj['metadata']['name']}: {state.standing}, {state.reason}"
    shown = render_sections((_conditions(obj), *_EVIDENCE[obj["kind"]](obj)))
    return "\n".join([head, *_wrapped(state.message, "  ", "  "), *(["", shown] if shown else [])])


def render_sections(sections: Iterable[Section]) -> str:
    """Return titles and wrapped lines; sections without lines are left out."""
    parts: list[str] = []
    for section in sections:
        if section.lines:
            parts += ["", section.title]
            parts += [wrapped for line in section.lines for wrapped in _wrapped(line, "  ", "    ")]
    return "\n".join(parts[1:])


def _wrapped(text: str, first: str, more: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=more, break_long_words=False, break_on_hyphens=False
    )


def _conditions(obj: Obj) -> Section:
    """Return the conditions; a message that the page has said already is not said again."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    said = {condition.get("message") for condition in conditions if condition["type"] == READY}
    lines = []
    for condition in conditions:
        line = (
            f"{condition['type']} is {condition['status']}: {condition.get('reason')}, "
            f"since {condition.get('lastTransitionTime')}."
        )
        message = condition.get("message") or ""
        lines.append(line if message in said else f"{line} {message}")
        said.add(message)
    return Section("Conditions", lines)
