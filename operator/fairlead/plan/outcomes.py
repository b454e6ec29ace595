"""What users did with the answers of two revisions: which one's outcomes are better, at any time, by e-values.

Two tests of one proportion, bad outcomes: "worse" refutes "the new revision has at most d more than the stable one",
"better" refutes the same with both exchanged. Each takes half of alpha, so two equal revisions are told apart, either
way, in at most alpha of all tests, however often one looks. Pure; it must never decide what follows.
Used by `analysis.py` for the strategy ABTest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fairlead.contract.jobs import ArmReport

from .arms import NO_PODS, ArmCounts, ArmLedger, ArmReading, PodCounts
from .evalue import Block
from .evidence import SignalState
from .judge import MIN_BLOCKS, Decision, SignalVerdict, Verdict

NAME = "outcomes"


@dataclass(frozen=True)
class OutcomeState:
    """Evidence for both tests, and what each pod had reported of either revision at the last look."""

    better: SignalState
    worse: SignalState
    new_pods: ArmLedger = NO_PODS
    stable_pods: ArmLedger = NO_PODS

    def to_dict(self) -> dict[str, Any]:
        """JSON for the status."""
        return {
            "better": self.better.to_dict(),
            "worse": self.worse.to_dict(),
            "newPods": self.new_pods.to_list(),
            "stablePods": self.stable_pods.to_list(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OutcomeState:
        """The inverse of `to_dict`."""
        tests = (SignalState.from_dict(data["better"]), SignalState.from_dict(data["worse"]))
        return cls(*tests, ArmLedger.from_list(data["newPods"]), ArmLedger.from_list(data["stablePods"]))


def start(points: float) -> OutcomeState:
    """Return no evidence, for a difference of so many percentage points."""
    return OutcomeState(SignalState(points / 100), SignalState(points / 100))


def observe(state: OutcomeState, new: ArmCounts, stable: ArmCounts) -> OutcomeState:
    """Return the state after more outcomes: `requests` are all of them, `failed` the bad ones."""
    worse = Block(new.failed, new.requests, stable.failed, stable.requests)
    better = Block(stable.failed, stable.requests, new.failed, new.requests)
    return replace(state, better=state.better.observed(better), worse=state.worse.observed(worse))


def observe_pods(
    state: OutcomeState, reports: Iterable[tuple[str, ArmReport]], revisions: tuple[str, str]
) -> OutcomeState:
    """Return the state after a poll; any pod takes outcomes of any revision, so each reports both.

    What pods had counted before the first look is of another time and does not count.
    """
    known, ledgers, found = list(reports), [], []
    for ledger, revision in zip((state.new_pods, state.stable_pods), revisions, strict=True):
        counted = ((uid, r.start_id, r.outcomes.get(revision, (0, 0))) for uid, r in known)
        reading = ArmReading(tuple(PodCounts(uid, start, ArmCounts(n, bad)) for uid, start, (n, bad) in counted))
        after, more = (ledger if ledger.pods else ledger.primed(reading)).take(reading)
        ledgers.append(after)
        found.append(more)
    return observe(replace(state, new_pods=ledgers[0], stable_pods=ledgers[1]), *found)


def judge(state: OutcomeState, alpha: float, found: Verdict) -> Verdict:
    """Return the judge's verdict on errors and latency with what the outcomes say; a failure of those goes first."""
    seen = _verdict(state, -math.log(alpha / 2))
    verdict = replace(found, signals=(*found.signals, seen))
    if found.decision is not Decision.INCONCLUSIVE:
        return verdict
    if seen.failed:
        return replace(verdict, decision=Decision.FAIL, signal=NAME, reason=_said(seen, "more than"))
    if seen.passed:
        return replace(verdict, decision=Decision.PASS, reason=_said(seen, "fewer by more than"))
    return replace(verdict, reason=_said(seen, "not decided at"))


def _verdict(state: OutcomeState, threshold: float) -> SignalVerdict:
    counts, early = state.worse.closed + state.worse.open, state.worse.blocks < MIN_BLOCKS
    return SignalVerdict(
        name=NAME,
        required=True,
        limit_points=state.worse.difference * 100,
        canary_rate=counts.canary_hits / max(1, counts.canary),
        baseline_rate=counts.baseline_hits / max(1, counts.baseline),
        canary_requests=counts.canary,
        baseline_requests=counts.baseline,
        fail_log_e=0.0 if early else state.worse.log_fail(),
        fail_log_threshold=threshold,
        pass_log_e=0.0 if early else state.better.log_fail(),
        pass_log_threshold=threshold,
        requests_needed=None,
    )


def _said(seen: SignalVerdict, how: str) -> str:
    if not seen.canary_requests or not seen.baseline_requests:
        return "no outcomes yet of one revision: send them to /feedback"
    return (
        f"bad outcomes {seen.canary_rate * 100:.1f} % of {seen.canary_requests}, with the stable version "
        f"{seen.baseline_rate * 100:.1f} % of {seen.baseline_requests} ({how} {seen.limit_points:g} points)"
    )
