"""Which inputs, predictions and labels no longer look as they did in training.

A difference counts when chance is ruled out (p under 5 %, corrected over the inputs) and the effect reaches its
limit; of a distance the p-value is chi-square's on the same bins. Called by `monitor.job`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairlead.contract.drift import (
    CategoricalTest,
    Correction,
    DataDrift,
    FeatureDrift,
    NumericTest,
    PredictionDrift,
    PredictionDriftResult,
)
from fairlead_runtime.profile import CategoricalColumn, NumericColumn, Profile
from fairlead_runtime.report.content import Distribution, FeatureReport
from fairlead_runtime.stats import drift
from fairlead_runtime.stats.drift import Comparison
from fairlead_runtime.stats.types import Floats

ALPHA = 0.05
PLOT_BINS = 12
DISTANCES = (NumericTest.PSI, NumericTest.JS)
Column = NumericColumn | CategoricalColumn
_Compared = tuple[str, str, float, Comparison]  # name, test, min effect, comparison


def compare_features(
    spec: DataDrift, reference: Profile, current: Profile, captured: set[str], importances: dict[str, float]
) -> list[FeatureReport]:
    """Return one report per captured input, worst first: what drifted, then effect times importance."""
    names = [name for name in reference.columns if name in captured]
    if not names:
        return []
    compared = [_compare(name, spec, reference.columns[name], current.columns[name]) for name in names]
    correct = drift.bonferroni if spec.correction == Correction.BONFERRONI else drift.benjamini_hochberg
    p_values = correct(np.array([comparison.p_value for *_, comparison in compared]))
    reports = [
        _feature(one, float(p), (reference.columns[one[0]], current.columns[one[0]]), importances.get(one[0]))
        for one, p in zip(compared, p_values, strict=True)
    ]
    return sorted(reports, key=_badness)


def _compare(name: str, spec: DataDrift, reference: Column, current: Column) -> _Compared:
    if isinstance(reference, NumericColumn):
        test, least = str(spec.numeric.test.value), spec.numeric.min_effect
    else:
        test, least = str(spec.categorical.test.value), spec.categorical.min_effect
    return name, test, least, compare(test, reference, current)


def compare(test: str, reference: Column, current: Column) -> Comparison:
    """Return effect and p-value of one column under a test by its name."""
    before, now = reference.bins(), current.bins()
    ordered = isinstance(reference, NumericColumn)
    if test == NumericTest.KS:
        return drift.kolmogorov_smirnov(before, now) if ordered else drift.total_variation(before, now)
    if test == CategoricalTest.CHI_SQUARE:
        return drift.chi_square(before, now)
    merged = drift.merge_adjacent(before, now) if ordered else drift.merge_rare(before, now)
    return drift.population_stability(*merged) if test == NumericTest.PSI else drift.jensen_shannon(*merged)


def _feature(one: _Compared, p_value: float, pair: tuple[Column, Column], importance: float | None) -> FeatureReport:
    name, test, least, comparison = one
    return FeatureReport(
        drift=FeatureDrift(
            name=name,
            test=test,
            effect=round(comparison.effect, 6),
            p_value=None if test in DISTANCES else float(f"{p_value:.4g}"),
            drifted=p_value < ALPHA and comparison.effect >= least,
            importance=importance,
        ),
        min_effect=least,
        nulls_reference=_null_share(pair[0]),
        nulls_current=_null_share(pair[1]),
        distribution=distribution(*pair),
    )


def _badness(feature: FeatureReport) -> tuple[bool, float, str]:
    found = feature.drift
    relative = found.effect / feature.min_effect if feature.min_effect > 0 else found.effect
    weight = 1.0 if found.importance is None else max(found.importance, 0.01)  # an unused input still matters a little
    return not found.drifted, -relative * weight, found.name


def _null_share(column: Column) -> float:
    return round(column.nulls / column.rows, 6) if column.rows else 0.0


def compare_output(spec: PredictionDrift, reference: Column, current: Column) -> PredictionDriftResult:
    """Return the comparison of predictions or labels; a distance that chance explains is no drift."""
    found = compare(spec.test.value, reference, current)
    drifted = found.effect >= spec.threshold and found.p_value < ALPHA
    return PredictionDriftResult(
        test=spec.test.value, effect=round(found.effect, 6), threshold=spec.threshold, drifted=drifted
    )


@dataclass(frozen=True)
class _Bars:
    labels: list[str]
    reference: Floats
    current: Floats


def distribution(reference: Column, current: Column) -> Distribution:
    """Return the shares per bin of both, over at most a dozen bins that people can tell apart."""
    bars = _numeric_bars(reference, current) if isinstance(reference, NumericColumn) else _category_bars(
        reference, current
    )  # fmt: skip
    before, now = (counts / max(counts.sum(), 1) for counts in (bars.reference, bars.current))
    shown = [i for i in range(len(bars.labels)) if before[i] > 0 or now[i] > 0]
    return Distribution(
        labels=[bars.labels[i] for i in shown],
        reference=[round(float(before[i]), 5) for i in shown],
        current=[round(float(now[i]), 5) for i in shown],
    )


def _numeric_bars(reference: NumericColumn, current: Column) -> _Bars:
    """Merge neighbours of nearly equal training share; a bar is named by the value it begins with."""
    before, now = reference.bins()[1:], current.bins()[1:]
    if len(before) <= PLOT_BINS:
        group = np.arange(len(before))
    else:
        middle = (np.cumsum(before) - before / 2) / max(before.sum(), 1)
        group = np.unique(np.minimum((middle * PLOT_BINS).astype(int), PLOT_BINS - 1), return_inverse=True)[1]
    starts = [int(np.flatnonzero(group == g)[0]) for g in range(int(group.max()) + 1)]
    labels = ["missing", *(_begin(reference, start) for start in starts)]
    counts = [np.r_[column.bins()[0], np.bincount(group, column.bins()[1:])] for column in (reference, current)]
    assert len(now) == len(before)
    return _Bars(labels, counts[0], counts[1])


def _begin(column: NumericColumn, start: int) -> str:
    if start == 0:
        return "low" if column.min is None else f"{column.min:.3g}"
    return f"{column.edges[start - 1]:.3g}"


def _category_bars(reference: CategoricalColumn, current: Column) -> _Bars:
    order = np.argsort(-reference.bins()[1:-1], kind="stable") + 1
    kept, rest = order[:PLOT_BINS], [*order[PLOT_BINS:].tolist(), len(order) + 1]
    names = reference.labels()
    labels = ["missing", *(names[i] for i in kept), "other"]
    counts = [np.r_[c.bins()[0], c.bins()[kept], c.bins()[rest].sum()] for c in (reference, current)]
    return _Bars(labels, counts[0], counts[1])
