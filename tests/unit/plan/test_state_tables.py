"""The state table that opens a planner is the one that people read, and the pages' examples are valid."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.api.kinds import KINDS

DOCS = Path(__file__).parents[3] / "docs" / "api"
EXAMPLES = ("dataset", "trainingrun", "modelversion")


def _rows(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith("|")]


@pytest.mark.parametrize("kind", [kind.resource.kind.lower() for kind in KINDS])
def test_the_page_has_the_planners_state_table(kind: str) -> None:
    planner = importlib.import_module(f"fairlead.plan.{kind}")
    wanted = _rows(planner.__doc__ or "")
    assert wanted[0] == "| state | condition | next |"
    page = _rows((DOCS / f"{kind}.md").read_text())
    begin = page.index(wanted[0])
    assert page[begin : begin + len(wanted)] == wanted


def _unknown(said: Any, read: Any, path: str = "") -> list[str]:
    """Return the fields of an example that its type did not take."""
    if isinstance(said, dict) and isinstance(read, dict):
        gone = [f"{path}.{key}" for key in said if key not in read]
        return gone + [u for key in said if key in read for u in _unknown(said[key], read[key], f"{path}.{key}")]
    if isinstance(said, list) and isinstance(read, list):
        return [u for s, r in zip(said, read, strict=True) for u in _unknown(s, r, f"{path}[]")]
    return []


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_pages_example_is_valid(kind: str) -> None:
    text = (DOCS / f"{kind}.md").read_text()
    example = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.S)[0])
    spec = next(k.spec for k in KINDS if k.resource.kind == example["kind"])
    read = spec.model_validate(example["spec"])
    assert not _unknown(example["spec"], read.to_json_object())
