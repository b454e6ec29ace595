"""What the judge promises, measured: whole rollouts with simulated requests, one table row per promise.

    python tests/perf/judge_simulation.py --rollouts 5000 --processes 4 > judge.md

The seed of a case is the sha256 of its name. Looks have Poisson and so unequal counts of about 50 an arm; errors,
latency and predictions are judged together and are correlated; a rollout that passes is followed through its bake.
tests/unit/plan/test_judge.py runs a short version of the same cases.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "operator"))

from fairlead.plan.judge import ArmCounts, Decision, JudgeState, Limits, observe, start_step, verdict

LIMITS = Limits(error_points=0.5, latency_points=2.0, predictions_points=5.0)
LOOK = 50  # mean requests of an arm between two looks
BASE = (0.01, 0.05, 0.10)  # the baseline's rates: failed, slow, odd
EDGE = (0.015, 0.07, 0.15)  # exactly the allowed loss, in every signal
OVERLAP = 0.5  # a failed request is slow and odd in half of the cases, beyond what chance does
BAKE_LOOKS = 40  # 2,000 requests of the held-back arm
NEVER = math.inf


@dataclass(frozen=True)
class Case:
    """One row: the canary's rates (errors, slow, odd), how hits cluster, and how long the rollout may take."""

    name: str
    canary: tuple[float, float, float] = BASE
    baseline: tuple[float, float, float] = BASE
    burst: int = 1
    looks: int = 400
    good_looks: int = 0  # before the canary turns bad; PASS is not asked for in such a case
    look: tuple[float, float] = (LOOK, LOOK)
    limits: Limits = LIMITS


@dataclass(frozen=True)
class Outcome:
    """How a rollout ended, and after how many canary requests; FAIL in the bake has `baked` set."""

    decision: Decision
    requests: float
    passed_at: float = NEVER


Arm = list[ArmCounts]


def simulate_hits(rng: np.random.Generator, sizes: np.ndarray, rates: np.ndarray, burst: int) -> np.ndarray:
    """Hits per look: independent ones, or runs of `burst` requests in a row that may cross looks."""
    if burst == 1:
        return rng.binomial(sizes, rates)
    starts = -np.log1p(-np.repeat(rates, sizes)) / burst  # so that a request is hit with its rate
    begun = np.flatnonzero(rng.random(len(starts)) < starts)
    edges = np.zeros(len(starts) + burst + 1, dtype=int)
    np.add.at(edges, begun, 1)
    np.add.at(edges, begun + burst, -1)
    hit = np.concatenate(([0], np.cumsum(np.cumsum(edges)[: len(starts)] > 0)))
    return np.diff(hit[np.concatenate(([0], np.cumsum(sizes)))])


def simulate_arm(rng: np.random.Generator, sizes: np.ndarray, rates: np.ndarray, burst: int) -> Arm:
    """The increments of one arm; `rates` has a row per look: failed, slow, odd. Slow and odd keep their rates."""
    failed = simulate_hits(rng, sizes, rates[:, 0], burst)
    others = []
    for column in (1, 2):
        rate, errors = rates[:, column], rates[:, 0]
        with_failure = OVERLAP * np.minimum(1, rate / errors) + (1 - OVERLAP) * rate
        without = (rate - errors * with_failure) / (1 - errors)
        alone = simulate_hits(rng, sizes - failed, np.maximum(without, 0), burst)
        others.append(alone + rng.binomial(failed, with_failure))
    columns = (sizes, failed, *others)
    return [ArmCounts(*map(int, row)) for row in zip(*columns, strict=True)]


def simulate_looks(case: Case, rng: np.random.Generator, looks: int) -> Iterator[tuple[ArmCounts, ArmCounts]]:
    """Both arms' increments, look after look."""
    rates = np.tile(np.array(case.canary), (looks, 1))
    rates[: case.good_looks] = case.baseline
    arms = []
    for mean, arm_rates in zip(case.look, (rates, np.tile(np.array(case.baseline), (looks, 1))), strict=True):
        arms.append(simulate_arm(rng, rng.poisson(mean, looks), arm_rates, case.burst))
    return zip(*arms, strict=True)


