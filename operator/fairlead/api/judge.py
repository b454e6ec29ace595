"""What a canary may be worse by than its baseline: the limits of InferenceService's judge.

It must never name a kind. Used by `api/inferenceservice.py`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fairlead.contract.base import Model

Points = Annotated[float, Field(gt=0, le=99)]  # no canary can be worse by 100 or more: such a limit would allow all


class ErrorRateLimit(Model):
    """Failed requests."""

    max_increase_points: Points = 0.5


class LatencyLimit(Model):
    """Requests slower than the threshold."""

    threshold_ms: Annotated[float, Field(gt=0)] = 50
    max_increase_points: Points = 1


class PredictionsLimit(Model):
    """Shift of the predictions' distribution: total variation over the stable version's bins; no PASS waits for it."""

    max_increase_points: Points = 10


class LabelsLimit(Model):
    """Wrong answers among those whose truth came back as feedback; classifications, in steps; no PASS waits for it."""

    max_increase_points: Points = 2


class IncidentLimit(Model):
    """Both arms above it: a shared incident, the rollout holds."""

    max_error_percent: Annotated[float, Field(gt=0, le=100)] = 20


class Judge(Model):
    """What the canary may be worse by than its baseline."""

    confidence_percent: Annotated[float, Field(ge=80, lt=100)] = 95
    error_rate: ErrorRateLimit = ErrorRateLimit()
    latency: LatencyLimit | None = LatencyLimit()
    predictions: PredictionsLimit | None = None
    labels: LabelsLimit | None = None
    incident: IncidentLimit = IncidentLimit()
