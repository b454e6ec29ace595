"""Intervals in closed form: proportions, paired and independent differences of proportions, quantiles.

Each interval has two ends of which each holds with the given confidence on its own (one-sided); a gate looks at
one end only. Nothing here resamples: that is `bootstrap`. Called by `evaluate` and `monitor`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta, binom, norm

from .types import Floats

ALPHA = 0.05  # the chance that one end lies on the wrong side of the truth


@dataclass(frozen=True)
class Interval:
    """A value with its lower and upper bound, each at one-sided 1 - alpha, and the rows it was taken from."""

    value: float
    low: float
    high: float
    rows: int

    def negated(self) -> Interval:
        """Return the interval of minus the value."""
        return Interval(-self.value, -self.high, -self.low, self.rows)


def clopper_pearson(successes: int, rows: int, alpha: float = ALPHA) -> Interval:
    """Return the exact interval of a proportion; it never covers less than promised.

    Source: Clopper and Pearson (1934), by quantiles of the beta distribution. Raises ValueError without rows.
    """
    if not 0 <= successes <= rows or rows == 0:
        raise ValueError(f"{successes} of {rows} is no proportion")
    low = 0.0 if successes == 0 else float(beta.ppf(alpha, successes, rows - successes + 1))
    high = 1.0 if successes == rows else float(beta.ppf(1 - alpha, successes + 1, rows - successes))
    return Interval(successes / rows, low, high, rows)


def wilson(successes: float, rows: float, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the score bounds of a proportion (Wilson 1927); only an ingredient of `newcombe`."""
    z = float(norm.ppf(1 - alpha))
    share = successes / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(0.0, middle - half), min(1.0, middle + half)


def newcombe(first: tuple[int, int], second: tuple[int, int], alpha: float = ALPHA) -> Interval:
    """Return the interval of p1 - p2 for two independent (successes, rows).

    Source: Newcombe (1998), method 10. Unlike a bootstrap it keeps a width when a group has no failure at all.
    """
    (x1, n1), (x2, n2) = first, second
    p1, p2 = x1 / n1, x2 / n2
    (l1, u1), (l2, u2) = wilson(x1, n1, alpha), wilson(x2, n2, alpha)
    low = p1 - p2 - math.hypot(p1 - l1, u2 - p2)
    high = p1 - p2 + math.hypot(u1 - p1, p2 - l2)
    return Interval(p1 - p2, low, high, n1 + n2)


def tango(only_first: int, only_second: int, rows: int, alpha: float = ALPHA) -> Interval:
    """Return the score interval of a paired difference of two proportions.

    `only_first` rows were right under the first model alone, `only_second` under the second alone; the difference
    is first minus second. Source: Tango (1998), Statistics in Medicine 17:891-908.
    """
    if rows <= 0 or only_first + only_second > rows:
        raise ValueError(f"{only_first} and {only_second} discordant of {rows} rows")
    value = (only_first - only_second) / rows
    z = float(norm.ppf(1 - alpha))

    def excess(delta: float) -> float:
        return _tango_score(only_first, only_second, rows, delta)

    edge = 1 - 1e-12  # the score has a pole at -1 and 1
    low = -1.0 if value <= -edge else _root(lambda d: excess(d) - z, -edge, value)
    high = 1.0 if value >= edge else _root(lambda d: excess(d) + z, value, edge)
    return Interval(value, low, high, rows)


def _tango_score(b: int, c: int, n: int, delta: float) -> float:
    """Return the standardised score of the difference `delta`, with the nuisance at its restricted maximum."""
    linear = (2 * n - b + c) * delta - b - c
    constant = -c * delta * (1 - delta)
    nuisance = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * nuisance + delta * (1 - delta))
    gap = b - c - n * delta
    if variance <= 0:
        return 0.0 if gap == 0 else math.copysign(math.inf, gap)
    return gap / math.sqrt(variance)


def _root(decreasing: Callable[[float], float], low: float, high: float) -> float:
    """Return where the function crosses zero, or the end that it never passes."""
    if decreasing(low) <= 0:
        return low
    if decreasing(high) >= 0:
        return high
    return float(brentq(decreasing, low, high, xtol=1e-12))


def quantile(values: Floats, share: float, alpha: float = ALPHA) -> Interval:
    """Return the `share` quantile of `values` with bounds that are order statistics.

    Free of any assumption about the distribution: the number of values under the true quantile is binomial
    (Conover, Practical Nonparametric Statistics, 3.2). An end that needs more values than there are is infinite.
    """
    ordered = np.sort(values)
    n = len(ordered)
    below = int(binom.ppf(alpha, n, share))  # P(count < below) <= alpha
    above = int(binom.ppf(1 - alpha, n, share)) + 1
    low = float(ordered[below - 1]) if below >= 1 else -math.inf
    high = float(ordered[above - 1]) if above <= n else math.inf
    return Interval(float(np.quantile(ordered, share, method="inverted_cdf")), low, high, n)


def rows_for_quantile(share: float, alpha: float = ALPHA) -> int:
    """Return how many values the upper bound of the `share` quantile needs to be finite."""
    return math.ceil(math.log(alpha) / math.log(share))