def run_rollout(case: Case, seed: np.random.SeedSequence) -> Outcome:
    """One rollout: a last step until PASS, FAIL or the end of patience, and after PASS the bake."""
    rng = np.random.default_rng(seed)
    state, requests, last_step = start_step(JudgeState()), 0, not case.good_looks
    for canary, baseline in simulate_looks(case, rng, case.looks):
        state, requests = observe(state, case.limits, canary, baseline), requests + canary.requests
        found = verdict(state, case.limits, last_step=last_step)
        if found.decision is Decision.FAIL:
            return Outcome(Decision.FAIL, requests)
        if found.decision is Decision.PASS:
            return run_bake(case, state, rng, requests)
    return Outcome(Decision.INCONCLUSIVE, NEVER)


def run_bake(case: Case, state: JudgeState, rng: np.random.Generator, requests: int) -> Outcome:
    """After PASS at `requests`: the same judge goes on, and FAIL still rolls back."""
    passed_at = requests
    for canary, baseline in simulate_looks(case, rng, BAKE_LOOKS):
        state, requests = observe(state, case.limits, canary, baseline), requests + canary.requests
        if verdict(state, case.limits, last_step=False).decision is Decision.FAIL:
            return Outcome(Decision.FAIL, requests, passed_at)
    return Outcome(Decision.PASS, passed_at, passed_at)


def run_case(case: Case, rollouts: int, processes: int = 1) -> list[Outcome]:
    """All rollouts of a case, always the same ones for the same name and number."""
    seeds = np.random.SeedSequence(int.from_bytes(hashlib.sha256(case.name.encode()).digest())).spawn(rollouts)
    if processes == 1:
        return [run_rollout(case, seed) for seed in seeds]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(partial(run_rollout, case), seeds, chunksize=20))


def share_failed(outcomes: list[Outcome]) -> float:
    """The share that was rolled back by evidence, bake included."""
    return sum(o.decision is Decision.FAIL for o in outcomes) / len(outcomes)


def share_passed(outcomes: list[Outcome]) -> float:
    """The share that was promoted, also when the bake took it back."""
    return sum(o.passed_at < NEVER for o in outcomes) / len(outcomes)


def median_caught(outcomes: list[Outcome], case: Case) -> float:
    """The median of canary requests until FAIL, from the change on; what was never caught counts as never."""
    before = case.good_looks * case.look[0]
    return median(o.requests - before if o.decision is Decision.FAIL else NEVER for o in outcomes)


def median_passed(outcomes: list[Outcome]) -> float:
    """The median of canary requests until PASS."""
    return median(o.passed_at for o in outcomes)


def bad(errors: float) -> tuple[float, float, float]:
    """A canary with this rate of errors, otherwise like the baseline."""
    return (errors, *BASE[1:])


SAME, AT_EDGE = Case("identical versions"), Case("exactly the allowed loss", EDGE)
BURSTS = [
    Case(f"{name}, bursts of {burst}", rates, burst=burst)
    for burst in (5, 10, 25)
    for name, rates in (("identical versions", BASE), ("exactly the allowed loss", EDGE))
]
ONE_EDGE = [
    Case("exactly the allowed loss, in errors only", (EDGE[0], *BASE[1:])),
    *(Case(f"exactly the allowed loss, in errors only, bursts of {b}", (EDGE[0], *BASE[1:]), burst=b) for b in (5, 10)),
]
FROM_START = [
    (Case("20 % errors from the start", bad(0.20), looks=40), 200),
    (Case("5 % errors from the start", bad(0.05), looks=100), 700),
    (Case("3 % errors from the start", bad(0.03), looks=200), 2_000),
    (Case("2 % errors from the start", bad(0.02), looks=700), 12_000),
]
LATE = [
    (Case("20 % errors after 7,000 good requests", bad(0.20), looks=160, good_looks=140), 300),
    (Case("5 % errors after 7,000 good requests", bad(0.05), looks=220, good_looks=140), 1_200),
]
LIVE = Case(
    "20 % errors, 37 requests an arm and look, clean baseline",
    (0.20, 0.05, 0.10),
    (0.0001, 0.05, 0.10),
    looks=30,
    look=(37.5, 37.5),
    limits=Limits(error_points=1.0, latency_points=5.0),
)


