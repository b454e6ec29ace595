"""Who gets which share of the requests: requested, programmed by the gateway, and the route that says it.

A revision without ready endpoints gets no weight in the same reconcile, because a gateway answers 503 for it and
no arm counts that. It must never decide when a share changes: that is `rollout.py`. Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fairlead.api.inferenceservice import InferenceServiceSpec, InferenceServiceStatus, RevisionStatus

from .serving_pods import ArmFacts
from .sizes import (
    AB_TEST,
    BAKING,
    BLUE_GREEN,
    COMPARED,
    PREPARING,
    PROMOTING,
    REPLAYING,
    ROLLING_BACK,
    SHADOW,
    STEP,
    active_state,
    baseline_share,
)

STABLE, CANARY, BASELINE, PREVIOUS = "stable", "canary", "baseline", "previous"


@dataclass(frozen=True)
class Routing:
    """What a route says beside weights: who gets copies, and who keeps users, by arm name."""

    mirror: str = ""
    mirror_percent: int = 0
    sticky: tuple[RevisionStatus, ...] = ()  # the new revision first
    cohorts: tuple[str, ...] = ()  # of the header X-Cohort, for the first of them


PLAIN = Routing()


@dataclass(frozen=True)
class Share:
    """One arm's part of the requests, in percent."""

    arm: RevisionStatus
    role: str
    percent: int


def requested_shares(status: InferenceServiceStatus, spec: InferenceServiceSpec) -> tuple[Share, ...]:
    """Return the shares that the state of the rollout asks for; they sum to 100, or there is no stable revision."""
    stable, rollout = status.stable, status.rollout
    if stable is None:
        return ()
    state = active_state(rollout)
    others: list[Share] = []
    if rollout is not None and state in (STEP, PROMOTING) and status.canary is not None:
        others.append(Share(status.canary, CANARY, rollout.weight))
        if status.baseline is not None:
            others.append(Share(status.baseline, BASELINE, baseline_share(rollout.weight)))
    if state == BAKING and status.previous is not None:
        assert rollout is not None
        kept = 0 if rollout.kind == BLUE_GREEN else spec.rollout.bake.holdback_percent
        others.append(Share(status.previous, PREVIOUS, kept))
    rest = 100 - sum(share.percent for share in others)
    return (Share(stable, STABLE, rest), *others)


def effective_shares(
    status: InferenceServiceStatus, spec: InferenceServiceSpec, arms: Mapping[str, ArmFacts]
) -> tuple[Share, ...]:
    """Return the requested shares, with nothing for arms that have no ready pod; what they lose goes to the stable one.

    If the stable arm itself has none, its part goes to the baseline, which is the same revision, or in a bake to the
    previous revision, which is still whole.
    """
    shares = _with_stand_in(status, requested_shares(status, spec), arms)
    ready = {share.role for share in shares if arms.get(share.arm.name, ArmFacts()).ready > 0}
    kept = {share.role: share.percent for share in shares if share.role in ready and share.role != STABLE}
    heir = next((role for role in (STABLE, BASELINE, PREVIOUS) if role in ready), STABLE)
    kept[heir] = 100 - sum(percent for role, percent in kept.items() if role != heir)
    return tuple(replace(share, percent=kept.get(share.role, 0)) for share in shares)


def _with_stand_in(
    status: InferenceServiceStatus, shares: tuple[Share, ...], arms: Mapping[str, ArmFacts]
) -> tuple[Share, ...]:
    """Add the baseline while it gets no share of its own, if the stable arm needs it."""
    stable, baseline = status.stable, status.baseline
    idle = active_state(status.rollout) in (PREPARING, REPLAYING, ROLLING_BACK)
    if stable is None or baseline is None or not idle or arms.get(stable.name, ArmFacts()).ready > 0:
        return shares
    return (*shares, Share(baseline, BASELINE, 0))


def routing_of(status: InferenceServiceStatus, spec: InferenceServiceSpec, arms: Mapping[str, ArmFacts]) -> Routing:
    """Return copies and stickiness while a strategy asks for them and the new revision has ready pods."""
    rollout, canary, stable = status.rollout, status.canary, status.stable
    if rollout is None or canary is None or stable is None or arms.get(canary.name, ArmFacts()).ready == 0:
        return PLAIN
    if active_state(rollout) not in (STEP, PROMOTING):
        return PLAIN
    if rollout.kind == SHADOW:
        return Routing(mirror=canary.name, mirror_percent=min(100, rollout.next_weight))
    if rollout.kind == AB_TEST:
        if arms.get(stable.name, ArmFacts()).ready == 0:  # nobody is asked to stay where the other one stands in
            return PLAIN
        return Routing(sticky=(canary, stable), cohorts=tuple(spec.rollout.ab_test.cohorts))
    return PLAIN


def is_whole(status: InferenceServiceStatus, spec: InferenceServiceSpec) -> bool:
    """Say whether one revision at a time has all requests also without a gateway: the Service selects just that one."""
    rollout = status.rollout
    if rollout is not None and rollout.kind in COMPARED:
        return rollout.kind == BLUE_GREEN
    return spec.rollout.strategy == BLUE_GREEN


def ratio_shares(status: InferenceServiceStatus, arms: Mapping[str, ArmFacts]) -> tuple[Share, ...]:
    """Return the shares that whole pods reach without a gateway: each ready pod gets as much as any other."""
    roles = ((STABLE, status.stable), (CANARY, status.canary), (BASELINE, status.baseline), (PREVIOUS, status.previous))
    known = [(role, arm) for role, arm in roles if arm is not None]
    counted = [(role, arm, arms.get(arm.name, ArmFacts()).ready) for role, arm in known]
    total = sum(count for _, _, count in counted)
    if total == 0 or status.stable is None:
        return ()
    shares = [Share(arm, role, round(100 * count / total)) for role, arm, count in counted if count or role == STABLE]
    off = 100 - sum(share.percent for share in shares)
    return (replace(shares[0], percent=shares[0].percent + off), *shares[1:])


def weight_of(shares: Sequence[Share], name: str) -> int:
    """Return the percent of one arm by its name."""
    return sum(share.percent for share in shares if share.arm.name == name)
