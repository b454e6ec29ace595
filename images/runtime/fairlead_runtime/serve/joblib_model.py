"""A scikit-learn pipeline as it is: for models that no converter agrees with. Runs in the jobs image.

Loading a pickle runs code, so it never happens without `artifact.trustPickle`: `loading` checks that before this
module is imported. Needs scikit-learn and pandas, which the server's own image does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contract.training import Task
from fairlead_runtime.errors import BadInput
from fairlead_runtime.signature import FLOAT, Signature

from .columns import Column, Row
from .models import Labels, ModelError, Outcome, as_columns


class JoblibModel:
    """An estimator that takes a DataFrame of the signature's columns: float32, or text with "" for null."""

    def __init__(self, path: Path, signature: Signature) -> None:
        try:
            import joblib  # noqa: PLC0415 - absent from the server's image
            import pandas  # noqa: PLC0415
        except ImportError as error:
            raise BadInput(
                "FormatNotInImage", f"{path.name} needs {error.name}, which this image lacks; use the jobs image"
            ) from None
        self._frame = pandas.DataFrame
        self._estimator: Any = joblib.load(path)
        self._names = [column.name for column in signature.inputs]
        self._numbers = [column.datatype == FLOAT for column in signature.inputs]
        self._labels = Labels(signature)
        self._probabilities = bool(signature.probability_output) and signature.task == Task.CLASSIFICATION

    def predict_row(self, row: Row) -> Outcome:
        """Return the outcome of one checked row."""
        return self.predict_rows([row])

    def predict_rows(self, rows: Sequence[Row]) -> Outcome:
        """Return the outcome of a few checked rows."""
        return self.predict(as_columns(rows, self._numbers))

    def predict(self, columns: Sequence[Column]) -> Outcome:
        """Return the outcome of checked columns."""
        frame = self._frame({name: _as_trained(column) for name, column in zip(self._names, columns, strict=True)})
        try:
            probabilities = self._estimator.predict_proba(frame) if self._probabilities else None
            return Outcome(self._labels.values(np.asarray(self._estimator.predict(frame))), probabilities)
        except Exception as error:
            raise ModelError(f"{type(error).__name__}: {str(error)[:300]}") from error


def _as_trained(column: Column) -> Column:
    """Return the values as `train.rows` gave them to the estimator."""
    if column.dtype != object:
        return column.astype(np.float32)
    return np.array([text or "" for text in column], dtype=object)
