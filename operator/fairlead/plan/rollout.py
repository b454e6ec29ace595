"""The states of a rollout and how one leads to the next; one transition at a time, from what is.

| state | what holds | next |
|---|---|---|
| (none) | the stable revision has all traffic | Preparing, when another revision should serve |
| Preparing | canary and baseline start, without traffic | Replaying or Step; none for a first one; RollingBack |
| Replaying | captured requests are answered by both, none of a user | Step; Held; RollingBack |
| Step | the canary has its weight, the judge looks on | the next Step; Promoting on PASS; Held; RollingBack |
| Promoting | the canary grows to carry all traffic | Baking; RollingBack |
| Baking | the new revision is stable, the previous one keeps a share | none; Held; RollingBack |
| Held | as the state it came from, but nothing advances | that state; RollingBack |
| RollingBack | the refused or superseded revision has no weight | none, once traffic has left it |

It must never leave two canaries, never promote without PASS, and never count a hold as evidence.
Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

from typing import Any

from fairlead.api.conditions import format_time
from fairlead.api.inferenceservice import InferenceServiceSpec, InferenceServiceStatus, RevisionStatus, RolloutStatus
from fairlead.contract.base import duration_s

from . import endings, shadow
from .analysis import Evidence, Finding, is_measured
from .judge import Decision
from .replay import is_due
from .revision import baseline_of, compared_with
from .sizes import (
    AB_TEST,
    BAKING,
    BLUE_GREEN,
    CANARY,
    COMPARED,
    FIRST,
    HELD,
    PREPARING,
    PROMOTING,
    REPLAYING,
    RETURN,
    ROLLING_BACK,
    SHADOW,
    SIDE_BY_SIDE,
    STEP,
    active_state,
    is_sized,
    wanted_sizes,
)
from .stops import (
    INCONCLUSIVE,
    Hold,
    Seen,
    ending_now,
    hold_now,
    is_promoted_by_hand,
    is_whole_ready,
    lacks_gateway,
    paused_s,
)

DRAIN_S = 10.0  # after weight 0, until pods go: connections that were open finish, counters are read once more
DRAIN_AT_MOST_S = 60.0  # a gateway that does not program weight 0 keeps pods no longer than this
RESCUE_S = 60.0  # nothing of the stable revision is ready for so long: a ready canary takes over without analysis


def advance(status: InferenceServiceStatus, seen: Seen) -> InferenceServiceStatus:
    """Return the status after at most one transition."""
    state = active_state(status.rollout)
    if state == "":
        return _idle(status, seen)
    if state == ROLLING_BACK:
        return _rolling_back(status, seen)
    status = change(status, generation=seen.generation)  # an edit that is no other target goes on in this rollout
    ending = ending_now(status, seen, state)
    if ending is not None:
        return endings.give_up(status, seen.now, ending)
    hold = hold_now(status, seen, state)
    if hold is not None:
        return _held(status, seen, state, hold)
    status = _resumed(status, seen, state)
    if state == STEP and is_promoted_by_hand(status, seen):
        return _enter(status, seen, PROMOTING, next_weight=100)
    forward = {PREPARING: _preparing, REPLAYING: _replaying, STEP: _step, PROMOTING: _promoting, BAKING: _baking}
    return forward[state](status, seen)


def change(status: InferenceServiceStatus, **fields: Any) -> InferenceServiceStatus:
    """Return the status with other fields of its rollout."""
    assert status.rollout is not None
    return status.model_copy(update={"rollout": status.rollout.model_copy(update=fields)})


def _enter(status: InferenceServiceStatus, seen: Seen, state: str, **fields: Any) -> InferenceServiceStatus:
    return change(status, state=state, state_since=format_time(seen.now), resume="", held_for="", **fields)


# --- none ---


def _idle(status: InferenceServiceStatus, seen: Seen) -> InferenceServiceStatus:
    if seen.give_back and status.stable and status.previous:
        rejected = endings.refuse_stable(status, seen.now)
        return _begin(rejected, seen, status.previous, RETURN)
    target, stable = seen.target, status.stable
    if seen.spec.suspend or target is None or (stable and target.content == stable.content):
        return status
    if is_inconclusive(status, target, seen.generation) and not seen.retry:
        return status
    if stable is None:
        return _begin(status, seen, target, FIRST)
    returns = status.previous is not None and status.previous.content == target.content
    if lacks_gateway(seen.spec) and not returns:
        return status
    return _begin(status, seen, target, RETURN if returns else seen.spec.rollout.strategy)


def is_inconclusive(status: InferenceServiceStatus, target: RevisionStatus, generation: int) -> bool:
    """Say whether this content was tried under this spec and ended without a verdict."""
    open_ = status.inconclusive
    return open_ is not None and open_.content == target.content and open_.generation == generation


def _begin(status: InferenceServiceStatus, seen: Seen, canary: RevisionStatus, kind: str) -> InferenceServiceStatus:
    now = format_time(seen.now)
    size = max(seen.arm(status.stable).ready, 1 if kind in (CANARY, *SIDE_BY_SIDE) else seen.spec.scaling.min_replicas)
    rollout = RolloutStatus(
        state=PREPARING,
        kind=kind,
        next_weight=_first_weight(seen.spec, kind),
        size=size,
        started_at=now,
        state_since=now,
        generation=seen.generation,
    )
    baseline = baseline_of(status.stable, canary, now) if kind == CANARY and status.stable else None
    if kind == CANARY and seen.spec.rollout.judge.predictions is not None:
        canary = compared_with(canary, status.stable)
    update = {"rollout": rollout, "canary": canary, "baseline": baseline, "inconclusive": None}
    return status.model_copy(update=update)


def _first_weight(spec: InferenceServiceSpec, kind: str) -> int:
    rules = spec.rollout
    shares = {CANARY: rules.steps_percent[0], SHADOW: rules.shadow.percent, AB_TEST: rules.ab_test.percent}
    return shares.get(kind, 100)


# --- holds ---


def _held(status: InferenceServiceStatus, seen: Seen, state: str, hold: Hold) -> InferenceServiceStatus:
    rollout = status.rollout
    assert rollout is not None
    if rollout.state == HELD and rollout.held_for == hold.reason:
        return change(status, message=hold.message)
    status = _resumed(status, seen, state)
    fields = {"state": HELD, "resume": state, "held_for": hold.reason, "message": hold.message}
    return change(status, **fields, state_since=format_time(seen.now))


def _resumed(status: InferenceServiceStatus, seen: Seen, state: str) -> InferenceServiceStatus:
    rollout = status.rollout
    assert rollout is not None
    if seen.retry and rollout.held_for == INCONCLUSIVE:
        status = change(status, started_at=format_time(seen.now), paused_s=0)
    if rollout.state != HELD:
        return status
    return _enter(status, seen, state, message="", paused_s=int(paused_s(rollout, seen)))


# --- forward ---


def _preparing(status: InferenceServiceStatus, seen: Seen) -> InferenceServiceStatus:
    rollout = status.rollout
    assert rollout is not None
    if not _is_prepared(status, seen):
        return _rescued(status, seen)
    if rollout.kind in COMPARED and is_due(seen.spec, status):
        return _enter(status, seen, REPLAYING)
    return _exposed(status, seen)


def _is_prepared(status: InferenceServiceStatus, seen: Seen) -> bool:
    rollout = status.rollout
    assert rollout is not None
    if rollout.kind in (FIRST, RETURN, BLUE_GREEN):
        return is_whole_ready(status, seen)
    return is_sized(status, wanted_sizes(status, seen.spec, seen.arms), seen.arms)


def _replaying(status: InferenceServiceStatus, seen: Seen) -> InferenceServiceStatus:
    if _is_prepared(status, seen) and not is_due(seen.spec, status):
        return _exposed(status, seen)
    return _rescued(status, seen)


def _exposed(status: InferenceServiceStatus, seen: Seen) -> InferenceServiceStatus:
    """Let the first users come: by the first step, or all of them."""
    rollout = status.rollout
    assert rollout is not None
    by_steps = rollout.kind in (CANARY, *SIDE_BY_SIDE)
    return _to_step(status, seen, rollout.next_weight) if by_steps else _promoted(status, seen)


def _rescued(status: InferenceServiceStatus, seen: Seen) -> InferenceServiceStatus:
    """Let a ready canary take over while nothing of the stable revision serves, else the status as it is."""
    rollout = status.rollout
    assert rollout is not None
    nothing_serves = seen.arm(status.stable).ready == 0 and seen.arm(status.baseline).ready == 0
    waited = seen.since(rollout.started_at) >= RESCUE_S
    if nothing_serves and waited and seen.arm(status.canary).ready > 0 and rollout.kind in COMPARED:
        return _promoted(change(status, kind=FIRST), seen)
    return status


def _to_step(status: InferenceServiceStatus, seen: Seen, weight: int) -> InferenceServiceStatus:
    rollout = status.rollout
    assert rollout is not None
    evidence = Evidence.from_dict(rollout.evidence).in_new_step().to_dict()
    number = sum(step <= weight for step in seen.spec.rollout.steps_percent) if rollout.kind == CANARY else 1
    now, given = format_time(seen.now), 0 if rollout.kind == SHADOW else weight
    return _enter(status, seen, STEP, step=number, weight=given, next_weight=weight, step_since=now, evidence=evidence)


def next_step(spec: InferenceServiceSpec, weight: int) -> int | None:
    """Return the share of the step after `weight`, or None at the last; steps may have been edited meanwhile."""
    return next((step for step in spec.rollout.steps_percent if step > weight), None)


def _step(status: InferenceServiceStatus, seen: Seen) -> InferenceServiceStatus:
    rollout, finding = status.rollout, seen.finding
    assert rollout is not None
    following = next_step(seen.spec, rollout.weight) if rollout.kind == CANARY else None
    if finding is None or not _had_its_share(status, seen, finding):
        return status
    if following is None:
        return _after_last_step(status, seen, finding)
    if rollout.next_weight != following:
        return change(status, next_weight=following)
    if is_sized(status, wanted_sizes(status, seen.spec, seen.arms), seen.arms):
        return _to_step(status, seen, following)
    return status


def _after_last_step(status: InferenceServiceStatus, seen: Seen, finding: Finding) -> InferenceServiceStatus:
    rollout = status.rollout
    assert rollout is not None
    if finding.decision is not Decision.PASS:
        return status
    if rollout.kind != SHADOW or shadow.agrees(status):
        return _enter(status, seen, PROMOTING, next_weight=100)
    known = rollout.comparison
    look = shadow.due(known, seen.now, seen.since(known.until) if known else 0.0)
    return change(status, comparison=look) if look else status


def _had_its_share(status: InferenceServiceStatus, seen: Seen, finding: Finding) -> bool:
    """Say whether the step had its requests, its time, and really the share that was asked for."""
    rollout, rules = status.rollout, seen.spec.rollout.step
    assert rollout is not None
    if seen.since(rollout.step_since) < duration_s(rules.min_duration):
        return False
    if finding.verdict.step_canary < rules.min_requests:
        return False
    if rollout.kind == AB_TEST:  # cohorts and cookies of users who come often make the share what it is
        return seen.programmed is not None
    return seen.by_ratio or (seen.programmed is not None and is_measured(finding, rollout.weight))


def _promoting(status: InferenceServiceStatus, seen: Seen) -> InferenceServiceStatus:
    if is_sized(status, wanted_sizes(status, seen.spec, seen.arms), seen.arms):
        return _promoted(status, seen)
    return status


def _promoted(status: InferenceServiceStatus, seen: Seen) -> InferenceServiceStatus:
    """Make the canary the stable revision: traffic moves, no pod restarts."""
    rollout, canary = status.rollout, status.canary
    assert rollout is not None
    assert canary is not None
    gone = status.stable is not None and endings.is_refused(status, status.stable)
    previous = None if gone else status.stable
    now = format_time(seen.now)
    moved = {"stable": canary, "canary": None, "previous": previous, "promoted_at": now}
    status = status.model_copy(update=moved)
    if rollout.kind not in COMPARED:
        return endings.finish(status, seen.now)
    evidence = Evidence.from_dict(rollout.evidence).in_bake().to_dict()
    return _enter(status, seen, BAKING, step_since=now, evidence=evidence, next_weight=100)


def _baking(status: InferenceServiceStatus, seen: Seen) -> InferenceServiceStatus:
    rollout = status.rollout
    assert rollout is not None
    if status.baseline is not None and seen.since(rollout.step_since) >= DRAIN_S:
        status = status.model_copy(update={"baseline": None})
    baked = seen.since(rollout.step_since) - rollout.paused_s >= duration_s(seen.spec.rollout.bake.duration)
    return endings.finish(status, seen.now) if baked else status


def _rolling_back(status: InferenceServiceStatus, seen: Seen) -> InferenceServiceStatus:
    rollout = status.rollout
    assert rollout is not None
    since = seen.since(rollout.state_since)
    refused = [arm.name for arm in (status.canary, status.baseline) if arm]
    carried = seen.programmed is not None and any(seen.programmed.get(name, 0) > 0 for name in refused)
    if status.stable is not None and (since < DRAIN_S or (carried and since < DRAIN_AT_MOST_S)):
        return status
    return status.model_copy(update={"rollout": None, "canary": None, "baseline": None})
