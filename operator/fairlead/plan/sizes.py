"""How many pods each arm needs: before a step, so that no weight arrives at an arm that is too small.

With a gateway each arm has an autoscaler and this is its minimum; without one shares are whole pods, autoscalers
rest and this is the exact number. It must never decide on weights. Used by `rollout.py` and `plan/inferenceservice.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.api.inferenceservice import InferenceServiceSpec, InferenceServiceStatus, RolloutStatus

from .pending_pods import Problem
from .serving_pods import ArmFacts

PREPARING, STEP, PROMOTING, BAKING, HELD, ROLLING_BACK = (
    "Preparing", "Step", "Promoting", "Baking", "Held", "RollingBack",
)  # fmt: skip
REPLAYING = "Replaying"  # as Preparing: canary and baseline are ready and have no user yet
JUDGED = (STEP, PROMOTING, BAKING)  # states in which counters are read and compared
FIRST, RETURN, CANARY, BLUE_GREEN, SHADOW, AB_TEST = "First", "Return", "Canary", "BlueGreen", "Shadow", "ABTest"
COMPARED = (CANARY, BLUE_GREEN, SHADOW, AB_TEST)  # whose revision is on trial until its bake is over
SIDE_BY_SIDE = (SHADOW, AB_TEST)  # compared with the stable revision itself, and only behind a gateway


@dataclass(frozen=True)
class Size:
    """Replicas of one arm: at least `minimum`, or with `exact` just that many and no autoscaler."""

    minimum: int
    exact: bool = False


def active_state(rollout: RolloutStatus | None) -> str:
    """Return the state of a rollout, seen through a hold; "" when there is none."""
    if rollout is None:
        return ""
    return rollout.resume if rollout.state == HELD else rollout.state


def baseline_share(weight: int) -> int:
    """Return the baseline's percent beside a canary of `weight` percent: as much, at most half of the rest."""
    return min(weight, math.ceil((100 - weight) / 2))


def wanted_sizes(
    status: InferenceServiceStatus, spec: InferenceServiceSpec, arms: Mapping[str, ArmFacts]
) -> dict[str, Size]:
    """Return the size of every arm that should have pods or be known; an arm that is left out stays as it is."""
    by_ratio = spec.traffic.gateway is None
    sizes = _resting(status, spec)
    rollout = status.rollout
    if rollout is None:
        return sizes
    state = active_state(rollout)
    if state == ROLLING_BACK:
        return sizes | _rolling_back(status, spec, arms)
    if state == BAKING:
        return sizes | (_whole_previous(status, by_ratio) if rollout.kind == BLUE_GREEN else _baking(status, spec))
    if status.canary is not None:
        sizes |= _in_ratio(status, rollout) if by_ratio else _in_share(status, spec, rollout)
    return sizes


def _resting(status: InferenceServiceStatus, spec: InferenceServiceSpec) -> dict[str, Size]:
    sizes: dict[str, Size] = {}
    if status.previous is not None:
        sizes[status.previous.name] = Size(0, exact=True)
    if status.stable is not None:
        sizes[status.stable.name] = _carrying(status.rollout, spec)
    return sizes


def _carrying(rollout: RolloutStatus | None, spec: InferenceServiceSpec) -> Size:
    """Size of the stable arm: during a rollout it never gets smaller than when it carried all traffic."""
    scaling = spec.scaling
    minimum = max(scaling.min_replicas, rollout.size if rollout else 0)
    frozen = rollout is not None and spec.traffic.gateway is None
    return Size(minimum, exact=frozen or scaling.max_replicas <= minimum)


def share_of(size: int, percent: int) -> int:
    """Return the pods that carry `percent` of what `size` pods carry: at least one."""
    return max(1, math.ceil(size * percent / 100))


def _in_share(status: InferenceServiceStatus, spec: InferenceServiceSpec, rollout: RolloutStatus) -> dict[str, Size]:
    assert status.canary is not None
    fixed = spec.scaling.max_replicas <= spec.scaling.min_replicas
    coming = max(rollout.weight, rollout.next_weight)
    alone = rollout.kind == FIRST
    minimum = spec.scaling.min_replicas if alone else share_of(rollout.size, coming)
    sizes = {status.canary.name: Size(minimum, exact=fixed)}
    if status.baseline is not None:
        # Same size as the canary while they are compared; it never grows for a promotion.
        beside = rollout.weight if coming == 100 else coming
        sizes[status.baseline.name] = Size(share_of(rollout.size, beside), exact=fixed)
    return sizes


