"""A scikit-learn estimator as it is: for models that no converter agrees with. Runs in the jobs image.

Two formats. Loading a pickle (joblib) runs the code in it, so it never happens without `trustPickle`, which `loading`
checks before this module is imported. A skops file is read without running its maker's code, as long as every type in
it is on the list: skops' own and `TRUSTED`; any other is refused by name.
Needs scikit-learn and pandas, which the server's own image does not have.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contract.training import Task
from fairlead_runtime.errors import BadInput, clip
from fairlead_runtime.signature import DOUBLE, FLOAT, Input, Signature

from .columns import Column, Row, Rows
from .models import Labels, ModelError, Outcome, as_columns

# Beside what skops trusts by itself: classes of scikit-learn, NumPy and SciPy that hold fitted numbers, and functions
# of theirs that only compute. Nothing here reads a file, opens a connection or takes code. Every estimator of
# scikit-learn 1.9, fitted as it comes, needs no more than these.
TRUSTED = (
    "numpy.dtype",
    "numpy.mean",
    "scipy.interpolate._bsplines.BSpline",
    "scipy.sparse._csr.csr_matrix",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.cluster._bisect_k_means._BisectingTree",
    "sklearn.cluster._kmeans._kmeans_single_lloyd",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
)
_SHOWN = 8
_BY_NAME = ("ColumnTransformer", "FunctionTransformer")  # they may pick columns by name
_DTYPES: dict[str, type] = {FLOAT: np.float32, DOUBLE: np.float64}


class EstimatorModel:
    """An estimator that takes a DataFrame of the signature's columns."""

    def __init__(self, estimator: Any, signature: Signature) -> None:
        import pandas  # noqa: PLC0415 - absent from the server's image

        self._frame = pandas.DataFrame
        self._estimator = estimator
        self._inputs = signature.inputs
        self._one_type = _one_type(estimator, signature.inputs)
        self._numbers = [column.numeric for column in signature.inputs]
        self._labels = Labels(signature)
        self._probabilities = bool(signature.probability_output) and signature.task == Task.CLASSIFICATION
        if self._probabilities and not hasattr(estimator, "predict_proba"):
            raise BadInput(
                "SignatureMismatch", "signature.json names a probabilityOutput, and the estimator has no predict_proba"
            )

    def predict_row(self, row: Row) -> Outcome:
        """Return the outcome of one checked row."""
        return self.predict_rows([row])

    def predict_rows(self, rows: Rows) -> Outcome:
        """Return the outcome of a few checked rows."""
        return self.predict(as_columns(rows, self._numbers))

    def predict(self, columns: Sequence[Column]) -> Outcome:
        """Return the outcome of checked columns."""
        frame = self._framed(columns)
        try:
            probabilities = self._estimator.predict_proba(frame) if self._probabilities else None
            return Outcome(self._labels.values(np.asarray(self._estimator.predict(frame))), probabilities)
        except Exception as error:
            raise ModelError(f"{type(error).__name__}: {str(error)[:300]}") from error

    def _framed(self, columns: Sequence[Column]) -> Any:
        if self._one_type is not None:
            return np.column_stack(columns).astype(self._one_type)
        return self._frame({c.name: _as_trained(c, values) for c, values in zip(self._inputs, columns, strict=True)})


def _one_type(estimator: Any, inputs: Sequence[Input]) -> type | None:
    """Return the type of a plain matrix that the estimator takes for its DataFrame; None if it needs columns by name.

    scikit-learn spends 1.2 ms on looking at the columns of a DataFrame of one row, most of what a prediction costs.
    """
    types = {column.datatype for column in inputs}
    names = getattr(estimator, "feature_names_in_", None)
    in_order = names is None or list(names) == [column.name for column in inputs]
    if len(types) != 1 or not in_order or not hasattr(estimator, "get_params"):
        return None
    parts = [estimator, *(part for part in estimator.get_params(deep=True).values() if hasattr(part, "fit"))]
    plain = all(type(part).__module__.startswith("sklearn.") and type(part).__name__ not in _BY_NAME for part in parts)
    if not plain:
        return None
    warnings.filterwarnings("ignore", message="X does not have valid feature names")  # their order was checked here
    return _DTYPES.get(types.pop())


def load_joblib(path: Path, signature: Signature) -> EstimatorModel:
    """Return the model of a pickle, whose code runs now; raise FormatNotInImage or ModelUnreadable."""
    try:
        import joblib  # noqa: PLC0415 - absent from the server's image
    except ImportError as error:
        raise not_in_image(path, error) from None
    return _load(lambda: joblib.load(path), path, signature)


def load_skops(path: Path, signature: Signature) -> EstimatorModel:
    """Return the model of a skops file; raise TypesNotTrusted, FormatNotInImage or ModelUnreadable."""
    try:
        import skops.io  # noqa: PLC0415 - absent from the server's image
    except ImportError as error:
        raise not_in_image(path, error) from None
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
    except Exception as error:
        raise _unreadable(path, error) from None
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise BadInput(
            "TypesNotTrusted",
            clip(
                f"{path.name} holds types that are not on the list of skops {skops.__version__}: "
                f"{', '.join(unknown[:_SHOWN])}{more}; use scikit-learn's own steps, or convert the model to ONNX"
            ),
        )
    return _load(lambda: skops.io.load(path, trusted=TRUSTED), path, signature)


def not_in_image(path: Path, error: ImportError) -> BadInput:
    """Return what to say where this image lacks what a format needs."""
    return BadInput("FormatNotInImage", f"{path.name} needs {error.name}, which this image lacks; use the jobs image")


def _load(read: Any, path: Path, signature: Signature) -> EstimatorModel:
    try:
        estimator = read()
    except Exception as error:
        raise _unreadable(path, error) from None
    return EstimatorModel(estimator, signature)


def _unreadable(path: Path, error: Exception) -> BadInput:
    return BadInput("ModelUnreadable", clip(f"{path.name} cannot be read: {type(error).__name__}: {error}"))


def _as_trained(column: Input, values: Column) -> Column:
    """Return the values as training gave them to the estimator."""
    if column.numeric:
        return values.astype(_DTYPES[column.datatype])
    missing: Any = "" if column.missing == "Empty" else np.nan
    return np.array([text or missing for text in values], dtype=object)
