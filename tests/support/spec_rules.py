"""The CRDs' CEL rules read a second time, in Python: whether a value keeps a rule, and how to make it keep it.

The API server has the first reading. A rule without an entry here fails `tests/unit/api/test_generated_values.py`.
Used by `schema_values.py` only.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Choose = Callable[[list[str]], str]
_ONE_OF = re.compile(r"\(has\(self\.(\w+)\) \? 1 : 0\)")
SPARE: Mapping[str, Any] = {
    "s3": {"uri": "s3://lake/rows/"},
    "http": {"url": "http://lake.example/rows.csv"},
    "persistentVolumeClaim": {"name": "rows"},
    "configMap": {"name": "rows", "key": "rows.csv"},
    "notNull": {},
    "unique": {},
    "between": {"min": 0},
    "allowed": {"values": ["a"]},
    "matches": {"pattern": ".*"},
    "rowCount": {"min": 1},
    "freshness": {"maxAge": "1d"},
    "sklearn": {"estimator": "sklearn.linear_model.LogisticRegression"},
    "container": {"image": "example.com/trainer:1"},
    "int": [1, 5],
    "float": [0.1, 0.5],
    "choice": [1, "a"],
    "metric": "accuracy",
    "fairness": {"metric": "EqualOpportunityDifference", "attribute": "sex", "max": 0.1},
    "latency": {"maxMs": 5},
    "artifactSize": {"max": "10Mi"},
    "trainingRun": {"name": "trained"},
    "artifact": {"uri": "s3://lake/model/", "digest": "sha256:" + "0" * 64},
    "name": "m",
    "version": "trained",
}


@dataclass(frozen=True)
class Rule:
    """`holds` is the rule; `mend` changes a value in place so that it holds."""

    holds: Callable[[Json], bool]
    mend: Callable[[Json, Choose], None]


def exactly_one(fields: list[str]) -> Rule:
    """Return the rule "exactly one of these fields is set"."""

    def mend(value: Json, choose: Choose) -> None:
        present = [field for field in fields if field in value]
        kept = choose(present or fields)
        for field in present:
            if field != kept:
                del value[field]
        value.setdefault(kept, copy.deepcopy(SPARE[kept]))

    return Rule(lambda value: sum(field in value for field in fields) == 1, mend)


def needs(is_asked: Callable[[Json], bool], field: str, spare: Any) -> Rule:
    """Return the rule "when this is so, the field is set"."""

    def mend(value: Json, _choose: Choose) -> None:
        if is_asked(value):
            value.setdefault(field, spare)

    return Rule(lambda value: not is_asked(value) or field in value, mend)


def drops(is_asked: Callable[[Json], bool], *fields: str) -> Rule:
    """Return the rule "when this is so, none of the fields is set"."""

    def mend(value: Json, _choose: Choose) -> None:
        for field in fields if is_asked(value) else ():
            value.pop(field, None)

    return Rule(lambda value: not is_asked(value) or not any(field in value for field in fields), mend)


def _has_fresh_check_without_column(value: Json) -> bool:
    return any("freshness" in check and "column" not in check for check in value.get("checks") or ())


def _sum_percents(value: Json, _choose: Choose) -> None:
    train = value.get("trainPercent", 70)
    value["trainPercent"] = train
    value["validationPercent"] = (100 - train) // 3
    value["testPercent"] = 100 - train - value["validationPercent"]


def _percents(value: Json) -> int:
    defaults = {"trainPercent": 70, "validationPercent": 10, "testPercent": 20}
    return sum(value.get(field, default) for field, default in defaults.items())


def _order_replicas(value: Json, _choose: Choose) -> None:
    low, high = value.get("minReplicas", 1), value.get("maxReplicas", 10)
    value["minReplicas"], value["maxReplicas"] = min(low, high), max(low, high)


def _at_least_one_replica(value: Json, _choose: Choose) -> None:
    value["minReplicas"] = max(1, value.get("minReplicas", 1))
    value["maxReplicas"] = max(value["minReplicas"], value.get("maxReplicas", 10))


def _order_requests(value: Json, _choose: Choose) -> None:
    low, high = value.get("minRequests", 100), value.get("requests", 500)
    value["minRequests"], value["requests"] = min(low, high), max(low, high)


def _steps(value: Json) -> list[int]:
    return list(value.get("stepsPercent", [5, 25, 50]))


def _bound_steps(value: Json, _choose: Choose) -> None:
    value["stepsPercent"] = sorted({min(99, max(1, step)) for step in _steps(value)})


def _pair_slices(value: Json, _choose: Choose) -> None:
    if ("slices" in value) != ("maxGap" in value):
        value.pop("slices", None)
        value.pop("maxGap", None)


def _limit_metric(value: Json, _choose: Choose) -> None:
    if "metric" in value and not {"min", "max", "versusChampion", "slices"} & value.keys():
        value["min"] = 0.5


def _has_limit(value: Json) -> bool:
    return "metric" not in value or bool({"min", "max", "versusChampion", "slices"} & value.keys())


def _say_performance(value: Json, _choose: Choose) -> None:
    value.setdefault("performance", {"min": 0.5})


def _wants_performance(value: Json) -> bool:
    return "performanceDrop" in (value.get("retrain") or {}).get("triggers", {})


def _limit_performance(value: Json, _choose: Choose) -> None:
    if not _limits_performance(value):
        value["performance"]["dropPercent"] = 5


def _limits_performance(value: Json) -> bool:
    return "performance" not in value or bool({"min", "dropPercent"} & value["performance"].keys())


def _always(_value: Json) -> bool:
    return True


def _nothing(_value: Json, _choose: Choose) -> None:
    """Leave it: a rule about changes holds for every new object."""


_EXACT: Mapping[str, Rule] = {
    "self.split.method != 'Stratified' || has(self.target)": needs(
        lambda v: (v.get("split") or {}).get("method") == "Stratified", "target", "y"
    ),
    "self.split.method != 'Time' || has(self.timestamp)": needs(
        lambda v: (v.get("split") or {}).get("method") == "Time", "timestamp", "at"
    ),
    "!has(self.checks) || self.checks.all(c, !has(c.freshness) || has(c.column) || has(self.timestamp))": needs(
        _has_fresh_check_without_column, "timestamp", "at"
    ),
    "self.policy != 'Frozen' || (has(self.columns) && size(self.columns) > 0)": Rule(
        lambda v: v.get("policy") != "Frozen" or bool(v.get("columns")),
        lambda v, _: (
            v.update(columns=[{"name": "y", "type": "Float"}])
            if v.get("policy") == "Frozen" and not v.get("columns")
            else None
        ),
    ),
    "has(self.rowCount) || has(self.freshness) || has(self.column)": needs(
        lambda v: not {"rowCount", "freshness"} & v.keys(), "column", "y"
    ),
    "self.trainPercent + self.validationPercent + self.testPercent == 100": Rule(
        lambda v: _percents(v) == 100, _sum_percents
    ),
    "self.method != 'Group' || has(self.groupColumn)": needs(
        lambda v: v.get("method") == "Group", "groupColumn", "customer"
    ),
    "!has(self.retrain) || !has(self.retrain.triggers.performanceDrop) || has(self.performance)": needs(
        _wants_performance, "performance", {"min": 0.5}
    ),
    "!has(self.performance) || has(self.performance.min) || has(self.performance.dropPercent)": Rule(
        _limits_performance, _limit_performance
    ),
    "!has(self.search) || !has(self.trainer.container)": drops(
        lambda v: "container" in (v.get("trainer") or {}), "search"
    ),
    "!has(self.metric) || has(self.min) || has(self.max) || has(self.versusChampion) || has(self.slices)": Rule(
        _has_limit, _limit_metric
    ),
    "has(self.slices) == has(self.maxGap)": Rule(lambda v: ("slices" in v) == ("maxGap" in v), _pair_slices),
    "!has(self.versusChampion) || !(has(self.min) || has(self.max) || has(self.slices))": drops(
        lambda v: "versusChampion" in v, "min", "max", "slices", "maxGap"
    ),
    "has(self.name) != has(self.version)": exactly_one(["name", "version"]),
    "self.minReplicas <= self.maxReplicas": Rule(
        lambda v: v.get("minReplicas", 1) <= v.get("maxReplicas", 10), _order_replicas
    ),
    "self.minReplicas > 0": Rule(lambda v: v.get("minReplicas", 1) > 0, _at_least_one_replica),
    "self.minRequests <= self.requests": Rule(
        lambda v: v.get("minRequests", 100) <= v.get("requests", 500), _order_requests
    ),
    "self.stepsPercent.all(s, s > 0 && s < 100)": Rule(
        lambda v: all(0 < step < 100 for step in _steps(v)), _bound_steps
    ),
    "self.stepsPercent.isSorted()": Rule(lambda v: _steps(v) == sorted(_steps(v)), _bound_steps),
    "!(self.port in [15080, 15081, 15082, 15090])": Rule(
        lambda v: v.get("port", 8080) not in (15080, 15081, 15082, 15090), lambda v, _: v.update(port=8080)
    ),
    "!has(self.predictor.container) || !has(self.rollout.replay)": Rule(
        lambda v: "container" not in (v.get("predictor") or {}) or "replay" not in (v.get("rollout") or {}),
        lambda v, _: v["rollout"].pop("replay", None) if "container" in (v.get("predictor") or {}) else None,
    ),
    "self.timeout.matches('[1-9]')": Rule(
        lambda v: bool(re.search("[1-9]", v.get("timeout", "60s"))), lambda v, _: v.update(timeout="60s")
    ),
    "!has(self.container) || !has(self.runtime) || !has(self.runtime.workers) || self.runtime.workers == 1": Rule(
        lambda v: "container" not in v or (v.get("runtime") or {}).get("workers", 1) == 1,
        lambda v, _: v.update(runtime={"workers": 1}),
    ),
    "!has(self.hostname) || has(self.gateway)": needs(lambda v: "hostname" in v, "gateway", {"name": "door"}),
    "!has(self.source.artifact) || has(self.evaluation)": needs(
        lambda v: "artifact" in (v.get("source") or {}), "evaluation", {"dataset": {"name": "rows"}}
    ),
    "!has(self.decision) || (has(self.by) && has(self.reason))": Rule(
        lambda v: "decision" not in v or {"by", "reason"} <= v.keys(),
        lambda v, _: (v.setdefault("by", "ann"), v.setdefault("reason", "seen"), None)[-1] if "decision" in v else None,
    ),
}


def rule_of(text: str) -> Rule | None:
    """Return the second reading of a CEL rule, or None when there is none."""
    if "oldSelf" in text:
        return Rule(_always, _nothing)
    if text.endswith("== 1") and _ONE_OF.search(text):
        return exactly_one(_ONE_OF.findall(text))
    return _EXACT.get(text)