def ratio_pods(size: int, weight: int) -> tuple[int, int]:
    """Return the (canary, baseline) pods beside `size` stable ones: the fewest that reach `weight` percent.

    c / (size + b + c) >= w, where b = c up to a third of the traffic, and beyond that b = size: baseline and
    stable halve the rest. So c = ceil(w size / (100 - 2 w)), or c = ceil(2 w size / (100 - w)).
    """
    if 3 * weight <= 100:
        canary = math.ceil(weight * size / (100 - 2 * weight))
        return canary, canary
    return math.ceil(2 * weight * size / (100 - weight)), size


def held_back_pods(size: int, percent: int) -> int:
    """Return the pods of the previous revision that take at least `percent` beside `size` of the new one."""
    return math.ceil(percent * size / (100 - percent))


def _in_ratio(status: InferenceServiceStatus, rollout: RolloutStatus) -> dict[str, Size]:
    assert status.canary is not None
    if rollout.kind != CANARY:
        return {status.canary.name: Size(max(1, rollout.size), exact=True)}
    coming = max(rollout.weight, rollout.next_weight)
    beside = rollout.weight if coming == 100 else coming
    canary, baseline = ratio_pods(rollout.size, beside)
    sizes = {status.canary.name: Size(max(canary, rollout.size) if coming == 100 else canary, exact=True)}
    if status.baseline is not None:
        sizes[status.baseline.name] = Size(baseline, exact=True)
    return sizes


def _baking(status: InferenceServiceStatus, spec: InferenceServiceSpec) -> dict[str, Size]:
    rollout, previous = status.rollout, status.previous
    assert rollout is not None
    sizes: dict[str, Size] = {}
    if status.baseline is not None and spec.traffic.gateway is None:
        sizes[status.baseline.name] = Size(0, exact=True)
    if previous is None:
        return sizes
    if spec.traffic.gateway is None:
        sizes[previous.name] = Size(held_back_pods(rollout.size, spec.rollout.bake.holdback_percent), exact=True)
    else:  # at full size, so that a return is a matter of weights alone
        sizes[previous.name] = Size(rollout.size)
    return sizes


def _whole_previous(status: InferenceServiceStatus, by_ratio: bool) -> dict[str, Size]:
    """After a switch the previous revision stays as it was: a return is a matter of the route alone."""
    rollout, previous = status.rollout, status.previous
    assert rollout is not None
    return {previous.name: Size(rollout.size, exact=by_ratio)} if previous is not None else {}


def _rolling_back(
    status: InferenceServiceStatus, spec: InferenceServiceSpec, arms: Mapping[str, ArmFacts]
) -> dict[str, Size]:
    """Without a gateway weight 0 is 0 replicas: as soon as the stable arm can carry all traffic, or has some pod."""
    rollout, stable = status.rollout, status.stable
    assert rollout is not None
    if spec.traffic.gateway is not None or stable is None or rollout.kind == BLUE_GREEN:
        return {}
    carrying = arms.get(stable.name, ArmFacts()).ready
    if carrying == 0:
        return {}
    return {arm.name: Size(0, exact=True) for arm in (status.canary, status.baseline) if arm is not None}


def hindrance_of(status: InferenceServiceStatus, arms: Mapping[str, ArmFacts]) -> Problem | None:
    """Return what keeps pods of the canary, or of its baseline, from running."""
    found = (arms.get(arm.name, ArmFacts()).hindrance for arm in (status.canary, status.baseline) if arm is not None)
    return next((problem for problem in found if problem is not None), None)


def is_growing(status: InferenceServiceStatus, spec: InferenceServiceSpec, arms: Mapping[str, ArmFacts]) -> bool:
    """Say whether a step had all that it needs, and the next one waits for pods."""
    rollout = status.rollout
    if rollout is None or rollout.kind != CANARY or active_state(rollout) != STEP:
        return False
    return rollout.next_weight > rollout.weight and not is_sized(status, wanted_sizes(status, spec, arms), arms)


def is_sized(status: InferenceServiceStatus, sizes: Mapping[str, Size], arms: Mapping[str, ArmFacts]) -> bool:
    """Say whether canary and baseline have as many ready pods as they need for what comes next."""
    return all(
        arms.get(arm.name, ArmFacts()).ready >= sizes[arm.name].minimum
        for arm in (status.canary, status.baseline)
        if arm is not None and arm.name in sizes
    )
