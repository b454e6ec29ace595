"""Whether a write would change anything: what we want held against what is there.

Server defaults and fields of others are ignored; a user's edit of a field that we set is found. Pure; used by
`execute.py` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.api import names
from fairlead.contract.base import digest_of, quantity
from fairlead.plan.types import Obj

_QUANTITY_MAPS = frozenset({"limits", "requests", "capacity"})
_QUANTITIES = frozenset({"sizeLimit", "averageValue", "storage", "divisor"})
_SHARED_LISTS = frozenset({"ownerReferences", "finalizers"})  # others may add entries of their own


def with_applied_digest(body: Obj) -> dict[str, Any]:
    """Return the body with the annotation that tells a later process what was applied."""
    metadata = dict(body["metadata"])
    metadata["annotations"] = {**(metadata.get("annotations") or {}), names.ANNOTATION_APPLIED: digest_of(dict(body))}
    return {**body, "metadata": metadata}


def would_change(stamped: Obj, observed: Obj) -> bool:
    """Say whether applying a body (from `with_applied_digest`) would change the observed object.

    The digest finds fields that we no longer set; the comparison finds fields that someone changed.
    """
    wanted = stamped["metadata"]["annotations"][names.ANNOTATION_APPLIED]
    applied = (observed["metadata"].get("annotations") or {}).get(names.ANNOTATION_APPLIED)
    return bool(applied != wanted) or not is_within(stamped, observed)


def is_within(desired: Any, observed: Any, key: str = "", parent: str = "") -> bool:
    """Say whether everything in `desired` is so in `observed`, which may hold more fields but not more list entries."""
    if observed is None:
        return not desired  # the API server leaves out empty and zero values
    if isinstance(desired, Mapping):
        return isinstance(observed, Mapping) and all(
            is_within(value, observed.get(name), name, key) for name, value in desired.items()
        )
    if isinstance(desired, list | tuple):
        return isinstance(observed, list) and _is_list_within(desired, observed, key)
    return _is_same(desired, observed, key, parent)


def _is_list_within(desired: list[Any] | tuple[Any, ...], observed: list[Any], key: str) -> bool:
    if key in _SHARED_LISTS:
        return all(any(is_within(entry, other) for other in observed) for entry in desired)
    if len(desired) != len(observed):
        return False
    if all(is_within(entry, other) for entry, other in zip(desired, observed, strict=True)):
        return True
    return _names(desired) is not None and _are_named_within(desired, observed)


def _are_named_within(desired: list[Any] | tuple[Any, ...], observed: list[Any]) -> bool:
    """Compare lists of named entries (env, containers, ports) without regard to order."""
    by_name = {entry.get("name"): entry for entry in observed if isinstance(entry, Mapping)}
    return all(entry["name"] in by_name and is_within(entry, by_name[entry["name"]]) for entry in desired)


def _names(entries: list[Any] | tuple[Any, ...]) -> list[str] | None:
    if entries and all(isinstance(entry, Mapping) and "name" in entry for entry in entries):
        return [entry["name"] for entry in entries]
    return None


def _is_same(desired: Any, observed: Any, key: str, parent: str) -> bool:
    if isinstance(desired, bool) != isinstance(observed, bool):
        return False
    if desired == observed:
        return True
    return (key in _QUANTITIES or parent in _QUANTITY_MAPS) and _is_same_quantity(str(desired), str(observed))


def _is_same_quantity(one: str, other: str) -> bool:
    """Compare quantities as the API server rewrites them: 1000m as 1, 1024Mi as 1Gi."""
    try:
        return abs(quantity(one) - quantity(other)) < 1e-9
    except (ValueError, KeyError):
        return False


def without_nulls(value: Any) -> Any:
    """Return a copy without nulls: for server-side apply null and absent are the same."""
    if isinstance(value, Mapping):
        return {key: without_nulls(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(entry) for entry in value]
    return value
