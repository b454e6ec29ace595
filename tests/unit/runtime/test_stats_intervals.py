"""Closed-form intervals: known values, and coverage by simulation that fails when a formula is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, binomtest, norm

from fairlead_runtime.stats.intervals import clopper_pearson, newcombe, quantile, rows_for_quantile, tango
from fairlead_runtime.stats.metrics import Classified, Regressed
from fairlead_runtime.stats.shortfall import missing_for_decision, missing_for_floor


@pytest.mark.parametrize(("successes", "rows"), [(0, 30), (1, 30), (27, 30), (30, 30), (850, 1000)])
def test_clopper_pearson_equals_the_exact_binomial_test(successes: int, rows: int) -> None:
    ours = clopper_pearson(successes, rows)
    theirs = binomtest(successes, rows).proportion_ci(confidence_level=0.9, method="exact")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.85, 0.99])
@pytest.mark.parametrize("rows", [30, 200])
def test_clopper_pearson_never_covers_less_than_promised(rows: int, share: float) -> None:
    """Exact, not simulated: each outcome weighted by its probability."""
    outcomes = np.arange(rows + 1)
    weight = binom.pmf(outcomes, rows, share)
    intervals = [clopper_pearson(int(k), rows) for k in outcomes]
    assert weight @ np.array([i.low <= share for i in intervals]) >= 0.95
    assert weight @ np.array([i.high >= share for i in intervals]) >= 0.95


def _score_by_likelihood(b: int, c: int, n: int, delta: float) -> float:
    """Tango's statistic with the nuisance found by maximising the likelihood instead of by his formula."""
    bottom, top = max(0.0, -delta), min(1.0, (1 - delta) / 2)

    def loss(q: float) -> float:
        cells = [(b, q + delta), (c, q), (n - b - c, 1 - 2 * q - delta)]
        return -sum(k * math.log(max(p, 1e-300)) for k, p in cells)

    q = minimize_scalar(loss, bounds=(bottom, top), method="bounded", options={"xatol": 1e-13}).x
    return (b - c - n * delta) / math.sqrt(n * (2 * q + delta - delta * delta))


@pytest.mark.parametrize(("b", "c", "n"), [(1, 3, 40), (12, 9, 200), (60, 20, 1000), (0, 4, 50)])
def test_tango_bounds_are_where_the_score_equals_z(b: int, c: int, n: int) -> None:
    interval, z = tango(b, c, n), norm.ppf(0.95)
    assert _score_by_likelihood(b, c, n, interval.low) == pytest.approx(z, abs=1e-3)
    assert _score_by_likelihood(b, c, n, interval.high) == pytest.approx(-z, abs=1e-3)


def test_tango_keeps_a_width_when_the_models_never_differ() -> None:
    interval, z = tango(0, 0, 500), norm.ppf(0.95)
    assert interval.high == pytest.approx(z * z / (500 + z * z))
    assert interval.low == pytest.approx(-interval.high)


@pytest.mark.parametrize(("p_b", "p_c"), [(0.06, 0.05), (0.02, 0.05)])
def test_tango_covers_the_paired_difference(p_b: float, p_c: float) -> None:
    draws = np.random.default_rng(7).multinomial(300, [p_b, p_c, 1 - p_b - p_c], 1500)
    intervals = [tango(int(b), int(c), 300) for b, c, _ in draws]
    assert 0.935 <= np.mean([i.low <= p_b - p_c for i in intervals]) <= 0.97
    assert 0.935 <= np.mean([i.high >= p_b - p_c for i in intervals]) <= 0.97


@pytest.mark.parametrize(("first", "second"), [((0.9, 40), (0.8, 300)), ((0.99, 35), (0.97, 2000))])
def test_newcombe_covers_the_independent_difference(first: tuple[float, int], second: tuple[float, int]) -> None:
    rng = np.random.default_rng(3)
    (p1, n1), (p2, n2) = first, second
    pairs = zip(rng.binomial(n1, p1, 3000).tolist(), rng.binomial(n2, p2, 3000).tolist(), strict=True)
    intervals = [newcombe((a, n1), (b, n2)) for a, b in pairs]
    assert np.mean([i.low <= p1 - p2 for i in intervals]) >= 0.93
    assert np.mean([i.high >= p1 - p2 for i in intervals]) >= 0.93
    assert np.mean([i.low <= p1 - p2 <= i.high for i in intervals]) <= 0.99


def test_quantile_bounds_cover_the_true_quantile_of_a_skewed_distribution() -> None:
    draws = np.random.default_rng(5).exponential(size=(3000, 400))
    truth = -math.log(0.01)
    intervals = [quantile(row, 0.99) for row in draws]
    assert 0.945 <= np.mean([i.high >= truth for i in intervals]) <= 0.992
    assert 0.945 <= np.mean([i.low <= truth for i in intervals]) <= 0.992


def test_quantile_says_when_it_has_too_few_values_for_an_upper_bound() -> None:
    enough = rows_for_quantile(0.99)
    assert enough == 299
    assert math.isfinite(quantile(np.arange(float(enough)), 0.99).high)
    assert math.isinf(quantile(np.arange(float(enough - 1)), 0.99).high)


def test_missing_rows_are_about_what_it_takes_to_decide() -> None:
    """500 of 700 more rows than asked for must decide in most repetitions, half of them must not."""
    rng = np.random.default_rng(11)
    now = clopper_pearson(178, 200)  # 0.89 against 0.85: not yet decided
    assert now.low < 0.85
    missing = missing_for_decision(now, 0.85)
    assert missing is not None
    enough = rng.binomial(200 + 2 * missing, 0.89, 300).tolist()
    assert np.mean([clopper_pearson(k, 200 + 2 * missing).low >= 0.85 for k in enough]) > 0.5
    assert missing_for_decision(now, now.value) is None


def test_missing_for_the_floor_counts_rows_and_the_rarer_class() -> None:
    truth = np.array([1] * 4 + [0] * 36)
    rows = Classified(truth, truth, ("no", "yes"))
    assert missing_for_floor("roc_auc", rows) == 60  # 6 more positives at one in ten
    assert missing_for_floor("accuracy", rows) == 0
    assert missing_for_floor("r2", Regressed(np.zeros(10), np.zeros(10))) == 20
