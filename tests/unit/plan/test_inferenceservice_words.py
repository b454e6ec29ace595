"""The words of InferenceService: a story tells every reason, and the documentation shows the planner's own tables."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from tests.unit.plan.telling import read_story, story_paths

ROOT = Path(__file__).parents[3]
MODULES = (
    "inferenceservice",
    "rollout",
    "stops",
    "endings",
    "route",
    "selection",
    "service_conditions",
    "serving_pods",
    "pending_pods",
)
_CONSTANTS = re.compile(r'^([A-Z][A-Z_]*(?:, [A-Z][A-Z_]*)*) = "', re.MULTILINE)
_NOT_REASONS = {"Available", "Routed"}  # types of conditions


def _told() -> str:
    stories = [read_story(path) for path in story_paths() if path.parent.name == "inferenceservice"]
    expected = [step.get("expect") or {} for story in stories for step in story["steps"]]
    return " ".join(str(said) for said in expected)


def _reasons(name: str) -> set[str]:
    module = importlib.import_module(f"fairlead.plan.{name}")
    names = ", ".join(_CONSTANTS.findall(Path(module.__file__ or "").read_text())).split(", ")
    return {getattr(module, constant) for constant in names if constant} - _NOT_REASONS


@pytest.mark.parametrize("module", MODULES)
def test_every_reason_is_told_by_a_story(module: str) -> None:
    told = _told()
    untold = {reason for reason in _reasons(module) if not re.search(rf"\b{reason}\b", told)}
    assert not untold


def _tables(text: str) -> list[str]:
    return re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)


@pytest.mark.parametrize("module", ["inferenceservice", "rollout"])
def test_documentation_shows_the_state_table_of_the_planner(module: str) -> None:
    docstring = importlib.import_module(f"fairlead.plan.{module}").__doc__ or ""
    documented = (ROOT / "docs" / "api" / "inferenceservice.md").read_text()
    assert _tables(docstring)[0] in _tables(documented)
