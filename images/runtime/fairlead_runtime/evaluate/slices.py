"""How far slices fall behind the whole, and how far groups lie apart (fairness).

A gate passes only when every slice passes, so each slice is tested at the full level (intersection-union); it fails
when any fails, so that end is corrected for the number of slices (Bonferroni). Called by `evaluate.gates`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from fairlead.contract.gates import LOWER_IS_BETTER, FairnessMetric
from fairlead_runtime.stats.bootstrap import bca, resample
from fairlead_runtime.stats.intervals import ALPHA, Interval, newcombe
from fairlead_runtime.stats.metrics import Classified, Metric, Outcomes, hit_rows, metric
from fairlead_runtime.stats.shortfall import MIN_CLASS_ROWS, MIN_ROWS, missing_for_floor
from fairlead_runtime.stats.types import Bools, Floats

from .groups import Group


@dataclass(frozen=True)
class Gap:
    """By how much one slice is worse than the whole, or one group lies above another.

    `low` of the interval is corrected for the number of comparisons, `high` is not (see the module).
    """

    name: str
    interval: Interval
    rows: int
    missing: int = 0  # rows under the floor of any interval


def slice_gaps(name: str, outcomes: Outcomes, groups: list[Group], seed: int) -> list[Gap]:
    """Return the gap of each group with at least 30 rows; in metric units, positive is worse than the whole."""
    large = [group for group in groups if group.size >= MIN_ROWS]
    hits = hit_rows(name, outcomes)
    corrected = ALPHA / max(1, len(large))
    if hits is not None:
        found = [_proportion_gap(hits, group, corrected) for group in large]
    else:
        found = _bootstrap_gaps(name, outcomes, large, seed, corrected) if large else []
    missing = [missing_for_floor(name, outcomes.take(group.rows)) for group in large]
    return [Gap(str(g), i, g.size, m) for g, i, m in zip(large, found, missing, strict=True)]


def _proportion_gap(hits: tuple[Bools, Bools], group: Group, corrected: float) -> Interval:
    """Return whole - slice = (1 - s)(rest - slice), where rest and slice are independent (Newcombe)."""
    success, counted = hits
    inside, outside = counted & group.rows, counted & ~group.rows
    n_in, n_out = int(inside.sum()), int(outside.sum())
    if n_in == 0 or n_out == 0:
        return Interval(0.0, 0.0, 0.0, n_in) if n_in else Interval(np.nan, -np.inf, np.inf, 0)
    rest, own = (int((success & outside).sum()), n_out), (int((success & inside).sum()), n_in)
    share = n_out / (n_in + n_out)
    wide, narrow = newcombe(rest, own), newcombe(rest, own, corrected)
    return Interval(share * wide.value, share * narrow.low, share * wide.high, n_in)


def _bootstrap_gaps(name: str, outcomes: Outcomes, groups: list[Group], seed: int, corrected: float) -> list[Interval]:
    sign = -1.0 if name in LOWER_IS_BETTER else 1.0
    whole: Metric = metric(name, outcomes)
    parts = [(np.flatnonzero(g.rows), metric(name, outcomes.take(g.rows))) for g in groups]

    def gaps(counts: Floats) -> Floats:
        total = whole(counts)
        return sign * np.column_stack([total - part(counts[:, rows]) for rows, part in parts])

    drawn = resample(gaps, len(outcomes), seed)
    ends = [(bca(drawn, i), bca(drawn, i, corrected)) for i in range(len(groups))]
    return [Interval(w.value, n.low, w.high, g.size) for (w, n), g in zip(ends, groups, strict=True)]


def fairness_gaps(kind: FairnessMetric, outcomes: Classified, groups: list[Group]) -> list[Gap]:
    """Return the difference of every ordered pair of groups with enough rows; empty with fewer than two.

    Demographic parity counts predicted positives among all rows, equal opportunity among the true positives. Groups
    are independent samples, so the interval is Newcombe's: a bootstrap of "largest minus smallest" is biased away
    from 0 and has no width for a group without a single positive.
    """
    chosen = outcomes.label == 1
    counted = outcomes.truth == 1 if kind == FairnessMetric.EQUAL_OPPORTUNITY else np.ones(len(chosen), dtype=bool)
    least = MIN_CLASS_ROWS if kind == FairnessMetric.EQUAL_OPPORTUNITY else MIN_ROWS
    tallies = []
    for group in groups:
        rows = int((counted & group.rows).sum())
        if group.size >= MIN_ROWS and rows >= least:
            tallies.append((group, (int((chosen & counted & group.rows).sum()), rows)))
    pairs = list(permutations(tallies, 2))
    return [_pair_gap(first, second, ALPHA / len(pairs)) for first, second in pairs]


def _pair_gap(first: tuple[Group, tuple[int, int]], second: tuple[Group, tuple[int, int]], corrected: float) -> Gap:
    (one, x), (other, y) = first, second
    wide, narrow = newcombe(x, y), newcombe(x, y, corrected)
    ends = Interval(wide.value, max(0.0, narrow.low), wide.high, x[1] + y[1])
    return Gap(f"{one} over {other.label}", ends, one.size + other.size)


def deciding(gaps: list[Gap], limit: float) -> Gap:
    """Return the gap that the outcome stands on: one surely over the limit, else the one that may be furthest over."""
    over = [gap for gap in gaps if gap.interval.low > limit]
    return max(over, key=lambda gap: gap.interval.low) if over else max(gaps, key=lambda gap: gap.interval.high)
