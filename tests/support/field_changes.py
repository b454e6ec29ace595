"""For each leaf field of a spec: two documents that differ in it.

The documents come from the CRD's schema; only what the schema cannot know stands in a table here. It judges nothing:
`tests/integration/test_fields.py` takes a live object from one to the other and back.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .schema_values import PATTERNS, matches, mend_with
from .spec_rules import SPARE

Json = dict[str, Any]
Path = tuple[str, ...]  # field names; `[]` is the only item of a list, `{}` the only key of a map
ITEM, KEY = "[]", "{}"

BASES: Mapping[str, Json] = {
    "Dataset": {"source": {"configMap": {"name": "rows", "key": "rows.csv"}}, "format": "CSV", "target": "y"},
    "TrainingRun": {
        "dataset": {"name": "rows"},
        "model": "m",
        "trainer": {"sklearn": {"estimator": "sklearn.svm.SVC"}},
    },
    "ModelVersion": {"model": "m", "source": {"trainingRun": {"name": "trained"}}},
    "InferenceService": {"model": {"version": "trained"}},
    "DriftMonitor": {"inferenceService": {"name": "serving"}, "schedule": "0 0 1 1 *"},
}
# What a person would write, where the schema says only that it is a text.
_TEXTS: Mapping[str, tuple[Any, Any]] = {
    "schedule": ("0 0 1 1 *", "0 0 2 1 *"),
    "hostname": ("a.example.com", "b.example.com"),
    "estimator": ("sklearn.svm.SVC", "sklearn.svm.LinearSVC"),
    "uri": ("s3://lake/a/", "s3://lake/b/"),
    "url": ("http://lake.example/a.csv", "http://lake.example/b.csv"),
    "image": ("example.com/a:1", "example.com/b:1"),
    "repository": ("https://example.com/a.git", "https://example.com/b.git"),
    "commit": ("0123456", "789abcd"),
    "digest": ("sha256:" + "0" * 64, "sha256:" + "1" * 64),
    "max": ("10Mi", "20Mi"),
    "path": ("/a", "/b"),
    "metric": ("accuracy", "f1"),
}
_DURATIONS = ("1h", "2h")
# References: to what is there, and to what is not.
_NAMES: Mapping[tuple[str, str], tuple[str, str]] = {
    ("inferenceService", "name"): ("serving", "absent"),
    ("model", "name"): ("m", "absent"),
    ("model", "version"): ("trained", "absent"),
}
# Fields that say something only beside others.
_BESIDE: Mapping[tuple[str, str], Json] = {
    ("tolerations", "operator"): {"key": "a"},
    ("tolerations", "value"): {"key": "a"},
    ("tolerations", "effect"): {"key": "a"},
    ("tolerations", "tolerationSeconds"): {"key": "a", "effect": "NoExecute"},
    ("gates", "slices"): {"metric": "accuracy", "maxGap": 0.1},
    ("gates", "maxGap"): {"metric": "accuracy", "slices": ["a"]},
}
_ABSENT = object()
# Fields that cannot change alone: both documents.
_TOGETHER: Mapping[str, tuple[Json, Json]] = {
    "split.trainPercent": (_SPLIT_A := {"split": {"trainPercent": 70, "validationPercent": 10, "testPercent": 20}},
                           {"split": {"trainPercent": 60, "validationPercent": 10, "testPercent": 30}}),
    "split.validationPercent": (_SPLIT_A, {"split": {"trainPercent": 70, "validationPercent": 20, "testPercent": 10}}),
    "split.testPercent": (_SPLIT_A, {"split": {"trainPercent": 80, "validationPercent": 10, "testPercent": 10}}),
    "checks.[].unique": ({"checks": [{"name": "a", "column": "y", "notNull": {}}]},
                         {"checks": [{"name": "a", "column": "y", "unique": {}}]}),
    "scaling.minReplicas": ({"scaling": {"minReplicas": 1}}, {"scaling": {"minReplicas": 2}}),
    "scaling.maxReplicas": ({"scaling": {"maxReplicas": 10}}, {"scaling": {"maxReplicas": 11}}),
    "replay.requests": ({"rollout": {"replay": {"requests": 500}}}, {"rollout": {"replay": {"requests": 600}}}),
    "replay.minRequests": ({"rollout": {"replay": {"minRequests": 100}}}, {"rollout": {"replay": {"minRequests": 90}}}),
    "rollout.stepsPercent": ({"rollout": {"stepsPercent": [5]}}, {"rollout": {"stepsPercent": [10]}}),
    "schema.policy": ({"schema": {"policy": "Infer", "columns": [{"name": "y", "type": "Float"}]}},
                      {"schema": {"policy": "Frozen", "columns": [{"name": "y", "type": "Float"}]}}),
}  # fmt: skip


@dataclass(frozen=True)
class FieldChange:
    """One field and the two specs that differ in it."""

    path: Path
    before: Json
    after: Json

    @property
    def name(self) -> str:
        """The field as people write it."""
        return ".".join(self.path).replace(f".{ITEM}", "[]").replace(f".{KEY}", "{}")


def changes_of(kind: str, schema: Mapping[str, Any]) -> list[FieldChange]:
    """Return one change for each leaf of a kind's spec."""
    found = []
    for path, node in leaves(schema):
        together = next((pair for end, pair in _TOGETHER.items() if ".".join(path).endswith(end)), None)
        before, after = (
            (_merged(kind, path, part) for part in together)
            if together and len(path) == len(_first_path(together[0]))
            else (
                _spec_with(kind, schema, path, value) for value in _NAMES.get(path[-2:]) or _two_values(path[-1], node)
            )
        )
        found.append(FieldChange(path, before, after))
    return found


