"""What generated input is drawn from keeps up with the CRDs: every rule and pattern is known, values fit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.schema_values import PATTERNS, all_slots, breach, holds, matches, specs
from tests.support.spec_rules import rule_of

warnings.filterwarnings("ignore", category=UserWarning)
CRDS = sorted((Path(__file__).parents[3] / "crds").glob("*.yaml"))
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # every worker reads these
READ = {path.stem: yaml.load(path.read_text(), LOADER)["spec"]["versions"][0]["schema"] for path in CRDS}
SCHEMAS = {name: schema["openAPIV3Schema"]["properties"]["spec"] for name, schema in READ.items()}
KIND = pytest.mark.parametrize("kind", SCHEMAS)


def nodes(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    inner = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for child in inner:
        if isinstance(child, Mapping):
            yield from nodes(child)


@KIND
def test_every_rule_has_a_second_reading(kind: str) -> None:
    for node in nodes(SCHEMAS[kind]):
        for entry in node.get("x-kubernetes-validations", ()):
            assert rule_of(entry["rule"]) is not None, f"add to tests/support/spec_rules.py: {entry['rule']}"


@KIND
def test_every_pattern_has_texts_that_it_matches(kind: str) -> None:
    for node in nodes(SCHEMAS[kind]):
        if node.get("type") == "string" and "pattern" in node:
            texts = PATTERNS[node["pattern"]]
            assert [text for text in texts if not matches(node["pattern"], text)] == []
            assert any(node.get("minLength", 0) <= len(text) <= node["maxLength"] for text in texts)


@KIND
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_drawn_values_fit_and_broken_ones_differ(kind: str, data: st.DataObject) -> None:
    schema = SCHEMAS[kind]
    value = data.draw(specs(schema))
    for slot in all_slots(schema, value):
        held = slot.parent[slot.key]
        if isinstance(held, str) and "maxLength" in slot.schema:
            assert slot.schema.get("minLength", 0) <= len(held) <= slot.schema["maxLength"], slot.path
        if "enum" in slot.schema:
            assert held in slot.schema["enum"], slot.path
    if holds(schema, value):
        broken, where = data.draw(breach(schema, value))
        assert broken != value, where
