"""Slices, fairness, latency and decisions, each with a simulation that fails when the statistics are wrong."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from fairlead.contract.gates import FairnessMetric, Gate, GateOutcome, GateResult
from fairlead_runtime.evaluate.decide import Limit, decide, worse_of
from fairlead_runtime.evaluate.groups import Group, groups_of
from fairlead_runtime.evaluate.latency import one_row_latencies
from fairlead_runtime.evaluate.measure import intervals, loss_against
from fairlead_runtime.evaluate.slices import deciding, fairness_gaps, slice_gaps
from fairlead_runtime.stats.intervals import Interval, quantile
from fairlead_runtime.stats.metrics import Classified, Regressed, value

PASSED, FAILED, UNSURE = GateOutcome.PASSED, GateOutcome.FAILED, GateOutcome.INCONCLUSIVE


def judged(interval: Interval, limit: Limit) -> GateResult:
    return decide("g", "the value", interval, limit)


@pytest.mark.parametrize(
    ("low", "high", "limit", "outcome"),
    [
        (0.80, 0.90, Limit(0.80, at_least=True), PASSED),
        (0.79, 0.90, Limit(0.80, at_least=True), UNSURE),
        (0.70, 0.79, Limit(0.80, at_least=True), FAILED),
        (0.10, 0.20, Limit(0.20), PASSED),
        (0.10, 0.30, Limit(0.20), UNSURE),
        (0.21, 0.30, Limit(0.20), FAILED),
        (-math.inf, math.inf, Limit(0.20), UNSURE),
    ],
)
def test_the_bounds_decide(low: float, high: float, limit: Limit, outcome: GateOutcome) -> None:
    result = judged(Interval((max(low, -1) + min(high, 1)) / 2, low, high, 100), limit)
    assert result.outcome == outcome
    assert (result.missing_rows is not None) <= (outcome == UNSURE)
    assert math.isfinite(result.low or 0)


def test_what_does_not_exist_decides_nothing() -> None:
    assert judged(Interval(math.nan, -math.inf, math.inf, 0), Limit(0.5)).outcome == UNSURE


def test_the_worst_of_several_results_stands_for_the_gate() -> None:
    good, bad, open_ = (GateResult(name="g", outcome=outcome) for outcome in (PASSED, FAILED, UNSURE))
    assert worse_of([good, open_, bad]) is bad
    assert worse_of([good, open_]) is open_
    near, far = (judged(Interval(v, v, v, 9), Limit(0.5)) for v in (0.4, 0.1))
    assert worse_of([far, near]) is near


def test_groups_are_values_quarters_and_what_is_missing() -> None:
    frame = pd.DataFrame({"text": ["a", "b", "a", None], "number": [1.0, 2.0, 3.0, None]})
    assert [(g.label, g.size) for g in groups_of(frame, "text")] == [("a", 2), ("b", 1), ("(missing)", 1)]
    many = pd.DataFrame({"x": [*np.linspace(0, 100, 400), np.nan]})
    groups = groups_of(many, "x")
    assert sorted(g.size for g in groups) == [1, 100, 100, 100, 100]
    assert np.all(sum(g.rows.astype(int) for g in groups) == 1)


def _rows(rng: np.random.Generator, sizes: list[int], rates: list[float]) -> tuple[Classified, list[Group]]:
    """Return labels that are right (and positive) at the group's rate."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    hit = (rng.uniform(size=len(owner)) < np.array(rates)[owner]).astype(np.int64)
    groups = [Group("g", str(i), owner == i) for i in range(len(sizes))]
    return Classified(np.ones(len(owner), dtype=np.int64), hit, ("no", "yes")), groups


def test_equal_groups_are_called_unfair_at_most_one_time_in_twenty() -> None:
    """Five groups, twenty comparisons: without the correction about a third would fail."""
    rng, failed, passed = np.random.default_rng(31), 0, 0
    for _ in range(300):
        outcomes, groups = _rows(rng, [60, 80, 200, 400, 400], [0.4] * 5)
        gaps = fairness_gaps(FairnessMetric.DEMOGRAPHIC_PARITY, outcomes, groups)
        failed += deciding(gaps, 0.0).interval.low > 0.0
    for _ in range(300):  # exactly at the limit: passing would be wrong
        outcomes, groups = _rows(rng, [300, 300], [0.5, 0.4])
        gaps = fairness_gaps(FairnessMetric.DEMOGRAPHIC_PARITY, outcomes, groups)
        passed += deciding(gaps, 0.1).interval.high <= 0.1
    assert failed <= 24  # 15 expected at most, 24 lies 2.5 standard deviations above
    assert 3 <= passed <= 24


