"""From polled counters to a finding: feeds the judge, measures shares, keeps both in the rollout's evidence.

Everything it remembers goes into `status.rollout.evidence`, so evidence counts only once that status was written.
It must never decide what follows a finding: that is `rollout.py`. Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fairlead.api.inferenceservice import InferenceServiceSpec, InferenceServiceStatus, RevisionStatus, RolloutStatus
from fairlead.contract.base import short
from fairlead.contract.jobs import ArmReport

from .judge import (
    ArmCounts,
    ArmLedger,
    ArmReading,
    Decision,
    JudgeState,
    Limits,
    PodCounts,
    SignalVerdict,
    Verdict,
    count_by,
    observe,
    start_step,
    verdict,
)
from .limits import LABELS, PREDICTIONS, REFUSALS
from .outcomes import OutcomeState
from .outcomes import judge as judge_outcomes
from .outcomes import observe_pods as observe_outcomes
from .outcomes import start as start_outcomes
from .revision import threshold_of
from .serving_pods import is_ready, pods_of
from .sizes import AB_TEST, BAKING, BLUE_GREEN, SHADOW, SIDE_BY_SIDE, active_state
from .sizes import CANARY as CANARY_KIND
from .traffic import BASELINE, CANARY, PREVIOUS, STABLE
from .types import Obj

MEASURED_FROM = 2000  # requests in a step before measured shares are held against requested ones
REMEMBERED = 10_000  # requests of earlier looks that count beside those of a look: what came before fades
Counters = Mapping[str, "ArmReport | str"]  # pod uid -> its counts, or why they could not be read


@dataclass(frozen=True)
class Evidence:
    """What a rollout remembers of its arms; `served`: the latest requests by role under the present shares."""

    judge: JudgeState = field(default_factory=JudgeState)
    stable_pods: ArmLedger = field(default_factory=ArmLedger)
    served: Mapping[str, int] = field(default_factory=dict)
    measuring: bool = False
    past: ArmCounts = field(default_factory=ArmCounts)  # of the previous revision, not yet held against the new one
    outcomes: OutcomeState | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON for the status."""
        return {
            "judge": self.judge.to_dict(),
            "stablePods": self.stable_pods.to_list(),
            "served": dict(self.served),
            "measuring": self.measuring,
            **({"past": list(self.past.numbers())} if self.past.requests else {}),
            **({"outcomes": self.outcomes.to_dict()} if self.outcomes else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> Evidence:
        """The inverse of `to_dict`; nothing is an empty evidence."""
        if not data:
            return cls()
        judge = JudgeState.from_dict(data.get("judge") or {})
        pods = ArmLedger.from_list(data.get("stablePods") or ())
        outcomes = OutcomeState.from_dict(data["outcomes"]) if "outcomes" in data else None
        past = ArmCounts.of(data["past"]) if "past" in data else ArmCounts()
        return cls(judge, pods, dict(data.get("served") or {}), bool(data.get("measuring")), past, outcomes)

    def in_new_step(self) -> Evidence:
        """With nothing for PASS and no requests yet, for a new weight."""
        return Evidence(start_step(self.judge), self.stable_pods)

    def in_bake(self) -> Evidence:
        """With the previous revision's own pods as the baseline: what they served so far is their zero."""
        judge = replace(start_step(self.judge), baseline_pods=self.stable_pods)
        return Evidence(judge)


@dataclass(frozen=True)
class Finding:
    """What this look found: the judge's verdict, measured shares by role, and pods that did not answer.

    `unjudged`: why a limit that is set is not judged, by signal.
    """

    verdict: Verdict
    shares: Mapping[str, float] = field(default_factory=dict)
    requests: int = 0  # that `shares` are measured on, all arms
    silent: str = ""
    unjudged: Mapping[str, str] = field(default_factory=dict)

    @property
    def decision(self) -> Decision:
        """The judge's decision."""
        return self.verdict.decision


@dataclass(frozen=True)
class _Look:
    """One poll of one arm; `factor` stands for pods beyond the first 20, which are not asked."""

    reading: ArmReading
    factor: float
    silent: str


def limits_of(status: InferenceServiceStatus, spec: InferenceServiceSpec) -> Limits:
    """Return the judge's limits; latency only where both arms count slow requests by the same threshold."""
    judge = spec.rollout.judge
    baking = active_state(status.rollout) == BAKING
    beside = status.stable if status.rollout and status.rollout.kind in SIDE_BY_SIDE else status.baseline
    arms = (status.stable, status.previous) if baking else (status.canary, beside)
    comparable = threshold_of(arms[0]) == threshold_of(arms[1]) and threshold_of(arms[0]) is not None
    return Limits(
        confidence_percent=judge.confidence_percent,
        error_points=judge.error_rate.max_increase_points,
        latency_points=judge.latency.max_increase_points if judge.latency and comparable else None,
        predictions_points=judge.predictions.max_increase_points if judge.predictions else None,
        labels_points=judge.labels.max_increase_points if judge.labels and not baking else None,
        shares=1 + sum(limit is not None for limit in (judge.latency, judge.predictions, judge.labels)),
        incident_max_error_percent=judge.incident.max_error_percent,
    )


def judged_arms(status: InferenceServiceStatus) -> dict[str, RevisionStatus]:
    """Return the arms whose counters are read, by role; the first two are what the judge compares."""
    if active_state(status.rollout) == BAKING:
        roles = {STABLE: status.stable, PREVIOUS: status.previous}
    else:
        roles = {CANARY: status.canary, BASELINE: status.baseline, STABLE: status.stable}
    return {role: arm for role, arm in roles.items() if arm is not None}


def compared_roles(rollout: RolloutStatus) -> tuple[str, str]:
    """Return whose counts are on trial, and against whose."""
    if active_state(rollout) == BAKING:
        return STABLE, PREVIOUS
    return CANARY, STABLE if rollout.kind in SIDE_BY_SIDE else BASELINE


def deal(past: ArmCounts, requests: int) -> tuple[ArmCounts, ArmCounts]:
    """Return what is left of past counts and what is held against so many requests: as many, with the same rates."""
    count = min(requests, past.requests)
    if count == 0:
        return past, ArmCounts()
    failed, slow, refused = (round(hits * count / past.requests) for hits in (past.failed, past.slow, past.refused))
    dealt = ArmCounts(count, failed, slow, refused=refused)
    return past.since(dealt), dealt


def analyse(
    status: InferenceServiceStatus,
    spec: InferenceServiceSpec,
    pods: Sequence[Obj],
    counters: Counters,
    *,
    programmed: bool,
) -> tuple[Evidence, Finding]:
    """Return the evidence after this look and what it says.

    `programmed`: the gateway has accepted exactly the requested weights, so shares may be measured from now on.
    """
    rollout = status.rollout
    assert rollout is not None
    before = Evidence.from_dict(rollout.evidence)
    arms = judged_arms(status)
    first, second = compared_roles(rollout)
    own = {role: pods_of(pods, arm) for role, arm in arms.items()}
    reports = [_reports(own.get(role, ()), counters) for role in (first, second)]
    shared, unjudged = shared_bins(reports, spec)
    unjudged |= _unlabelled(reports, spec, baking=first == STABLE)
    bins = shared or before.judge.histograms.bins
    looks = {role: _look(own[role], counters, bins) for role in arms}
    limits = limits_of(status, spec)
    if all(report.refused is not None for arm in reports for report in arm):
        limits = replace(limits, refusals_points=limits.error_points)
    judge = count_by(before.judge, bins, *(looks[r].reading if r in looks else ArmReading() for r in (first, second)))
    ledgers = {first: judge.canary_pods, second: judge.baseline_pods}
    nothing = _Look(ArmReading(), 1.0, "")
    if STABLE not in ledgers:
        ledgers[STABLE] = before.stable_pods
    elif second == STABLE and not judge.baseline_pods.pods:  # what it served before is of another time
        ledgers[STABLE] = judge.baseline_pods.primed(looks.get(STABLE, nothing).reading)
    taken = {role: ledger.take(looks.get(role, nothing).reading) for role, ledger in ledgers.items()}
    past = before.past
    if rollout.kind == BLUE_GREEN:  # the previous revision serves nothing any more; its own past is what there is
        past, against = deal(past + taken[second][1], taken[first][1].requests)
        taken[second] = (taken[second][0], against)
    judge = replace(judge, canary_pods=taken[first][0], baseline_pods=taken[second][0])
    judge = observe(judge, limits, taken[first][1], taken[second][1])
    copies = rollout.kind == SHADOW and first == CANARY  # copies are no part of the requests
    new = {role: counts for role, (_, counts) in taken.items() if not (copies and role == CANARY)}
    served = _served(before, new, looks, programmed)
    stable_pods = taken[STABLE][0] if first == CANARY else before.stable_pods
    testing = rollout.kind == AB_TEST and first == CANARY
    outcomes = _outcomes(before, status, spec, looks, counters) if testing else None
    after = Evidence(judge, stable_pods, served, programmed, past, outcomes)
    last = rollout.kind != CANARY_KIND or not any(step > rollout.weight for step in spec.rollout.steps_percent)
    found = verdict(judge, limits, last_step=last and not testing)
    found = judge_outcomes(outcomes, limits.alpha, found) if outcomes else found
    silent = next((looks[role].silent for role in (first, second) if role in looks and looks[role].silent), "")
    total = sum(served.values())
    shares = {role: 100 * count / total for role, count in served.items()} if total else {}
    return after, Finding(found, shares, total, silent, unjudged)


def _reports(pods: Sequence[Obj], counters: Counters) -> list[ArmReport]:
    reports = (counters.get(str(pod["metadata"]["uid"])) for pod in pods)
    return [report for report in reports if isinstance(report, ArmReport)]


def shared_bins(arms: Sequence[Sequence[ArmReport]], spec: InferenceServiceSpec) -> tuple[str, dict[str, str]]:
    """Return the bins that both arms count predictions by, the older version's own first, and why there are none."""
    if spec.rollout.judge.predictions is None or not all(arms):
        return "", {}
    new, old = ([found.bins for report in arm for found in report.predictions] for arm in arms)
    if not old:
        return "", {PREDICTIONS: _NO_BINS}
    shared = next((bins for bins in old if bins in new), "")
    return shared, {} if shared else {PREDICTIONS: _OTHER_BINS}


_NO_BINS = (
    "the version before does not say how its predictions lie: it has no training profile, or a server of its own; "
    "what a TrainingRun made has one"
)
_OTHER_BINS = "the canary was born before judge.predictions was set, or its server cannot count predictions"


def _unlabelled(arms: Sequence[Sequence[ArmReport]], spec: InferenceServiceSpec, *, baking: bool) -> dict[str, str]:
    """Return why labels are not judged although they have a limit."""
    if spec.rollout.judge.labels is None:
        return {}
    if baking:
        return {LABELS: "only in steps, where both versions have the same share and so remember answers equally long"}
    remembered = all(report.labelled is not None for arm in arms for report in arm)
    return {} if remembered else {LABELS: _NO_ANSWERS}


_NO_ANSWERS = (
    "the servers do not remember their answers: a regression has no wrong ones, a server of your own and a canary that "
    "was born before judge.labels was set keep none"
)


def _predicted(report: ArmReport, bins: str) -> tuple[int, ...]:
    return next((tuple(found.counts) for found in report.predictions if found.bins == bins), ())


def _outcomes(
    before: Evidence,
    status: InferenceServiceStatus,
    spec: InferenceServiceSpec,
    looks: Mapping[str, _Look],
    counters: Counters,
) -> OutcomeState:
    points = spec.rollout.ab_test.min_difference_points
    known = before.outcomes
    state = known if known and known.worse.difference == points / 100 else start_outcomes(points)
    assert status.canary is not None
    assert status.stable is not None
    uids = [pod.uid for look in looks.values() for pod in look.reading.pods]
    reports = [(uid, report) for uid in uids if isinstance(report := counters.get(uid), ArmReport)]
    return observe_outcomes(state, reports, (short(status.canary.revision), short(status.stable.revision)))


def _look(pods: Sequence[Obj], counters: Counters, bins: str) -> _Look:
    answered, silent = [], ""
    for pod in pods:
        uid = str(pod["metadata"]["uid"])
        report = counters.get(uid)
        if isinstance(report, ArmReport):
            labels = (report.labelled or 0, report.wrong)
            plain = (report.requests, report.failed, report.slow, *labels, report.refused or 0)
            counts = ArmCounts(*plain, predicted=_predicted(report, bins))
            answered.append(PodCounts(uid, report.start_id, counts))
        elif report is not None and is_ready(pod):
            silent = silent or f"the counters of pod {pod['metadata']['name']} cannot be read: {report}"
    ready = sum(is_ready(pod) for pod in pods)
    factor = max(1.0, ready / len(answered)) if answered else 1.0
    return _Look(ArmReading(tuple(answered), frozenset(str(p["metadata"]["uid"]) for p in pods)), factor, silent)


def _served(
    before: Evidence, new: Mapping[str, ArmCounts], looks: Mapping[str, _Look], programmed: bool
) -> dict[str, int]:
    """Count requests by role, from the first look after the shares were programmed."""
    if not (programmed and before.measuring):
        return {}
    factors = {role: looks[role].factor if role in looks else 1.0 for role in new}
    return remember(before.served, {role: round(counts.requests * factors[role]) for role, counts in new.items()})


def remember(served: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    """Return requests by role with a look's own whole, and at most 10,000 of those before it.

    A gateway moves some time after it accepted a weight. What it sent until then would count for as long as a step
    lasts; so it fades in a few looks. No request weighs more than one, so the share's variance is at most that of the
    binomial of all that is remembered.
    """
    kept = min(1.0, REMEMBERED / max(1, sum(served.values())))
    return {role: round(served.get(role, 0) * kept) + count for role, count in new.items()}


def is_measured(finding: Finding, weight: int) -> bool:
    """Say whether the canary's measured share fits its weight: within three binomial standard errors.

    Under 2,000 requests nothing can be said, and nothing is held against it.
    """
    if finding.requests < MEASURED_FROM:
        return True
    share = weight / 100
    return abs(finding.shares.get(CANARY, 0.0) / 100 - share) <= 3 * math.sqrt(share * (1 - share) / finding.requests)


def describe_signals(finding: Finding) -> list[dict[str, Any]]:
    """Return every signal for `status.rollout.signals`, and why one is not judged although it has a limit."""
    known = [signal for signal in finding.verdict.signals if signal.name not in finding.unjudged]
    judged = [describe_signal(signal) for signal in known if signal.name != REFUSALS or signal.canary_rate]
    return [*judged, *({"name": name, "notJudged": why} for name, why in finding.unjudged.items())]


def describe_signal(found: SignalVerdict) -> dict[str, Any]:
    """Return one signal for `status.rollout.signals`: rates in percent, e-values as natural logs."""
    described = {
        "name": found.name,
        "required": found.required,
        "limitPoints": round(found.limit_points, 4),
        "canaryPercent": round(100 * found.canary_rate, 3),
        "baselinePercent": round(100 * found.baseline_rate, 3),
        "canaryRequests": found.canary_requests,
        "baselineRequests": found.baseline_requests,
        "failLogE": round(found.fail_log_e, 3),
        "failAt": round(found.fail_log_threshold, 3),
        "passLogE": round(found.pass_log_e, 3),
        "passAt": round(found.pass_log_threshold, 3),
    }
    needed = found.requests_needed
    return described if needed is None else {**described, "requestsNeeded": needed}
