"""What the judge promises, measured: whole rollouts with simulated requests, one table row per promise.

    python -m tests.perf.judge_simulation --rollouts 5000 > judge.md

Looks have Poisson and so unequal counts of about 50 an arm; errors, latency and predictions are judged together and
are correlated; a rollout that passes is followed through its bake. All rollouts are judged by `judge_arrays`; the
first `--plain` of each case by the planner's own code too, and one that ends elsewhere is an error. In the same rows,
on the same requests, a judge with a fixed threshold as Argo Rollouts and Flagger have it: ten checks of 200 requests,
rolled back by the first that has too few successes. tests/unit/plan/test_judge.py runs a short version.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from fairlead.plan.judge import ArmCounts, Decision, JudgeState, Limits, observe, start_step, verdict

from .judge_arrays import Judge
from .judge_cases import CAUGHT, EACH, LIVE, PUBLISHED, UNHARMED, WRONG, Bar
from .judge_streams import BAKE_LOOKS, Arms, Case, Ints, counts_of, seeds, simulate_bake, simulate_step

NEVER = math.inf
THRESHOLDS = (98.0, 97.5, 95.0)
CHECKS, CHECK_REQUESTS = 10, 200
_TOGETHER = 1_000  # rollouts in memory at a time: about 200 MB


@dataclass(frozen=True)
class Outcome:
    """How a rollout ended, after how many canary requests; `passed_at`: of the promotion, `held_back`: in the bake.

    `fixed`: per threshold, whether the fixed judge rolled it back.
    """

    decision: Decision
    requests: float
    passed_at: float = NEVER
    held_back: float = NEVER
    fixed: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Rollout:
    """All that one rollout could see, should it go on to the end."""

    case: Case
    step: Arms
    later: np.random.SeedSequence

    def bake(self) -> Arms:
        """What it sees once it has passed; few rollouts of most cases come so far."""
        return simulate_bake(self.case, np.random.default_rng(self.later))


def streams(case: Case, rollouts: int) -> Iterator[Rollout]:
    """The rollouts of a case, always the same ones."""
    for seed in seeds(case, rollouts):
        first, later = seed.spawn(2)
        yield Rollout(case, simulate_step(case, np.random.default_rng(first)), later)


def run_case(case: Case, rollouts: int) -> list[Outcome]:
    """The outcomes of all rollouts of a case."""
    outcomes: list[Outcome] = []
    together: list[Rollout] = []
    for rollout in streams(case, rollouts):
        together.append(rollout)
        if len(together) == _TOGETHER or len(outcomes) + len(together) == rollouts:
            outcomes += judge_together(case, together)
            together = []
    return outcomes


# --- by the planner's own code


def judge_plainly(case: Case, rollout: Rollout) -> Outcome:
    """One rollout: a last step until PASS, FAIL or the end of patience, and after PASS the bake."""
    state, requests, last_step = start_step(JudgeState()), 0, not case.good_looks
    for canary, baseline in zip(*rollout.step, strict=True):
        state, requests = observe(state, case.limits, counts_of(canary), counts_of(baseline)), requests + int(canary[0])
        found = verdict(state, case.limits, last_step=last_step)
        if found.decision is Decision.FAIL:
            return Outcome(Decision.FAIL, requests)
        if found.decision is Decision.PASS:
            return _bake_plainly(case, rollout, state, requests)
    return Outcome(Decision.INCONCLUSIVE, NEVER)


def _bake_plainly(case: Case, rollout: Rollout, state: JudgeState, passed_at: int) -> Outcome:
    """After PASS: the same judge goes on, and FAIL still rolls back."""
    requests, held_back = passed_at, 0
    for canary, baseline in zip(*rollout.bake(), strict=True):
        state = observe(state, case.limits, counts_of(canary), counts_of(baseline))
        requests, held_back = requests + int(canary[0]), held_back + int(baseline[0])
        if verdict(state, case.limits, last_step=False).decision is Decision.FAIL:
            return Outcome(Decision.FAIL, requests, passed_at, held_back)
    return Outcome(Decision.PASS, passed_at, passed_at)


def disagreements(case: Case, rollouts: int) -> list[str]:
    """Rollouts that the planner's own code ends elsewhere than the copy for many at once."""
    wrong = []
    for i, rollout in enumerate(streams(case, rollouts)):
        ours, copy = judge_plainly(case, rollout), judge_together(case, [rollout])[0]
        if (ours.decision, ours.requests, ours.passed_at) != (copy.decision, copy.requests, copy.passed_at):
            wrong.append(f"{case.name}, rollout {i}: {ours} by the planner, {copy} by the copy")
    return wrong