def print_table(rollouts: int, processes: int) -> None:
    """The promises of the judge beside what was measured."""
    run = partial(run_case, rollouts=rollouts, processes=processes)
    row("case", "measured", "bar")
    row("---", "---", "---")
    for case in (SAME, AT_EDGE, *BURSTS, *ONE_EDGE):
        print_error_rates(case, run(case))
    for case, bar in (*FROM_START, *LATE):
        outcomes = run(case)
        caught = f"{share_failed(outcomes):.1%} caught, median {median_caught(outcomes, case):,.0f}"
        row(case.name, f"{caught} canary requests", f"{bar:,}")
    live = run(LIVE)
    row(LIVE.name, f"{share_failed(live):.1%} caught, median {median_caught(live, LIVE) / 7.5:.0f} s at 7.5/s", "60 s")


def print_error_rates(case: Case, outcomes: list[Outcome]) -> None:
    """Wrong decisions of one case; for identical versions also what PASS took."""
    bar = "published" if case.burst == 25 else "<= 5 %"
    row(f"{case.name}: rolled back", f"{share_failed(outcomes):.2%}", bar)
    if case.canary == BASE:
        passed = f"median {median_passed(outcomes):,.0f} canary requests, {share_passed(outcomes):.1%} within 20,000"
        row(f"{case.name}: promoted", passed, "10,000" if case.burst == 1 else "published")
    else:
        row(f"{case.name}: promoted", f"{share_passed(outcomes):.2%}", bar)


def print_fixed_threshold(rollouts: int) -> None:
    """A judge with a fixed threshold: rolled back when one of ten checks of 200 requests falls below it."""
    print()
    row(
        "success at least", "identical versions rolled back", "2 % errors missed", "identical, bursts of 5, rolled back"
    )
    row("---", "---", "---", "---")
    for percent in (98.0, 97.5, 95.0):
        same, worse, bursts = (
            np.mean([fixed_threshold_fails(rate, percent, burst, i) for i in range(rollouts)])
            for rate, burst in ((0.01, 1), (0.02, 1), (0.01, 5))
        )
        row(f"{percent:g} %", f"{same:.1%}", f"{1 - worse:.1%}", f"{bursts:.1%}")


def fixed_threshold_fails(rate: float, percent: float, burst: int, index: int) -> bool:
    """Whether a canary with this error rate is rolled back by the fixed threshold."""
    digest = hashlib.sha256(f"fixed threshold {rate} {burst}".encode()).digest()
    rng = np.random.default_rng([int.from_bytes(digest[:8]), index])
    sizes = np.full(10, 200)
    failed = simulate_hits(rng, sizes, np.full(10, rate), burst)
    return bool((failed > 200 * (1 - percent / 100) + 1e-9).any())


def print_clean_arms() -> None:
    """Canary requests until PASS when nothing fails at all; no chance in it."""
    print()
    row("limit, no failure in either arm", "first step is the last", "after 2,000 requests", "baseline half as large")
    row("---", "---", "---", "---")
    for points in (0.25, 0.5, 1.0, 2.0, 5.0):
        limits = Limits(error_points=points)
        needed = (clean_requests(limits, *setup) for setup in ((0, 1), (2000, 1), (0, 2)))
        row(f"{points:g} points", *(f"{n:,}" for n in needed))


def clean_requests(limits: Limits, before: int, ratio: int) -> int:
    """Canary requests of the last step until PASS, `before` in earlier steps, the baseline 1/ratio as large."""
    state = JudgeState()
    for _ in range(before // 40):
        state = observe(state, limits, ArmCounts(40), ArmCounts(40))
    state, requests = start_step(state), 0
    while verdict(state, limits, last_step=True).decision is not Decision.PASS:
        state, requests = observe(state, limits, ArmCounts(20 * ratio), ArmCounts(20)), requests + 20 * ratio
    return requests


def row(*cells: str) -> None:
    """One row of a Markdown table."""
    print("| " + " | ".join(cells) + " |", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description="Measure what the judge of canaries promises.")
    parser.add_argument("--rollouts", type=int, default=5_000, help="per case")
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args(arguments)
    print(f"{chosen.rollouts:,} rollouts a case, limits {LIMITS.error_points} / {LIMITS.latency_points} /", end=" ")
    print(f"{LIMITS.predictions_points} points over rates of 1 / 5 / 10 %, {LOOK} requests an arm and look\n")
    print_table(chosen.rollouts, chosen.processes)
    print_fixed_threshold(chosen.rollouts)
    print_clean_arms()


if __name__ == "__main__":
    main()
