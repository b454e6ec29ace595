"""Manifests that a person would apply, read and held against the kinds' types.

Pure. What the CRD's rules (CEL) say is left to the API server, but for fields that must not change: `kubectl apply
--dry-run=server` asks it. Called by `planning.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from fairlead.api.kinds import KINDS, Kind

Obj = Mapping[str, Any]
_KINDS = {kind.resource.kind: kind for kind in KINDS}
_IMMUTABLE = " is immutable"


class ManifestError(ValueError):
    """A manifest cannot be applied; the message says which, where and why."""


def read_objects(text: str) -> list[dict[str, Any]]:
    """Return the objects of a YAML or JSON file, Lists taken apart. Raises ManifestError."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = [document for document in yaml.load_all(text, Loader=loader) if document]
    except yaml.YAMLError as error:
        raise ManifestError(f"not YAML: {' '.join(str(error).split())}") from None
    found = [obj for document in documents for obj in _apart(document)]
    for obj in found:
        if not (isinstance(obj, Mapping) and obj.get("kind") and (obj.get("metadata") or {}).get("name")):
            raise ManifestError("a document has no kind or no metadata.name; give manifests, one or several")
    return found


def _apart(document: Any) -> Iterator[Any]:
    items = document.get("items") if isinstance(document, Mapping) else None
    if isinstance(items, list):
        kind = str(document.get("kind", "")).removesuffix("List")
        yield from ({"kind": kind, **item} if isinstance(item, Mapping) else item for item in items)
    else:
        yield document


def is_ours(obj: Obj) -> bool:
    """Say whether an object is of one of the five kinds."""
    return obj["kind"] in _KINDS and str(obj.get("apiVersion", "")).startswith("fairlead.dev/")


def merged(manifest: Obj, before: Obj | None, namespace: str) -> dict[str, Any]:
    """Return the object as it is once the manifest was applied. Raises ManifestError."""
    kind = _KINDS[manifest["kind"]]
    spec = _checked(kind, manifest)
    old = dict(before["metadata"]) if before else {}
    metadata = {**old, **manifest["metadata"], "namespace": namespace}
    for field in ("labels", "annotations"):
        both = {**(old.get(field) or {}), **(manifest["metadata"].get(field) or {})}
        metadata |= {field: both} if both else {}
    if before is None:
        fresh = {key: value for key, value in metadata.items() if key not in ("uid", "resourceVersion", "generation")}
        return {**manifest, "metadata": fresh, "spec": spec, "status": {"observedGeneration": -1}}
    known = kind.spec.model_validate(before.get("spec") or {}).to_json_object()
    _keeps_what_is_immutable(kind, manifest, known, spec)
    return {**before, "metadata": metadata, "spec": before["spec"] if known == spec else spec}


def _checked(kind: Kind, manifest: Obj) -> dict[str, Any]:
    what, said = f"{kind.resource.kind} {manifest['metadata']['name']}", manifest.get("spec") or {}
    try:
        read = kind.spec.model_validate(said).to_json_object()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in ("spec", *first["loc"]))
        raise ManifestError(f"{what}: {where}: {first['msg']}") from None
    unknown = list(_unknown(said, read, "spec"))
    if unknown:
        raise ManifestError(f"{what}: there is no field {', '.join(unknown)}; see docs/api/fields.md")
    return read


def _unknown(said: Any, read: Any, path: str) -> Iterator[str]:
    if isinstance(said, Mapping) and isinstance(read, Mapping):
        for key, value in said.items():
            if key in read:
                yield from _unknown(value, read[key], f"{path}.{key}")
            elif value is not None:
                yield f"{path}.{key}"
    elif isinstance(said, list) and isinstance(read, list):
        for i, (one, other) in enumerate(zip(said, read, strict=False)):
            yield from _unknown(one, other, f"{path}[{i}]")


def _keeps_what_is_immutable(kind: Kind, manifest: Obj, old: Obj, new: Obj) -> None:
    for _, message in kind.spec_rules:
        field = message.partition(_IMMUTABLE)[0] if _IMMUTABLE in message else ""
        changed = old != new if field == "spec" else bool(field) and old.get(field) != new.get(field)
        if changed:
            raise ManifestError(f"{kind.resource.kind} {manifest['metadata']['name']}: {message}")
