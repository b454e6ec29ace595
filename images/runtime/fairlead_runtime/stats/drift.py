"""Two distributions over the same bins: tests, effect sizes, distances, and correction for many of them.

Everything takes counts per bin (reference first), as profiles have them. Bins of a numeric column are ordered and
begin with the bin of missing values, so that values that go missing are a shift too. Called by `monitor`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, kstwo

from .types import Floats

MAX_BINS = 10  # for distances: their bias under equality grows with (bins - 1) / rows
MIN_EXPECTED = 5.0  # under this the chi-square approximation is poor (Cochran 1954)


@dataclass(frozen=True)
class Comparison:
    """An effect size and the p-value of "both come from one distribution"."""

    effect: float
    p_value: float


def kolmogorov_smirnov(reference: Floats, current: Floats) -> Comparison:
    """Return D over ordered bins and its p-value.

    The same numbers as scipy's asymptotic `ks_2samp` on the bins' values; values tied in a bin make it conservative.
    """
    n, m = float(reference.sum()), float(current.sum())
    distance = float(np.max(np.abs(np.cumsum(reference) / n - np.cumsum(current) / m)))
    return Comparison(distance, float(np.clip(kstwo.sf(distance, np.round(n * m / (n + m))), 0, 1)))


def chi_square(reference: Floats, current: Floats) -> Comparison:
    """Return Cramer's V and the p-value of Pearson's chi-square over categories.

    V is of the table with both rows scaled to the same total: of the raw table it would shrink towards 0 as a small
    window meets a large reference, and no limit on it would mean anything. sqrt(sum((p - q)^2 / (2 (p + q)))).
    """
    first, second = _pool_rare(reference, current)
    if len(first) < 2:
        return Comparison(0.0, 1.0)
    p, q = first / first.sum(), second / second.sum()
    effect = float(np.sqrt(np.sum((p - q) ** 2 / (2 * (p + q)))))
    return Comparison(effect, _chi_square_p(first, second))


def total_variation(reference: Floats, current: Floats) -> Comparison:
    """Return the largest difference in share over any set of categories; the p-value is of chi-square.

    What D is for ordered bins: there the sets are "up to x", and unordered categories have no such order.
    """
    distance = float(np.sum(np.abs(_shares(reference) - _shares(current))) / 2)
    return Comparison(distance, chi_square(reference, current).p_value)


def _chi_square_p(first: Floats, second: Floats) -> float:
    table = np.vstack([first, second])
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(chi2.sf(np.sum((table - expected) ** 2 / expected), table.shape[1] - 1))


def population_stability(reference: Floats, current: Floats) -> Comparison:
    """Return PSI = sum((p - q) ln(p / q)); an empty bin counts half a row. The p-value is of chi-square, same bins."""
    p, q = _shares(reference, 0.5), _shares(current, 0.5)
    return Comparison(float(np.sum((p - q) * np.log(p / q))), chi_square(reference, current).p_value)


def jensen_shannon(reference: Floats, current: Floats) -> Comparison:
    """Return the Jensen-Shannon distance, base 2, in [0, 1]. The p-value is of chi-square, same bins."""
    p, q = _shares(reference), _shares(current)
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return Comparison(float(np.sqrt(max(0.0, divergence))), chi_square(reference, current).p_value)


def _shares(counts: Floats, empty: float = 0.0) -> Floats:
    filled = np.where(counts > 0, counts, empty)
    return np.asarray(filled / filled.sum())


def _relative_entropy(p: Floats, q: Floats) -> float:
    some = p > 0
    return float(np.sum(p[some] * np.log2(p[some] / q[some])))


def merge_adjacent(reference: Floats, current: Floats, bins: int = MAX_BINS) -> tuple[Floats, Floats]:
    """Return both counts over at most `bins` ordered bins of nearly equal reference share."""
    if len(reference) <= bins:
        return reference, current
    middle = (np.cumsum(reference) - reference / 2) / max(reference.sum(), 1)
    group = np.minimum((middle * bins).astype(int), bins - 1)
    merged = [np.bincount(group, counts, bins).astype(np.float64) for counts in (reference, current)]
    return merged[0], merged[1]


def merge_rare(reference: Floats, current: Floats, bins: int = MAX_BINS) -> tuple[Floats, Floats]:
    """Return both counts over the `bins - 1` categories that are commonest in the reference, and the rest as one."""
    if len(reference) <= bins:
        return reference, current
    order = np.argsort(-reference, kind="stable")
    kept, rest = order[: bins - 1], order[bins - 1 :]
    return np.r_[reference[kept], reference[rest].sum()], np.r_[current[kept], current[rest].sum()]


def _pool_rare(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """Return both counts with the bins that expect under 5 rows in either sample made one, and empty bins dropped."""
    both = reference + current
    share = both / both.sum()
    rare = share * min(reference.sum(), current.sum()) < MIN_EXPECTED
    first = np.r_[reference[~rare], reference[rare].sum()]
    second = np.r_[current[~rare], current[rare].sum()]
    some = first + second > 0
    return first[some], second[some]


def benjamini_hochberg(p_values: Floats) -> Floats:
    """Return p-values that bound the share of false discoveries (Benjamini and Hochberg 1995)."""
    n = len(p_values)
    order = np.argsort(p_values)[::-1]
    scaled = p_values[order] * n / np.arange(n, 0, -1)
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled))
    return adjusted


def bonferroni(p_values: Floats) -> Floats:
    """Return p-values that bound the chance of any false alarm."""
    return np.minimum(1.0, p_values * len(p_values))
