"""The CRDs are what the types say, structural, bounded, and their rules speak to people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.api.crd import crd, structural, write_crds
from fairlead.api.kinds import KINDS, Kind
from fairlead.api.meta import QUANTITY
from fairlead.api.names import OWN_KINDS
from fairlead.contract.base import Duration, duration_s

FOLDER = Path(__file__).parents[3] / "crds"
KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
_FORBIDDEN = {"$ref", "$defs", "title", "allOf", "anyOf", "oneOf", "not", "const", "discriminator", "uniqueItems"}


def schema(kind: Kind) -> dict[str, Any]:
    """Return the openAPIV3Schema of a kind."""
    return dict(crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Walk all schema nodes with their paths."""
    yield path, node
    for name, child in (node.get("properties") or {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(node.get(key), dict):
            yield from nodes(node[key], path + suffix)


def part(kind: Kind, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the nodes of spec or status."""
    return list(nodes(schema(kind)["properties"][name], name))


def test_the_committed_crds_are_the_generated_ones(tmp_path: Path) -> None:
    write_crds(tmp_path)
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text() for path in FOLDER.glob("*.yaml")}
    assert fresh == committed, "run `make generate`"


def test_every_kind_has_a_crd() -> None:
    assert [kind.resource for kind in KINDS] == list(OWN_KINDS)
    for path in FOLDER.glob("*.yaml"):
        body = yaml.safe_load(path.read_text())
        assert path.name == f"{body['spec']['group']}_{body['spec']['names']['plural']}.yaml"


@KIND
def test_the_schema_is_structural(kind: Kind) -> None:
    for path, node in nodes(schema(kind)):
        assert not _FORBIDDEN & set(node), path
        free = node.get("x-kubernetes-preserve-unknown-fields") or node.get("x-kubernetes-int-or-string")
        assert "type" in node or free, f"{path} has no type"
        assert not ("properties" in node and "additionalProperties" in node), path
        if node.get("type") == "array":
            assert "items" in node, path
            assert node["x-kubernetes-list-type"] in ("atomic", "set", "map"), path


@KIND
def test_keys_of_list_maps_are_always_there(kind: Kind) -> None:
    for path, node in nodes(schema(kind)):
        for key in node.get("x-kubernetes-list-map-keys", ()):
            item = node["items"]
            assert key in item["required"] or "default" in item["properties"][key], f"{path}[].{key}"


@KIND
def test_lists_and_maps_of_a_spec_are_bounded(kind: Kind) -> None:
    for path, node in part(kind, "spec"):
        if node.get("type") == "array":
            assert "maxItems" in node, f"{path} needs maxItems: CEL cost counts on it"


@KIND
def test_texts_of_a_spec_are_bounded(kind: Kind) -> None:
    for path, node in part(kind, "spec"):
        if node.get("type") == "string" and "enum" not in node:
            assert "maxLength" in node, f"{path} needs maxLength: CEL cost counts on it"


@KIND
def test_every_rule_says_which_field_and_what_to_do(kind: Kind) -> None:
    for path, node in nodes(schema(kind)):
        for rule in node.get("x-kubernetes-validations", ()):
            assert re.match(r"[a-zA-Z.\[\]]+( is immutable)?: |spec ", rule["message"]), f"{path}: {rule['message']}"
            assert len(rule["message"]) > 20, f"{path}: {rule['message']}"


@KIND
def test_a_new_object_is_never_taken_for_finished(kind: Kind) -> None:
    status = schema(kind)["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}
    assert crd(kind)["spec"]["versions"][0]["subresources"] == {"status": {}}


@KIND
def test_a_spec_without_optional_fields_reads_back_with_the_schemas_defaults(kind: Kind) -> None:
    """The pydantic default and the schema's default of a field are the same, so both sides see one object."""
    for path, node in part(kind, "spec"):
        default = node.get("default")
        if default is not None and "enum" in node:
            assert default in node["enum"], path
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert node.get("minimum", default) <= default <= node.get("maximum", default), path


@KIND
def test_kubectl_get_shows_ready_state_and_age(kind: Kind) -> None:
    shown = [column["name"] for column in crd(kind)["spec"]["versions"][0]["additionalPrinterColumns"]]
    assert shown[:2] == ["Ready", "State"]
    assert shown[-1] == "Age"
    names = crd(kind)["spec"]["names"]
    assert names["categories"] == ["fairlead"]
    assert names["shortNames"] == [kind.short_name]
    assert not {"isvc", "mv", "ds"} & set(names["shortNames"]), "these belong to others"


def test_the_longest_duration_can_be_reckoned_with() -> None:
    pattern = next(m.pattern for m in Duration.__metadata__[0].metadata if hasattr(m, "pattern"))
    for text in ("999999d999999d99", "999999d999999d9d", "999999999m99999d", "999999999m", "999999h999999h9h"):
        if re.search(pattern, text):
            assert datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=duration_s(text)) < datetime.max.replace(
                tzinfo=UTC
            )
    for text in ("9999999d", "9999999999m", "99999999999999d"):
        assert not re.search(pattern, text), text


@pytest.mark.parametrize("text", ["1", "500m", "1Gi", "1.5", ".5", "5.", "1e3", "1E-3", "2Ei", "100n"])
def test_quantities_are_accepted(text: str) -> None:
    assert re.search(QUANTITY, text)


@pytest.mark.parametrize("text", ["", "banana", "-1", "1Zi", "1 Gi", "1.5.5", "{{}}", "1e", "Gi"])
def test_what_is_no_quantity_is_refused_at_admission(text: str) -> None:
    assert not re.search(QUANTITY, text)


def test_a_union_cannot_be_said_structurally() -> None:
    with pytest.raises(ValueError, match="no union"):
        structural({"anyOf": [{"type": "string"}, {"type": "integer"}]}, {})


def test_bounds_of_drafts_without_numbers_are_rewritten() -> None:
    node = structural({"type": "number", "exclusiveMinimum": 0}, {})
    assert (node["minimum"], node["exclusiveMinimum"]) == (0, True)
