"""How much a shadow and a test of outcomes take until they decide: tables of docs/delivery.md. `make canary-times`.

The judge, the bounds and the e-values of the operator themselves, on random requests with a fixed seed; medians.
Nothing here is a promise: those are in `judge_simulation.py` and `tests/unit/plan/test_outcomes.py`.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterator

import numpy as np

from fairlead.plan import outcomes
from fairlead.plan.arms import ArmCounts
from fairlead.plan.judge import Decision, JudgeState, Limits, observe, start_step, verdict
from fairlead_runtime.stats.intervals import clopper_pearson

POINTS, ERRORS = (0.5, 1.0, 2.0), (0.0, 0.01, 0.05)
ALPHA, BLOCK, MOST, RUNS = 0.05, 100, 2_000_000, 15


def copies_until_pass(points: float, errors: float, percent: int, random: np.random.Generator) -> int:
    """Return the copies of `percent` of the requests until errors pass, beside the stable revision's own requests."""
    limits, state, copies = Limits(error_points=points), start_step(JudgeState()), 0
    while copies < MOST:
        counts = (BLOCK, BLOCK * 100 // percent)
        state = observe(state, limits, *(ArmCounts(n, failed=int(random.binomial(n, errors))) for n in counts))
        copies += BLOCK
        if verdict(state, limits, last_step=True).decision is Decision.PASS:
            return copies
    return MOST


def pairs_until_agreed(limit_percent: float, differing: float) -> int:
    """Return the pairs after which the upper bound of the first look is within the limit."""
    pairs = 1
    while pairs < MOST:
        if 100 * clopper_pearson(round(pairs * differing), pairs, ALPHA / 2).high <= limit_percent:
            return pairs
        pairs += 1
    return MOST


def outcomes_until_told(points: float, bad: float, better_points: float, random: np.random.Generator) -> int:
    """Return the outcomes of each revision until one is told to be better; its bad ones are fewer by so much."""
    state, told, threshold = outcomes.start(points), 0, -math.log(ALPHA / 2)
    while told < MOST:
        rates = (bad - better_points / 100, bad)
        state = outcomes.observe(state, *(ArmCounts(BLOCK, int(random.binomial(BLOCK, rate))) for rate in rates))
        told += BLOCK
        if max(state.better.log_fail(), state.worse.log_fail()) >= threshold:
            return told
    return MOST


def shadow_rows() -> Iterator[str]:
    """Yield the copies of a shadow until PASS."""
    yield "| limit, points | both fail | copies, all requests copied | copies, 10 % copied |"
    yield "|---|---|---|---|"
    for errors in ERRORS:
        for points in POINTS:
            random = np.random.default_rng([int(1000 * points), int(1000 * errors)])
            runs = RUNS if errors else 1
            found = [
                statistics.median(copies_until_pass(points, errors, percent, random) for _ in range(runs))
                for percent in (100, 10)
            ]
            yield f"| {points:g} | {errors:.0%} | {found[0]:,.0f} | {found[1]:,.0f} |"


def pair_rows() -> Iterator[str]:
    """Yield the pairs of answers until a shadow agrees."""
    yield "| maxDisagreementPercent | none differ | a fifth of the limit | half of the limit |"
    yield "|---|---|---|---|"
    for limit in (1, 5, 10):
        pairs = (pairs_until_agreed(limit, share * limit / 100) for share in (0, 0.2, 0.5))
        yield f"| {limit} | {' | '.join(f'{count:,}' for count in pairs)} |"


def outcome_rows() -> Iterator[str]:
    """Yield the outcomes of each revision until a test ends."""
    yield "| minDifferencePoints | bad outcomes | outcomes of each, really 2 times better | 3 times |"
    yield "|---|---|---|---|"
    for bad in (0.1, 0.5):
        for points in POINTS:
            random = np.random.default_rng([int(1000 * points), int(1000 * bad)])
            found = [
                statistics.median(outcomes_until_told(points, bad, times * points, random) for _ in range(RUNS))
                for times in (2, 3)
            ]
            yield f"| {points:g} | {bad:.0%} | {found[0]:,.0f} | {found[1]:,.0f} |"


if __name__ == "__main__":
    for rows in (shadow_rows, pair_rows, outcome_rows):
        sys.stdout.write("".join(f"{row}\n" for row in rows()) + "\n")
        sys.stdout.flush()
