"""A fitted pipeline's answers and its metrics, by the same definitions as the evaluation's. Called by `job`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fairlead.contract.gates import CLASSIFICATION_METRICS, LOWER_IS_BETTER, REGRESSION_METRICS
from fairlead_runtime.errors import BadInput
from fairlead_runtime.stats.metrics import NEED_PROBABILITIES, Classified, Outcomes, Regressed, value
from fairlead_runtime.stats.types import Floats

from .rows import Part, TrainingRows


def probabilities(model: Any, part: Part) -> Floats | None:
    """Return (rows, classes), or None where the estimator has no probabilities."""
    return np.asarray(model.predict_proba(part.frame), dtype=np.float64) if hasattr(model, "predict_proba") else None


def outcomes_of(model: Any, rows: TrainingRows, part: Part) -> Outcomes:
    """Return truth and answers; rows of a class that training has not seen are left out."""
    if not rows.classes:
        return Regressed(np.asarray(part.target, dtype=np.float64), np.asarray(model.predict(part.frame), dtype=float))
    label = np.asarray(model.predict(part.frame), dtype=np.int64)
    truth = np.asarray(part.target, dtype=np.int64)
    return Classified(truth, label, rows.classes, probabilities(model, part)).take(truth >= 0)


def score(outcomes: Outcomes) -> dict[str, float]:
    """Return every metric of the task that exists on these rows, rounded to 6 digits."""
    names = REGRESSION_METRICS if isinstance(outcomes, Regressed) else CLASSIFICATION_METRICS
    bare = isinstance(outcomes, Classified) and outcomes.probability is None
    values = {name: value(name, outcomes) for name in names if not (bare and name in NEED_PROBABILITIES)}
    return {name: round(number, 6) for name, number in values.items() if math.isfinite(number)}


def better_key(metric: str, metrics: dict[str, float]) -> float:
    """Return a number that is larger for a better trial; raise UnknownMetric naming those there are."""
    if metric not in metrics:
        raise BadInput("UnknownMetric", f"search.metric {metric} is not one of this model's: {', '.join(metrics)}")
    return -metrics[metric] if metric in LOWER_IS_BETTER else metrics[metric]
