"""Small facts about Kubernetes objects: paths, versions, ownership, and a compact form for keeping.

Nothing here does IO. Used by the store, the client and `controllers/execute.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from fairlead.api import names
from fairlead.api.names import Resource

Obj = Mapping[str, Any]


def resource_path(resource: Resource, namespace: str | None, name: str | None = None, subresource: str = "") -> str:
    """Return the URL path of a collection (all namespaces when None), an object, or a subresource."""
    prefix = "/apis/" if "/" in resource.api_version else "/api/"
    path = prefix + resource.api_version
    if namespace:
        path += f"/namespaces/{namespace}"
    path += f"/{resource.plural}"
    if name:
        path += f"/{name}"
    return path + (f"/{subresource}" if subresource else "")


def describe(resource: Resource, namespace: str | None, name: str) -> str:
    """Return `Kind namespace/name`, as messages name an object."""
    return f"{resource.kind} {namespace}/{name}" if namespace else f"{resource.kind} {name}"


def uid_of(obj: Obj) -> str:
    """Return metadata.uid, or an empty string."""
    return str(obj["metadata"].get("uid", ""))


def version_of(obj: Obj) -> str:
    """Return metadata.resourceVersion, or an empty string."""
    return str(obj["metadata"].get("resourceVersion", ""))


def is_older(version: str, than: str) -> bool:
    """Say whether one resourceVersion is surely older than another of the same resource.

    Since Kubernetes 1.35 (KEP-5504, conformance) versions of one resource compare as integers; etcd has
    always given such. Where they are not decimal nothing is known, and the answer is False.
    """
    if not (version.isdecimal() and than.isdecimal()):
        return False
    return (len(version), version) < (len(than), than)


def controller_uid(obj: Obj) -> str | None:
    """Return the uid of the owner that controls this object, if any."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference.get("uid"))
    return None


def owner_uids(obj: Obj) -> list[str]:
    """Return the uids of all owners."""
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]


def is_managed(obj: Obj) -> bool:
    """Say whether the object carries our managed-by label, without which no watch of ours would see it."""
    labels = obj["metadata"].get("labels") or {}
    return bool(labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY)


def compact(obj: Obj) -> dict[str, Any]:
    """Return a copy without managedFields whose strings are shared with all other kept objects.

    Keys, and the many equal values of a thousand Jobs (images, labels, a pod's input in template and pod),
    are one object each in memory.
    """
    slim = {key: _share(value) for key, value in obj.items() if key != "metadata"}
    slim["metadata"] = {
        sys.intern(key): _share(value) for key, value in obj["metadata"].items() if key != "managedFields"
    }
    return slim


def pack(obj: Obj) -> bytes:
    """Return an object without managedFields as JSON, for keeping."""
    slim = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return json.dumps({**obj, "metadata": slim}, separators=(",", ":")).encode()


def unpack(raw: bytes) -> dict[str, Any]:
    """Return the object that `pack` packed."""
    obj: dict[str, Any] = json.loads(raw)
    return obj


def _share(value: Any) -> Any:
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {sys.intern(key): _share(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_share(entry) for entry in value]
    return value
