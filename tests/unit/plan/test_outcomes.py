"""A test of two revisions by what users did: equal ones are rarely told apart, different ones are."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from fairlead.contract.jobs import ArmReport
from fairlead.plan import outcomes
from fairlead.plan.arms import ArmCounts
from fairlead.plan.judge import Decision, JudgeState, Limits, verdict
from fairlead.plan.outcomes import OutcomeState

ALPHA, POINTS, TESTS, LOOKS = 0.05, 0.5, 150, 40
OPEN = verdict(JudgeState(), Limits(error_points=0.5), last_step=False)


def decided(new_bad: float, stable_bad: float, *, per_user: int = 1, seed: str) -> list[Decision]:
    """Return how tests end at any of their looks; a user's outcomes are all alike."""
    dice = np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
    found = []
    for _ in range(TESTS):
        state, decision = outcomes.start(POINTS), Decision.INCONCLUSIVE
        for _look in range(LOOKS):
            users = dice.poisson(100 / per_user, 2)
            bad = dice.binomial(users, (new_bad, stable_bad)) * per_user
            new, stable = (ArmCounts(int(n) * per_user, int(b)) for n, b in zip(users, bad, strict=True))
            state = outcomes.observe(state, new, stable)
            decision = outcomes.judge(state, ALPHA, OPEN).decision
            if decision is not Decision.INCONCLUSIVE:
                break
        found.append(decision)
    return found


@pytest.mark.parametrize("per_user", [1, 5])
def test_equal_revisions_are_told_apart_in_at_most_five_percent(per_user: int) -> None:
    found = decided(0.1, 0.1, per_user=per_user, seed=f"equal {per_user}")
    assert sum(decision is not Decision.INCONCLUSIVE for decision in found) <= ALPHA * TESTS


def test_a_difference_is_found_in_its_direction() -> None:
    better = decided(0.05, 0.15, seed="better")
    assert better.count(Decision.PASS) >= 0.95 * TESTS
    assert Decision.FAIL not in better
    worse = decided(0.15, 0.05, seed="worse")
    assert worse.count(Decision.FAIL) >= 0.95 * TESTS
    assert Decision.PASS not in worse


def test_a_gain_of_less_than_asked_for_promotes_in_at_most_five_percent() -> None:
    found = decided(0.095, 0.1, seed="just not enough")
    assert found.count(Decision.PASS) <= ALPHA * TESTS


def report(start: str, **counts: tuple[int, int]) -> ArmReport:
    return ArmReport(start_id=start, revision="", requests=0, failed=0, slow=0, outcomes=counts)


def looked(state: OutcomeState, *reports: tuple[str, ArmReport]) -> OutcomeState:
    return outcomes.observe_pods(state, reports, ("new", "old"))


def test_what_was_counted_before_the_test_and_before_a_restart_counts_once() -> None:
    state = looked(outcomes.start(POINTS), ("pod-a", report("start-1", old=(5000, 100))))
    assert state.worse.open.baseline == 0
    state = looked(state, ("pod-a", report("start-1", old=(5010, 101), new=(7, 1))))
    state = looked(state, ("pod-a", report("start-2", new=(2, 0))), ("pod-b", report("start-3", old=(4, 4))))
    state = outcomes.OutcomeState.from_dict(state.to_dict())
    opened = state.worse.open
    assert (opened.canary, opened.canary_hits, opened.baseline, opened.baseline_hits) == (9, 1, 14, 5)
    assert state.better.open.canary == opened.baseline


def test_a_failure_of_requests_goes_before_outcomes_and_none_are_asked_for_by_name() -> None:
    said = outcomes.judge(outcomes.start(POINTS), ALPHA, OPEN)
    assert "no outcomes yet" in said.reason
    failed = replace(OPEN, decision=Decision.FAIL, signal="errors")
    assert outcomes.judge(outcomes.start(POINTS), ALPHA, failed).signal == "errors"
