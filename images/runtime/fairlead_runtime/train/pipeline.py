"""A pipeline for mixed columns: numbers are imputed and scaled where the estimator needs it, text is one-hot encoded.

Every step converts to ONNX with one input per column. Text is bounded to its commonest values, chosen here, so that a
column with many of them cannot blow up the model; any other value is encoded as all zeros. Called by `job`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import get_tags

from fairlead.contract.training import Task
from fairlead_runtime.errors import BadInput

from .estimator import build_estimator, load_estimator
from .rows import TEXT_TYPES, TrainingRows

MAX_CATEGORIES = 100
MIN_CATEGORY_ROWS = 10  # a rarer value has too few rows to learn from
TREES = ("sklearn.tree", "sklearn.ensemble", "lightgbm", "xgboost")  # thresholds do not care about scale

PARALLEL = ("sklearn.ensemble", "sklearn.neighbors", "lightgbm", "xgboost")  # elsewhere n_jobs does nothing


def kept_categories(rows: TrainingRows) -> dict[str, list[str]]:
    """Return the values of each text feature that are kept apart: at most 100, with 10 training rows each."""
    kept = {}
    for feature in rows.features:
        if feature.type in TEXT_TYPES:
            counts = Counter(rows.train.frame[feature.name])
            common = [value for value in counts if counts[value] >= MIN_CATEGORY_ROWS] or [min(counts)]
            common.sort(key=lambda value: (-counts[value], value))
            kept[feature.name] = sorted(common[:MAX_CATEGORIES])
    return kept


def build_pipeline(path: str, parameters: dict[str, Any], task: Task, rows: TrainingRows, seed: int) -> Pipeline:
    """Return an unfitted pipeline; raise the BadInput of an estimator that is not allowed or not so parametrised."""
    estimator = build_estimator(load_estimator(path, task), parameters, seed)
    categories = kept_categories(rows)
    numeric = [feature.name for feature in rows.features if feature.name not in categories]
    empty = [name for name in numeric if bool(rows.train.frame[name].isna().all())]
    if empty:
        raise BadInput("FeatureEmpty", f"features {', '.join(empty)} hold only nulls in training; leave them out")
    steps: list[tuple[str, Any, list[str]]] = []
    if numeric:
        steps.append(("numeric", _numeric_steps(estimator, rows.train.frame[numeric]), numeric))
    if categories:
        encoder = OneHotEncoder(
            categories=[np.array(values, dtype=object) for values in categories.values()],
            handle_unknown="ignore",
            sparse_output=False,
            dtype=np.float32,
        )
        steps.append(("text", encoder, list(categories)))
    # sparse_threshold 0: many estimators take dense input only
    return Pipeline([("columns", ColumnTransformer(steps, sparse_threshold=0.0)), ("model", estimator)])


def _numeric_steps(estimator: Any, numbers: pd.DataFrame) -> Any:
    steps: list[tuple[str, Any]] = []
    takes_nan = bool(get_tags(estimator).input_tags.allow_nan)
    if not takes_nan:  # also without a null in training: a request may have one
        steps.append(("impute", SimpleImputer(strategy="median")))
    if not type(estimator).__module__.startswith(TREES):
        steps.append(("scale", StandardScaler()))
    return Pipeline(steps) if steps else "passthrough"


def fit_pipeline(pipeline: Pipeline, rows: TrainingRows, cpus: int) -> Pipeline:
    """Fit on the training part with up to `cpus` threads and return it; the fitted bytes do not depend on `cpus`."""
    model = pipeline.named_steps["model"]
    spread = type(model).__module__.startswith(PARALLEL) and getattr(model, "n_jobs", 1) is None
    if spread:
        model.set_params(n_jobs=cpus)
    try:
        pipeline.fit(rows.train.frame, rows.train.target)
    finally:
        if spread:
            model.set_params(n_jobs=None)
    return pipeline
