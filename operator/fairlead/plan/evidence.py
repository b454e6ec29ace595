"""What one signal has shown so far: its e-processes, and how much they must be discounted because hits come in bursts.

Pure. It must never read the hits of a block before its bets on that block are settled: everything a bet depends on
comes from closed blocks. `judge.py` holds one of these per signal and turns it into a verdict.
docs/adr/0002-anytime-valid-judge.md derives what stands here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .evalue import Block, Rates, growth, log_e_value, log_sum_exp

MIN_BLOCK = 20  # requests in each arm before a block is closed: shorter ones would cut bursts in two
RESTART_REQUESTS = 500  # per arm, between two starts of the FAIL processes
START_MASS = 0.85  # of the prior on the process started with the rollout; late starts share the rest

# FAIL bets that the canary is worse than the limit by 1, 3, 9 and 27 times the limit. Small losses need the most
# requests, so they get the largest shares at the start: a factor e of prior costs 2,400 requests at 1, 10 at 27.
# Of a late change only a large one can still be found soon.
FAIL_LIFTS = (1.0, 3.0, 9.0, 27.0)
START_SHARES = (0.36, 0.40, 0.17, 0.07)
LATE_SHARES = (0.15, 0.30, 0.35, 0.20)
SMALLEST_LIFT = 0.002  # limits below 0.2 points bet on multiples of this
# PASS bets that the versions are equal, and a little on a loss of half the limit.
PASS_LIFTS = (0.0, 0.5)
PASS_SHARES = (0.9, 0.1)

FAIL_UNCERTAINTY = 0.7  # standard errors of the dispersion that FAIL adds
PASS_UNCERTAINTY = 2.0  # more, because a wrong PASS is final and a wrong FAIL can be tried again
FEW_BLOCKS = 9.0  # times (2 / blocks with a hit)^2: an index from three or four blocks is often near 0 by chance
LARGEST_UNCERTAINTY = 10.0  # so long bursts are expected from arms that never failed
_EDGE = 1e-6  # no bet on a rate nearer to 0 or 1


@dataclass(frozen=True)
class Spread:
    """How much more one arm's hits vary between blocks than independent requests would.

    From differences of successive blocks (von Neumann 1941), so that a lasting change of the rate counts once and
    not in every block: `squares` sums (k1/n1 - k2/n2)^2 n1 n2 / (n1 + n2), `variances` sums p(1-p) of the pair.
    """

    squares: float = 0.0
    variances: float = 0.0
    hit_blocks: int = 0

    def followed_by(self, before: tuple[int, int], now: tuple[int, int]) -> Spread:
        """With one more block of (hits, requests) after the block `before` ((0, 0): there was none)."""
        (k1, n1), (k2, n2) = before, now
        hit_blocks = self.hit_blocks + (k2 > 0)
        if not n1 or not n2:
            return replace(self, hit_blocks=hit_blocks)
        pooled = (k1 + k2) / (n1 + n2)
        square = (k1 / n1 - k2 / n2) ** 2 * (n1 * n2 / (n1 + n2))
        return Spread(_rounded(self.squares + square), _rounded(self.variances + pooled * (1.0 - pooled)), hit_blocks)

    @property
    def dispersion(self) -> float:
        """The index of dispersion: 1 for independent requests, about the burst length for bursts."""
        return self.squares / self.variances if self.variances > 0 else 1.0


EMPTY = Block()
NO_SPREAD = Spread()


@dataclass(frozen=True)
class SignalState:
    """One signal's counts and evidence. Logs are natural; -inf never occurs, so JSON holds it exactly.

    `closed`, `open`, `last`: all closed blocks, the block being filled, the last closed one.
    `fail`: per lift, the log e-value since the rollout began; `late`: the log of the weighted sum of the processes
    that started later, empty before; `starts`: how many processes there are.
    `passed`: per lift, the log e-value since the step began.
    """

    difference: float
    closed: Block = EMPTY
    open: Block = EMPTY
    last: Block = EMPTY
    blocks: int = 0
    canary: Spread = NO_SPREAD
    baseline: Spread = NO_SPREAD
    starts: int = 1
    fail: tuple[float, ...] = (0.0,) * len(FAIL_LIFTS)
    late: tuple[float, ...] = ()
    passed: tuple[float, ...] = (0.0,) * len(PASS_LIFTS)

    def observed(self, new: Block) -> SignalState:
        """With new answers; they become evidence when both arms of the open block are large enough."""
        state = replace(self, open=self.open + new)
        return state.closing() if min(state.open.canary, state.open.baseline) >= MIN_BLOCK else state

    def closing(self) -> SignalState:
        """With the open block as evidence, however small it is."""
        block = self.open
        if not block.canary and not block.baseline:
            return self
        state = self._restarted()
        d, before = self.difference, self.last
        fail = [log_e_value(block, bet, d) for bet in fail_bets(self.closed, d)]
        passed = [log_e_value(block, bet, d) for bet in pass_bets(self.closed, d)]
        return replace(
            state,
            fail=_grown(state.fail, fail),
            late=_grown(state.late, fail[: len(state.late)]),
            passed=_grown(state.passed, passed),
            closed=self.closed + block,
            open=EMPTY,
            last=block,
            blocks=self.blocks + (min(block.canary, block.baseline) > 0),
            canary=self.canary.followed_by((before.canary_hits, before.canary), (block.canary_hits, block.canary)),
            baseline=self.baseline.followed_by(
                (before.baseline_hits, before.baseline), (block.baseline_hits, block.baseline)
            ),
        )

    def _restarted(self) -> SignalState:
        """With the late FAIL processes that are due by the closed counts: each adds its share of the prior."""
        due = 1 + min(self.closed.canary, self.closed.baseline) // RESTART_REQUESTS
        if due <= self.starts:
            return self
        share = math.log(mass_started(due) - mass_started(self.starts))
        late = self.late or (-math.inf,) * len(FAIL_LIFTS)
        return replace(self, starts=due, late=tuple(_floored(log_sum_exp((log, share))) for log in late))

    def in_new_step(self) -> SignalState:
        """With nothing in favour of PASS yet; what was learnt about the rates stays."""
        return replace(self.closing(), passed=(0.0,) * len(PASS_LIFTS))

    def fail_discount(self) -> float:
        """What FAIL divides the log evidence by: the index of dispersion with its uncertainty, at least 1."""
        return max(1.0, self.dispersion() * self._uncertainty(FAIL_UNCERTAINTY))

    def pass_discount(self) -> float:
        """What PASS divides by: the uncertainty counts in full even where the index is below 1.

        A clean arm may only not have had its first burst yet.
        """
        return max(1.0, self.dispersion()) * self._uncertainty(PASS_UNCERTAINTY)

    def _uncertainty(self, errors: float) -> float:
        """A factor for the index: so many of its relative standard errors sqrt(2 / blocks with a hit), and more.

        The square of 2 / blocks stands for the heavy tail that an index from few blocks has.
        """
        variance = 2.0 / max(1, self.canary.hit_blocks + self.baseline.hit_blocks)
        return min(LARGEST_UNCERTAINTY, 1.0 + errors * math.sqrt(variance) + FEW_BLOCKS * variance * variance)

    def dispersion(self) -> float:
        """Both arms' index of dispersion, weighted by the variance p(1-p)/n that each adds to the difference."""
        counts, total, weights = self.closed, 0.0, 0.0
        arms: Sequence[tuple[Spread, int, int]] = (
            (self.canary, counts.canary_hits, counts.canary),
            (self.baseline, counts.baseline_hits, counts.baseline),
        )
        for spread, hits, requests in arms:
            weight = hits * (requests - hits) / (requests * requests * requests) if requests else 0.0
            total, weights = total + weight * spread.dispersion, weights + weight
        return total / weights if weights > 0 else 1.0

    def log_fail(self) -> float:
        """The discounted log evidence against "canary <= baseline + difference" over all starts and lifts.

        Every process is discounted by itself, before its prior: a discounted prior would pay too little for the
        number of late starts. They are kept as one sum S of w_j E_j; with the least weight w, w (S/w)^(1/D) is a
        lower bound of their discounted sum.
        """
        by, started = self.fail_discount(), mass_started(self.starts)
        terms = [math.log(START_MASS * share) + log / by for share, log in zip(START_SHARES, self.fail, strict=True)]
        if self.late:
            least = math.log(started - mass_started(self.starts - 1))
            late = zip(LATE_SHARES, self.late, strict=True)
            terms += [math.log(share) + least + (log - least) / by for share, log in late]
        return log_sum_exp((*terms, math.log(1.0 - started)))

    def log_pass(self) -> float:
        """The discounted log evidence against "canary >= baseline + difference", of the current step alone."""
        by = self.pass_discount()
        return log_sum_exp(math.log(share) + log / by for share, log in zip(PASS_SHARES, self.passed, strict=True))

    def pass_growth(self, canary_share: float) -> float | None:
        """Expected log evidence for PASS per request of both arms together if both rates are equal; None: none."""
        bet = pass_bets(self.closed, self.difference)[0]
        whole = 10_000  # the growth is linear in the counts as long as their ratio stays
        canary = round(whole * canary_share)
        if not 0 < canary < whole:
            return None
        return growth(bet, canary, whole - canary, self.difference) / whole / self.pass_discount()

    def to_dict(self) -> dict[str, Any]:
        """Compact JSON; `from_dict` gives back an equal state."""
        return {
            "d": self.difference,
            "closed": self.closed.to_list(),
            "open": self.open.to_list(),
            "last": self.last.to_list(),
            "n": [self.blocks, self.starts],
            "spread": [[arm.squares, arm.variances, arm.hit_blocks] for arm in (self.canary, self.baseline)],
            "fail": list(self.fail),
            "late": list(self.late),
            "pass": list(self.passed),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SignalState:
        """The inverse of `to_dict`."""
        return cls(
            difference=data["d"],
            closed=Block(*data["closed"]),
            open=Block(*data["open"]),
            last=Block(*data["last"]),
            blocks=data["n"][0],
            starts=data["n"][1],
            canary=Spread(*data["spread"][0]),
            baseline=Spread(*data["spread"][1]),
            fail=tuple(data["fail"]),
            late=tuple(data["late"]),
            passed=tuple(data["pass"]),
        )


def mass_started(starts: int) -> float:
    """The prior mass of the first `starts` processes: 0.85 for the first, then slowly towards 1."""
    return 1.0 - (1.0 - START_MASS) / math.sqrt(starts)


def fail_bets(history: Block, difference: float) -> list[Rates]:
    """What FAIL bets on the next block: the baseline's rate so far, and a canary worse by limit and lift.

    The prior is one hit in 1/limit requests. The canary stays clear of 1 by a tenth of what the limit leaves.
    """
    prior = max(difference, SMALLEST_LIFT)
    baseline = _bounded((history.baseline_hits + 1.0) / (history.baseline + 1.0 / prior), difference)
    edge = baseline + difference
    room = 0.9 * (1.0 - edge)
    return [Rates(edge + min(lift * prior, room), baseline) for lift in FAIL_LIFTS]


def pass_bets(history: Block, difference: float) -> list[Rates]:
    """What PASS bets on the next block: the rate of both arms so far, and a canary worse by a part of the limit."""
    prior = max(difference, SMALLEST_LIFT)
    hits, requests = history.canary_hits + history.baseline_hits, history.canary + history.baseline
    pooled = _bounded((hits + 0.5) / (requests + 0.5 / prior), difference)
    return [Rates(pooled + lift * difference, pooled) for lift in PASS_LIFTS]


def _bounded(rate: float, difference: float) -> float:
    return min(max(rate, _EDGE), (1.0 - difference) * 0.999)


def _grown(logs: Sequence[float], more: Sequence[float]) -> tuple[float, ...]:
    return tuple(_floored(log + e) for log, e in zip(logs, more, strict=True))


def _floored(log: float) -> float:
    """Rounded down to four decimals: short in JSON, and never in favour of a decision."""
    return math.floor(log * 1e4) / 1e4


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
