"""Whether a canary is worse than its baseline by more than the user allows, at any time, with an error rate that holds.

Pure: counts in, state and verdict out. It must never see time, and never decide what follows a verdict; the planner
of rollouts (`rollout.py`) does. Evidence counts only once the state that holds it was written.

| verdict | when (first that holds) |
|---|---|
| SharedIncident | both arms fail more than `incident_max_error_percent` of their latest requests |
| Fail | "no worse than the baseline plus the limit" is rejected for one signal, at its share of alpha |
| Pass | last step only: "worse by the limit or more" is rejected for every required signal, each at alpha |
| Inconclusive | otherwise; no traffic, in either arm, is no evidence |
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from .arms import NO_PODS, ArmCounts, ArmLedger, ArmReading, PodCounts
from .evalue import Block
from .evidence import SignalState
from .histograms import Histograms
from .limits import PREDICTIONS, Limits, Signal, signals

__all__ = [
    "ArmCounts",
    "ArmLedger",
    "ArmReading",
    "Decision",
    "JudgeState",
    "Limits",
    "PodCounts",
    "Signal",
    "SignalVerdict",
    "Verdict",
    "count_by",
    "observe",
    "observe_pods",
    "signals",
    "start_step",
    "verdict",
]

MIN_BLOCKS = 3  # the dispersion between blocks is unknown before; its uncertainty discounts what follows
RECENT_KEPT = 0.8  # of the latest counts, from look to look: half of their weight is in three looks
NO_HISTOGRAMS = Histograms()
RECENT_REQUESTS = 20  # in each arm, before the latest rates can be called an incident
_FORMAT = 3


class Decision(StrEnum):
    """What the evidence says so far."""

    PASS = "Pass"
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"
    SHARED_INCIDENT = "SharedIncident"


@dataclass(frozen=True)
class JudgeState:
    """Everything the judge remembers; with two signals and 20 pods an arm 3 KiB of JSON, with predictions 6.

    `step_canary`, `step_baseline`: requests since the step began. `recent`: canary requests and failures, baseline
    requests and failures, fading from look to look. The ledgers belong to the pods of both arms.
    """

    signals: Mapping[str, SignalState] = field(default_factory=dict)
    step_canary: int = 0
    step_baseline: int = 0
    recent: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    canary_pods: ArmLedger = NO_PODS
    baseline_pods: ArmLedger = NO_PODS
    histograms: Histograms = NO_HISTOGRAMS

    def to_dict(self) -> dict[str, Any]:
        """JSON for the status; `from_dict` gives back an equal state."""
        return {
            "v": _FORMAT,
            "signals": {name: state.to_dict() for name, state in self.signals.items()},
            "step": [self.step_canary, self.step_baseline],
            "recent": list(self.recent),
            "pods": {"canary": self.canary_pods.to_list(), "baseline": self.baseline_pods.to_list()},
            **({"predictions": self.histograms.to_dict()} if self.histograms != NO_HISTOGRAMS else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JudgeState:
        """The inverse of `to_dict`. An empty or older form is an empty state: evidence starts again."""
        if data.get("v") != _FORMAT:
            return cls()
        c, cf, b, bf = data["recent"]
        return cls(
            signals={name: SignalState.from_dict(entry) for name, entry in data["signals"].items()},
            step_canary=data["step"][0],
            step_baseline=data["step"][1],
            recent=(c, cf, b, bf),
            canary_pods=ArmLedger.from_list(data["pods"]["canary"]),
            baseline_pods=ArmLedger.from_list(data["pods"]["baseline"]),
            histograms=Histograms.from_dict(data["predictions"]) if "predictions" in data else NO_HISTOGRAMS,
        )


def observe(state: JudgeState, limits: Limits, canary: ArmCounts, baseline: ArmCounts) -> JudgeState:
    """The state after one look: the increments of both arms since the look before, of any and unequal size.

    While an incident hits both arms nothing becomes evidence; that is known before the look, so it biases nothing.
    Increments with no request change nothing. A signal whose limit changed starts again.
    """
    if canary.empty and baseline.empty:
        return state
    held = in_incident(state, limits)
    recent = _faded(state.recent, canary, baseline)
    if held:
        return replace(state, recent=recent)
    histograms, found = state.histograms, {}
    for signal in signals(limits):
        known = _signal_state(state, signal)
        if signal.name == PREDICTIONS:
            histograms, found[PREDICTIONS] = histograms.observed(known, canary.predicted, baseline.predicted)
        else:
            found[signal.name] = known.observed(_block(signal, canary, baseline))
    return replace(
        state,
        signals=found,
        step_canary=state.step_canary + canary.requests,
        step_baseline=state.step_baseline + baseline.requests,
        recent=recent,
        histograms=histograms,
    )


def observe_pods(state: JudgeState, limits: Limits, canary: ArmReading, baseline: ArmReading) -> JudgeState:
    """`observe` with what was polled: the ledgers find what is new, across restarts and new pods."""
    canary_pods, canary_new = state.canary_pods.take(canary)
    baseline_pods, baseline_new = state.baseline_pods.take(baseline)
    state = replace(state, canary_pods=canary_pods, baseline_pods=baseline_pods)
    return observe(state, limits, canary_new, baseline_new)


def start_step(state: JudgeState) -> JudgeState:
    """A step begins: evidence for PASS and the step's requests start at zero; evidence for FAIL goes on."""
    found = {name: signal.in_new_step() for name, signal in state.signals.items() if name != PREDICTIONS}
    histograms = state.histograms
    if PREDICTIONS in state.signals:
        histograms, found[PREDICTIONS] = histograms.in_new_step(state.signals[PREDICTIONS])
    return replace(state, signals=found, step_canary=0, step_baseline=0, histograms=histograms)


