"""The planner's judge, written once more for many rollouts at a time: 5,000 of them in seconds instead of hours.

It is a copy and proves nothing by itself: `judge_simulation.disagreements` lets the planner's own code judge the same
streams, and both must end at the same look with the same decision. It must never differ from `plan/evidence.py`,
`plan/histograms.py` and `plan/judge.py`, whose constants it uses. Arrays have a rollout in their last axis.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from fairlead.plan import evidence as plain
from fairlead.plan.judge import MIN_BLOCKS, Limits, signals
from fairlead.plan.limits import PREDICTIONS, Signal

from .judge_streams import BINS, Floats, Ints

FIELD_OF = {"requests": 0, "failed": 1, "slow": 2, "labelled": 3, "wrong": 4}
Bools = NDArray[np.bool_]


def project(bet: tuple[Floats, Floats], counts: tuple[Floats, Floats], d: float) -> Floats:
    """`evalue.project`: the baseline's rate of the nearest point; Newton's method inside a bracket."""
    (qc, qb), (n, m) = bet, counts
    wish = qc - d
    low, high = np.maximum(np.minimum(qb, wish), 0.0), np.minimum(np.maximum(qb, wish), 1.0 - d)
    found, going = (low + high) / 2, np.arange(len(qc))
    for _ in range(100):
        rate = found[going]
        p, vb = rate + d, rate * (1 - rate)
        vc = p * (1 - p)
        slope = n * (p - qc) / vc + m * (rate - qb) / vb
        left = np.flatnonzero(np.abs(slope) > 1e-13 * (n + m))
        if not len(left):
            break
        rate, p, vb, vc, slope = (values[left] for values in (rate, p, vb, vc, slope))
        going, qc, qb, n, m, low, high = (values[left] for values in (going, qc, qb, n, m, low, high))
        curvature = n * (p * p - 2 * p * qc + qc) / (vc * vc) + m * (rate * rate - 2 * rate * qb + qb) / (vb * vb)
        low, high = np.where(slope < 0, rate, low), np.where(slope < 0, high, rate)
        following = np.where(curvature > 0, rate - slope / curvature, low)
        found[going] = np.where((low < following) & (following < high), following, (low + high) / 2)
    return found


def log_e_values(block: Floats, bets: list[tuple[Floats, Floats]], d: float) -> Floats:
    """`evalue.log_e_value` per bet of blocks (hits, requests, hits, requests), with requests in both arms."""
    qc, qb = (np.concatenate([bet[arm] for bet in bets]) for arm in (0, 1))
    kc, n, kb, m = (np.tile(row, len(bets)) for row in block)
    rate = project((qc, qb), (n, m), d)
    total = np.zeros_like(rate)
    for hits, of, q, p in ((kc, n, qc, rate + d), (kb, m, qb, rate)):
        total += hits * np.log(q / p) + (of - hits) * np.log((1 - q) / (1 - p))
    return total.reshape(len(bets), -1)


def log_sum_exp(terms: Floats) -> Floats:
    """`evalue.log_sum_exp` over the first axis."""
    top = terms.max(axis=0)
    return top + np.log(np.exp(terms - top).sum(axis=0))


def floored(log: Floats) -> Floats:
    """`evidence._floored`."""
    return np.floor(log * 1e4) / 1e4


def rounded(value: Floats) -> Floats:
    """`evidence._rounded`: six significant digits."""
    scale = 10.0 ** (5 - np.floor(np.log10(np.where(value > 0, value, 1.0))))
    return np.rint(value * scale) / scale


def _zeros(*shape: int) -> Floats:
    return np.zeros(shape)


@dataclass
class Signals:
    """`evidence.SignalState` of one signal; spreads: squares, variances and blocks with a hit, of both arms."""

    closed: Floats
    open: Floats
    last: Floats
    spread: Floats
    blocks: Floats
    starts: Floats
    fail: Floats
    late: Floats
    passed: Floats

    @classmethod
    def start(cls, n: int) -> Signals:
        """Nothing observed yet."""
        lifts = len(plain.FAIL_LIFTS)
        late = np.full((lifts, n), -np.inf)
        start, passed = np.ones(n), _zeros(len(plain.PASS_LIFTS), n)
        return cls(
            _zeros(4, n), _zeros(4, n), _zeros(4, n), _zeros(2, 3, n), _zeros(n), start, _zeros(lifts, n), late, passed
        )

    def at(self, chosen: NDArray[np.intp] | Bools) -> Signals:
        """Some of the rollouts."""
        return Signals(*(getattr(self, f.name)[..., chosen] for f in fields(self)))

    @classmethod
    def of(cls, parts: list[Signals]) -> Signals:
        """All rollouts of the parts."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts], axis=-1) for f in fields(cls)))

    def put(self, chosen: NDArray[np.intp], other: Signals) -> None:
        """Write them back."""
        for f in fields(self):
            getattr(self, f.name)[..., chosen] = getattr(other, f.name)

    def close(self, d: float) -> None:
        """`SignalState.closing`, of rollouts that all have requests in both arms of the open block."""
        self._restart()
        block, before = self.open, self.last
        bets = fail_bets(self.closed, d)
        logs = log_e_values(block, [*bets, *pass_bets(self.closed, d)], d)
        fail, passed = logs[: len(bets)], logs[len(bets) :]
        self.fail, self.late = floored(self.fail + fail), floored(self.late + fail)
        self.passed = floored(self.passed + passed)
        for arm in (0, 1):
            self._spread(arm, before[2 * arm : 2 * arm + 2], block[2 * arm : 2 * arm + 2])
        self.closed, self.last, self.open = self.closed + block, block, np.zeros_like(block)
        self.blocks = self.blocks + 1

    def _restart(self) -> None:
        due = 1 + np.minimum(self.closed[1], self.closed[3]) // plain.RESTART_REQUESTS
        more = due > self.starts
        gained = np.where(more, mass(due) - mass(self.starts), 1.0)
        grown = floored(np.logaddexp(self.late, np.log(gained)))
        self.late, self.starts = np.where(more, grown, self.late), np.maximum(due, self.starts)

    def _spread(self, arm: int, before: Floats, now: Floats) -> None:
        (k1, n1), (k2, n2) = before, now
        spread = self.spread[arm]
        had = n1 > 0
        rate1 = np.divide(k1, n1, out=np.zeros_like(k1), where=had)
        pooled = (k1 + k2) / (n1 + n2)
        square = (rate1 - k2 / n2) ** 2 * (n1 * n2 / (n1 + n2))
        squares = np.where(had, rounded(spread[0] + square), spread[0])
        variances = np.where(had, rounded(spread[1] + pooled * (1 - pooled)), spread[1])
        self.spread[arm] = np.stack([squares, variances, spread[2] + (k2 > 0)])

    def dispersion(self) -> Floats:
        """`SignalState.dispersion`."""
        total, weights = np.zeros_like(self.blocks), np.zeros_like(self.blocks)
        for arm in (0, 1):
            squares, variances, _ = self.spread[arm]
            hits, n = self.closed[2 * arm], np.maximum(self.closed[2 * arm + 1], 1)
            index = np.divide(squares, variances, out=np.ones_like(squares), where=variances > 0)
            weight = hits * (n - hits) / (n * n * n)
            total, weights = total + weight * index, weights + weight
        return np.divide(total, weights, out=np.ones_like(total), where=weights > 0)

    def _uncertainty(self, errors: float) -> Floats:
        variance = 2.0 / np.maximum(1, self.spread[0, 2] + self.spread[1, 2])
        factor = 1.0 + errors * np.sqrt(variance) + plain.FEW_BLOCKS * variance * variance
        return np.minimum(plain.LARGEST_UNCERTAINTY, factor)

    def log_fail(self) -> Floats:
        """`SignalState.log_fail`, 0 before enough blocks."""
        by = np.maximum(1.0, self.dispersion() * self._uncertainty(plain.FAIL_UNCERTAINTY))
        started = mass(self.starts)
        first = np.log(plain.START_MASS * np.array(plain.START_SHARES))[:, None] + self.fail / by
        least = np.log(np.where(self.starts > 1, started - mass(np.maximum(1, self.starts - 1)), 1.0))
        late = np.log(np.array(plain.LATE_SHARES))[:, None] + least + (self.late - least) / by
        rest = np.log(1.0 - started)[None]
        return np.where(self.blocks < MIN_BLOCKS, 0.0, log_sum_exp(np.concatenate([first, late, rest])))

    def log_pass(self) -> Floats:
        """`SignalState.log_pass`, 0 before enough blocks."""
        by = np.maximum(1.0, self.dispersion()) * self._uncertainty(plain.PASS_UNCERTAINTY)
        terms = np.log(np.array(plain.PASS_SHARES))[:, None] + self.passed / by
        return np.where(self.blocks < MIN_BLOCKS, 0.0, log_sum_exp(terms))


