"""What stops a rollout: facts, verdicts, people and time that send it back, and what only holds it.

It must never change a status: it says why, and `rollout.py` acts. Used by `rollout.py` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fairlead.api.conditions import parse_time
from fairlead.api.inferenceservice import InferenceServiceSpec, InferenceServiceStatus, RevisionStatus, RolloutStatus
from fairlead.contract.base import duration_s

from . import endings, shadow
from .analysis import Finding
from .endings import Ending
from .judge import Decision
from .replay import FAILED, NOT_POSSIBLE, NOT_RUN, is_due
from .route import RouteProblem
from .serving_pods import ArmFacts
from .sizes import (
    AB_TEST,
    BAKING,
    BLUE_GREEN,
    COMPARED,
    FIRST,
    PREPARING,
    PROMOTING,
    REPLAYING,
    RETURN,
    SHADOW,
    SIDE_BY_SIDE,
    STEP,
    hindrance_of,
    is_growing,
    is_sized,
    wanted_sizes,
)

SUSPENDED = "Suspended"
SHARED_INCIDENT = "SharedIncident"
SCRAPE_FAILED = "ScrapeFailed"
BASELINE_NOT_READY = "BaselineNotReady"
CANARY_REPLACED = "CanaryReplaced"
PROMOTION_REQUIRED = "PromotionRequired"
GATEWAY_REQUIRED = "GatewayRequired"
INCONCLUSIVE = "Inconclusive"

PREPARE_S = 600.0  # to become ready, unless the whole rollout has less: as a Deployment's progress deadline


@dataclass(frozen=True)
class Seen:
    """All that transitions look at. `target`: the revision that should serve (None: the present one stays)."""

    now: datetime
    spec: InferenceServiceSpec
    generation: int
    target: RevisionStatus | None
    arms: Mapping[str, ArmFacts]
    problem: RouteProblem | None = None
    programmed: Mapping[str, int] | None = None  # weights that the gateway accepted; None without a gateway or answer
    finding: Finding | None = None
    retry: bool = False
    give_back: bool = False  # a person asks for the last good revision
    promote: str = ""  # the version or revision that a person wants promoted
    by_ratio: bool = False

    def arm(self, revision: RevisionStatus | None) -> ArmFacts:
        """Return the facts of an arm; nothing is known of none."""
        return self.arms.get(revision.name, ArmFacts()) if revision else ArmFacts()

    def since(self, text: str) -> float:
        """Return the seconds since a time of the status."""
        return (self.now - parse_time(text)).total_seconds() if text else 0.0


# --- ways out that every state has ---


def ending_now(status: InferenceServiceStatus, seen: Seen, state: str) -> Ending | None:
    """Return why the rollout must go back now, strongest first: facts, the judge, a person, another target, time."""
    checks = (_by_fault, _by_judge, _by_answers, _by_replay, _by_person, _by_target, _by_gateway, _by_time)
    found = (check(status, seen, state) for check in checks)
    return next((ending for ending in found if ending is not None), None)


def _judged(status: InferenceServiceStatus, state: str) -> RevisionStatus:
    judged = status.stable if state == BAKING else status.canary
    assert judged is not None, f"a rollout in {state} has a revision that is judged"
    return judged


def _by_fault(status: InferenceServiceStatus, seen: Seen, state: str) -> Ending | None:
    fault = seen.arm(_judged(status, state)).fault
    return endings.by_fault(fault) if fault else None


def _by_judge(_status: InferenceServiceStatus, seen: Seen, _state: str) -> Ending | None:
    failed = seen.finding is not None and seen.finding.decision is Decision.FAIL
    return endings.by_judge(seen.finding.verdict) if failed and seen.finding else None


def _by_replay(status: InferenceServiceStatus, seen: Seen, state: str) -> Ending | None:
    replayed = status.rollout.replay if status.rollout else None
    if state != REPLAYING or replayed is None:
        return None
    if replayed.outcome == FAILED:
        return endings.by_replay(replayed)
    asked = seen.spec.rollout.replay
    stays = asked is not None and asked.on_not_possible == "RollBack" and replayed.outcome == NOT_POSSIBLE
    return endings.by_no_replay(replayed.message) if stays or replayed.outcome == NOT_RUN else None


def _by_answers(status: InferenceServiceStatus, seen: Seen, state: str) -> Ending | None:
    comparison = status.rollout.comparison if status.rollout else None
    if state != STEP or comparison is None or comparison.decision != shadow.DISAGREES:
        return None
    return endings.by_answers(shadow.sentence(status, seen.spec))


def _by_person(status: InferenceServiceStatus, seen: Seen, state: str) -> Ending | None:
    back = status.previous if state == BAKING else status.stable
    return endings.by_person() if seen.give_back and back is not None else None


def _by_target(status: InferenceServiceStatus, seen: Seen, state: str) -> Ending | None:
    """A bake goes on when a third revision should serve, and back when the previous one should again."""
    target = seen.target
    if state == BAKING:
        returns = status.previous is not None and target is not None and target.content == status.previous.content
        return endings.superseded(target) if returns else None
    if target is not None and target.content == _judged(status, state).content:
        return None
    return None if _is_asked_return(status) else endings.superseded(target)


def lacks_gateway(spec: InferenceServiceSpec) -> bool:
    """Say whether the strategy needs rules of a route that there is none for."""
    return spec.rollout.strategy in SIDE_BY_SIDE and spec.traffic.gateway is None


def _by_gateway(status: InferenceServiceStatus, seen: Seen, state: str) -> Ending | None:
    """A service that leaves its gateway in the middle ends what only a gateway can do."""
    rollout = status.rollout
    gone = rollout is not None and rollout.kind in SIDE_BY_SIDE and seen.spec.traffic.gateway is None
    return endings.without_gateway() if gone and state != BAKING else None


def _by_time(status: InferenceServiceStatus, seen: Seen, state: str) -> Ending | None:
    return None if seen.spec.suspend or state == BAKING else _overdue(status, seen, state)


def _is_asked_return(status: InferenceServiceStatus) -> bool:
    """A return that a person asked for does not depend on what the spec selects."""
    return status.rollout is not None and status.rollout.kind == RETURN


def _overdue(status: InferenceServiceStatus, seen: Seen, state: str) -> Ending | None:
    rollout, deadline = status.rollout, duration_s(seen.spec.rollout.deadline)
    assert rollout is not None
    if state in (PREPARING, PROMOTING):
        late = _unready(status, seen, min(deadline, PREPARE_S) if state == PREPARING else PREPARE_S)
        if late is not None:
            return late
    if not _is_past(rollout, seen, deadline):
        return None
    hold = hold_now(status, seen, state)
    if state == REPLAYING and hold is None:
        return endings.by_deadline(seen.spec.rollout.deadline, None, "captured requests were not replayed by then.")
    if state == STEP and (hold is None or hold.reason == INCONCLUSIVE):
        if seen.spec.rollout.on_inconclusive == "Hold" or _has_passed(seen):
            return None
        return endings.by_deadline(seen.spec.rollout.deadline, seen.finding, awaited_pods(status, seen))
    return endings.by_deadline(seen.spec.rollout.deadline, seen.finding, hold.message) if hold else None


def awaited_pods(status: InferenceServiceStatus, seen: Seen) -> str:
    """Say which step waits for pods, and for what they wait; "" where none does."""
    rollout = status.rollout
    if rollout is None or not is_growing(status, seen.spec, seen.arms):
        return ""
    problem = hindrance_of(status, seen.arms)
    return f"the step of {rollout.next_weight} % waits for its pods.{f' {problem.message}' if problem else ''}"


def _has_passed(seen: Seen) -> bool:
    return seen.finding is not None and seen.finding.decision is Decision.PASS


def _unready(status: InferenceServiceStatus, seen: Seen, limit_s: float) -> Ending | None:
    """End a wait for pods, unless they are ready just now, or a first version only waits for the cluster."""
    rollout, canary = status.rollout, seen.arm(status.canary)
    assert rollout is not None
    since = rollout.started_at if rollout.kind == FIRST else rollout.state_since
    if seen.since(since) - paused_s(rollout, seen) < limit_s:
        return None
    if rollout.kind == FIRST:
        return None if canary.ready or canary.hindrance else endings.by_unreadiness(canary, canary, limit_s)
    if is_sized(status, wanted_sizes(status, seen.spec, seen.arms), seen.arms):
        return None
    return endings.by_unreadiness(canary, seen.arm(status.baseline), limit_s)


def _is_past(rollout: RolloutStatus, seen: Seen, deadline_s: float) -> bool:
    return seen.since(rollout.started_at) - paused_s(rollout, seen) >= deadline_s


def paused_s(rollout: RolloutStatus, seen: Seen) -> float:
    """Return the seconds that a rollout was suspended, the present time included."""
    now = seen.since(rollout.state_since) if rollout.held_for == SUSPENDED else 0.0
    return rollout.paused_s + now


# --- holds ---


@dataclass(frozen=True)
class Hold:
    """Why nothing advances, and in a sentence what ends it."""

    reason: str
    message: str


def hold_now(status: InferenceServiceStatus, seen: Seen, state: str) -> Hold | None:
    """Return what keeps the rollout from advancing although nothing failed; no hold prolongs a bake without end."""
    found = (check(status, seen, state) for check in _HOLDS)
    if state == BAKING and _has_baked_long_enough(status, seen):
        return _suspended(status, seen, state)
    return next((hold for hold in found if hold is not None), None)


def _has_baked_long_enough(status: InferenceServiceStatus, seen: Seen) -> bool:
    rollout, rules = status.rollout, seen.spec.rollout
    assert rollout is not None
    at_most_s = duration_s(rules.bake.duration) + duration_s(rules.deadline)
    return seen.since(rollout.step_since) - paused_s(rollout, seen) >= at_most_s


def _suspended(_status: InferenceServiceStatus, seen: Seen, _state: str) -> Hold | None:
    message = "spec.suspend is true: shares stay as they are until it is false."
    return Hold(SUSPENDED, message) if seen.spec.suspend else None


def _unrouted(status: InferenceServiceStatus, seen: Seen, _state: str) -> Hold | None:
    compared = status.rollout is not None and status.rollout.kind in COMPARED
    return Hold(seen.problem.reason, seen.problem.message) if seen.problem and compared else None


def is_whole_ready(status: InferenceServiceStatus, seen: Seen) -> bool:
    """Say whether a revision that takes over at once has the pods for it; the first one needs a single pod."""
    rollout = status.rollout
    assert rollout is not None
    enough = 1 if rollout.kind == FIRST else min(rollout.size, seen.spec.scaling.max_replicas)
    return seen.arm(status.canary).ready >= enough


def _previewed(status: InferenceServiceStatus, seen: Seen, state: str) -> Hold | None:
    """A revision that is ready, where a person has the last word before its first request."""
    rollout, canary = status.rollout, status.canary
    assert rollout is not None
    if canary is None or seen.spec.rollout.promotion == "Auto" or _is_named(canary, seen):
        return None
    then = f"set the annotation fairlead.dev/promote to {canary.version}."
    passed = _has_passed(seen) and (rollout.kind != SHADOW or shadow.agrees(status))
    if state == STEP and rollout.kind in SIDE_BY_SIDE and passed:
        return Hold(PROMOTION_REQUIRED, f"Version {canary.version} passed; to give it all requests {then}")
    nobody_serves = seen.arm(status.stable).ready == 0
    before = state in (PREPARING, REPLAYING) and rollout.kind == BLUE_GREEN and not is_due(seen.spec, status)
    if not before or nobody_serves or not is_whole_ready(status, seen):
        return None
    return Hold(
        PROMOTION_REQUIRED,
        f"Version {canary.version} is ready and gets no requests; try it at Service {canary.name}, then {then}",
    )


def _is_named(canary: RevisionStatus, seen: Seen) -> bool:
    return seen.promote in (canary.version, canary.name)


def is_promoted_by_hand(status: InferenceServiceStatus, seen: Seen) -> bool:
    """Say whether a person ends a test of outcomes in favour of the new version, whatever the evidence."""
    rollout, canary = status.rollout, status.canary
    manual = rollout is not None and rollout.kind == AB_TEST and seen.spec.rollout.promotion == "Manual"
    return manual and canary is not None and _is_named(canary, seen)


def _replaced(status: InferenceServiceStatus, seen: Seen, state: str) -> Hold | None:
    gone = state in (STEP, PROMOTING) and seen.arm(status.canary).ready == 0
    why = _hindered(seen.arm(status.canary))
    message = f"The cluster took the canary's pods away; it gets no traffic until new ones are ready.{why}"
    return Hold(CANARY_REPLACED, message) if gone else None


def _without_baseline(status: InferenceServiceStatus, seen: Seen, state: str) -> Hold | None:
    gone = state == STEP and status.baseline is not None and seen.arm(status.baseline).ready == 0
    why = _hindered(seen.arm(status.baseline)) or " If none comes back, see `kubectl describe pod`."
    message = f"No pod of the baseline is ready, so nothing can be compared.{why}"
    return Hold(BASELINE_NOT_READY, message) if gone else None


def _hindered(arm: ArmFacts) -> str:
    return f" {arm.hindrance.message}" if arm.hindrance else ""


def _incident(_status: InferenceServiceStatus, seen: Seen, _state: str) -> Hold | None:
    finding = seen.finding
    if finding is None or finding.decision is not Decision.SHARED_INCIDENT:
        return None
    return Hold(
        SHARED_INCIDENT,
        f"{_sentence(finding.verdict.reason)} Mend what both depend on; it goes on once the incident is over.",
    )


def _silent(_status: InferenceServiceStatus, seen: Seen, _state: str) -> Hold | None:
    if seen.finding is None or not seen.finding.silent:
        return None
    return Hold(SCRAPE_FAILED, f"{_sentence(seen.finding.silent)} Without counters there is no evidence. {_REACH}")


def _undecided(status: InferenceServiceStatus, seen: Seen, state: str) -> Hold | None:
    rollout = status.rollout
    assert rollout is not None
    overdue = _is_past(rollout, seen, duration_s(seen.spec.rollout.deadline))
    if state != STEP or not overdue or _has_passed(seen) or seen.retry:
        return None
    lacking = awaited_pods(status, seen) or f"{endings.lacking(seen.finding)}."
    message = f"No verdict within {seen.spec.rollout.deadline}: {lacking} {_UNTIL}"
    return Hold(INCONCLUSIVE, message)


_REACH = "Let the operator reach the metrics port of the pods; a NetworkPolicy may forbid it."
_UNTIL = "It stays until more requests decide it, or `kubectl fairlead retry`."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


_HOLDS = (_suspended, _unrouted, _previewed, _replaced, _without_baseline, _incident, _silent, _undecided)
