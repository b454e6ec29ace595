"""What comes after what a plan can show: the stages of a rollout, and how much traffic its verdict takes.

Pure. It promises nothing: the judge decides by what is measured. Called by `planning.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from fairlead.api import names
from fairlead.api.inferenceservice import InferenceServiceSpec, InferenceServiceStatus, Rollout
from fairlead.plan import shadow
from fairlead.plan.sizes import AB_TEST, BLUE_GREEN, CANARY, COMPARED, ROLLING_BACK, SHADOW

REQUESTS_TIMES_POINTS = 3200  # the new version's requests until PASS, times the limit: docs/adr/0002, "About 32 / d"
# Outcomes of each until they decide, times d^2 / (p (1 - p)): p bad ones, a real difference of 2 d. `make canary-times`
OUTCOMES_OF_A_TEST = 20.0
BAD_OUTCOMES = 0.1  # the share that the figure is given for; what users do is not known before


def prospect(obj: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a service's rollout has before it."""
    if obj["kind"] != names.INFERENCE_SERVICE.kind:
        return
    status = InferenceServiceStatus.model_validate(obj.get("status") or {})
    rollout, spec = status.rollout, InferenceServiceSpec.model_validate(obj["spec"])
    if rollout is None or rollout.state == ROLLING_BACK or rollout.kind not in COMPARED:
        return
    if spec.rollout.replay is not None:
        yield "then: captured requests are answered by both, before the first user"
    stages = {CANARY: _canary, BLUE_GREEN: _blue_green, SHADOW: _shadow, AB_TEST: _ab_test}
    for stage in (*stages[rollout.kind](spec.rollout, status), _bake(spec.rollout, rollout.kind)):
        yield f"then: {stage}"


def _canary(spec: Rollout, _status: InferenceServiceStatus) -> Iterator[str]:
    yield f"{', '.join(f'{step} %' for step in spec.steps_percent)}, each with {_at_least(spec)}"
    yield f"a verdict; about {_needed(spec, 'canary requests in the last step')}"


def _blue_green(spec: Rollout, status: InferenceServiceStatus) -> Iterator[str]:
    size = status.rollout.size if status.rollout else 1
    asked = " and a person promotes it" if spec.promotion == "Manual" else ""
    yield f"all requests at once, when {size} of its pods are ready{asked}; nothing is judged before"


def _shadow(spec: Rollout, status: InferenceServiceStatus) -> Iterator[str]:
    copies = f"copies of {spec.shadow.percent} % of the requests, its answers to nobody"
    yield f"{copies}, with {_at_least(spec)}"
    yield f"a verdict on errors and slow answers; about {_needed(spec, 'copies')}"
    if not shadow.is_compared(status):
        yield "answers are not compared, for capture.percent is 0 in one of the revisions"
    else:
        percent = spec.shadow.max_disagreement_percent
        yield (
            f"a Job compares captured answers to the same questions; at least {_pairs(spec):,} pairs, and more where "
            f"some differ (limit {percent:g} %)"
        )
    yield _all_requests(spec)


def _ab_test(spec: Rollout, _status: InferenceServiceStatus) -> Iterator[str]:
    points = spec.ab_test.min_difference_points
    yield f"{spec.ab_test.percent} % of new users get it and keep it, with {_at_least(spec)}"
    decides = f"bad outcomes of one are fewer by more than {points:g} points"
    outcomes = OUTCOMES_OF_A_TEST * BAD_OUTCOMES * (1 - BAD_OUTCOMES) / (points / 100) ** 2
    yield (
        f"a verdict when {decides}; about {math.ceil(outcomes / 1000) * 1000:,} outcomes of each to /feedback, if "
        f"{BAD_OUTCOMES:.0%} are bad and they differ by {2 * points:g} points; none where they are equal"
    )
    yield _all_requests(spec)


def _all_requests(spec: Rollout) -> str:
    return "all requests" + (", when a person promotes it" if spec.promotion == "Manual" else "")


def _bake(spec: Rollout, kind: str) -> str:
    if kind == BLUE_GREEN:
        return f"{spec.bake.duration} of bake, in which the previous revision stays ready"
    return f"{spec.bake.duration} of bake; without a verdict by {spec.deadline}: {spec.on_inconclusive}"


def _at_least(spec: Rollout) -> str:
    return f"{spec.step.min_requests:,} requests and {spec.step.min_duration} or more"


def _needed(spec: Rollout, of: str) -> str:
    points = [spec.judge.error_rate.max_increase_points]
    points += [spec.judge.latency.max_increase_points] if spec.judge.latency else []
    needed = math.ceil(REQUESTS_TIMES_POINTS / min(points) / 100) * 100
    return (
        f"{needed:,} {of} if both are equal and nothing fails (limit {min(points):g} points), more where requests fail"
    )


def _pairs(spec: Rollout) -> int:
    """Return the pairs after which no difference at all is enough: (1 - limit)^n <= alpha, as Clopper and Pearson."""
    alpha = (1 - spec.judge.confidence_percent / 100) / 2  # of the first look
    left = 1 - spec.shadow.max_disagreement_percent / 100
    return math.ceil(math.log(alpha) / math.log(left)) if left > 0 else 1
