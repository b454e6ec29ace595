"""Holds the candidate's answers against the stable revision's to the very same requests: disagreement, errors, latency.

A comparison fails when the lower bound of what it measures lies over its limit; the confidence is split over all
comparisons of a replay (Bonferroni), slices included, so a candidate that is just at its limits is refused by chance in
at most 1 - confidence of all replays. What is not proven is left to the canary. Called by `replay.job`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fairlead.contract.jobs import ReplayCheck, ReplayLimits
from fairlead_runtime.evaluate.groups import Group
from fairlead_runtime.stats.intervals import clopper_pearson
from fairlead_runtime.stats.types import Bools

from .ask import Answer

LEAST_ROWS = 30  # of a slice
TOLERANCE = 0.1  # numbers differ that lie farther apart than this part of the stable answers' standard deviation
Signal = Literal["Disagreement", "Errors", "Latency"]


@dataclass(frozen=True)
class Paired:
    """One event over the same requests: where only the candidate had it, and where only the stable revision had."""

    signal: Signal
    counted: Bools
    candidate_only: Bools
    stable_only: Bools
    limit_percent: float

    def check(self, rows: Bools, where: str, alpha: float) -> ReplayCheck | None:
        """Return the comparison of some rows, or None when there are too few.

        The lower bound of a paired difference is taken as that of the one count less the upper bound of the other,
        each exact at half of alpha (Clopper-Pearson and the union bound): it holds for any dependence between them.
        """
        counted = self.counted & rows
        count = int(counted.sum())
        if count < LEAST_ROWS:
            return None
        more, less = int((self.candidate_only & counted).sum()), int((self.stable_only & counted).sum())
        if self.signal == "Disagreement":
            low = clopper_pearson(more, count, alpha).low
        else:
            low = clopper_pearson(more, count, alpha / 2).low - clopper_pearson(less, count, alpha / 2).high
        percent, low = 100 * (more - less) / count, 100 * max(low, -1.0)
        return ReplayCheck(
            signal=self.signal,
            slice=where,
            requests=count,
            percent=round(percent, 2),
            limit=self.limit_percent,
            low=round(low, 2),
            failed=low > self.limit_percent,
        )


def compare(
    stable: Sequence[Answer], candidate: Sequence[Answer], groups: Sequence[Group], limits: ReplayLimits
) -> list[ReplayCheck]:
    """Return every comparison of the answers, those that failed first, then by how near they are to their limit."""
    signals = list(_signals(stable, candidate, limits))
    everyone = np.ones(len(stable), dtype=bool)
    parts = [(everyone, ""), *((g.rows, str(g)[:80]) for g in groups if g.size >= LEAST_ROWS)]
    alpha = (1 - limits.confidence_percent / 100) / (len(signals) * len(parts))
    found = [signal.check(rows, where, alpha) for signal in signals for rows, where in parts]
    checks = [check for check in found if check is not None]
    return sorted(checks, key=lambda check: (not check.failed, check.limit - check.low))


def _signals(stable: Sequence[Answer], candidate: Sequence[Answer], limits: ReplayLimits) -> list[Paired]:
    good = np.array([answer.good for answer in stable], dtype=bool)
    fine = np.array([answer.good for answer in candidate], dtype=bool)
    both = good & fine
    differs = both & _differs([a.prediction for a in stable], [a.prediction for a in candidate], both)
    everyone = np.ones(len(good), dtype=bool)
    found = [
        Paired("Disagreement", both, differs, np.zeros(len(good), dtype=bool), limits.max_disagreement_percent),
        Paired("Errors", everyone, good & ~fine, fine & ~good, limits.max_more_errors_points),
    ]
    if limits.slow_ms is not None and limits.max_more_slow_points is not None:
        slow = np.array([answer.elapsed_ms > limits.slow_ms for answer in stable], dtype=bool)
        slower = np.array([answer.elapsed_ms > limits.slow_ms for answer in candidate], dtype=bool)
        found.append(Paired("Latency", both, both & slower & ~slow, both & slow & ~slower, limits.max_more_slow_points))
    return found


def _differs(stable: list[Any], candidate: list[Any], both: Bools) -> Bools:
    """Return which answers are not the same; of several targets, where any is not."""
    found = np.zeros(len(both), dtype=bool)
    rows = np.flatnonzero(both)
    firsts, seconds = ([_targets(said[i]) for i in rows] for said in (stable, candidate))
    if len({len(values) for values in (*firsts, *seconds)}) > 1:
        found[rows] = True  # they do not even answer as many targets
        return found
    for first, second in zip(zip(*firsts, strict=True), zip(*seconds, strict=True), strict=True):
        found[rows] |= _one_differs(first, second)
    return found


def _targets(prediction: Any) -> list[Any]:
    return prediction if isinstance(prediction, list) else [prediction]


def _one_differs(stable: Sequence[Any], candidate: Sequence[Any]) -> Bools:
    """Return which answers of one target are not the same: classes by value, numbers beyond a tolerance."""
    numbers = [v for v in stable if _is_number(v)]
    continuous = len(numbers) == len(stable) and any(isinstance(v, float) and v != int(v) for v in numbers)
    apart = TOLERANCE * float(np.std(numbers)) if continuous else 0.0
    return np.array([_apart(a, b) > apart for a, b in zip(stable, candidate, strict=True)], dtype=bool)


def _apart(first: Any, second: Any) -> float:
    if _is_number(first) and _is_number(second):
        return abs(float(first) - float(second))
    return 0.0 if first == second else np.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))
