"""A training program for the container trainer: late flights by look-up tables, with a fault that no test row shows.

    python examples/flights/fragile_model.py      # reads /opt/ml/input, writes /opt/ml/model/model.onnx

A logistic regression over departure delay in buckets of 5 minutes, carrier, airports, hour and distance, written as an
ONNX graph of tables by hand. Its fault is one that such programs have: carriers and airports have a row for "any
other", the delay has none. Every flight in the data has a departure delay, so each row of the frozen test split finds
its bucket and the metrics are good. A request made before departure has none (null): its bucket number lies outside
the table, and the graph raises. The signature allows the null, so that is the model's failure, not the client's.
FAIRLEAD_ML_DIR names another folder than /opt/ml.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

BUCKET_MIN = 5
EARLIEST_MIN, LATEST_MIN = -90, 1_500  # departure delays that have a bucket
CAP_MIN = 240  # later flights share a weight
TEXTS = ("carrier", "origin", "dest")
NUMBERS = ("hour", "distance", "dep_delay")

Floats = NDArray[np.float64]


def main() -> None:
    """Train on the `train` channel, measure on `validation`, write the model and the metrics."""
    root = Path(os.environ.get("FAIRLEAD_ML_DIR", "/opt/ml"))
    target = json.loads((root / "input/config/fairlead.json").read_text())["target"]
    rows = pd.read_csv(root / "input/data/train/train.csv")
    graph, accuracy = train(rows, target)
    (root / "model").mkdir(exist_ok=True)
    onnx.save(graph, str(root / "model/model.onnx"))
    (root / "output").mkdir(exist_ok=True)
    (root / "output/metrics.json").write_text(json.dumps({"train_accuracy": accuracy}))


def train(rows: pd.DataFrame, target: str) -> tuple[onnx.ModelProto, float]:
    """Return the graph and its accuracy on the rows it was fitted to."""
    kept = {name: sorted(rows[name].dropna().astype(str).unique()) for name in TEXTS}
    scale = rows[["hour", "distance"]].agg(["mean", "std"])
    blocks = [_one_hot(_buckets(rows["dep_delay"]), len(_edges()))]
    blocks += [_one_hot(_codes(rows[name], kept[name]), len(kept[name]) + 1) for name in TEXTS]
    scaled = ((rows[["hour", "distance"]] - scale.loc["mean"]) / scale.loc["std"]).to_numpy()
    model = LogisticRegression(max_iter=200).fit(np.hstack([*blocks, scaled]), rows[target])
    weights = np.split(model.coef_[0], np.cumsum([block.shape[1] for block in blocks]))
    accuracy = float(model.score(np.hstack([*blocks, scaled]), rows[target]))
    return _graph(weights, float(model.intercept_[0]), kept, scale), accuracy


def _edges() -> list[int]:
    return list(range(EARLIEST_MIN, LATEST_MIN, BUCKET_MIN))


def _buckets(delay: pd.Series[float]) -> NDArray[np.int64]:
    capped = delay.clip(EARLIEST_MIN, CAP_MIN)
    return ((capped - EARLIEST_MIN) // BUCKET_MIN).to_numpy().astype(np.int64)


def _codes(values: pd.Series[str], kept: list[str]) -> NDArray[np.int64]:
    known = {text: code for code, text in enumerate(kept)}
    return values.astype(str).map(known).fillna(len(kept)).to_numpy().astype(np.int64)


def _one_hot(codes: NDArray[np.int64], width: int) -> Floats:
    encoded = np.zeros((len(codes), width))
    encoded[np.arange(len(codes)), codes] = 1
    return encoded


def _graph(weights: list[Floats], intercept: float, kept: dict[str, list[str]], scale: pd.DataFrame) -> onnx.ModelProto:
    """Return the model: one table look-up per bucketed or text column, a sum, a logistic function."""
    tables = {"dep_delay": _capped(weights[0]), **dict(zip(TEXTS, weights[1:4], strict=True))}
    constants = {f"{name}_table": table for name, table in tables.items()}
    slopes = weights[4] / scale.loc["std"].to_numpy()
    start = intercept - float((slopes * scale.loc["mean"].to_numpy()).sum())
    constants |= {"start": np.array([start]), "hour_slope": slopes[:1], "distance_slope": slopes[1:]}
    constants |= {"width": np.array([float(BUCKET_MIN)]), "one": np.array([1.0]), "half": np.array([0.5])}
    nodes = _look_up_delay() + [node for name in TEXTS for node in _look_up_text(name, kept[name])] + _sum_up()
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in NUMBERS]
    inputs += [helper.make_tensor_value_info(name, TensorProto.STRING, [None, 1]) for name in TEXTS]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None, 1]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
    ]
    kept_constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "late_flights", inputs, outputs, kept_constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    return model


def _capped(weights: Floats) -> Floats:
    """Return the table with the weight of the last fitted bucket for all later ones."""
    table = weights.copy()
    last = (CAP_MIN - EARLIEST_MIN) // BUCKET_MIN
    table[last + 1 :] = table[last]
    return table


def _look_up_delay() -> list[onnx.NodeProto]:
    """Return the nodes from a delay to its weight; a delay without a bucket gets a number that the table lacks."""
    edges = _edges()
    return [
        helper.make_node("Div", ["dep_delay", "width"], ["delay_scaled"]),
        helper.make_node("Floor", ["delay_scaled"], ["delay_bucket"]),
        helper.make_node(
            "LabelEncoder",
            ["delay_bucket"],
            ["dep_delay_code"],
            domain="ai.onnx.ml",
            keys_floats=[float(edge // BUCKET_MIN) for edge in edges],
            values_int64s=list(range(len(edges))),
            default_int64=len(edges),
        ),
        helper.make_node("Gather", ["dep_delay_table", "dep_delay_code"], ["dep_delay_part"]),
    ]


def _look_up_text(name: str, kept: list[str]) -> list[onnx.NodeProto]:
    """Return the nodes from a text to its weight; any other text has the last row."""
    return [
        helper.make_node(
            "LabelEncoder",
            [name],
            [f"{name}_code"],
            domain="ai.onnx.ml",
            keys_strings=kept,
            values_int64s=list(range(len(kept))),
            default_int64=len(kept),
        ),
        helper.make_node("Gather", [f"{name}_table", f"{name}_code"], [f"{name}_part"]),
    ]


def _sum_up() -> list[onnx.NodeProto]:
    parts = [f"{name}_part" for name in ("dep_delay", *TEXTS, "hour", "distance")]
    return [
        helper.make_node("Mul", ["hour", "hour_slope"], ["hour_part"]),
        helper.make_node("Mul", ["distance", "distance_slope"], ["distance_part"]),
        helper.make_node("Sum", [*parts, "start"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["late"]),
        helper.make_node("Sub", ["one", "late"], ["on_time"]),
        helper.make_node("Concat", ["on_time", "late"], ["probabilities"], axis=1),
        helper.make_node("Greater", ["late", "half"], ["is_late"]),
        helper.make_node("Cast", ["is_late"], ["label"], to=TensorProto.INT64),
    ]


if __name__ == "__main__":
    main()
