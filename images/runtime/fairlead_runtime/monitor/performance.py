"""How good the answers were, from what turned out to be true; a drop counts only on the bound of the interval.

Called by `monitor.job`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from fairlead.contract.drift import DropKind, Performance, PerformanceResult
from fairlead.contract.gates import CLASSIFICATION_METRICS, LOWER_IS_BETTER, REGRESSION_METRICS
from fairlead.contract.training import Task
from fairlead_runtime.errors import BadInput
from fairlead_runtime.evaluate.measure import intervals, metric_names
from fairlead_runtime.report.numbers import finite, number
from fairlead_runtime.signature import Signature
from fairlead_runtime.stats.intervals import Interval
from fairlead_runtime.stats.metrics import Classified, Outcomes, Regressed
from fairlead_runtime.stats.shortfall import missing_for_floor


def outcomes_of(signature: Signature, joined: pa.Table) -> Outcomes:
    """Return truth beside answers of joined rows; labels that are no class of the version are left out."""
    if signature.task == Task.REGRESSION:
        truth, value = (_numbers(joined, name) for name in ("label", "out.value"))
        known = np.isfinite(truth) & np.isfinite(value)
        return Regressed(truth[known], value[known])
    codes = {name: code for code, name in enumerate(signature.classes)}
    truth, label = (
        np.array([codes.get(str(v), -1) for v in joined[name].to_pylist()], dtype=np.int64) if name in
        joined.column_names else np.empty(0, dtype=np.int64)
        for name in ("label", "out.label")
    )  # fmt: skip
    probability = None
    if signature.probability_output and len(signature.classes) == 2:
        score = _numbers(joined, "out.probability")
        probability = np.column_stack([1 - score, score])
    return Classified(truth, label, tuple(signature.classes), probability).take((truth >= 0) & (label >= 0))


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.array([np.nan if v is None else float(v) for v in table[name].to_pylist()], dtype=np.float64)


def judge_performance(spec: Performance, outcomes: Outcomes, reference: float | None, seed: int) -> PerformanceResult:
    """Return the metric on labelled requests and whether it has dropped."""
    _check(spec.metric, outcomes)
    rows = len(outcomes)
    missing = missing_for_floor(spec.metric, outcomes)
    if missing:
        message = f"{rows:,} labels are too few (30, and 10 of each class); about {missing:,} more are needed."
        return PerformanceResult(metric=spec.metric, labels=rows, reference=reference, message=message)
    found = intervals([spec.metric], outcomes, seed)[spec.metric]
    limit = limit_of(spec, reference)
    dropped = limit is not None and _beyond(found, limit, spec.metric)
    return PerformanceResult(
        metric=spec.metric,
        value=finite(found.value),
        low=finite(found.low),
        high=finite(found.high),
        labels=rows,
        reference=reference,
        dropped=dropped,
        message=_sentence(spec.metric, found, limit, dropped),
    )


def limit_of(spec: Performance, reference: float | None) -> float | None:
    """Return the strictest of `min` and the allowed drop from the reference; None without either.

    Relative is percent of the reference, Absolute percentage points. For metrics where lower is better, `min` is the
    largest value allowed, and a drop is a rise.
    """
    sign = -1.0 if spec.metric in LOWER_IS_BETTER else 1.0
    limits = [spec.min] if spec.min is not None else []
    if spec.drop_percent is not None and reference is not None:
        scale = abs(reference) if spec.drop_is == DropKind.RELATIVE else 1.0
        limits.append(reference - sign * scale * spec.drop_percent / 100)
    return max(limits, key=lambda limit: sign * limit) if limits else None


def _beyond(found: Interval, limit: float, metric: str) -> bool:
    return found.low > limit if metric in LOWER_IS_BETTER else found.high < limit


def _check(metric: str, outcomes: Outcomes) -> None:
    known = metric_names(outcomes)
    if metric in known:
        return
    all_known = CLASSIFICATION_METRICS if isinstance(outcomes, Classified) else REGRESSION_METRICS
    why = "needs probabilities, which captures of this model lack" if metric in all_known else "is not one"
    raise BadInput("UnknownMetric", f"performance.metric {metric!r} {why}; choose one of {', '.join(known)}")


def _sentence(metric: str, found: Interval, limit: float | None, dropped: bool) -> str:
    text = f"{metric} is {number(found.value)} ({number(found.low)} to {number(found.high)}) on {found.rows:,} rows"
    if limit is None:
        return f"{text}; no limit applies."
    lower = metric in LOWER_IS_BETTER
    bound = f"at {'most' if lower else 'least'} {number(limit)}"
    if dropped:
        return f"{text}; it must be {bound}, and the whole interval lies beyond."
    if found.high <= limit if lower else found.low >= limit:
        return f"{text}, {bound}."
    return f"{text}; that it is no longer {bound} is not established."
