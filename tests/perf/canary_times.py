"""How long a canary takes, by limit, errors and traffic: the table of docs/delivery.md. `make canary-times`.

Two equal versions under the judge itself, random requests with a fixed seed; the median over rollouts of the canary's
requests in the last step until PASS. Times follow by the shares of the steps. Nothing here is a promise: those are in
`judge_simulation.py`.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator

import numpy as np

from fairlead.plan.arms import ArmCounts
from fairlead.plan.judge import Decision, JudgeState, Limits, observe, start_step, verdict

LIMITS_POINTS = (0.25, 0.5, 1.0, 2.0, 5.0)
ERRORS = (0.0, 0.01, 0.05)
TRAFFIC = (1, 10, 100, 1000)
STEPS, MIN_REQUESTS, MIN_S = (5, 25, 50), 200, 30.0
BLOCK, MOST, ROLLOUTS = 100, 400_000, 15


def until_pass(points: float, errors: float, random: np.random.Generator) -> int:
    """Return the canary's requests in the last step until PASS, beside half as many of its baseline; MOST: none yet."""
    limits = Limits(error_points=points)
    state = JudgeState()
    for _ in range(MIN_REQUESTS // BLOCK):  # an earlier step: rates are learnt, PASS is not
        state = observe(state, limits, *_look(errors, random, BLOCK))
    state, requests = start_step(state), 0
    while requests < MOST:
        state, requests = observe(state, limits, *_look(errors, random, BLOCK // 2)), requests + BLOCK
        found = verdict(state, limits, last_step=True).decision
        if found is Decision.PASS:
            return requests
        if found is Decision.FAIL:
            return MOST
    return MOST


def _look(errors: float, random: np.random.Generator, baseline: int) -> tuple[ArmCounts, ArmCounts]:
    counts = (BLOCK, baseline)
    canary, other = (ArmCounts(requests=n, failed=int(random.binomial(n, errors))) for n in counts)
    return canary, other


def rollout_s(requests: float, traffic: float) -> float:
    """Return how long the steps take, without pods' starts and the bake."""
    before = sum(max(MIN_S, MIN_REQUESTS / (traffic * step / 100)) for step in STEPS[:-1])
    return before + max(MIN_S, requests / (traffic * STEPS[-1] / 100))


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def rows() -> Iterator[str]:
    """Yield the table as Markdown."""
    yield f"| limit, points | both fail | canary requests | {' | '.join(f'{rate:,} requests/s' for rate in TRAFFIC)} |"
    yield "|---" * (3 + len(TRAFFIC)) + "|"
    for errors in ERRORS:
        for points in LIMITS_POINTS:
            random = np.random.default_rng([int(1000 * points), int(1000 * errors)])
            runs = 1 if errors == 0 else ROLLOUTS
            median = statistics.median(until_pass(points, errors, random) for _ in range(runs))
            if median >= MOST:
                yield f"| {points:g} | {errors:.0%} | over {MOST:,} | | | | |"
                continue
            times = " | ".join(_time(rollout_s(median, rate)) for rate in TRAFFIC)
            yield f"| {points:g} | {errors:.0%} | {median:,.0f} | {times} |"


if __name__ == "__main__":
    for row in rows():
        sys.stdout.write(row + "\n")
        sys.stdout.flush()
