"""DriftMonitor: whether the model still fits the world, and what to do when it does not."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fairlead.contract.base import Duration, Model, Name
from fairlead.contract.drift import (
    DataDrift,
    FeatureDrift,
    Performance,
    PerformanceResult,
    PredictionDrift,
    PredictionDriftResult,
)
from fairlead.contract.schema import cel

from . import meta
from .dataset import CRON
from .meta import KindStatus, PodOverrides
from .trainingrun import TrainingRunSpec


class ServiceReference(Model):
    """An InferenceService of the same namespace."""

    name: Name


class OnDrift(Model):
    """Data or prediction drift in this many windows in a row that do not overlap."""

    consecutive: Annotated[int, Field(ge=1, le=20)] = 2


class OnPerformanceDrop(Model):
    """A performance drop in this many windows in a row that do not overlap."""

    consecutive: Annotated[int, Field(ge=1, le=20)] = 1


class OnNewData(Model):
    """A new revision of the template's dataset."""


class Triggers(Model):
    """What starts a retraining."""

    drift: OnDrift | None = None
    performance_drop: OnPerformanceDrop | None = None
    schedule: Annotated[str, Field(max_length=64, pattern=CRON)] | None = None
    new_data: OnNewData | None = None


class RunTemplate(Model):
    """The TrainingRun that a retraining makes."""

    spec: TrainingRunSpec


class Retrain(Model):
    """When and how to retrain; brakes included."""

    triggers: Triggers
    cooldown: Duration = "24h"
    max_per_month: Annotated[int, Field(ge=1, le=1000)] = 4
    template: RunTemplate


class DriftMonitorSpec(PodOverrides):
    """Which service, how often, what is compared, what follows."""

    model_config = {
        "json_schema_extra": cel(
            (
                "!has(self.retrain) || !has(self.retrain.triggers.performanceDrop) || has(self.performance)",
                "performance: say the metric when retrain.triggers.performanceDrop is set",
            ),
            (
                "!has(self.performance) || has(self.performance.min) || has(self.performance.dropPercent)",
                "performance: set min, dropPercent or both",
            ),
        )
    }
    inference_service: ServiceReference
    schedule: Annotated[str, Field(max_length=64, pattern=CRON)] = "0 * * * *"
    window: Duration = "24h"
    min_rows: Annotated[int, Field(ge=30, le=10_000_000)] = 500
    data: DataDrift | None = DataDrift()
    predictions: PredictionDrift | None = PredictionDrift()
    performance: Performance | None = None
    retrain: Retrain | None = None
    keep_reports: Duration = "90d"
    timeout: Duration = "30m"
    suspend: bool = False


class WindowResult(Model):
    """What the newest finished check found."""

    job: str = ""
    version: str = ""
    start: str = ""
    end: str = ""
    rows: int = 0
    enough_rows: bool = False
    features: int = 0
    drifted_features: int = 0
    worst: Annotated[list[FeatureDrift], Field(max_length=20)] | None = None
    data_drift: bool = False
    not_compared: Annotated[str, Field(max_length=256)] = ""
    label_drift: PredictionDriftResult | None = None
    predictions: PredictionDriftResult | None = None
    performance: PerformanceResult | None = None
    report_key: Annotated[str, Field(max_length=512)] = ""


class Streak(Model):
    """Windows in a row, not overlapping, that showed the same."""

    count: int = 0
    last_end: str = ""


class RetrainRecord(Model):
    """One retraining that was started."""

    run: str
    at: str
    reason: str
    revision: str = ""
    inputs: str = Field("", description="Digest of data revision and parameters, to skip a repetition.")
    outcome: str = ""


class DriftMonitorStatus(KindStatus):
    """The newest window, streaks, and what was retrained."""

    last_window: WindowResult | None = None
    last_job: str = Field("", description="The newest Job whose result was counted.")
    drift: Streak = Streak()
    performance_drop: Streak = Streak()
    retrainings: Annotated[list[RetrainRecord], Field(max_length=20)] | None = None
    month: str = Field("", description="YYYY-MM that `monthCount` is of.")
    month_count: int = 0
    next_scheduled_retrain: str | None = None
    retrain_blocked: str = Field(
        "", description="Why a wanted retraining did not start: Cooldown, MonthlyLimit, NoNewData."
    )
    handled: str = Field("", description="The retrain annotation that was acted on.")
    seen_revision: str = Field("", description="The dataset revision that newData compares with.")


DriftMonitor = meta.Resource[DriftMonitorSpec, DriftMonitorStatus]
