"""The models that servers are compared with: fitted once, as joblib for the peers and as ONNX for ours.

scikit-learn's breast cancer data: 569 rows of 30 numbers. Used by `bench_serve`; never measures anything itself.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fairlead.contract.data import ColumnType
from fairlead.contract.training import Task
from fairlead_runtime.signature import Input, Signature

MODELS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(max_iter=5000),
    "forest": lambda: RandomForestClassifier(100, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(random_state=0),
}
TENSOR = "input"


class Trained:
    """A fitted model in both forms, and rows to ask about."""

    def __init__(self, kind: str) -> None:
        data = load_breast_cancer(as_frame=True)
        self.kind = kind
        self.columns = [str(name) for name in data.data.columns]
        self.table = data.data.to_numpy()
        self.plain = make_pipeline(StandardScaler(), MODELS[kind]()).fit(self.table, data.target)
        scale, model = self.plain.steps[0][1], self.plain.steps[1][1]
        # The same fitted steps behind named columns: the form that training stores.
        columns = ColumnTransformer([("numeric", scale, self.columns)]).fit(data.data)
        self._named = Pipeline([("columns", columns), ("model", model)])

    def onnx(self) -> bytes:
        """Return the ONNX form with one input per column."""
        types = [(name, FloatTensorType([None, 1])) for name in self.columns]
        options = {id(self._named): {"zipmap": False}}
        return bytes(convert_sklearn(self._named, initial_types=types, options=options).SerializeToString())

    def signature(self) -> Signature:
        """Return what training would write."""
        inputs = [Input(name=n, type=ColumnType.FLOAT, datatype="FP32", nullable=False) for n in self.columns]
        return Signature(
            task=Task.CLASSIFICATION,
            inputs=inputs,
            classes=["0", "1"],
            class_type=ColumnType.INTEGER,
            probability_output="probabilities",
        )

    def store_joblib(self, path: Path) -> None:
        """Write the peers' form."""
        joblib.dump(self.plain, path)

    def rows(self, count: int, start: int = 0) -> np.ndarray[Any, Any]:
        """Return so many rows, the data again from its beginning where it ends."""
        return self.table[[(start + i) % len(self.table) for i in range(count)]]


def protocol_body(rows: np.ndarray[Any, Any], outputs: list[str]) -> bytes:
    """Return a request of the Open Inference Protocol: one matrix, as JSON."""
    tensor = {"name": TENSOR, "shape": list(rows.shape), "datatype": "FP64", "data": rows.reshape(-1).tolist()}
    value: dict[str, Any] = {"inputs": [tensor]}
    if outputs:
        value["outputs"] = [{"name": name} for name in outputs]
    return json.dumps(value).encode()


def predict_body(rows: np.ndarray[Any, Any], columns: list[str]) -> bytes:
    """Return a request of ours: JSON rows by column name."""
    return json.dumps({"rows": [dict(zip(columns, row, strict=True)) for row in rows.tolist()]}).encode()


def instances_body(rows: np.ndarray[Any, Any]) -> bytes:
    """Return a request of KServe's first protocol."""
    return json.dumps({"instances": rows.tolist()}).encode()


def grpc_body(rows: np.ndarray[Any, Any], model: str, output: str) -> bytes:
    """Return a framed ModelInferRequest with one raw FP32 matrix.

    Written by hand because each peer brings protobuf classes of its own: model_name 1, inputs 5 (name 1, datatype 2,
    shape 3), outputs 6 (name 1), raw_input_contents 7, as in the protocol's grpc_predict_v2.proto.
    """
    shape = b"".join(_varint(edge) for edge in rows.shape)
    tensor = _field(1, TENSOR.encode()) + _field(2, b"FP32") + _field(3, shape)
    message = _field(1, model.encode()) + _field(5, tensor)
    message += _field(6, _field(1, output.encode())) if output else b""
    message += _field(7, rows.astype("<f4").tobytes())
    return b"\0" + struct.pack(">I", len(message)) + message


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