def count_by(state: JudgeState, bins: str, canary: ArmReading, baseline: ArmReading) -> JudgeState:
    """The state for predictions counted by these bins: by other ones than before, their evidence starts again."""
    if bins == state.histograms.bins:
        return state
    return replace(
        state,
        signals={name: signal for name, signal in state.signals.items() if name != PREDICTIONS},
        canary_pods=state.canary_pods.rebased(canary),
        baseline_pods=state.baseline_pods.rebased(baseline),
        histograms=Histograms(bins),
    )


def in_incident(state: JudgeState, limits: Limits) -> bool:
    """Whether both arms failed more than the incident limit of their latest requests."""
    c, cf, b, bf = state.recent
    if limits.incident_max_error_percent is None or min(c, b) < RECENT_REQUESTS:
        return False
    return min(cf / c, bf / b) > limits.incident_max_error_percent / 100


def _signal_state(state: JudgeState, signal: Signal) -> SignalState:
    known = state.signals.get(signal.name)
    return known if known and known.difference == signal.difference else SignalState(signal.difference)


def _block(signal: Signal, canary: ArmCounts, baseline: ArmCounts) -> Block:
    counts = []
    for arm in (canary, baseline):
        total = getattr(arm, signal.total)
        counts += [min(getattr(arm, signal.hits), total), total]
    return Block(*counts)


def _faded(
    recent: tuple[float, float, float, float], canary: ArmCounts, baseline: ArmCounts
) -> tuple[float, float, float, float]:
    c, cf, b, bf = (value * RECENT_KEPT for value in recent)
    return (
        round(c + canary.requests, 2),
        round(cf + canary.failed, 2),
        round(b + baseline.requests, 2),
        round(bf + baseline.failed, 2),
    )


@dataclass(frozen=True)
class SignalVerdict:
    """What one signal shows: rates and requests since the rollout began, and discounted log evidence (nats).

    `requests_needed`: how many more canary requests PASS is expected to take if both versions are equal and the
    shares stay; 0 when it has its evidence, None when no PASS waits for it or nothing can be said (no traffic).
    """

    name: str
    required: bool
    limit_points: float
    canary_rate: float
    baseline_rate: float
    canary_requests: int
    baseline_requests: int
    fail_log_e: float
    fail_log_threshold: float
    pass_log_e: float
    pass_log_threshold: float
    requests_needed: int | None

    @property
    def failed(self) -> bool:
        """Evidence that the canary is worse than the limit allows."""
        return self.fail_log_e >= self.fail_log_threshold

    @property
    def passed(self) -> bool:
        """Evidence, from this step alone, that it is not."""
        return self.pass_log_e >= self.pass_log_threshold


@dataclass(frozen=True)
class Verdict:
    """A decision, the signal behind it where there is one, one sentence for people, and every signal's numbers."""

    decision: Decision
    reason: str
    signal: str | None
    signals: tuple[SignalVerdict, ...]
    step_canary: int
    step_baseline: int
    requests_needed: int | None


def verdict(state: JudgeState, limits: Limits, *, last_step: bool) -> Verdict:
    """What the evidence says now; asking often costs nothing. PASS is given in the last step only."""
    found = tuple(_signal_verdict(_signal_state(state, s), s, limits) for s in signals(limits))
    decision, signal, reason = _decide(state, limits, found, last_step)
    needed = [f.requests_needed for f in found if f.required]
    return Verdict(
        decision=decision,
        reason=reason,
        signal=signal,
        signals=found,
        step_canary=state.step_canary,
        step_baseline=state.step_baseline,
        requests_needed=None if not needed or None in needed else max(n for n in needed if n is not None),
    )


