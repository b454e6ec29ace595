"""Marks that the CRD generator reads off a model: CEL rules, list keys, free-form objects.

They are plain data in `json_schema_extra`, so nothing here depends on Kubernetes.
"""

from __future__ import annotations

from typing import Any


def cel(*rules: tuple[str, str], **more: Any) -> dict[str, Any]:
    """Return schema extras with CEL `(rule, message)` pairs; a message names the field and the remedy."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules], **more}


def one_of(*fields: str, what: str) -> tuple[str, str]:
    """Return the CEL pair "exactly one of these fields is set"."""
    count = " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields)
    return f"{count} == 1", f"{what}: set exactly one of {', '.join(fields)}"


def list_map(*keys: str) -> dict[str, Any]:
    """Return schema extras of a list whose items have unique `keys`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


LIST_SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
FREE_FORM: dict[str, Any] = {"x-kubernetes-preserve-unknown-fields": True}
IMMUTABLE = ("self == oldSelf", "is immutable: create a new object with another name instead")
