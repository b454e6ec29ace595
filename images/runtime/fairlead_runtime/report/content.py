"""What a model card and a drift report say, as data: the JSON beside each page, and all that a page is made from.

Holds figures, column names and group labels; never a row. Made by `evaluate` and `monitor`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fairlead.contract.base import Model
from fairlead.contract.drift import FeatureDrift, PerformanceResult, PredictionDriftResult
from fairlead.contract.gates import GateResult

Tone = Literal["good", "bad", "unsure", "quiet"]


class Curve(Model):
    """A named line and the area under it."""

    name: str
    points: list[tuple[float, float]]
    area: float | None = None


class Bin(Model):
    """One bar of a histogram."""

    low: float
    high: float
    count: int


class MetricRow(Model):
    """One metric with the bounds of its interval, one-sided 95 % each."""

    name: str
    value: float | None
    low: float | None
    high: float | None


class SliceRow(Model):
    """One slice and by how much it is worse than the whole."""

    name: str
    metric: str
    rows: int
    value: float | None
    gap: float | None
    low: float | None
    high: float | None


class Pictures(Model):
    """What the plots of a card draw; empty where the task has no such plot."""

    roc: list[Curve] = Field(default_factory=list)
    precision_recall: list[Curve] = Field(default_factory=list)
    base_rate: float | None = None
    calibration: Curve | None = None
    scores: list[Bin] = Field(default_factory=list)
    confusion: list[list[int]] = Field(default_factory=list)
    residuals: list[Bin] = Field(default_factory=list)
    density: list[list[int]] = Field(default_factory=list)
    density_range: tuple[float, float] = (0.0, 1.0)


class Card(Model):
    """Everything a model card shows."""

    kind: Literal["ModelCard"] = "ModelCard"
    version: Literal[1] = 1
    name: str
    namespace: str
    model: str
    digest: str
    format: str
    size_bytes: int
    task: str
    target: str = ""
    classes: list[str] = Field(default_factory=list)
    inputs: list[tuple[str, str]] = Field(default_factory=list, description="Name and type.")
    dataset: str
    revision: str
    split: str
    rows: int
    input_digest: str
    champion: str = ""
    lineage: list[tuple[str, str]] = Field(default_factory=list)
    metrics: list[MetricRow] = Field(default_factory=list)
    gates: list[GateResult] = Field(default_factory=list)
    slices: list[SliceRow] = Field(default_factory=list)
    importances: list[tuple[str, float]] = Field(default_factory=list)
    pictures: Pictures = Pictures()
    limits: list[str] = Field(default_factory=list)


class Distribution(Model):
    """Shares per bin, of the training rows and of the window."""

    labels: list[str]
    reference: list[float]
    current: list[float]


class FeatureReport(Model):
    """One feature: its comparison, the limit it was held to, and both distributions."""

    drift: FeatureDrift
    min_effect: float
    nulls_reference: float
    nulls_current: float
    distribution: Distribution


class Report(Model):
    """Everything a drift report shows."""

    kind: Literal["DriftReport"] = "DriftReport"
    version: Literal[1] = 1
    name: str
    namespace: str
    inference_service: str
    model_version: str
    digest: str
    window_start: str
    window_end: str
    rows: int
    min_rows: int
    enough_rows: bool
    correction: str = ""
    drifted_features: int = 0
    data_drift: bool = False
    features: list[FeatureReport] = Field(default_factory=list, description="Worst first.")
    predictions: PredictionDriftResult | None = None
    prediction_distribution: Distribution | None = None
    labels: PredictionDriftResult | None = None
    label_distribution: Distribution | None = None
    performance: PerformanceResult | None = None
    performance_limit: float | None = None
    notes: list[str] = Field(default_factory=list)
