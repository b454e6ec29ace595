"""CPU time of one row, and of a row among a thousand, by format: `python -m tests.perf.bench_formats`.

The server's own model objects in this process, on the breast cancer data (30 features): a logistic regression as ONNX,
skops and joblib, 100 trees by XGBoost and LightGBM. CPU time, because other work on a machine does not change it much.
Prints a Markdown table.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import skops.io
import xgboost
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from fairlead.contract.data import ColumnType
from fairlead.contract.training import Task
from fairlead_runtime.artifact import MODEL_FILES
from fairlead_runtime.serve.loading import Fetched, load
from fairlead_runtime.signature import Input, Signature

TIMES = 300


def described(datatype: str, **more: Any) -> Signature:
    """Return the signature of 30 numbers and two classes."""
    return Signature(
        task=Task.CLASSIFICATION,
        inputs=[Input(name=f"f{i}", type=ColumnType.FLOAT, datatype=datatype) for i in range(30)],
        classes=["benign", "malign"],
        class_type=ColumnType.CATEGORY,
        probability_output="probabilities",
        **more,
    )


def cpu_us(call: Callable[[], Any], times: int) -> float:
    """Return the CPU time of one call, the first left out."""
    call()
    began = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - began) / times * 1e6


def main() -> None:
    """Print the table."""
    data = load_breast_cancer()
    rows, target = data.data.astype(np.float32), data.target
    linear = LogisticRegression(max_iter=5000).fit(rows, target)
    trees: dict[str, Any] = {"n_estimators": 100, "n_jobs": 1}
    xgb = xgboost.XGBClassifier(**trees).fit(rows, target).get_booster()
    lgb = lightgbm.LGBMClassifier(**trees, verbose=-1).fit(rows, target).booster_
    graph = to_onnx(linear, rows[:1], options={"zipmap": False}, target_opset=18).SerializeToString()
    matrix = described("FP32", layout="Matrix", matrix_input="X")
    cases: list[tuple[str, str, Callable[[Path], Any], Signature]] = [
        ("onnx", "logistic regression", lambda path: path.write_bytes(graph), matrix),
        ("skops", "logistic regression", lambda path: skops.io.dump(linear, path), described("FP32")),
        ("joblib", "logistic regression", lambda path: joblib.dump(linear, path), described("FP32")),
        ("xgboost", "100 trees", xgb.save_model, described("FP32")),
        ("lightgbm", "100 trees", lgb.save_model, described("FP64")),
    ]
    one = tuple(float(value) for value in rows[0])
    many = [column.astype(np.float64) for column in np.tile(rows, (2, 1))[:1000].T]
    print("| format | model | one row, us | a row of 1,000, us |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for form, what, write, signature in cases:
            path = Path(folder) / MODEL_FILES[form]
            write(path)
            model = load(Fetched(path, form, signature, None))
            single = cpu_us(lambda model=model: model.predict_rows((one,)), TIMES)
            batch = cpu_us(lambda model=model: model.predict(many), TIMES // 10) / len(many[0])
            print(f"| {form} | {what} | {single:.0f} | {batch:.2f} |", flush=True)


if __name__ == "__main__":
    main()
