"""Metrics of one model on one split, each with its interval; and the paired loss against a champion.

Proportions get Clopper-Pearson, paired accuracy gets Tango, everything else the paired BCa bootstrap. Never decides
anything: that is `gates`. Called by `evaluate.run`, `evaluate.gates` and `monitor.performance`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fairlead.contract.gates import CLASSIFICATION_METRICS, LOWER_IS_BETTER, REGRESSION_METRICS
from fairlead_runtime.stats.bootstrap import bca, resample
from fairlead_runtime.stats.intervals import Interval, clopper_pearson, tango
from fairlead_runtime.stats.metrics import (
    NEED_PROBABILITIES,
    Classified,
    Outcomes,
    class_counts,
    metric,
    proportion,
    together,
)


def metric_names(outcomes: Outcomes) -> tuple[str, ...]:
    """Return the metrics that exist for this task and model: no probabilities, none that need them."""
    if not isinstance(outcomes, Classified):
        return REGRESSION_METRICS
    has_probability = outcomes.probability is not None
    return tuple(name for name in CLASSIFICATION_METRICS if has_probability or name not in NEED_PROBABILITIES)


def intervals(names: Sequence[str], outcomes: Outcomes, seed: int) -> dict[str, Interval]:
    """Return the interval of each metric, in the order of `names`; one bootstrap serves them all."""
    shares = {name: proportion(name, outcomes) for name in names}
    others = [name for name in names if shares[name] is None]
    drawn = resample(together([metric(n, outcomes) for n in others]), len(outcomes), seed) if others else None
    found = {}
    for name in names:
        share = shares[name]
        if share is not None:
            found[name] = clopper_pearson(*share) if share[1] else _nothing()
        elif drawn is not None:
            found[name] = _kept_wide(bca(drawn, others.index(name)), outcomes)
    return found


def loss_against(champion: Outcomes, challenger: Outcomes, name: str, seed: int) -> Interval:
    """Return by how much the challenger is worse than the champion on the same rows; negative is better."""
    sign = -1.0 if name in LOWER_IS_BETTER else 1.0
    if name == "accuracy" and isinstance(champion, Classified) and isinstance(challenger, Classified):
        first, second = champion.truth == champion.label, challenger.truth == challenger.label
        return tango(int(np.sum(first & ~second)), int(np.sum(second & ~first)), len(first))
    old, new = metric(name, champion), metric(name, challenger)
    return bca(resample(lambda counts: sign * (old(counts) - new(counts))[:, None], len(champion), seed))


def _nothing() -> Interval:
    return Interval(math.nan, -math.inf, math.inf, 0)


def _kept_wide(interval: Interval, outcomes: Outcomes) -> Interval:
    """Give back a width to a perfect score.

    With every pair ranked rightly no resample differs, and the bootstrap would claim certainty. The rarer class is the
    evidence: its m rows were all right, which a share of alpha^(1/m) would show once in twenty times (Clopper-Pearson).
    """
    if interval.low != interval.high or not isinstance(outcomes, Classified):
        return interval
    counts = class_counts(outcomes)
    edge = clopper_pearson(0, int(counts[counts > 0].min())).high
    if interval.value == 1:
        return Interval(1.0, 1 - edge, 1.0, interval.rows)
    if interval.value == 0:
        return Interval(0.0, 0.0, edge, interval.rows)
    return interval