def test_unfairness_is_found_and_named() -> None:
    outcomes, groups = _rows(np.random.default_rng(32), [300, 300, 25], [0.7, 0.4, 0.0])
    gaps = fairness_gaps(FairnessMetric.DEMOGRAPHIC_PARITY, outcomes, groups)
    worst = deciding(gaps, 0.1)
    assert worst.name == "g=0 over 1"
    assert worst.interval.low > 0.1
    assert len(gaps) == 2  # the group of 25 is too small to compare
    assert fairness_gaps(FairnessMetric.EQUAL_OPPORTUNITY, outcomes, groups[:1]) == []


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_equal_slices_fail_at_most_one_time_in_twenty(metric: str) -> None:
    """By the closed form and by the bootstrap; the rows of the bootstrap are few, so that it stays fast."""
    rng, failed, covered, runs = np.random.default_rng(33), 0, 0, 200 if metric == "accuracy" else 40
    for seed in range(runs):
        outcomes, groups = _rows(rng, [40, 60, 100, 200], [0.8] * 4)
        gaps = slice_gaps(metric, outcomes, groups, seed)
        failed += deciding(gaps, 0.0).interval.low > 0
        covered += gaps[0].interval.high >= 0
    assert failed <= 0.09 * runs
    assert covered >= 0.88 * runs


def test_a_bad_slice_is_found_and_a_perfect_one_keeps_its_width() -> None:
    outcomes, groups = _rows(np.random.default_rng(34), [150, 600, 40], [0.5, 0.9, 1.0])
    gaps = slice_gaps("accuracy", outcomes, groups, 1)
    assert deciding(gaps, 0.1).name == "g=0"
    assert gaps[0].interval.low > 0.1
    assert gaps[0].interval.value == pytest.approx(
        value("accuracy", outcomes) - value("accuracy", outcomes.take(groups[0].rows))
    )
    assert gaps[2].interval.high - gaps[2].interval.value > 0.02


def test_slices_of_a_loss_are_worse_when_they_are_higher() -> None:
    rng = np.random.default_rng(35)
    owner = np.repeat([0, 1], [200, 400])
    truth = rng.normal(size=600)
    rows = Regressed(truth, truth + rng.normal(size=600) * np.where(owner == 0, 3.0, 1.0))
    gaps = slice_gaps("mean_absolute_error", rows, [Group("g", str(i), owner == i) for i in (0, 1)], 1)
    assert gaps[0].interval.low > 0 > gaps[1].interval.high


def test_a_perfect_score_is_not_certainty() -> None:
    truth = np.repeat([0, 1], [300, 20])
    score = np.where(truth == 1, 0.9, 0.1) + np.random.default_rng(36).uniform(-0.05, 0.05, 320)
    perfect = Classified(truth, truth, ("no", "yes"), np.column_stack([1 - score, score]))
    found = intervals(["roc_auc", "log_loss"], perfect, 1)
    assert found["roc_auc"].value == 1
    assert found["roc_auc"].low == pytest.approx(0.05 ** (1 / 20), abs=1e-6)


def test_the_loss_is_positive_when_the_challenger_is_worse_in_the_metrics_own_direction() -> None:
    rng = np.random.default_rng(37)
    truth = rng.normal(size=200)
    good, poor = Regressed(truth, truth + 0.1), Regressed(truth, truth + rng.normal(size=200))
    for metric in ("r2", "mean_absolute_error"):
        assert loss_against(good, poor, metric, 1).low > 0
        assert loss_against(poor, good, metric, 1).high < 0


def test_latency_takes_enough_calls_for_its_percentile() -> None:
    called: list[int] = []
    taken = one_row_latencies(called.append, 7, 99.5)
    assert set(called) == set(range(7))
    assert len(called) == len(taken) + 20  # the warm-up is not counted
    assert math.isfinite(quantile(taken, 0.995).high)


def test_every_gate_kind_of_the_contract_is_known_here() -> None:
    fields = set(Gate.model_fields) - {"name", "min", "max", "max_gap", "on_inconclusive", "versus_champion", "slices"}
    assert fields == {"metric", "fairness", "latency", "artifact_size"}
