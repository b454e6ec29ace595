"""Paired BCa bootstrap: intervals of any statistic of rows, vectorised over resamples.

A resample is a vector of counts (how often each row was drawn), so a statistic is a function of a matrix of
counts, and everything that is computed from the same matrix is paired. Randomness comes from the seed alone.
Called by `evaluate` and `monitor`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from .intervals import ALPHA, Interval
from .types import Floats

RESAMPLES = 2000
JACKKNIFE_BLOCKS = 200
CELLS = 2_000_000  # counts held at once: 16 MB, so that a million rows need no more memory than a thousand

# (resamples, rows) of counts -> (resamples, statistics)
Statistic = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Resampled:
    """Statistics on the rows as they are, on each resample, and with each jackknife block left out."""

    estimates: Floats  # (statistics,)
    resamples: Floats  # (resamples, statistics)
    jackknife: Floats  # (blocks, statistics)
    rows: int


def seed_of(digest: str) -> int:
    """Return the seed that stands for an input digest `sha256:<hex>`."""
    return int(digest.removeprefix("sha256:")[:16], 16)


def resample(statistic: Statistic, rows: int, seed: int, resamples: int = RESAMPLES) -> Resampled:
    """Evaluate `statistic` on `resamples` draws of `rows` rows with replacement."""
    return Resampled(
        estimates=statistic(np.ones((1, rows)))[0],
        resamples=np.concatenate([statistic(w) for w in _draws(rows, seed, resamples)]),
        jackknife=np.concatenate([statistic(w) for w in _blocks_left_out(rows, seed)]),
        rows=rows,
    )


def bca(drawn: Resampled, column: int = 0, alpha: float = ALPHA) -> Interval:
    """Return the bias-corrected and accelerated interval of one statistic; both ends one-sided 1 - alpha.

    Resamples where the statistic does not exist (a class is missing) are left out; with over a tenth of them, or
    no value at all, the interval is infinite. Source: Efron and Tibshirani (1993), An Introduction to the
    Bootstrap, 14.3.
    """
    estimate, values = float(drawn.estimates[column]), drawn.resamples[:, column]
    kept = values[np.isfinite(values)]
    if not math.isfinite(estimate) or len(kept) < 0.9 * len(values):
        return Interval(estimate, -math.inf, math.inf, drawn.rows)
    if np.ptp(kept) == 0:
        return Interval(estimate, estimate, estimate, drawn.rows)
    bias = _bias(kept, estimate)
    acceleration = _acceleration(drawn.jackknife[:, column])
    shares = [_adjusted(share, bias, acceleration) for share in (alpha, 1 - alpha)]
    low, high = np.quantile(kept, shares)
    return Interval(estimate, float(low), float(high), drawn.rows)


def _bias(values: Floats, estimate: float) -> float:
    """Return z0: how far the median of the resamples lies from the estimate. Ties count half."""
    share = (np.sum(values < estimate) + 0.5 * np.sum(values == estimate)) / len(values)
    edge = 0.5 / len(values)
    return float(norm.ppf(min(max(float(share), edge), 1 - edge)))


def _acceleration(jackknife: Floats) -> float:
    """Return a: a sixth of the skewness of the influence of the blocks.

    Blocks instead of rows: a sum over m rows has skewness / sqrt(m), and there are m times fewer of them, so `a` has
    the same expectation.
    """
    influence = np.nanmean(jackknife) - jackknife[np.isfinite(jackknife)]
    spread = float(np.sum(influence**2))
    return 0.0 if spread <= 0 else float(np.sum(influence**3)) / (6 * spread**1.5)


def _adjusted(share: float, bias: float, acceleration: float) -> float:
    z = bias + float(norm.ppf(share))
    return float(norm.cdf(bias + z / max(1 - acceleration * z, 1e-6)))


def _draws(rows: int, seed: int, resamples: int) -> Iterator[Floats]:
    random = np.random.Generator(np.random.PCG64(seed))
    size = max(1, min(resamples, CELLS // rows))
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        picked = random.integers(0, rows, (count, rows), dtype=np.int64)
        picked += rows * np.arange(count, dtype=np.int64)[:, None]
        yield np.bincount(picked.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)


def _blocks_left_out(rows: int, seed: int) -> Iterator[Floats]:
    """Yield counts with one block of rows at 0; blocks are drawn at random, as rows may lie in some order."""
    blocks = min(rows, JACKKNIFE_BLOCKS)
    owner = np.random.Generator(np.random.PCG64(seed + 1)).permutation(rows) % blocks
    size = max(1, CELLS // rows)
    for start in range(0, blocks, size):
        left_out = np.arange(start, min(start + size, blocks))
        yield (owner[None, :] != left_out[:, None]).astype(np.float64)