# --- many at once


@dataclass
class _Going:
    """The rollouts that have not ended: their judge, their numbers, canary requests so far."""

    judge: Judge
    numbers: Ints
    requests: Ints

    def keep(self, chosen: np.ndarray) -> _Going:
        return _Going(self.judge.at(chosen), self.numbers[chosen], self.requests[chosen])

    @classmethod
    def of(cls, parts: list[_Going]) -> _Going:
        numbers, requests = (np.concatenate([getattr(p, name) for p in parts]) for name in ("numbers", "requests"))
        return cls(Judge.of([p.judge for p in parts]), numbers, requests)


def judge_together(case: Case, rollouts: list[Rollout]) -> list[Outcome]:
    """The outcome of each rollout."""
    n = len(rollouts)
    outcomes = [Outcome(Decision.INCONCLUSIVE, NEVER)] * n
    step = [np.stack([r.step[arm] for r in rollouts], axis=2) for arm in (0, 1)]
    going = _Going(Judge.start(case.limits, n), np.arange(n), np.zeros(n, dtype=np.int64))
    promoted: list[_Going] = []
    for look in range(case.looks):
        going, failed, passed = _look(going, step[0][look], step[1][look])
        for i in np.flatnonzero(failed):
            outcomes[going.numbers[i]] = Outcome(Decision.FAIL, int(going.requests[i]))
        ended = failed if case.good_looks else failed | passed
        if (passed & ended).any():
            promoted.append(going.keep(passed & ended))
        if ended.any():
            going = going.keep(~ended)
        if not len(going.numbers):
            break
    for some in promoted:
        for i, at in zip(some.numbers, some.requests, strict=True):
            outcomes[i] = Outcome(Decision.PASS, int(at), int(at))
    if promoted:
        _bake_together(rollouts, _Going.of(promoted), outcomes)
    fixed = fixed_thresholds(step[0])
    return [replace(outcome, fixed=tuple(fixed[:, i].tolist())) for i, outcome in enumerate(outcomes)]


def _look(going: _Going, canary: Ints, baseline: Ints) -> tuple[_Going, np.ndarray, np.ndarray]:
    new = canary[:, going.numbers]
    going.judge.observe(new, baseline[:, going.numbers])
    going.requests = going.requests + new[0]
    return (going, *going.judge.verdicts())


def _bake_together(rollouts: list[Rollout], going: _Going, outcomes: list[Outcome]) -> None:
    """Each sees its own bake from its beginning, whenever it passed."""
    mine = [rollouts[i].bake() for i in going.numbers]
    bake = [np.stack([arms[arm] for arms in mine], axis=2) for arm in (0, 1)]
    passed_at, real = going.requests, going.numbers
    going = _Going(going.judge, np.arange(len(real)), going.requests)
    held_back = bake[1][:, 0].cumsum(axis=0)
    for look in range(BAKE_LOOKS):
        going, failed, _ = _look(going, bake[0][look], bake[1][look])
        for i in np.flatnonzero(failed):
            at = going.numbers[i]
            outcomes[real[at]] = Outcome(
                Decision.FAIL, int(going.requests[i]), int(passed_at[at]), int(held_back[look, at])
            )
        if failed.any():
            going = going.keep(~failed)
        if not len(going.numbers):
            break


