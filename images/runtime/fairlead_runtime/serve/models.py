"""What a loaded model does for the server: one row fast, or a batch; and the outcome in the words of its signature.

A model raises `ModelError` when its own code raised; whether an input fits the signature was decided before.
Never knows of HTTP or JSON. Made by `loading`, called by `predict` and `oip` (and by gRPC when it comes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead.contract.data import ColumnType
from fairlead.contract.training import Task
from fairlead_runtime.signature import Signature

from .columns import Column, Row, Rows


class ModelError(Exception):
    """The model raised on an input that its signature takes; `response_id` is that of the answer that will say so."""

    def __init__(self, message: str, response_id: str = "") -> None:
        super().__init__(message)
        self.response_id = response_id


class Outcome:
    """Predictions (JSON values, one a row) and, where the model has them, probabilities [rows, classes]."""

    __slots__ = ("predictions", "probabilities")

    def __init__(self, predictions: list[Any], probabilities: NDArray[Any] | None) -> None:
        self.predictions = predictions
        self.probabilities = probabilities

    @property
    def firsts(self) -> list[Any]:
        """One value a row: the prediction, or the first where a row has several; what is counted and captured."""
        several = bool(self.predictions) and isinstance(self.predictions[0], list)
        return [values[0] for values in self.predictions] if several else self.predictions


class Model(Protocol):
    """A loaded model."""

    def predict_row(self, row: Row) -> Outcome:
        """Return the outcome of one checked row; its arrays are valid until the next call. Raise ModelError."""

    def predict_rows(self, rows: Rows) -> Outcome:
        """Return the outcome of a few checked rows in one call, and keep none of them. Raise ModelError if one does."""

    def predict(self, columns: Sequence[Column]) -> Outcome:
        """Return the outcome of checked columns, at least one row. Raise ModelError."""


class Labels:
    """Turns a model's raw label output into the values that clients see."""

    def __init__(self, signature: Signature) -> None:
        self._classes = [_typed(text, signature.class_type) for text in signature.classes]
        self._by_text = dict(zip(signature.classes, self._classes, strict=True))
        self._regression = signature.task == Task.REGRESSION
        self._targets = len(signature.targets)
        self._index = signature.labels == "Index" and not self._regression

    def values(self, raw: NDArray[Any]) -> list[Any]:
        """Return one JSON value a row: a class in its own type, or a number; of several targets a list of them."""
        if self._targets:
            several: list[Any] = raw.reshape(-1, self._targets).tolist()
            return several
        found: list[Any] = raw.reshape(-1).tolist()
        if self._regression:
            return found
        if self._index:
            classes = self._classes
            return [classes[index] for index in found]
        return [self._by_text.get(str(value), value) for value in found]


def split(outcome: Outcome) -> list[Outcome]:
    """Return the outcome of each row by itself."""
    if len(outcome.predictions) == 1:
        return [outcome]
    probabilities = outcome.probabilities
    return [
        Outcome([prediction], None if probabilities is None else probabilities[i : i + 1])
        for i, prediction in enumerate(outcome.predictions)
    ]


def _typed(text: str, kind: ColumnType | None) -> Any:
    """Return a class, which a signature keeps as text, in its own type."""
    if kind == ColumnType.BOOLEAN:
        return text.lower() == "true" or text == "1"
    try:
        return int(text) if kind == ColumnType.INTEGER else float(text) if kind == ColumnType.FLOAT else text
    except ValueError:
        return text


def as_columns(rows: Rows, numbers: Sequence[bool]) -> list[Column]:
    """Return the columns of a few rows; `numbers` says of each column whether it holds numbers (null is NaN there)."""
    if isinstance(rows, np.ndarray):
        return list(rows.T)
    columns: list[Column] = []
    for values, number in zip(zip(*rows, strict=True), numbers, strict=True):
        column = np.empty(len(values), dtype=np.float64 if number else object)
        column[:] = values  # numpy takes None for NaN
        columns.append(column)
    return columns
