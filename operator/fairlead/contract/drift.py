"""What a DriftMonitor compares and what it found; part of its CRD and of the monitor Job's input and result."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .base import Model, Text


class NumericTest(StrEnum):
    """Effects: KS its statistic D, PSI the index, JS the distance (base 2)."""

    KS = "KS"
    PSI = "PSI"
    JS = "JS"


class CategoricalTest(StrEnum):
    """Effects: chi-square Cramer's V, PSI the index, JS the distance (base 2)."""

    CHI_SQUARE = "ChiSquare"
    PSI = "PSI"
    JS = "JS"


class Correction(StrEnum):
    """Of p-values over the features of one check."""

    BENJAMINI_HOCHBERG = "BenjaminiHochberg"
    BONFERRONI = "Bonferroni"


class NumericDrift(Model):
    """A test and the smallest effect that counts."""

    test: NumericTest = NumericTest.KS
    min_effect: Annotated[float, Field(ge=0)] = 0.1


class CategoricalDrift(Model):
    """A test and the smallest effect that counts."""

    test: CategoricalTest = CategoricalTest.CHI_SQUARE
    min_effect: Annotated[float, Field(ge=0)] = 0.1


class DataDrift(Model):
    """Drift of a feature needs a corrected p-value under 5 % and the effect; of the data, one feature at least."""

    numeric: NumericDrift = NumericDrift()
    categorical: CategoricalDrift = CategoricalDrift()
    correction: Correction = Correction.BENJAMINI_HOCHBERG
    min_features: Annotated[int, Field(ge=1, le=500)] = Field(1, description="Drifted features that make DataDrift.")


class PredictionDrift(Model):
    """Distance of the predictions' distribution from the training profile's."""

    test: NumericTest = NumericTest.JS
    threshold: Annotated[float, Field(ge=0)] = 0.1


class DropKind(StrEnum):
    """Relative: percent of the reference value. Absolute: percentage points of the metric."""

    RELATIVE = "Relative"
    ABSOLUTE = "Absolute"


class Performance(Model):
    """What feedback labels must show; a drop is from the version's own evaluation."""

    metric: Annotated[str, Field(max_length=64)] = "accuracy"
    min: float | None = None
    drop_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    drop_is: DropKind = DropKind.RELATIVE


class FeatureDrift(Model):
    """One feature's comparison."""

    name: Annotated[str, Field(max_length=128)]
    test: str
    effect: float
    p_value: float | None = Field(None, description="Corrected; absent for distances.")
    drifted: bool
    importance: float | None = None


class PredictionDriftResult(Model):
    """The predictions' comparison."""

    test: str
    effect: float
    threshold: float
    drifted: bool


class PerformanceResult(Model):
    """The metric on labelled requests, with a two-sided 90 % interval (one-sided 95 % each end)."""

    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    labels: int = 0
    reference: float | None = None
    dropped: bool = False
    message: Text = ""
