"""Simulated requests of whole rollouts: what both arms of a case answer, look by look.

The seed of a case is the sha256 of its name, so rollout i of a case is always the same, whoever judges it: the
planner's own judge, its copy for many rollouts at once, or a fixed threshold. Used by `judge_simulation`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fairlead.plan.judge import ArmCounts, ArmLedger, ArmReading, Limits, PodCounts

LIMITS = Limits(error_points=0.5, latency_points=2.0, predictions_points=5.0)
LOOK = 50  # mean requests of an arm between two looks
BASE = (0.01, 0.05, 0.10)  # the baseline's rates: failed, slow, answered in the first of ten equal bins
EDGE = (0.015, 0.07, 0.15)  # exactly the allowed loss, in every signal
OVERLAP = 0.5  # a failed request is slow and in the first bin in half of the cases, beyond what chance does
BAKE_LOOKS, BAKE_LOOK = 200, (190.0, 10.0)  # 95 and 5 % of the requests; 2,000 of the held-back arm
BINS = 10
FIELDS = 5 + BINS  # requests, failed, slow, labelled, wrong, predictions by bin
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bins = tuple[float, ...]


@dataclass(frozen=True)
class Labels:
    """What comes back: the share of answers, how many looks later, and how many of them were wrong, per arm."""

    share: float = 0.3
    delay_looks: int = 20
    canary: float = 0.05
    baseline: float = 0.05


@dataclass(frozen=True)
class Case:
    """One row: the canary's rates, how hits cluster, what happens to pods, and how long the rollout may take."""

    name: str
    canary: tuple[float, float, float] = BASE
    baseline: tuple[float, float, float] = BASE
    burst: int = 1
    looks: int = 400
    good_looks: int = 0  # before the canary turns bad; PASS is not asked for in such a case
    look: tuple[float, float] = (LOOK, LOOK)
    limits: Limits = LIMITS
    bins: tuple[Bins, Bins] | None = None  # instead of the first bin's rate: the arms' shares of all ten
    labels: Labels | None = None
    incident: tuple[int, int, float] | None = None  # from look, to look: both arms fail this share
    bake: tuple[float, float, float] | None = None  # the canary's rates once it has full traffic
    pods: int = 0  # an arm; 0: one that never restarts


Arms = tuple[Ints, Ints]  # canary, baseline: a row of FIELDS per look


def seeds(case: Case, rollouts: int) -> list[np.random.SeedSequence]:
    """The seed of each rollout."""
    digest = hashlib.sha256(case.name.encode()).digest()
    return np.random.SeedSequence(int.from_bytes(digest)).spawn(rollouts)


def simulate_step(case: Case, rng: np.random.Generator) -> Arms:
    """The increments of both arms in the last step."""
    canary = _rates(case.canary, case.looks)
    canary[: case.good_looks] = case.baseline
    baseline = _rates(case.baseline, case.looks)
    for rates in (canary, baseline):
        if case.incident:
            rates[case.incident[0] : case.incident[1], 0] = case.incident[2]
    return _arms(case, rng, (canary, baseline), case.look)


def simulate_bake(case: Case, rng: np.random.Generator) -> Arms:
    """The increments of both arms after the promotion: the canary has nearly everything."""
    rates = (_rates(case.bake or case.canary, BAKE_LOOKS), _rates(case.baseline, BAKE_LOOKS))
    return _arms(replace(case, labels=None), rng, rates, BAKE_LOOK)


def counts_of(row: Ints) -> ArmCounts:
    """One look of one arm as the planner has it."""
    requests, failed, slow, labelled, wrong, *predicted = row.tolist()
    return ArmCounts(requests, failed, slow, labelled, wrong, predicted=tuple(predicted))


def row_of(counts: ArmCounts) -> Ints:
    """The inverse of `counts_of`."""
    plain = (counts.requests, counts.failed, counts.slow, counts.labelled, counts.wrong)
    bins = counts.predicted or (0,) * BINS
    return np.array([*plain, *bins], dtype=np.int64)


def _rates(rates: tuple[float, float, float], looks: int) -> Floats:
    return np.tile(np.array(rates), (looks, 1))


