"""What has to be the same at the end of two runs: every object of ours and every child, but for what no two runs share.

Left out are uids, times, resourceVersions and what follows from them (names of Jobs have a digest of their input in
them, which has a uid in it), what others wrote, and the figures that a judge happened to see. Model digests stay.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fairlead.api import names

from .pods import Json, digest, model_digest
from .story import DATA, MONITOR

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_RETRAINED = re.compile(rf"{MONITOR}-\d{{10}}")
_BASELINE = re.compile(r"-b[0-9a-f]{5}\b")
_HEX = re.compile(r"\b(sha256:)?[0-9a-f]{10,64}\b")
MESSAGE_KEPT = 80  # a line of history is cut at 120 characters, wherever its figures let it end
_NUMBER = re.compile(r"\d+(\.\d+)?(e\d+)?")
_KNOWN = {model_digest(seed): f"<model {seed}>" for seed in range(1, 6)} | {digest("revision", DATA): "<revision>"}
_METADATA = ("name", "labels", "finalizers", "ownerReferences", "annotations", "deletionTimestamp")
_ANNOTATIONS = (names.ANNOTATION_APPLIED, names.ANNOTATION_INPUT, names.ANNOTATION_INPUT_DIGEST)
_KEPT = frozenset(resource.kind for resource in names.RESOURCES) - {"Pod", "Gateway"}
_OWN = frozenset(resource.kind for resource in names.OWN_KINDS)


def plain(text: str, namespace: str) -> str:
    """Return a text without what differs between runs."""
    for known, name in _KNOWN.items():
        text = text.replace(known, name)
    text = text.replace(namespace, "NS")
    for pattern, name in ((_TIME, "TIME"), (_UID, "UID"), (_RETRAINED, "RETRAINED"), (_BASELINE, "-BASE"), (_HEX, "#")):
        text = pattern.sub(name, text)
    return text


def canonical(objects: Iterable[Json], namespace: str) -> list[str]:
    """Return one line for each object that counts, sorted."""
    lines = [_line(obj, namespace) for obj in objects if obj["kind"] in _KEPT]
    return sorted(lines)


def _line(obj: Json, namespace: str) -> str:
    metadata = {key: value for key, value in obj["metadata"].items() if key in _METADATA}
    annotations = metadata.pop("annotations", None) or {}
    metadata["annotations"] = {key: value for key, value in annotations.items() if key not in _ANNOTATIONS}
    kept: Json = {"kind": obj["kind"], "metadata": metadata, "spec": _without_inputs(obj.get("spec"))}
    if obj["kind"] in _OWN:
        metadata["generation"] = obj["metadata"]["generation"]
        kept["status"] = _without_figures(obj.get("status"))
    return plain(json.dumps(kept, sort_keys=True), namespace)


def _without_inputs(value: Any) -> Any:
    """Drop the annotations of pod templates that hold uids, and what the API server fills in."""
    if isinstance(value, dict):
        dropped = (*_ANNOTATIONS, "clusterIP", "clusterIPs", "batch.kubernetes.io/controller-uid", "controller-uid")
        return {key: _without_inputs(entry) for key, entry in value.items() if key not in dropped}
    return [_without_inputs(entry) for entry in value] if isinstance(value, list) else value


def _without_figures(value: Any, key: str = "") -> Any:
    """Replace numbers in messages: how many requests a judge saw is chance."""
    if isinstance(value, dict):
        return {name: _without_figures(entry, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [_without_figures(entry, key) for entry in value]
    if isinstance(value, str) and key == "message":
        return _NUMBER.sub("N", _HEX.sub("#", _TIME.sub("TIME", _UID.sub("UID", value))))[:MESSAGE_KEPT]
    return value


def difference(expected: Sequence[str], found: Sequence[str]) -> list[str]:
    """Return what differs, field by field; objects of one side only by their names."""
    missing = list((Counter(expected) - Counter(found)).elements())
    extra = list((Counter(found) - Counter(expected)).elements())
    lines = []
    for one in missing:
        twin = next((other for other in extra if _place(other) == _place(one)), None)
        if twin is None:
            lines.append(f"missing: {_place(one)}")
            continue
        extra.remove(twin)
        lines += [f"{'/'.join(_place(one))}{path}" for path in _fields(json.loads(one), json.loads(twin))]
    return [*lines, *(f"extra: {_place(one)}" for one in extra)]


def _place(line: str) -> tuple[str, str]:
    obj = json.loads(line)
    return obj["kind"], obj["metadata"]["name"]


def _fields(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _fields(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from _fields(first, second, f"{path}[{number}]")
    elif one != other:
        yield f"{path}: expected {json.dumps(one)[:200]}, found {json.dumps(other)[:200]}"


def births(born: Iterable[tuple[str, str, str]], namespace: str) -> Counter[str]:
    """Return how many objects of each kind and plain name there ever were; one more than usual is a duplicate."""
    unique = {entry for entry in born if entry[0] in _KEPT}
    return Counter(f"{kind}/{plain(name, namespace)}" for kind, name, _uid in unique)
