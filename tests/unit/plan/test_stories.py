"""Every story holds, and every reason of every planner is told by one."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.unit.plan.telling import Teller, read_story, story_paths

KINDS = {"dataset": "Dataset", "trainingrun": "TrainingRun", "modelversion": "ModelVersion"}
KINDS |= {"inferenceservice": "InferenceService", "driftmonitor": "DriftMonitor"}
PARTS = {"modelversion": ("sources", "gates", "standing")}  # reasons of a kind that lie in files beside its planner
OPERATOR = Path(importlib.import_module("fairlead").__file__ or "").parent


def _title(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", story_paths(), ids=_title)
def test_story(path: Path) -> None:
    Teller(read_story(path), KINDS[path.parent.name]).tell()


def reasons_of(module_name: str) -> dict[str, str]:
    """Return the reason constants that a planner module holds: NAME_LIKE_THIS = "NameLikeThis"."""
    module = importlib.import_module(f"fairlead.plan.{module_name}")
    found: dict[str, Any] = {name: value for name, value in vars(module).items() if isinstance(value, str)}
    return {name: value for name, value in found.items() if value[:1].isupper() and _snake(value) == name}


def _snake(pascal: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", pascal).upper()


@cache
def told_reasons(kind: str) -> frozenset[str]:
    """Return the reasons and condition types that a kind's stories expect."""
    told: set[str] = set()
    for path in story_paths():
        if path.parent.name == kind:
            for step in read_story(path)["steps"]:
                said = (step.get("expect") or {}).get("conditions") or {}
                told |= {text.split()[1] for text in said.values()} | set(said)
    return frozenset(told)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if (OPERATOR / "plan" / f"{kind}.py").exists()])
def test_every_reason_has_a_story(kind: str) -> None:
    reasons = {reason for part in (kind, *PARTS.get(kind, ())) for reason in reasons_of(part).values()}
    untold = reasons - told_reasons(kind)
    assert not untold, f"no story of {kind} ends with {sorted(untold)}"


def test_every_reason_of_jobs_has_a_story() -> None:
    told = frozenset().union(*(told_reasons(kind) for kind in KINDS))
    untold = {*reasons_of("jobs").values(), *reasons_of("pending_pods").values()} - told
    assert not untold, f"no story ends with {sorted(untold)}"
