"""XGBoost and LightGBM boosters in their own formats, by their own libraries. Runs in the jobs image.

Both formats are data: reading one runs none of its maker's code. Numbers only; which classes the scores stand for is
what the signature says. It never starts a thread pool, because there is one process for each CPU asked for.
Called by `loading`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead.contract.training import Task
from fairlead_runtime.errors import BadInput, clip
from fairlead_runtime.signature import Signature

from .columns import Column, Row, Rows
from .estimator_model import not_in_image
from .models import Labels, ModelError, Outcome

Scores = NDArray[Any]
Predict = Callable[[Scores], Scores]
_CLASSES = ("binary:logistic", "multi:softprob", "binary", "multiclass", "multiclassova")
_VALUES = (
    "reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "reg:quantileerror",
    "reg:logistic", "reg:gamma", "reg:tweedie", "count:poisson", "survival:cox", "survival:aft",
    "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie", "cross_entropy",
)  # fmt: skip


class BoosterModel:
    """A booster: rows of numbers in, scores out, which become labels and probabilities here."""

    def __init__(self, predict: Predict, order: Sequence[int], dtype: type, signature: Signature) -> None:
        self._predict = predict
        self._order = list(order)
        self._dtype = dtype
        self._labels = Labels(signature)
        self._classes = len(signature.classes) if signature.task == Task.CLASSIFICATION else 0
        self._probabilities = bool(signature.probability_output)

    def predict_row(self, row: Row) -> Outcome:
        """Return the outcome of one checked row."""
        return self.predict_rows((row,))

    def predict_rows(self, rows: Rows) -> Outcome:
        """Return the outcome of a few checked rows."""
        return self._outcome(np.array(rows, dtype=self._dtype))  # numpy takes None for NaN

    def predict(self, columns: Sequence[Column]) -> Outcome:
        """Return the outcome of checked columns."""
        return self._outcome(np.column_stack(columns).astype(self._dtype))

    def _outcome(self, matrix: Scores) -> Outcome:
        try:
            scores = self._predict(np.ascontiguousarray(matrix[:, self._order]))
        except Exception as error:
            raise ModelError(f"{type(error).__name__}: {str(error)[:300]}") from error
        if not self._classes:
            return Outcome(self._labels.values(scores), None)
        probabilities = scores if scores.ndim == 2 and scores.shape[1] > 1 else _both(scores.reshape(-1))
        labels = probabilities.argmax(axis=1)
        return Outcome(self._labels.values(labels), probabilities if self._probabilities else None)


def _both(second: Scores) -> Scores:
    """Return the probabilities of both classes of two."""
    return np.column_stack((1 - second, second))


def load_xgboost(path: Path, signature: Signature) -> BoosterModel:
    """Return the model of a file that XGBoost's `save_model` wrote; raise FormatNotInImage, ModelUnreadable or so."""
    try:
        import xgboost  # noqa: PLC0415 - absent from the server's image
    except ImportError as error:
        raise not_in_image(path, error) from None
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(path)
        booster.set_param({"nthread": 1})  # the file may say otherwise
        learner = json.loads(booster.save_config())["learner"]
    except Exception as error:
        raise _unreadable(path, error) from None
    _check(learner["objective"]["name"], int(learner["learner_model_param"]["num_class"]), signature)
    order = _order(booster.feature_names or [], booster.num_features(), signature)
    best = booster.attributes().get("best_iteration")  # early stopping: what its scikit-learn wrapper predicts with
    trees = (0, int(best) + 1) if best is not None else (0, 0)

    def predict(matrix: Scores) -> Scores:
        found: Scores = booster.inplace_predict(matrix, iteration_range=trees, validate_features=False)
        return found

    return BoosterModel(predict, order, np.float32, signature)


def load_lightgbm(path: Path, signature: Signature) -> BoosterModel:
    """Return the model of a file that LightGBM's `save_model` wrote; raise FormatNotInImage, ModelUnreadable or so."""
    try:
        import lightgbm  # noqa: PLC0415 - absent from the server's image
    except ImportError as error:
        raise not_in_image(path, error) from None
    try:
        text = path.read_text(encoding="utf-8")
        booster = lightgbm.Booster(model_str=text)
    except Exception as error:
        raise _unreadable(path, error) from None
    objective = re.search(r"^objective=(\w+)", text, re.MULTILINE)
    classes = booster.num_model_per_iteration()
    _check(objective.group(1) if objective else "none", classes, signature)
    names = booster.feature_name()
    named = [] if all(re.fullmatch(r"Column_\d+", name) for name in names) else names
    order = _order(named, len(names), signature)

    def predict(matrix: Scores) -> Scores:
        return np.asarray(booster.predict(matrix, num_threads=1, validate_features=False))

    return BoosterModel(predict, order, np.float64, signature)


def _check(objective: str, classes: int, signature: Signature) -> None:
    """Raise SignatureMismatch unless the scores are what the signature says."""
    if not all(column.numeric for column in signature.inputs):
        raise BadInput("SignatureMismatch", "a booster takes numbers; signature.json has inputs that are text")
    classifies = signature.task == Task.CLASSIFICATION
    if objective not in (_CLASSES if classifies else _VALUES):
        kind = "classification" if classifies else "regression"
        raise BadInput(
            "SignatureMismatch",
            f"the booster's objective is {objective}; a {kind} is served with one of "
            f"{', '.join(_CLASSES if classifies else _VALUES)}",
        )
    if classifies and max(2, classes) != len(signature.classes):
        raise BadInput(
            "SignatureMismatch", f"the booster has {max(2, classes)} classes, signature.json {len(signature.classes)}"
        )
    if classifies and signature.labels != "Index":
        raise BadInput("SignatureMismatch", "labels: a booster gives positions in classes; write labels: Index")


def _order(names: Sequence[str], count: int, signature: Signature) -> list[int]:
    """Return the place of each of the booster's features in the signature; raise SignatureMismatch."""
    own = [_word(column.name) for column in signature.inputs]
    has = [_word(name) for name in names]
    if count != len(own) or (has and sorted(has) != sorted(own)):
        absent = sorted(set(own) - set(has))[:5] if has else []
        said = f"; it lacks {', '.join(absent)}" if absent else ""
        raise BadInput("SignatureMismatch", f"the booster has {count} features, signature.json {len(own)}{said}")
    return [own.index(name) for name in has] or list(range(count))


def _word(name: str) -> str:
    """Return a name as LightGBM writes it, which has no blanks."""
    return re.sub(r"\s", "_", name)


def _unreadable(path: Path, error: Exception) -> BadInput:
    return BadInput("ModelUnreadable", clip(f"{path.name} cannot be read: {type(error).__name__}: {error}"))
