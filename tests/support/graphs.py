"""Small ONNX models made by hand, with their signatures: what a server is tested with, without training anything."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fairlead.contract.data import ColumnType
from fairlead.contract.training import Task
from fairlead_runtime.signature import Input, Signature

NUMBERS = ("age", "mean radius")  # a space: converters rename such a column
SIGNATURE = Signature(
    task=Task.CLASSIFICATION,
    inputs=[
        Input(name="age", type=ColumnType.INTEGER, datatype="FP32", nullable=False),
        Input(name="mean radius", type=ColumnType.FLOAT, datatype="FP32", nullable=True),
    ],
    classes=["benign", "malign"],
    class_type=ColumnType.CATEGORY,
    probability_output="probabilities",
)
MIXED = Signature(
    task=Task.CLASSIFICATION,
    inputs=[
        Input(name="delay", type=ColumnType.FLOAT, datatype="FP32", nullable=True),
        Input(name="carrier", type=ColumnType.CATEGORY, datatype="BYTES", nullable=True),
    ],
    classes=["false", "true"],
    class_type=ColumnType.BOOLEAN,
    probability_output="probabilities",
)


def linear() -> bytes:
    """Return a logistic regression: the score is age - 10, whatever the radius; class 1 above 0."""
    inputs = [_float("age", 1), _float("mean_radius", 1)]
    nodes = [
        helper.make_node("Concat", ["age", "mean_radius"], ["all"], axis=1),
        helper.make_node(
            "Imputer",
            ["all"],
            ["known"],
            domain="ai.onnx.ml",
            imputed_value_floats=[0.0],
            replaced_value_float=float("nan"),
        ),
        helper.make_node(
            "LinearClassifier",
            ["known"],
            ["label", "probabilities"],
            domain="ai.onnx.ml",
            coefficients=[-1.0, 0.0, 1.0, 0.0],
            intercepts=[10.0, -10.0],
            classlabels_ints=[0, 1],
            post_transform="LOGISTIC",
        ),
    ]
    outputs = [helper.make_tensor_value_info("label", TensorProto.INT64, [None]), _float("probabilities", 2)]
    return _model(nodes, inputs, outputs, [])


def fragile() -> bytes:
    """Return a model that raises where the carrier is none of AA and UA: its table has no row for another one."""
    inputs = [_float("delay", 1), helper.make_tensor_value_info("carrier", TensorProto.STRING, [None, 1])]
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["carrier"],
            ["code"],
            domain="ai.onnx.ml",
            keys_strings=["AA", "UA"],
            values_int64s=[0, 1],
            default_int64=2,
        ),
        helper.make_node("Gather", ["table", "code"], ["late"]),
        helper.make_node("Sub", ["one", "late"], ["on_time"]),
        helper.make_node("Concat", ["on_time", "late"], ["probabilities"], axis=1),
        helper.make_node("Greater", ["late", "half"], ["is_late"]),
        helper.make_node("Cast", ["is_late"], ["label"], to=TensorProto.INT64),
    ]
    outputs = [helper.make_tensor_value_info("label", TensorProto.INT64, [None, 1]), _float("probabilities", 2)]
    constants = {"table": [0.25, 0.75], "one": [1.0], "half": [0.5]}
    return _model(nodes, inputs, outputs, [(name, np.array(v, np.float32)) for name, v in constants.items()])


def _float(name: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[tuple[str, np.ndarray]],
) -> bytes:
    kept = [numpy_helper.from_array(value, name) for name, value in constants]
    graph = helper.make_graph(nodes, "test", inputs, outputs, kept)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