def _signal_verdict(state: SignalState, signal: Signal, limits: Limits) -> SignalVerdict:
    seen, early = state.closed + state.open, state.blocks < MIN_BLOCKS
    threshold = -math.log(limits.alpha)
    pass_log = 0.0 if early else state.log_pass()
    return SignalVerdict(
        name=signal.name,
        required=signal.required,
        limit_points=signal.difference * 100,
        canary_rate=seen.canary_hits / max(1, seen.canary),
        baseline_rate=seen.baseline_hits / max(1, seen.baseline),
        canary_requests=seen.canary,
        baseline_requests=seen.baseline,
        fail_log_e=0.0 if early else state.log_fail(),
        fail_log_threshold=threshold - math.log(limits.share_of_alpha(signal.name)),
        pass_log_e=pass_log,
        pass_log_threshold=threshold,
        requests_needed=_requests_needed(state, seen, threshold - pass_log) if signal.required else None,
    )


def _requests_needed(state: SignalState, seen: Block, missing: float) -> int | None:
    if missing <= 0:
        return 0
    both = seen.canary + seen.baseline
    share = seen.canary / both if both else 0.0
    growth = state.pass_growth(share)
    return math.ceil(missing / growth * share) if growth else None


def _decide(
    state: JudgeState, limits: Limits, found: tuple[SignalVerdict, ...], last_step: bool
) -> tuple[Decision, str | None, str]:
    if in_incident(state, limits):
        return Decision.SHARED_INCIDENT, None, _incident_sentence(state, limits)
    failed = [f for f in found if f.failed]
    if failed:
        worst = max(failed, key=lambda f: f.fail_log_e)
        constant = worst.name == PREDICTIONS and state.histograms.single_bin()
        return Decision.FAIL, worst.name, (_CONSTANT if constant else "") + _fail_sentence(worst)
    required = [f for f in found if f.required]
    if last_step and required and all(f.passed for f in required):
        weakest = min(required, key=lambda f: f.pass_log_e)
        return Decision.PASS, None, _pass_sentence(weakest)
    return Decision.INCONCLUSIVE, None, _open_sentence(required, state)


_DID = {
    "errors": "failed",
    "latency": "was slow for",
    PREDICTIONS: "gave answers that the baseline gives less often to",
    "labels": "was wrong in",
    "refusals": "refused",
}
_OF = {"labels": "labelled answers"}
_CONSTANT = "every answer of the canary is in one bin: "


def _rates_sentence(found: SignalVerdict) -> str:
    return (
        f"canary {_DID[found.name]} {found.canary_rate * 100:.1f} % of {found.canary_requests} "
        f"{_OF.get(found.name, 'requests')}, "
        f"baseline {found.baseline_rate * 100:.1f} % of {found.baseline_requests}"
    )


def _fail_sentence(found: SignalVerdict) -> str:
    evidence = f"e-value {_number(found.fail_log_e)} over {_number(found.fail_log_threshold)}"
    return f"{_rates_sentence(found)}: more than {found.limit_points:g} points worse, {evidence}"


def _pass_sentence(found: SignalVerdict) -> str:
    evidence = f"e-value {_number(found.pass_log_e)} over {_number(found.pass_log_threshold)}"
    return f"{_rates_sentence(found)}: less than {found.limit_points:g} points worse, {evidence}"


def _open_sentence(required: list[SignalVerdict], state: JudgeState) -> str:
    if not required:
        return "no limit is set that PASS could be judged by"
    if not state.step_canary or not state.step_baseline:
        arm = "canary" if not state.step_canary else "baseline"
        return f"the {arm} had no requests in this step, and no traffic is no evidence"
    unsure = min(required, key=lambda f: f.pass_log_e - f.pass_log_threshold)
    needed = unsure.requests_needed
    more = f", about {needed} more canary requests if they are equal" if needed else ""
    return f"{_rates_sentence(unsure)}: not decided at {unsure.limit_points:g} points{more}"


def _incident_sentence(state: JudgeState, limits: Limits) -> str:
    c, cf, b, bf = state.recent
    return (
        f"both arms fail: canary {cf / c * 100:.1f} %, baseline {bf / b * 100:.1f} % of their latest requests, "
        f"over {limits.incident_max_error_percent:g} %"
    )


def _number(log: float) -> str:
    """exp(log) for people: 60, 3.1e5; never an overflow."""
    if log < math.log(9999.5):
        return f"{math.exp(log):.3g}" if log < math.log(999.5) else f"{math.exp(log):.0f}"
    exponent = math.floor(log / math.log(10) + 1e-12)
    return f"{math.exp(log - exponent * math.log(10)):.1f}e{exponent}"