def mass(starts: Floats) -> Floats:
    """`evidence.mass_started`."""
    return 1.0 - (1.0 - plain.START_MASS) / np.sqrt(starts)


def fail_bets(history: Floats, d: float) -> list[tuple[Floats, Floats]]:
    """`evidence.fail_bets`."""
    prior = max(d, plain.SMALLEST_LIFT)
    baseline = _bounded((history[2] + 1.0) / (history[3] + 1.0 / prior), d)
    edge = baseline + d
    return [(edge + np.minimum(lift * prior, 0.9 * (1.0 - edge)), baseline) for lift in plain.FAIL_LIFTS]


def pass_bets(history: Floats, d: float) -> list[tuple[Floats, Floats]]:
    """`evidence.pass_bets`."""
    prior = max(d, plain.SMALLEST_LIFT)
    pooled = _bounded((history[0] + history[2] + 0.5) / (history[1] + history[3] + 0.5 / prior), d)
    return [(pooled + lift * d, pooled) for lift in plain.PASS_LIFTS]


def _bounded(rate: Floats, d: float) -> Floats:
    return np.minimum(np.maximum(rate, 1e-6), (1.0 - d) * 0.999)


@dataclass
class Histograms:
    """`histograms.Histograms`: closed, last and open, each [arm, bin, rollout]."""

    closed: Floats
    last: Floats
    open: Floats

    @classmethod
    def start(cls, n: int) -> Histograms:
        """Nothing observed yet."""
        return cls(_zeros(2, BINS, n), _zeros(2, BINS, n), _zeros(2, BINS, n))

    def observe(self, found: Signals, new: Floats, d: float) -> None:
        """`Histograms.observed`: close what is large enough, as far as there is an event to watch."""
        self.open = self.open + new
        due = self.open.sum(axis=1).min(axis=0) >= plain.MIN_BLOCK
        shares = self.watched()
        chosen = np.flatnonzero(due & shares.any(axis=0))
        if len(chosen):
            part = found.at(chosen)
            event = shares[:, chosen]
            part.closed, part.last, part.open = (
                _blocks(counts[..., chosen], event) for counts in (self.closed, self.last, self.open)
            )
            part.close(d)
            found.put(chosen, part)
        self.closed = np.where(due, self.closed + self.open, self.closed)
        self.last, self.open = np.where(due, self.open, self.last), np.where(due, 0.0, self.open)

    def watched(self) -> Bools:
        """`histograms.watched`, per bin: from closed blocks alone."""
        return self.closed[0] * self.closed[1].sum(axis=0) > self.closed[1] * self.closed[0].sum(axis=0)

    def at(self, chosen: Bools) -> Histograms:
        """Some of the rollouts."""
        return Histograms(self.closed[..., chosen], self.last[..., chosen], self.open[..., chosen])


