"""Metrics of classifiers and regressors as functions of row counts, so that a bootstrap can be vectorised.

Definitions follow scikit-learn: precision, recall and f1 are of the positive (last) class with two classes and
macro averages with more; roc_auc and average_precision with more are one-versus-rest macro averages. A metric that
does not exist on some rows (no positive, say) is nan. Called by `evaluate` and `monitor`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .types import Bools, Floats, Ints

NEED_PROBABILITIES = ("roc_auc", "average_precision", "log_loss", "brier_score")
PROPORTIONS = ("accuracy", "recall", "precision")
# Metrics that divide by the size of a class, and so need enough rows of each.
PER_CLASS = ("balanced_accuracy", "precision", "recall", "f1", "roc_auc", "average_precision")
_TINY = float(np.finfo(np.float64).eps)  # scikit-learn's clip of probabilities in log_loss

# (resamples, rows) of counts -> (resamples,)
Metric = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Classified:
    """Rows of a classifier: codes into `classes` for truth and label, probabilities (rows, classes) if it has any."""

    truth: Ints
    label: Ints
    classes: tuple[str, ...]
    probability: Floats | None = None

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def binary(self) -> bool:
        """Whether there is one positive class: the last of two."""
        return len(self.classes) == 2

    def take(self, rows: Bools) -> Classified:
        """Return the rows where the mask is true."""
        probability = None if self.probability is None else self.probability[rows]
        return Classified(self.truth[rows], self.label[rows], self.classes, probability)


@dataclass(frozen=True)
class Regressed:
    """Rows of a regressor: the true and the predicted value."""

    truth: Floats
    value: Floats

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: Bools) -> Regressed:
        """Return the rows where the mask is true."""
        return Regressed(self.truth[rows], self.value[rows])


Outcomes = Classified | Regressed


def metric(name: str, outcomes: Outcomes) -> Metric:
    """Return the metric of these rows as a function of counts; KeyError for a name that the task does not know.

    ValueError when it needs probabilities and the model gives none.
    """
    if isinstance(outcomes, Regressed):
        return _REGRESSION[name](outcomes)
    if name in NEED_PROBABILITIES and outcomes.probability is None:
        raise ValueError(f"{name} needs probabilities, and this model gives labels only")
    return _CLASSIFICATION[name](outcomes)


def together(metrics: Sequence[Metric]) -> Callable[[Floats], Floats]:
    """Return one statistic (resamples, metrics) of several metrics over the same counts."""
    return lambda counts: np.column_stack([one(counts) for one in metrics])


def value(name: str, outcomes: Outcomes) -> float:
    """Return the metric on the rows as they are."""
    return float(metric(name, outcomes)(np.ones((1, len(outcomes))))[0])


def proportion(name: str, outcomes: Outcomes) -> tuple[int, int] | None:
    """Return (successes, rows) when the metric is one proportion of independent rows, else None."""
    hits = hit_rows(name, outcomes)
    return None if hits is None else (int(hits[0].sum()), int(hits[1].sum()))


def hit_rows(name: str, outcomes: Outcomes) -> tuple[Bools, Bools] | None:
    """Return (success, counted) per row when the metric is one proportion, else None."""
    if isinstance(outcomes, Regressed) or name not in PROPORTIONS:
        return None
    right = outcomes.truth == outcomes.label
    if name == "accuracy":
        return right, np.ones(len(right), dtype=bool)
    if not outcomes.binary:
        return None
    counted = (outcomes.truth if name == "recall" else outcomes.label) == 1
    return right & counted, counted


def class_counts(outcomes: Classified) -> Ints:
    """Return how many rows truly belong to each class."""
    return np.bincount(outcomes.truth, minlength=len(outcomes.classes)).astype(np.int64)


def _ratio(over: Floats, under: Floats, empty: float = np.nan) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(under > 0, over / under, empty)


def _mean_of(rows: Floats) -> Metric:
    return lambda counts: _ratio(counts @ rows, counts.sum(axis=1))


def _accuracy(o: Classified) -> Metric:
    return _mean_of((o.truth == o.label).astype(np.float64))


def _per_class(o: Classified) -> Callable[[Floats], tuple[Floats, Floats, Floats]]:
    """Return counts -> (hits, truly so, predicted so), each (resamples, classes)."""
    codes = np.arange(len(o.classes))
    truly = (o.truth[:, None] == codes).astype(np.float64)
    predicted = (o.label[:, None] == codes).astype(np.float64)
    stacked, k = np.hstack([truly * predicted, truly, predicted]), len(codes)

    def sums(counts: Floats) -> tuple[Floats, Floats, Floats]:
        total = counts @ stacked
        return total[:, :k], total[:, k : 2 * k], total[:, 2 * k :]

    return sums


def _averaged(o: Classified, score: Callable[[Floats, Floats, Floats], Floats]) -> Metric:
    """Return the score of the positive class with two classes, else the mean over the classes that occur."""
    sums = _per_class(o)

    def of(counts: Floats) -> Floats:
        hits, truly, predicted = sums(counts)
        scores = score(hits, truly, predicted)
        if o.binary:
            return scores[:, 1]
        occurs = (truly + predicted > 0).astype(np.float64)
        return _ratio(np.sum(np.nan_to_num(scores) * occurs, axis=1), occurs.sum(axis=1))

    return of


def _precision(o: Classified) -> Metric:
    return _averaged(o, lambda hits, _, predicted: _ratio(hits, predicted, np.nan if o.binary else 0.0))


def _recall(o: Classified) -> Metric:
    return _averaged(o, lambda hits, truly, _: _ratio(hits, truly, np.nan if o.binary else 0.0))


def _f1(o: Classified) -> Metric:
    return _averaged(o, lambda hits, truly, predicted: _ratio(2 * hits, truly + predicted))


def _balanced_accuracy(o: Classified) -> Metric:
    sums = _per_class(o)

    def of(counts: Floats) -> Floats:
        hits, truly, _ = sums(counts)
        return _ratio(_ratio(hits, truly, 0.0).sum(axis=1), (truly > 0).sum(axis=1).astype(np.float64))

    return of


def _probability(o: Classified) -> Floats:
    assert o.probability is not None
    return o.probability


def _ranked(score: Floats, positive: Bools) -> Callable[[Floats], tuple[Floats, Floats]]:
    """Return counts -> (positives, negatives) per distinct score, from the lowest score up."""
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    sign = positive[order].astype(np.float64)

    def split(counts: Floats) -> tuple[Floats, Floats]:
        ordered = counts[:, order]
        positives = ordered * sign
        if len(starts) == len(order):
            return positives, ordered - positives
        negatives = np.add.reduceat(ordered - positives, starts, axis=1)
        return np.add.reduceat(positives, starts, axis=1), negatives

    return split


def _one_auc(score: Floats, positive: Bools) -> Metric:
    """Return the area under the ROC curve: the share of pairs ranked rightly, ties half (Mann-Whitney)."""
    split = _ranked(score, positive)

    def of(counts: Floats) -> Floats:
        positives, negatives = split(counts)
        pairs = np.sum(positives * (np.cumsum(negatives, axis=1) - 0.5 * negatives), axis=1)
        return _ratio(pairs, positives.sum(axis=1) * negatives.sum(axis=1))

    return of


def _one_average_precision(score: Floats, positive: Bools) -> Metric:
    """Return the mean precision at each positive, from the highest score down."""
    split = _ranked(-score, positive)

    def of(counts: Floats) -> Floats:
        positives, negatives = split(counts)
        found = np.cumsum(positives, axis=1)
        precision = _ratio(found, found + np.cumsum(negatives, axis=1), 0.0)
        return _ratio(np.sum(positives * precision, axis=1), positives.sum(axis=1))

    return of


def _one_versus_rest(one: Callable[[Floats, Bools], Metric]) -> Callable[[Classified], Metric]:
    def of(o: Classified) -> Metric:
        probability = _probability(o)
        if o.binary:
            return one(probability[:, 1], o.truth == 1)
        present = np.flatnonzero(class_counts(o))
        parts = [one(probability[:, k], o.truth == k) for k in present]
        return lambda counts: np.mean(np.column_stack([part(counts) for part in parts]), axis=1)

    return of


def _log_loss(o: Classified) -> Metric:
    probability = np.clip(_probability(o), _TINY, 1 - _TINY)
    probability = probability / probability.sum(axis=1, keepdims=True)
    return _mean_of(-np.log(probability[np.arange(len(o)), o.truth]))


def _brier(o: Classified) -> Metric:
    gap = _probability(o) - (o.truth[:, None] == np.arange(len(o.classes)))
    squares = np.sum(gap**2, axis=1)
    return _mean_of(squares / 2 if o.binary else squares)


def _mean_squared_error(r: Regressed) -> Metric:
    return _mean_of((r.truth - r.value) ** 2)


def _root_mean_squared_error(r: Regressed) -> Metric:
    squared = _mean_squared_error(r)
    return lambda counts: np.sqrt(squared(counts))


def _r2(r: Regressed) -> Metric:
    centred = r.truth - r.truth.mean()  # the sum of squares loses digits otherwise
    columns = np.column_stack([(r.truth - r.value) ** 2, centred**2, centred])

    def of(counts: Floats) -> Floats:
        error, squares, total = (counts @ columns).T
        return 1 - _ratio(error, squares - total**2 / counts.sum(axis=1))

    return of


_CLASSIFICATION: dict[str, Callable[[Classified], Metric]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
    "roc_auc": _one_versus_rest(_one_auc),
    "average_precision": _one_versus_rest(_one_average_precision),
    "log_loss": _log_loss,
    "brier_score": _brier,
}
_REGRESSION: dict[str, Callable[[Regressed], Metric]] = {
    "r2": _r2,
    "mean_absolute_error": lambda r: _mean_of(np.abs(r.truth - r.value)),
    "mean_squared_error": _mean_squared_error,
    "root_mean_squared_error": _root_mean_squared_error,
}
