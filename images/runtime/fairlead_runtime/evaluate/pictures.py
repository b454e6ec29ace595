"""Points of the card's plots, thinned to what a screen can show; figures only, never rows. Called by `evaluate.job`."""

from __future__ import annotations

import numpy as np

from fairlead_runtime.report.content import Bin, Curve, Pictures
from fairlead_runtime.report.numbers import finite
from fairlead_runtime.stats.metrics import Classified, Outcomes, Regressed, class_counts, value
from fairlead_runtime.stats.types import Bools, Floats

MOST_POINTS = 160
MOST_CURVES = 5
CALIBRATION_BINS = 10
BARS = 40
CELLS = 30


def pictures(outcomes: Outcomes) -> Pictures:
    """Return what the card draws for this task."""
    return _regression(outcomes) if isinstance(outcomes, Regressed) else _classification(outcomes)


def confusion(outcomes: Classified) -> list[list[int]]:
    """Return counts: rows are true classes, columns predicted ones."""
    k = len(outcomes.classes)
    cells = np.bincount(outcomes.truth * k + outcomes.label, minlength=k * k).reshape(k, k)
    return [[int(count) for count in row] for row in cells]


def _classification(o: Classified) -> Pictures:
    drawn = Pictures(confusion=confusion(o))
    if o.probability is None:
        return drawn
    found = class_counts(o)
    order = [1] if o.binary else np.argsort(-found, kind="stable")[:MOST_CURVES].tolist()
    usable = [k for k in order if 0 < found[k] < len(o)]
    curves: dict[str, object] = {
        "roc": [_roc(o, k) for k in usable],
        "precision_recall": [_precision_recall(o, k) for k in usable],
    }
    if o.binary:
        score = o.probability[:, 1]
        curves["base_rate"] = float(found[1] / len(o))
        curves["calibration"] = _calibration(score, o.truth == 1)
        curves["scores"] = _scores(score)
    return drawn.model_copy(update=curves)


def _one(o: Classified, k: int) -> tuple[Floats, Bools, Classified]:
    """Return score, truth and the two-class view of one class against the rest."""
    assert o.probability is not None
    score, positive = o.probability[:, k], o.truth == k
    codes, label = positive.astype(np.int64), (o.label == k).astype(np.int64)
    return score, positive, Classified(codes, label, ("rest", o.classes[k]), np.c_[1 - score, score])


def _steps(score: Floats, positive: Bools) -> tuple[Floats, Floats]:
    """Return cumulated true and false positives at each distinct score, from the highest down, beginning at 0."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    hits = np.cumsum(positive[order])[ends].astype(np.float64)
    return np.r_[0.0, hits], np.r_[0.0, ends + 1 - hits]


def _roc(o: Classified, k: int) -> Curve:
    score, positive, two = _one(o, k)
    hits, misses = _steps(score, positive)
    points = _thin(misses / misses[-1], hits / hits[-1])
    return Curve(name=o.classes[k], points=points, area=finite(value("roc_auc", two)))


def _precision_recall(o: Classified, k: int) -> Curve:
    score, positive, two = _one(o, k)
    hits, misses = _steps(score, positive)
    points = _thin((hits / hits[-1])[1:], (hits / (hits + misses).clip(1))[1:])
    return Curve(name=o.classes[k], points=points, area=finite(value("average_precision", two)))


def _thin(x: Floats, y: Floats) -> list[tuple[float, float]]:
    """Return at most 160 points, evenly spaced along the curve's length."""
    length = np.cumsum(np.r_[0.0, np.abs(np.diff(x)) + np.abs(np.diff(y))])
    picked = np.unique(np.searchsorted(length, np.linspace(0, length[-1], MOST_POINTS)))
    kept = np.unique(np.r_[0, picked.clip(0, len(x) - 1), len(x) - 1])
    return [(round(float(x[i]), 5), round(float(y[i]), 5)) for i in kept]


def _calibration(score: Floats, positive: Bools) -> Curve:
    """Return mean probability against observed share in ten groups of equal size."""
    edges = np.unique(np.quantile(score, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]))
    group = np.searchsorted(edges, score, side="right")
    count = np.bincount(group)
    some = count > 0
    mean, share = (np.bincount(group, v)[some] / count[some] for v in (score, positive.astype(np.float64)))
    points = [(round(float(x), 5), round(float(y), 5)) for x, y in zip(mean, share, strict=True)]
    return Curve(name="calibration", points=points)


def _scores(score: Floats) -> list[Bin]:
    return _bins(*np.histogram(score.clip(0, 1), bins=20, range=(0, 1)))


def _bins(counts: np.ndarray, edges: np.ndarray) -> list[Bin]:
    return [
        Bin(low=round(float(low), 6), high=round(float(high), 6), count=int(count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def _regression(r: Regressed) -> Pictures:
    """Draw the middle 99 %: one outlier would squeeze all else into a line; outer rows count in the outer bars."""
    error = r.value - r.truth
    low, high = _middle(error)
    bottom, top = _middle(np.r_[r.truth, r.value])
    edges = np.linspace(bottom, top, CELLS + 1)
    cells = np.histogram2d(r.truth.clip(bottom, top), r.value.clip(bottom, top), bins=[edges, edges])[0]
    return Pictures(
        residuals=_bins(*np.histogram(error.clip(low, high), bins=BARS, range=(low, high))),
        density=[[int(count) for count in row] for row in cells],
        density_range=(bottom, top),
    )


def _middle(values: Floats) -> tuple[float, float]:
    low, high = (float(v) for v in np.quantile(values, [0.005, 0.995]))
    return (low, high) if high > low else (low - 0.5, low + 0.5)
