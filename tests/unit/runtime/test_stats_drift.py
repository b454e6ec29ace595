"""Drift tests: scipy's numbers on the same bins, false alarms under equality, power against real shifts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import ndtr
from scipy.stats import chi2_contingency, entropy, false_discovery_control, ks_2samp
from scipy.stats.contingency import association

from fairlead_runtime.stats import drift
from fairlead_runtime.stats.types import Floats

BINS = np.linspace(-3, 3, 31)


def counts(values: Floats) -> Floats:
    return np.histogram(np.clip(values, -2.999, 2.999), BINS)[0].astype(float)


@pytest.fixture(params=[0, 1, 2])
def pair(request: pytest.FixtureRequest) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(request.param)
    return counts(rng.normal(size=5000)), counts(rng.normal(0.1 * request.param, 1.1, 700))


def test_ks_equals_scipy_on_the_same_bins(pair: tuple[Floats, Floats]) -> None:
    values = np.arange(len(pair[0]))
    theirs = ks_2samp(*(np.repeat(values, c.astype(int)) for c in pair), method="asymp")
    ours = drift.kolmogorov_smirnov(*pair)
    assert (ours.effect, ours.p_value) == pytest.approx((theirs.statistic, theirs.pvalue), abs=1e-9)


def test_chi_square_equals_scipy_on_the_same_bins(pair: tuple[Floats, Floats]) -> None:
    first, second = (np.add.reduceat(c, np.arange(0, 30, 6)) for c in pair)
    assert drift.chi_square(first, second).p_value == pytest.approx(chi2_contingency([first, second])[1], abs=1e-9)
    balanced = np.round(np.vstack([first / first.sum(), second / second.sum()]) * 1e12).astype(int)
    assert drift.chi_square(first, second).effect == pytest.approx(association(balanced, method="cramer"), abs=1e-9)


def test_distances_equal_scipy_on_the_same_bins(pair: tuple[Floats, Floats]) -> None:
    p, q = (np.where(c > 0, c, 0.5) for c in pair)
    p, q = p / p.sum(), q / q.sum()
    assert drift.population_stability(*pair).effect == pytest.approx(entropy(p, q) + entropy(q, p), abs=1e-9)
    assert drift.jensen_shannon(*pair).effect == pytest.approx(jensenshannon(*pair, base=2), abs=1e-9)


def test_corrections_equal_their_definitions() -> None:
    p = np.random.default_rng(3).uniform(size=40) ** 3
    assert drift.benjamini_hochberg(p) == pytest.approx(false_discovery_control(p, method="bh"), abs=1e-12)
    assert drift.bonferroni(p) == pytest.approx(np.minimum(1, p * 40))


def test_the_effect_of_chi_square_does_not_depend_on_the_window_size() -> None:
    reference, shares = np.array([4e5, 3e5, 3e5]), np.array([0.2, 0.3, 0.5])
    small, large = (drift.chi_square(reference, shares * n) for n in (1_000, 100_000))
    assert small.effect == pytest.approx(large.effect)
    assert small.effect > 0.1
    assert drift.chi_square(reference, np.array([0.0, 0.0, 900.0])).effect < 1
    assert drift.chi_square(np.array([100.0, 0.0]), np.array([0.0, 100.0])).effect == pytest.approx(1)


def test_merging_keeps_totals_and_balances_the_reference() -> None:
    rng = np.random.default_rng(4)
    reference, current = rng.integers(1, 50, 64).astype(float), rng.integers(0, 9, 64).astype(float)
    for merge in (drift.merge_adjacent, drift.merge_rare):
        first, second = merge(reference, current)
        assert len(first) == len(second) == drift.MAX_BINS
        assert (first.sum(), second.sum()) == (reference.sum(), current.sum())
    assert drift.merge_adjacent(reference, current)[0].max() < 0.2 * reference.sum()


def _counts(rng: np.random.Generator, cuts: Floats, centre: float, rows: int) -> Floats:
    """Draw how many of so many normal values fall between the cuts, without drawing the values."""
    shares = np.diff(ndtr(cuts - centre), prepend=0.0, append=1.0)
    return rng.multinomial(rows, shares).astype(float)


def _p_values(rng: np.random.Generator, shift: float = 0.0, features: int = 20, rows: int = 500) -> Floats:
    """Half KS, half chi-square; with a shift, only the first feature of each kind moves."""
    edges, out = np.quantile(rng.normal(size=20_000), np.linspace(0, 1, 33)[1:-1]), []
    categories = np.array([-1.5, -0.5, 0.5, 1.5, 2.4])
    for i in range(features):
        compare, cuts = (drift.kolmogorov_smirnov, edges) if i % 2 else (drift.chi_square, categories)
        move = shift if i < 2 else 0.0
        out.append(compare(_counts(rng, cuts, 0.0, 20_000), _counts(rng, cuts, move, rows)).p_value)
    return np.array(out)


def test_false_alarms_of_a_whole_check_stay_under_five_percent_after_correction() -> None:
    """Twenty features, no drift, 300 checks; 5 % is 15, 24 lies 2.5 standard deviations above. Uncorrected: 40 %."""
    rng = np.random.default_rng(21)
    checks = [_p_values(rng) for _ in range(300)]
    assert np.mean([p.min() < 0.05 for p in checks]) > 0.3
    assert sum(drift.bonferroni(p).min() < 0.05 for p in checks) <= 24
    assert sum(drift.benjamini_hochberg(p).min() < 0.05 for p in checks) <= 24


def test_p_values_are_uniform_enough_under_equality() -> None:
    """A test that never alarms would pass the check above: single p-values must fall under 5 % about as often."""
    p = np.concatenate([_p_values(np.random.default_rng(22), features=400, rows=800)])
    chi_square, smirnov = p[::2], p[1::2]
    assert 0.02 <= np.mean(chi_square < 0.05) <= 0.10
    assert 0.01 <= np.mean(smirnov < 0.05) <= 0.09


def test_a_shift_of_a_third_of_a_standard_deviation_is_found() -> None:
    rng = np.random.default_rng(23)
    found = [drift.benjamini_hochberg(_p_values(rng, shift=0.33))[:2] < 0.05 for _ in range(40)]
    assert np.mean(found) > 0.95


def test_distances_do_not_alarm_by_chance_in_a_small_window() -> None:
    """500 rows over merged bins stay under the default effect of 0.1 in 99 % of checks; over 32 bins they do not."""
    rng = np.random.default_rng(24)
    reference = np.full(32, 1000.0)
    windows = rng.multinomial(500, np.full(32, 1 / 32), 500).astype(float)
    raw = [drift.jensen_shannon(reference, w).effect for w in windows]
    merged = [drift.jensen_shannon(*drift.merge_adjacent(reference, w)).effect for w in windows]
    psi = [drift.population_stability(*drift.merge_adjacent(reference, w)).effect for w in windows]
    assert np.mean(np.array(raw) > 0.1) > 0.2
    assert np.mean(np.array(merged) > 0.1) < 0.01
    assert np.mean(np.array(psi) > 0.1) < 0.01
