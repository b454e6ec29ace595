"""What a version must pass, and what was found; part of its CRD and of the evaluate Job's input and result."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .base import ColumnName, Model, Name, Quantity, Text
from .schema import LIST_SET, cel

CLASSIFICATION_METRICS = (
    "accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "average_precision", "log_loss",
    "brier_score",
)  # fmt: skip
REGRESSION_METRICS = ("r2", "mean_absolute_error", "mean_squared_error", "root_mean_squared_error")
LOWER_IS_BETTER = ("log_loss", "brier_score", "mean_absolute_error", "mean_squared_error", "root_mean_squared_error")


class OnInconclusive(StrEnum):
    """Block: the version waits or is refused. RequireApproval: a person may decide."""

    BLOCK = "Block"
    REQUIRE_APPROVAL = "RequireApproval"


class VersusChampion(Model):
    """The metric may be at most `maxLoss` worse than the champion's on the same rows."""

    max_loss: Annotated[float, Field(ge=0)] = 0
    inference_service: Name | None = Field(
        None, description="Whose stable version; default: the only service with this model."
    )


class FairnessMetric(StrEnum):
    """Group fairness differences: the largest minus the smallest group's value."""

    DEMOGRAPHIC_PARITY = "DemographicParityDifference"
    EQUAL_OPPORTUNITY = "EqualOpportunityDifference"


class Fairness(Model):
    """The groups of `attribute` may differ by at most `max`."""

    metric: FairnessMetric
    attribute: ColumnName
    max: Annotated[float, Field(ge=0, le=1)]


class Latency(Model):
    """The given percentile of one-row predictions takes at most `maxMs`."""

    percentile: Annotated[float, Field(gt=0, lt=100)] = 99
    max_ms: Annotated[float, Field(gt=0)]


class ArtifactSize(Model):
    """All files of the artifact together."""

    max: Quantity


class Gate(Model):
    """One requirement: a metric with limits, a comparison, slices, fairness, latency or size."""

    model_config = {
        "json_schema_extra": cel(
            (
                "(has(self.metric) ? 1 : 0) + (has(self.fairness) ? 1 : 0) + (has(self.latency) ? 1 : 0)"
                " + (has(self.artifactSize) ? 1 : 0) == 1",
                "gates[]: set exactly one of metric, fairness, latency, artifactSize",
            ),
            (
                "!has(self.metric) || has(self.min) || has(self.max) || has(self.versusChampion) || has(self.slices)",
                "gates[]: a metric needs min, max, versusChampion or slices",
            ),
            ("has(self.slices) == has(self.maxGap)", "gates[]: slices and maxGap go together; set both or neither"),
            (
                "!has(self.versusChampion) || !(has(self.min) || has(self.max) || has(self.slices))",
                "gates[]: versusChampion stands alone; put min, max or slices in a gate of their own",
            ),
        )
    }
    name: Name
    metric: Annotated[str, Field(max_length=64)] | None = None
    min: float | None = None
    max: float | None = None
    versus_champion: VersusChampion | None = None
    slices: Annotated[list[ColumnName], Field(min_length=1, max_length=5)] | None = Field(
        None, json_schema_extra=LIST_SET, description="Columns whose values make the slices."
    )
    max_gap: Annotated[float, Field(ge=0)] | None = Field(
        None, description="How far a slice may fall behind the whole."
    )
    fairness: Fairness | None = None
    latency: Latency | None = None
    artifact_size: ArtifactSize | None = None
    on_inconclusive: OnInconclusive = OnInconclusive.BLOCK


class GateOutcome(StrEnum):
    """Passed and Failed hold at one-sided 95 %; Inconclusive says how many rows are missing."""

    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"


class GateResult(Model):
    """What one gate found; `low` and `high` bound the value, one-sided 95 % each."""

    name: Name
    outcome: GateOutcome
    reason: Annotated[str, Field(max_length=64)] = ""
    value: float | None = None
    limit: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int = 0
    missing_rows: int | None = Field(None, description="Roughly how many more rows would decide.")
    message: Text = ""
