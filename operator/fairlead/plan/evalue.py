"""E-values for two streams of yes/no answers: how strongly a block speaks against "the difference is at most d".

Pure arithmetic. It never sees time, pods or verdicts; `evidence.py` calls it once per block and alternative.

Source: Turner, Ly and Gruenwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
stopping" (2021), and Turner and Gruenwald, "Exact anytime-valid confidence intervals for contingency tables and
beyond" (2023) for the null shifted by d. docs/adr/0002-anytime-valid-judge.md has the derivation for unequal blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_MAX_ITERATIONS = 100  # bisection alone needs 60 to reach one unit in the last place; Newton needs 4 to 8
_FLAT = 1e-13  # slope per request that counts as zero: the expectation under the null exceeds 1 by no more than that


@dataclass(frozen=True)
class Block:
    """What both arms answered between two looks: requests, and how many of them were hits (failed, slow, ...)."""

    canary_hits: int = 0
    canary: int = 0
    baseline_hits: int = 0
    baseline: int = 0

    def __add__(self, other: Block) -> Block:
        """Both blocks as one."""
        return Block(
            self.canary_hits + other.canary_hits,
            self.canary + other.canary,
            self.baseline_hits + other.baseline_hits,
            self.baseline + other.baseline,
        )

    def to_list(self) -> list[int]:
        """The fields in their order, for JSON."""
        return [self.canary_hits, self.canary, self.baseline_hits, self.baseline]


@dataclass(frozen=True)
class Rates:
    """The probability of a hit in each arm, strictly between 0 and 1."""

    canary: float
    baseline: float


def project(bet: Rates, canary: int, baseline: int, difference: float) -> Rates:
    """The point of the line `canary rate - baseline rate = difference` that is nearest to the bet for this block.

    Nearest means: least n_c KL(bet_c || p_c) + n_b KL(bet_b || p_b), weighted by the block's own counts. The
    derivative along the line is increasing, and its root lies between the two arms' own wishes; Newton's method
    is kept inside that bracket by bisection. `difference` is in (-1, 1).
    """
    wish = bet.canary - difference  # where the canary alone would like the baseline rate to be
    low = max(min(bet.baseline, wish), 0.0, -difference)
    high = min(max(bet.baseline, wish), 1.0, 1.0 - difference)
    rate, flat = (low + high) / 2, _FLAT * (canary + baseline)
    for _ in range(_MAX_ITERATIONS):
        slope, curvature = _along_the_line(bet, rate, (canary, baseline), difference)
        if abs(slope) <= flat:
            break
        low, high = (rate, high) if slope < 0 else (low, rate)
        following = rate - slope / curvature if curvature > 0 else low
        if not low < following < high:
            following = (low + high) / 2
        rate = following
    return Rates(rate + difference, rate)


def _along_the_line(bet: Rates, rate: float, counts: tuple[int, int], difference: float) -> tuple[float, float]:
    """First and second derivative of the weighted divergence at baseline rate `rate`."""
    slope = curvature = 0.0
    for n, q, p in ((counts[0], bet.canary, rate + difference), (counts[1], bet.baseline, rate)):
        variance = p * (1.0 - p)
        if variance <= 0.0:  # the edge of the square: it pushes inwards
            return (-math.inf if p < q else math.inf), 0.0
        slope += n * (p - q) / variance
        curvature += n * (p * p - 2.0 * p * q + q) / (variance * variance)
    return slope, curvature


def log_e_value(block: Block, bet: Rates, difference: float) -> float:
    """The natural log of the block's e-value for the bet, against the half plane beyond the line.

    A bet above the line tests "p_canary <= p_baseline + difference", a bet below it tests ">=". Its expectation is
    at most 1 for every pair of rates in that null, whatever the two counts are, as long as bet and counts were
    settled before the hits were known. A block in which one arm has no request says nothing: 0.
    """
    if not block.canary or not block.baseline:
        return 0.0
    null = project(bet, block.canary, block.baseline, difference)
    return _log_ratio(block.canary_hits, block.canary, bet.canary, null.canary) + _log_ratio(
        block.baseline_hits, block.baseline, bet.baseline, null.baseline
    )


def _log_ratio(hits: int, n: int, bet: float, null: float) -> float:
    return hits * math.log(bet / null) + (n - hits) * math.log((1.0 - bet) / (1.0 - null))


def log_expectation(bet: Rates, null: Rates, true: Rates, canary: int, baseline: int) -> float:
    """The log of the e-value's expectation when hits come with the `true` rates: at most 0 everywhere in the null."""
    total = 0.0
    for n, q, p, t in (
        (canary, bet.canary, null.canary, true.canary),
        (baseline, bet.baseline, null.baseline, true.baseline),
    ):
        total += n * math.log(t * q / p + (1.0 - t) * (1.0 - q) / (1.0 - p))
    return total


def growth(bet: Rates, canary: int, baseline: int, difference: float) -> float:
    """The expected log e-value of such a block when the bet is the truth: the divergence to the null, in nats."""
    null = project(bet, canary, baseline, difference)
    return canary * _divergence(bet.canary, null.canary) + baseline * _divergence(bet.baseline, null.baseline)


def _divergence(q: float, p: float) -> float:
    return q * math.log(q / p) + (1.0 - q) * math.log((1.0 - q) / (1.0 - p))


def log_sum_exp(terms: Iterable[float]) -> float:
    """log(sum(exp(terms))) without overflow; -inf for no term."""
    values = tuple(terms)
    top = max(values, default=-math.inf)
    return top if math.isinf(top) else top + math.log(sum(math.exp(value - top) for value in values))
