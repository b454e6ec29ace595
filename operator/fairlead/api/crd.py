"""Pydantic models to structural CRDs; `python -m fairlead.api.crd DIR` writes `crds/`.

Pydantic emits JSON schema that Kubernetes refuses ($ref, anyOf with null, const, numeric exclusive bounds,
titles); `structural` rewrites it. CEL rules and list types come from `json_schema_extra` (contract/schema.py).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .kinds import KINDS, Kind
from .names import CATEGORY, GROUP, VERSION

_DROPPED = ("title", "discriminator", "$defs", "uniqueItems", "propertyNames")
_OF_INT_OR_STRING = ("description", "x-kubernetes-int-or-string", "pattern", "minimum")
NAME_RULE = {
    "rule": "size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "message": "metadata.name: at most 40 characters, a letter first, then letters, digits and dashes: "
    "Services, CronJobs and labels derive from it",
}


def structural(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the structural form of one JSON schema node.

    Raises:
        ValueError: the node is a union that a structural schema cannot say.
    """
    node = {key: value for key, value in _inline(schema, defs).items() if key not in _DROPPED}
    node = _without_null(node, defs)
    if "default" in node:
        node["default"] = _without_nulls(node["default"])
        if node["default"] is None:
            del node["default"]
    if "const" in node:
        node["enum"] = [node.pop("const")]
    _bounds(node)
    if node.get("x-kubernetes-int-or-string"):
        return {key: value for key, value in node.items() if key in _OF_INT_OR_STRING}
    return _children(node, defs)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(child) for key, child in value.items() if child is not None}
    return value


def _inline(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    node = dict(schema)
    if len(node.get("allOf", ())) == 1:
        node |= node.pop("allOf")[0]
    if "$ref" in node:
        target = defs[node.pop("$ref").rsplit("/", 1)[1]]
        node = {**_inline(target, defs), **node}
    return node


def _without_null(node: dict[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    if "anyOf" not in node or node.get("x-kubernetes-int-or-string"):
        node.pop("anyOf", None)
        return node
    branches = [branch for branch in node.pop("anyOf") if branch.get("type") != "null"]
    if len(branches) != 1:
        raise ValueError(f"a structural schema has no union: {branches}")
    return {**structural(branches[0], defs), **node}


def _bounds(node: dict[str, Any]) -> None:
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in node and not isinstance(node[exclusive], bool):
            node[bound], node[exclusive] = node[exclusive], True


def _children(node: dict[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    free = node.get("x-kubernetes-preserve-unknown-fields")
    if node.get("type") == "array":
        node.setdefault("x-kubernetes-list-type", "atomic")
        if free:
            del node["x-kubernetes-preserve-unknown-fields"]
        node["items"] = structural(node.get("items") or {}, defs)
    elif node.get("type") == "object":
        _object(node, defs, free=bool(free))
    elif node.get("type") == "integer":
        node.setdefault("format", "int64")
    elif "type" not in node:
        node["x-kubernetes-preserve-unknown-fields"] = True
    return node


def _object(node: dict[str, Any], defs: Mapping[str, Any], *, free: bool) -> None:
    if "properties" in node:
        node["properties"] = {name: structural(child, defs) for name, child in node["properties"].items()}
        node.pop("additionalProperties", None)
        return
    extra = node.pop("additionalProperties", None)
    if free or not isinstance(extra, Mapping) or not extra:
        node["x-kubernetes-preserve-unknown-fields"] = True
    else:
        node["additionalProperties"] = structural(extra, defs)


def _model_schema(model: type[Any]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True)
    return structural(schema, schema.get("$defs", {}))


def crd(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of one kind."""
    spec, status = _model_schema(kind.spec), _model_schema(kind.status)
    rules = [{"rule": rule, "message": message} for rule, message in kind.spec_rules]
    if rules:
        spec["x-kubernetes-validations"] = [*spec.get("x-kubernetes-validations", ()), *rules]
    status["default"] = {"observedGeneration": -1}
    resource = kind.resource
    names = {
        "kind": resource.kind,
        "listKind": f"{resource.kind}List",
        "plural": resource.plural,
        "singular": resource.kind.lower(),
        "shortNames": [kind.short_name],
        "categories": [CATEGORY],
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.to_json() for column in kind.columns],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": kind.description,
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                    "spec": spec,
                    "status": status,
                },
                "x-kubernetes-validations": [NAME_RULE],
            }
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def write_crds(folder: Path) -> list[Path]:
    """Write one file per kind into `folder`; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind in KINDS:
        path = folder / f"{GROUP}_{kind.resource.plural}.yaml"
        text = yaml.dump(crd(kind), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
        path.write_text(f"# Generated by `make generate` from operator/fairlead/api; do not edit.\n{text}")
        paths.append(path)
    return paths


if __name__ == "__main__":
    write_crds(Path(sys.argv[1]))