def fixed_thresholds(canary: Ints) -> np.ndarray:
    """Per threshold and rollout: whether one of the first ten checks of 200 canary requests has too few successes.

    A check ends inside a look; which of the look's failures came before is drawn.
    """
    ends = CHECK_REQUESTS * np.arange(1, CHECKS + 1)
    rng, found = np.random.default_rng(0), np.zeros((len(THRESHOLDS), canary.shape[2]), dtype=bool)
    for i in range(canary.shape[2]):
        requests, failed = canary[:, 0, i], canary[:, 1, i]
        looks = np.searchsorted(requests.cumsum(), ends)
        looks = looks[looks < len(requests)]
        inside = ends[: len(looks)] - (requests.cumsum() - requests)[looks]
        before = (failed.cumsum() - failed)[looks]
        k = np.diff(before + rng.hypergeometric(failed[looks], (requests - failed)[looks], inside), prepend=0)
        found[:, i] = [bool((k > CHECK_REQUESTS * (1 - percent / 100) + 1e-9).any()) for percent in THRESHOLDS]
    return found


# --- the table


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


def share_fixed(outcomes: list[Outcome]) -> list[float]:
    """Per threshold, the share that the fixed judge rolled back."""
    return [float(share) for share in np.mean([o.fixed for o in outcomes], axis=0)]


def breaches(bar: Bar, outcomes: list[Outcome], allowance: float = 3.0) -> list[str]:
    """What was promised and not kept, so many standard errors beyond chance."""
    case, n, found = bar.case, len(outcomes), []
    most = WRONG + allowance * math.sqrt(WRONG * (1 - WRONG) / n)
    if bar in UNHARMED and bar.text != PUBLISHED and share_failed(outcomes) > most:
        found.append(f"{case.name}: {share_failed(outcomes):.2%} rolled back")
    if bar.text == EACH and share_passed(outcomes) > most:
        found.append(f"{case.name}: {share_passed(outcomes):.2%} promoted")
    median_at = median_caught(outcomes, case) if bar in CAUGHT else median_passed(outcomes)
    if bar.most and median_at > bar.most * (1 + allowance * 0.7 / math.sqrt(n)):
        found.append(f"{case.name}: median {median_at:,.0f} canary requests, not {bar.most:,.0f}")
    return found


def print_table(rollouts: int, plain: int, only: str) -> list[str]:
    """The promises of the judge beside what was measured, and what a fixed threshold did; return what was not kept."""
    broken: list[str] = []
    row("case", "rolled back", "promoted", "median canary requests", "bar", "fixed 98 / 97.5 / 95 % rolls back")
    row(*["---"] * 6)
    for bar in (bar for bar in (*UNHARMED, *CAUGHT) if only in bar.case.name):
        problems = disagreements(bar.case, plain)
        if problems:
            sys.exit("\n".join(["the copy of the judge differs from the planner's code:", *problems[:10]]))
        outcomes = run_case(bar.case, rollouts)
        print_row(bar, outcomes)
        broken += breaches(bar, outcomes)
    live = run_case(LIVE, rollouts)
    seconds = median_caught(live, LIVE) / 7.5
    row(LIVE.name, f"{share_failed(live):.2%}", f"{share_passed(live):.2%}", f"after {seconds:.0f} s", "60 s", "")
    return broken


def print_row(bar: Bar, outcomes: list[Outcome]) -> None:
    """One case."""
    case = bar.case
    if case.bake:
        caught = [o.held_back for o in outcomes if o.held_back < NEVER]
        middle = f"{median(caught):,.0f} of the held-back arm" if caught else "never"
    elif bar in CAUGHT:
        at = median_caught(outcomes, case)
        middle = f"{at:,.0f} until FAIL" if at < NEVER else "half never"
    else:
        at = median_passed(outcomes)
        middle = f"{at:,.0f} until PASS" if at < NEVER else "half never"
    fixed = " / ".join(f"{share:.1%}" for share in share_fixed(outcomes))
    row(case.name, f"{share_failed(outcomes):.2%}", f"{share_passed(outcomes):.2%}", middle, bar.text, fixed)


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
    parser.add_argument("--plain", type=int, default=20, help="of them also by the planner's own code, look by look")
    parser.add_argument("--only", default="", help="cases whose names contain this")
    chosen = parser.parse_args(arguments)
    print(f"{chosen.rollouts:,} rollouts a case; {chosen.plain} of them by the planner's own code too\n")
    broken = print_table(chosen.rollouts, chosen.plain, chosen.only)
    print_clean_arms()
    if broken:
        sys.exit("\n".join(["promises that were not kept:", *broken]))


if __name__ == "__main__":
    main()