def _blocks(counts: Floats, event: Bools) -> Floats:
    inside = np.where(event, counts, 0.0).sum(axis=1)
    total = counts.sum(axis=1)
    return np.stack([inside[0], total[0], inside[1], total[1]])


@dataclass
class Judge:
    """`judge.JudgeState` of many rollouts."""

    limits: Limits
    found: dict[str, Signals]
    histograms: Histograms
    asked: tuple[Signal, ...] = field(default=())

    @classmethod
    def start(cls, limits: Limits, n: int) -> Judge:
        """Nothing observed yet."""
        asked = signals(limits)
        return cls(limits, {s.name: Signals.start(n) for s in asked}, Histograms.start(n), asked)

    def observe(self, canary: Ints, baseline: Ints) -> None:
        """One look: [field, rollout] of both arms."""
        for signal in self.asked:
            found = self.found[signal.name]
            if signal.name == PREDICTIONS:
                new = np.stack([canary[5:], baseline[5:]]).astype(float)
                self.histograms.observe(found, new, signal.difference)
                continue
            hits, total = FIELD_OF[signal.hits], FIELD_OF[signal.total]
            rows = [np.minimum(canary[hits], canary[total]), canary[total]]
            rows += [np.minimum(baseline[hits], baseline[total]), baseline[total]]
            found.open = found.open + np.stack(rows)
            due = np.flatnonzero(np.minimum(found.open[1], found.open[3]) >= plain.MIN_BLOCK)
            if len(due):
                part = found.at(due)
                part.close(signal.difference)
                found.put(due, part)

    def verdicts(self) -> tuple[Bools, Bools]:
        """Which rollouts FAIL now, and which would PASS in the last step."""
        threshold = -np.log(self.limits.alpha)
        fail_at = threshold + np.log(len(self.asked))
        failed = np.any([self.found[s.name].log_fail() >= fail_at for s in self.asked], axis=0)
        passed = np.all([self.found[s.name].log_pass() >= threshold for s in self.asked if s.required], axis=0)
        return failed, passed & ~failed

    def at(self, chosen: Bools) -> Judge:
        """Some of the rollouts."""
        found = {name: signals_.at(chosen) for name, signals_ in self.found.items()}
        return Judge(self.limits, found, self.histograms.at(chosen), self.asked)

    @classmethod
    def of(cls, parts: list[Judge]) -> Judge:
        """All rollouts of the parts."""
        found = {name: Signals.of([p.found[name] for p in parts]) for name in parts[0].found}
        bins = (np.concatenate([getattr(p.histograms, f.name) for p in parts], axis=-1) for f in fields(Histograms))
        return cls(parts[0].limits, found, Histograms(*bins), parts[0].asked)