def _first_path(value: Any) -> Path:
    """Return the way down to the first leaf of a small document."""
    if isinstance(value, Mapping):
        name, inner = next(iter(value.items()))
        return (name, *_first_path(inner))
    return (ITEM, *_first_path(value[0])) if isinstance(value, list) and isinstance(value[0], Mapping) else ()


def _merged(kind: str, _path: Path, part: Json) -> Json:
    spec = copy.deepcopy(dict(BASES[kind]))
    return {**spec, **copy.deepcopy(part)}


def leaves(schema: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield every leaf of a schema: what has no named fields of its own."""
    items, extra = schema.get("items"), schema.get("additionalProperties")
    if schema.get("properties"):
        for name, child in schema["properties"].items():
            yield from leaves(child, (*path, name))
    elif isinstance(items, Mapping) and items.get("properties"):
        yield from leaves(items, (*path, ITEM))
    elif isinstance(extra, Mapping) and extra.get("properties"):
        yield from leaves(extra, (*path, KEY))
    else:
        yield path, schema


def _spec_with(kind: str, schema: Mapping[str, Any], path: Path, value: Any) -> Json:
    spec = copy.deepcopy(dict(BASES[kind]))
    _put(spec, schema, path, value)
    mend_with(schema, spec, lambda fields: next((field for field in fields if field in path), fields[0]))
    return spec


def _put(parent: Any, schema: Mapping[str, Any], path: Path, value: Any) -> None:
    name, *rest = path
    child = schema["properties"][name]
    if not rest:
        if value is not _ABSENT:
            parent[name] = value
        return
    if rest[0] in (ITEM, KEY):
        held = parent.setdefault(name, [] if rest[0] == ITEM else {})
        inner = child["items" if rest[0] == ITEM else "additionalProperties"]
        item: Json = held[0] if rest[0] == ITEM and held else held.get("C") if rest[0] == KEY else None
        if item is None:
            item = _least(inner)
            held.append(item) if rest[0] == ITEM else held.update(C=item)
        item |= copy.deepcopy(_BESIDE.get((name, rest[1]), {}))
        _put(item, inner, tuple(rest[1:]), value)
        return
    if name not in parent:
        parent[name] = copy.deepcopy(SPARE.get(name)) if isinstance(SPARE.get(name), dict) else _least(child)
    _put(parent[name], child, tuple(rest), value)


def _least(schema: Mapping[str, Any]) -> Json:
    """Return the smallest object that a schema allows, rules aside."""
    found: Json = {}
    for name in schema.get("required", ()):
        child = schema["properties"][name]
        found[name] = _least(child) if child.get("properties") else _two_values(name, child)[0]
    return found


def _two_values(name: str, schema: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return two different values of a leaf, such as a person would write."""
    kind = schema.get("type")
    simple = {"boolean": (False, True), None: (1, 2)}
    if "enum" in schema:
        return schema["enum"][0], schema["enum"][-1]
    if kind in simple:
        return simple[kind]
    if kind in ("integer", "number"):
        low = schema.get("minimum", 0) + (1 if schema.get("exclusiveMinimum") else 0)
        return low, low + 1 if low + 1 <= schema.get("maximum", low + 1) else low - 1
    if kind == "string":
        return _two_texts(name, schema)
    if kind == "array":
        first, second = _two_values(name, schema["items"])
        size = schema.get("minItems", 1)
        return ([first], [second]) if size < 2 else ([first, 5], [second, 5])
    return _two_maps(name, schema)


def _two_texts(name: str, schema: Mapping[str, Any]) -> tuple[str, str]:
    pattern = schema.get("pattern", "")
    known = _TEXTS.get(name)
    if known and matches(pattern, known[0]) and (pattern or name in ("image", "metric", "repository")):
        return known
    if "h|d" in schema.get("pattern", ""):
        return _DURATIONS
    if "pattern" in schema:
        first, second, *_ = PATTERNS[schema["pattern"]]
        return first, second
    return "a", "b"


def _two_maps(name: str, schema: Mapping[str, Any]) -> tuple[Json, Json]:
    if schema.get("properties") == {}:
        return _ABSENT, {}
    extra = schema.get("additionalProperties")
    key = "cpu" if name in ("requests", "limits") else "a"
    first, second = _two_values(key, extra) if isinstance(extra, Mapping) else (1, 2)
    return {key: first}, {key: second}
