"""What comes after what a plan can show: the steps of a rollout, and how much traffic its verdict takes.

Pure. It promises nothing: the judge decides by what is measured. Called by `planning.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from fairlead.api import names
from fairlead.api.inferenceservice import InferenceServiceSpec

REQUESTS_TIMES_POINTS = 3200  # canary requests until PASS, times the limit in points: docs/adr/0002, "About 32 / d"


def prospect(obj: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a service's rollout has before it."""
    rollout = (obj.get("status") or {}).get("rollout") or {}
    if obj["kind"] != names.INFERENCE_SERVICE.kind or not rollout or rollout.get("state") == "RollingBack":
        return
    spec = InferenceServiceSpec.model_validate(obj["spec"]).rollout
    if rollout.get("kind") != "Canary":
        return
    steps = ", ".join(f"{step} %" for step in spec.steps_percent)
    yield f"then: {steps}, each with {spec.step.min_requests:,} requests and {spec.step.min_duration} or more"
    points = [spec.judge.error_rate.max_increase_points]
    points += [spec.judge.latency.max_increase_points] if spec.judge.latency else []
    needed = math.ceil(REQUESTS_TIMES_POINTS / min(points) / 100) * 100
    yield (
        f"then: a verdict; about {needed:,} canary requests in the last step if both are equal and nothing fails "
        f"(limit {min(points):g} points), more where requests fail"
    )
    yield f"then: {spec.bake.duration} of bake; without a verdict by {spec.deadline}: {spec.on_inconclusive}"
