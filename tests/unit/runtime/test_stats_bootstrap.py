"""Metrics against scikit-learn, and coverage of the BCa bootstrap by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import norm

from fairlead.contract.gates import CLASSIFICATION_METRICS, REGRESSION_METRICS
from fairlead_runtime.stats import metrics
from fairlead_runtime.stats.bootstrap import bca, resample
from fairlead_runtime.stats.metrics import Classified, Regressed, metric, together, value


def classified(rows: int, classes: int, seed: int = 1, ties: bool = False) -> Classified:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes)) + 1.2 * (truth[:, None] == np.arange(classes))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if ties:
        first = np.round(probability[:, 0], 1).clip(0.05, 0.95)
        probability = np.column_stack([first, 1 - first])
    return Classified(truth, probability.argmax(axis=1), tuple("abcdef"[:classes]), probability)


def expected(name: str, o: Classified) -> float:
    assert o.probability is not None
    average = {"average": "binary" if o.binary else "macro"}
    score = o.probability[:, 1] if o.binary else o.probability
    if name in ("precision", "recall", "f1"):
        return float(getattr(sk, f"{name}_score")(o.truth, o.label, **average))
    if name in ("accuracy", "balanced_accuracy"):
        return float(getattr(sk, f"{name}_score")(o.truth, o.label))
    if name == "roc_auc":
        return float(sk.roc_auc_score(o.truth, score, multi_class="ovr"))
    if name == "average_precision":
        return float(sk.average_precision_score(o.truth, score))
    return float({"log_loss": sk.log_loss, "brier_score": sk.brier_score_loss}[name](o.truth, score))


@pytest.mark.parametrize("name", CLASSIFICATION_METRICS)
@pytest.mark.parametrize(
    "o", [classified(400, 2), classified(400, 2, ties=True), classified(500, 4)], ids=["2", "ties", "4"]
)
def test_classification_metrics_equal_scikit_learn(name: str, o: Classified) -> None:
    assert value(name, o) == pytest.approx(expected(name, o), abs=1e-9)


@pytest.mark.parametrize("name", REGRESSION_METRICS)
def test_regression_metrics_equal_scikit_learn(name: str) -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(1e4, 3, 300)
    r = Regressed(truth, truth + rng.normal(size=300))
    assert value(name, r) == pytest.approx(getattr(sk, f"{name}_score" if name == "r2" else name)(r.truth, r.value))


@pytest.mark.parametrize("name", [*CLASSIFICATION_METRICS])
def test_a_metric_of_counts_equals_the_metric_of_repeated_rows(name: str) -> None:
    o = classified(200, 2, ties=True)
    counts = np.random.default_rng(4).integers(0, 4, 200)
    rows = np.repeat(np.arange(200), counts)
    assert o.probability is not None
    repeated = Classified(o.truth[rows], o.label[rows], o.classes, o.probability[rows])
    assert metric(name, o)(counts[None, :].astype(float))[0] == pytest.approx(value(name, repeated), abs=1e-12)


def test_metrics_that_do_not_exist_are_nan_and_unknown_ones_are_errors() -> None:
    zeros = np.zeros(40, dtype=np.int64)
    only_negatives = Classified(zeros, zeros, ("no", "yes"), np.tile([0.9, 0.1], (40, 1)))
    assert np.isnan(value("roc_auc", only_negatives))
    assert np.isnan(value("recall", only_negatives))
    with pytest.raises(KeyError):
        value("acuracy", only_negatives)
    with pytest.raises(ValueError, match="needs probabilities"):
        value("roc_auc", Classified(zeros, zeros, ("no", "yes")))


def test_proportions_are_the_metrics_they_stand_for() -> None:
    o = classified(300, 2)
    for name in metrics.PROPORTIONS:
        share = metrics.proportion(name, o)
        assert share is not None
        assert share[0] / share[1] == pytest.approx(value(name, o))
    assert metrics.proportion("recall", classified(300, 3)) is None


def test_the_seed_alone_decides_the_interval() -> None:
    o = classified(300, 2)
    auc = together([metric("roc_auc", o)])
    first, again, other = (bca(resample(auc, 300, seed)) for seed in (9, 9, 10))
    assert first == again
    assert first != other
    assert other.low == pytest.approx(first.low, abs=0.01)


def test_bca_agrees_with_scipy_on_a_skewed_mean() -> None:
    rows = np.random.default_rng(6).exponential(size=60)
    ours = bca(resample(lambda w: (w @ rows / w.sum(axis=1))[:, None], 60, 1, 20_000))
    theirs = scipy_bootstrap((rows,), np.mean, confidence_level=0.9, n_resamples=20_000, rng=np.random.default_rng(1))
    ends = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((ends.low, ends.high), abs=0.012)


def test_auc_interval_covers_the_true_auc() -> None:
    """150 samples of 200 rows: a bound at 95 % fails the bar of 90 % in 1 of 100 seeds; one at 80 % always."""
    rng, shift, low, high = np.random.default_rng(8), 1.0, [], []
    truth = norm.cdf(shift / np.sqrt(2))
    for seed in range(150):
        y = np.r_[np.ones(60, dtype=np.int64), np.zeros(140, dtype=np.int64)]
        score = norm.cdf(rng.normal(size=200) + shift * y)
        o = Classified(y, (score > 0.5).astype(np.int64), ("no", "yes"), np.column_stack([1 - score, score]))
        interval = bca(resample(together([metric("roc_auc", o)]), 200, seed, 500))
        low.append(interval.low <= truth)
        high.append(interval.high >= truth)
    assert 0.90 <= np.mean(low) <= 0.995
    assert 0.90 <= np.mean(high) <= 0.995


def test_paired_difference_covers_zero_and_is_narrower_than_unpaired() -> None:
    """Two models with correlated errors and the same true AUC."""
    rng, covered, widths = np.random.default_rng(12), [], []
    y = np.r_[np.ones(80, dtype=np.int64), np.zeros(120, dtype=np.int64)]
    for seed in range(120):
        shared = rng.normal(size=200) + y
        one, two = (norm.cdf(shared + 0.3 * rng.normal(size=200)) for _ in range(2))
        pair = [Classified(y, y, ("no", "yes"), np.column_stack([1 - s, s])) for s in (one, two)]
        both = together([metric("roc_auc", o) for o in pair])
        drawn = resample(lambda w, of=both: of(w) @ np.array([[1.0, 1.0], [-1.0, 0.0]]), 200, seed, 400)  # type: ignore[misc]
        difference, alone = bca(drawn, 0), bca(drawn, 1)
        covered.append(difference.high >= 0)
        widths.append((difference.high - difference.low) / (alone.high - alone.low))
    assert 0.89 <= np.mean(covered) <= 0.995
    assert np.median(widths) < 0.7
