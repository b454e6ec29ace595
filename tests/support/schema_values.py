"""Values that a CRD's schema allows, and values that it must refuse, drawn by Hypothesis; hostile ones often.

`specs` draws from the schema alone and mends CEL rules by `spec_rules.py`; `breach` then breaks one constraint.
Nothing here knows a kind: what a field means is only guessed from its name. Used by tests of generated input.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from .spec_rules import Choose, rule_of

Json = dict[str, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]
INT64 = 2**63 - 1
MAX_ITEMS = 4  # drawn at once; the schema's own bound is what `breach` goes over

HOSTILE = (
    "", " ", "\n", "\t", "\r\n", "\x00", "\x1b[31m", "-", "--", ".", "..", "../../etc/passwd", "/", "~", "null", "true",
    "no", "0", "-1", "1e999", "NaN", "{{}}", "{{ .Values.x }}", "{{ range $i }}", "${HOME}", "$(id)", "`id`", "%s%n",
    "{", "}", "[", "- a: b", "a: b\nc: d", "&a *a", "!!python/object:os.system", "'", '"', "';DROP TABLE x;--", "\\",
    "<script>alert(1)</script>", "&amp;", "$(FAIRLEAD_INPUT)", "ünïcödé", "日本語", "🚢🚢", "a\u200db", "\u202eabc",
    "e\u0301", "ﬃ", "A" * 5000, "é" * 63, "a" * 253, "x=1,y=2", "a b", "UPPER", "trailing-", "-leading", "a.b.c",
    "metadata.name", "__class__", "{0.__class__}", "%(x)s", "__import__('os')", "file:///etc/passwd", "\ufeffx",
)  # fmt: skip
NAMES = ("rows", "trained", "m", "serving", "absent", "a", "a" * 63, "store", "default", "y")
# References that lead somewhere, most of the time: see `planted.py`.
WISHES = {
    "dataset.name": "rows", "trainingRun.name": "trained", "inferenceService.name": "serving", "model.name": "m",
    "version": "trained", "model": "m",
}  # fmt: skip
_DURATIONS = (
    "0s", "1ms", "1s", "30s", "5m", "1h30m", "2h", "24h", "7d", "365d", "100000d", "999999d999999d9d", "0d0h",
    "999999999ms", "999999999m", "1s1s1s1s1s1s1s1s", "000001h",
)  # fmt: skip
_CRONS = (
    "@hourly", "@daily", "@weekly", "@monthly", "@yearly", "* * * * *", "*/5 * * * *", "0 0 30 2 *", "0 0 29 2 *",
    "a b c d e", "99 * * * *", "0 0 * * 7", "0 0 L * *", "1-5 1,2 * JAN MON", "*/0 * * * *", "0 0 31 4,6,9,11 *",
    "{{}} * * * *", "0 0 * * 1#5", "0 0 13 * 5",
)  # fmt: skip
PATTERNS: Mapping[str, tuple[str, ...]] = {
    r"^(@(hourly|daily|weekly|monthly|yearly)|(\S+\s+){4}\S+)$": tuple(c for c in _CRONS if not c.endswith(" ")),
    r"^([0-9]{1,9}(ms|s|m)|[0-9]{1,6}(h|d))+$": _DURATIONS,
    r"^([0-9]{1,9}(s|m)|[0-9]{1,6}(h|d))+$": tuple(text for text in _DURATIONS if "ms" not in text),
    r"^s3://[^/]+(/.*)?$": ("s3://b", "s3://b/", "s3://b/rows/", "s3://{{}}/x", "s3://ü/é", "s3://b/" + "k" * 2000),
    r"^https?://.+": ("http://a", "https://u:p@h/x?a=b#c", "http://{{}}", "http:// ", "http://[::1]:99999/", "https://日本"),
    r"^(s3|https?)://[^/@]+(/.*)?$": ("s3://b/k", "http://h/m.onnx", "https://{{}}", "s3:// ", "http://h/x y"),
    r"^sha256:[0-9a-f]{64}$": ("sha256:" + "0" * 64, "sha256:" + "af" * 32),
    r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$": ("0", "1", "1.5", "100m", "10Mi", "9" * 30, "0.0", "1Ti"),
    r"^[a-z0-9*]([-a-z0-9.]*[a-z0-9])?$": ("a", "m.example.com", "*.example.com", "a..b", "1.2.3.4", "a" * 253, "*x"),
    r"^[0-9a-f]{7,64}$": ("0123456", "f" * 64),
    r"^[!-~]+$": ("example.com/a:1", "a", "example.com/a@sha256:" + "0" * 64, "{{}}", "!", "x" * 2048),
    r"^/[!-~]*$": ("/", "/health", "//", "/a?b#c", "/%zz", "/{{}}", "/" + "p" * 255),
    r"^/.*": ("/", "/v2", "//", "/../x", "/{{}}", "/a\nb", "/ü", "/%zz", "/" + "p" * 255, "/a?b#c"),
    r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$": (
        "sklearn.linear_model.LogisticRegression", "os.system", "a.b", "sklearn." + "x" * 190,
        "lightgbm.LGBMClassifier",
    ),
    r"^[A-Za-z_][A-Za-z0-9_]*$": ("PATH", "LD_PRELOAD", "FAIRLEAD_INPUT", "_", "A" * 128, "AWS_SECRET_ACCESS_KEY"),
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": NAMES,
    r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$": (*NAMES, "Fraud_2", "a..b", "A" * 63),
    r"^[A-Za-z0-9:]*$": ("", "sha256:" + "1" * 64, "sha256:" + "a" * 64, "latest", "::"),
    r"^[^/].*$|^$": ("", "rows.csv", "../..", "a/../../b", "{{}}", " ", "é" * 1024),
}  # fmt: skip
_QUANTITIES: tuple[Any, ...] = ("1", "500m", "1Gi", 1, 0, "1e3", "9" * 20, 2**31, "0.000000001", ".5", "5.", "1Ei")
_CHOICES: tuple[Any, ...] = (1, -1, 0, 2**31, *HOSTILE)


@dataclass(frozen=True)
class Slot:
    """One value in a document: where it hangs, and its schema."""

    parent: Any
    key: Any
    schema: Mapping[str, Any]
    path: str
    required: bool = False


@dataclass(frozen=True)
class Pen:
    """Draws values; without `hostile` only such as a person would write, so that the operator gets far."""

    draw: Draw
    hostile: bool

    def pick(self, values: Sequence[Any]) -> Any:
        """Return one of these."""
        return self.draw(st.sampled_from(values))


def specs(schema: Mapping[str, Any]) -> st.SearchStrategy[Json]:
    """Return values of one schema; about nine in ten keep every CEL rule."""

    @st.composite
    def drawn(draw: Draw) -> Json:
        value: Json = _value(Pen(draw, draw(st.booleans())), schema, "")
        if draw(st.integers(0, 9)):
            mend(draw, schema, value)
        return value

    return drawn()


def holds(schema: Mapping[str, Any], value: Any) -> bool:
    """Say whether a drawn value keeps every CEL rule."""
    rules = [rule_of(entry["rule"]) for entry in schema.get("x-kubernetes-validations", ())]
    return all(rule.holds(value) for rule in rules if rule is not None) and all(
        holds(slot.schema, slot.parent[slot.key]) for slot in _slots(schema, value, "")
    )


def mend(draw: Draw, schema: Mapping[str, Any], value: Any) -> None:
    """Make a drawn value keep every CEL rule."""
    mend_with(schema, value, lambda fields: str(draw(st.sampled_from(fields))))


def mend_with(schema: Mapping[str, Any], value: Any, choose: Choose) -> None:
    """Make a value keep every CEL rule, inner ones first; `choose` says which of several fields stays."""
    for slot in list(_slots(schema, value, "")):
        mend_with(slot.schema, slot.parent[slot.key], choose)
    for entry in schema.get("x-kubernetes-validations", ()):
        rule = rule_of(entry["rule"])
        if rule is not None and not rule.holds(value):
            before = set(value)
            rule.mend(value, choose)
            for name in value.keys() - before:  # what a rule brought in may have rules of its own
                mend_with(schema["properties"][name], value[name], choose)


def _slots(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[Slot]:
    """Yield the direct parts of a value that a schema speaks of."""
    if isinstance(value, dict):
        for name in list(value):
            child = (schema.get("properties") or {}).get(name) or schema.get("additionalProperties")
            if isinstance(child, Mapping):
                yield Slot(value, name, child, f"{path}.{name}", name in schema.get("required", ()))
    elif isinstance(value, list) and "items" in schema:
        for number in range(len(value)):
            yield Slot(value, number, schema["items"], f"{path}[{number}]")


def all_slots(schema: Mapping[str, Any], value: Any, path: str = "spec") -> Iterator[Slot]:
    """Yield every part of a value, outer ones first."""
    for slot in _slots(schema, value, path):
        yield slot
        yield from all_slots(slot.schema, slot.parent[slot.key], slot.path)


def _value(pen: Pen, schema: Mapping[str, Any], name: str) -> Any:
    if schema.get("x-kubernetes-int-or-string"):
        pool = _QUANTITIES if "pattern" in schema else _CHOICES
        return pen.pick(pool if pen.hostile else pool[:4])
    if "enum" in schema:
        return pen.pick(schema["enum"])
    drawers = {"object": _object, "array": _array, "string": _string, "integer": _integer, "number": _number}
    kind = schema.get("type")
    if kind in drawers:
        return drawers[kind](pen, schema, name)
    return pen.draw(st.booleans() if kind == "boolean" else _FREE)


_SCALARS = st.one_of(
    st.booleans(),
    st.integers(-INT64 - 1, INT64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(HOSTILE),
)
_FREE = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(HOSTILE), inner, max_size=3)),
    max_leaves=4,
)


def _object(pen: Pen, schema: Mapping[str, Any], name: str) -> Json:
    if "properties" in schema:
        required = set(schema.get("required", ()))
        return {
            field: _value(pen, child, f"{name}.{field}" if field == "name" else field)
            for field, child in schema["properties"].items()
            if field in required or pen.draw(st.integers(0, 9)) < 3
        }
    most = min(schema.get("maxProperties", MAX_ITEMS), 3)
    extra = schema.get("additionalProperties")
    keys = pen.draw(st.lists(st.sampled_from(_keys_of(name, pen.hostile)), max_size=most, unique=True))
    return {key: _value(pen, extra, key) if extra else pen.draw(_FREE) for key in keys}


def _keys_of(name: str, hostile: bool) -> tuple[str, ...]:
    usual = {"requests": ("cpu", "memory"), "limits": ("cpu", "memory", "nvidia.com/gpu"), "space": ("C", "alpha")}
    return (*usual.get(name, ("a", "kubernetes.io/os")), *(("{{}}", "ü", "a b", "x" * 300) if hostile else ()))


def _array(pen: Pen, schema: Mapping[str, Any], name: str) -> list[Any]:
    low = schema.get("minItems", 0)
    size = pen.draw(st.integers(low, max(low, min(schema.get("maxItems", MAX_ITEMS), MAX_ITEMS))))
    items = [_value(pen, schema["items"], name) for _ in range(size)]
    kept = _distinct(schema, items)
    while len(kept) < low:
        kept = _distinct(schema, [*kept, _value(pen, schema["items"], name)])
    return kept


def _distinct(schema: Mapping[str, Any], items: list[Any]) -> list[Any]:
    keys = schema.get("x-kubernetes-list-map-keys")
    if schema.get("x-kubernetes-list-type") not in ("set", "map"):
        return items
    found = {repr([item.get(key) for key in keys] if keys else item): item for item in items}
    return list(found.values())


def _string(pen: Pen, schema: Mapping[str, Any], name: str) -> str:
    if name in WISHES and pen.draw(st.integers(0, 9)) < 7:
        return WISHES[name]
    low, high = schema.get("minLength", 0), schema.get("maxLength", 5000)
    pool: Sequence[str] = PATTERNS.get(schema.get("pattern", ""), NAMES)
    if pen.hostile and "pattern" not in schema and pen.draw(st.booleans()):
        if pen.draw(st.integers(0, 3)) == 0:
            wild = st.text(st.characters(exclude_categories=["Cs"]), min_size=low, max_size=min(high, 80))
            return str(pen.draw(wild))
        pool = [text[:high] for text in HOSTILE]
    return str(pen.pick([text for text in pool if low <= len(text) <= high]))


def _integer(pen: Pen, schema: Mapping[str, Any], _name: str) -> int:
    bits = 31 if schema.get("format") == "int32" else 63
    low = max(schema.get("minimum", -(2**bits)), -(2**bits))
    high = min(schema.get("maximum", 2**bits - 1), 2**bits - 1)
    return int(pen.draw(st.one_of(st.sampled_from([low, high]), st.integers(low, high))))


def _number(pen: Pen, schema: Mapping[str, Any], _name: str) -> float:
    low, high = schema.get("minimum"), schema.get("maximum")
    bounds = {"exclude_min": bool(schema.get("exclusiveMinimum")), "exclude_max": bool(schema.get("exclusiveMaximum"))}
    bounds = {key: value for key, value in bounds.items() if value}
    return float(pen.draw(st.floats(low, high, allow_nan=False, allow_infinity=False, **bounds)))


# Breaking one constraint


def breaches_of(slot: Slot) -> dict[str, Any]:
    """Return values that the schema of a part must refuse, by what they break."""
    schema, value = slot.schema, slot.parent[slot.key]
    found: dict[str, Any] = {}
    if schema.get("x-kubernetes-int-or-string"):
        return {f"quantity {bad!r}": bad for bad in _BAD_QUANTITIES} if "pattern" in schema else {}
    if "type" in schema:
        found["type"] = [] if schema["type"] != "array" else {"a": "b"}
    if "enum" in schema:
        found["enum"] = "Never"
    if schema.get("type") == "string" and "maxLength" in schema:
        found["maxLength"] = "0" * (schema["maxLength"] + 1)
    if schema.get("minLength"):
        found["minLength"] = ""
    if "pattern" in schema:
        found |= {f"pattern {bad!r}": bad for bad in _BAD_TEXTS if not matches(schema["pattern"], bad)}
    if schema.get("type") in ("integer", "number"):
        found |= _beyond(schema)
    if schema.get("type") == "array":
        found |= _bad_lists(schema, value)
    return found


_BAD_QUANTITIES = (-1, "", "banana", "1Zi", "-5", "1 Gi", "{{}}", "1e", "1.5.5", "1\n", "1e999999999")
_BAD_TEXTS = ("{{}}", "\n", "1h\n", "- a: b", "/x\n", "日本語", "99999999999999d", "1e3s", "-1h")


def matches(pattern: str, text: str) -> bool:
    """Say whether Go's regexp finds the pattern: ASCII classes, `$` only at the very end, `.` never a newline."""
    return re.search(pattern.replace("$", r"\Z"), text, re.ASCII) is not None