def _arms(case: Case, rng: np.random.Generator, rates: tuple[Floats, Floats], look: tuple[float, float]) -> Arms:
    first, second = (_arm(case, rng, rates[i], look[i], i) for i in (0, 1))
    return first, second


def _arm(case: Case, rng: np.random.Generator, rates: Floats, mean: float, index: int) -> Ints:
    if not case.pods:
        return _pod(case, rng, rates, mean, index)
    pods = [_pod(case, rng, rates, mean / case.pods, index) for _ in range(case.pods)]
    return _through_ledger(pods, rng)


def _pod(case: Case, rng: np.random.Generator, rates: Floats, mean: float, index: int) -> Ints:
    """The increments of one pod; slow answers and bins keep their rates although failures come with them."""
    sizes = rng.poisson(mean, len(rates))
    counts = np.zeros((len(rates), FIELDS), dtype=np.int64)
    counts[:, 0] = sizes
    counts[:, 1] = failed = simulate_hits(rng, sizes, rates[:, 0], case.burst)
    counts[:, 2] = _with_failures(rng, sizes, failed, rates[:, (0, 1)], case.burst)
    if case.bins:
        counts[:, 5:] = rng.multinomial(sizes, case.bins[index])
    else:
        counts[:, 5] = first = _with_failures(rng, sizes, failed, rates[:, (0, 2)], case.burst)
        counts[:, 6:] = rng.multinomial(sizes - first, [1 / (BINS - 1)] * (BINS - 1))
    if case.labels:
        labelled = rng.binomial(np.roll(sizes, case.labels.delay_looks), case.labels.share)
        labelled[: case.labels.delay_looks] = 0
        wrong = np.full(len(rates), (case.labels.canary, case.labels.baseline)[index])
        counts[:, 3], counts[:, 4] = labelled, simulate_hits(rng, labelled, wrong, case.burst)
    return counts


def simulate_hits(rng: np.random.Generator, sizes: Ints, rates: Floats, burst: int) -> Ints:
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


def _with_failures(rng: np.random.Generator, sizes: Ints, failed: Ints, rates: Floats, burst: int) -> Ints:
    """Hits of another kind (second column of rates) that fall on failed requests (first) more often than chance."""
    errors, rate = rates[:, 0], rates[:, 1]
    with_failure = OVERLAP * np.minimum(1, rate / errors) + (1 - OVERLAP) * rate
    without = (rate - errors * with_failure) / (1 - errors)
    alone = simulate_hits(rng, sizes - failed, np.maximum(without, 0), burst)
    return alone + rng.binomial(failed, with_failure)


@dataclass
class _Process:
    """One pod as a poll sees it."""

    uid: str
    start: int = 0
    total: Ints | None = None


# What happens to a pod in a look, each with this chance; at 200 looks and three pods an arm each happens several times.
RESTARTED, REPLACED, SILENT, RESET = 0.02, 0.01, 0.02, 0.0025


def _through_ledger(pods: list[Ints], rng: np.random.Generator) -> Ints:
    """What the planner's ledger makes of pods that restart, are replaced, do not answer, and forget their counts.

    What a process counted since the poll before it ended is lost; a reset forgets all counts under the same start id.
    """
    looks, ledger, found = len(pods[0]), ArmLedger(), np.zeros_like(pods[0])
    processes = [_Process(f"pod-{i:08d}") for i in range(len(pods))]
    chance = rng.random((looks, len(pods)))
    for look in range(looks):
        answers = []
        for i, process in enumerate(processes):
            event, total = chance[look, i], process.total
            if event < RESTARTED + REPLACED + RESET:
                total = np.zeros(FIELDS, dtype=np.int64)
                process.start += event < RESTARTED + REPLACED
                if event < REPLACED:
                    process.uid = f"pod-{look:04d}{i:04d}"
            else:
                total = pods[i][look] + (0 if total is None else total)
            process.total = total
            if event < 1 - SILENT:
                answers.append(PodCounts(process.uid, f"start-{process.start}", counts_of(total)))
        ledger, new = ledger.take(ArmReading(tuple(answers), frozenset(process.uid for process in processes)))
        found[look] = row_of(new)
    return found