def _beyond(schema: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"text": "1"}
    if schema["type"] == "integer":
        found["fraction"] = 1.5
    if "minimum" in schema:
        found["minimum"] = schema["minimum"] if schema.get("exclusiveMinimum") else schema["minimum"] - 1
    if "maximum" in schema:
        found["maximum"] = schema["maximum"] if schema.get("exclusiveMaximum") else schema["maximum"] + 1
    return found


def _bad_lists(schema: Mapping[str, Any], value: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if value and schema.get("x-kubernetes-list-type") in ("set", "map"):
        found["twice"] = [*value, value[0]]
    if value and "maxItems" in schema and schema["maxItems"] <= 100:
        found["maxItems"] = [copy.deepcopy(value[0]) for _ in range(schema["maxItems"] + 1)]
    if schema.get("minItems"):
        found["minItems"] = value[: schema["minItems"] - 1]
    return found


@st.composite
def breach(draw: Draw, schema: Mapping[str, Any], value: Json) -> tuple[Json, str]:
    """Return a copy of a valid value with one constraint broken, and which."""
    broken = copy.deepcopy(value)
    slots = [slot for slot in all_slots(schema, broken) if breaches_of(slot) or slot.required]
    slot = draw(st.sampled_from(slots))
    ways = breaches_of(slot)
    way = draw(st.sampled_from([*ways, *(["missing"] if slot.required else [])]))
    if way == "missing":
        del slot.parent[slot.key]
    else:
        slot.parent[slot.key] = ways[way]
    return broken, f"{slot.path}: {way}"
