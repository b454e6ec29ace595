"""A fitted pipeline as the file that is served: ONNX where it answers alike on the whole test split, else joblib.

Alike: every label equal and every probability within 1e-5 (a regression's values within 1e-5 of their scale). The
bytes depend on the fit alone: no time, no random name. Called by `job`.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import onnxruntime
import pandas as pd
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.pipeline import Pipeline

from fairlead.contract.training import Task
from fairlead_runtime.artifact import MODEL_FILES
from fairlead_runtime.signature import FLOAT, TEXT, Input, Signature
from fairlead_runtime.stats.types import Floats

from .pipeline import kept_categories
from .rows import Part, TrainingRows

TOLERANCE = 1e-5
OPSET = 18  # fixed, so that a newer converter does not change the bytes of the same model
LABEL, PROBABILITY, VALUE = "label", "probabilities", "variable"


@dataclass(frozen=True)
class Exported:
    """The model file's format and bytes, the signature, and what the parity check found."""

    form: str
    data: bytes
    signature: Signature
    parity: str

    @property
    def file_name(self) -> str:
        """The model file's name in the artifact."""
        return MODEL_FILES[self.form]


def export_model(pipeline: Pipeline, rows: TrainingRows, task: Task) -> Exported:
    """Return the model as ONNX, or as joblib with the reason in `parity`."""
    name: str = "test" if len(rows.parts["Test"].target) else "training"
    part = rows.parts["Test"] if name == "test" else rows.train
    try:
        data = _to_onnx(pipeline, rows, task)
    except Exception as error:
        return _as_joblib(pipeline, rows, task, f"no ONNX: the converter gave up ({type(error).__name__})")
    difference = _difference(pipeline, data, rows, part)
    if difference:
        return _as_joblib(pipeline, rows, task, f"no ONNX: {difference} on the {name} split")
    signature = _signature(pipeline, rows, task)
    what = "labels equal, probabilities" if rows.classes else "values"
    parity = f"ONNX: {what} within {TOLERANCE:g}, all {len(part.target)} rows of the {name} split"
    return Exported(
        "onnx", data, signature, parity if rows.classes else parity.replace("labels equal, probabilities", "values")
    )


def _as_joblib(pipeline: Pipeline, rows: TrainingRows, task: Task, why: str) -> Exported:
    buffer = io.BytesIO()
    joblib.dump(pipeline, buffer, compress=3)
    return Exported("joblib", buffer.getvalue(), _signature(pipeline, rows, task), why)


def _to_onnx(pipeline: Pipeline, rows: TrainingRows, task: Task) -> bytes:
    texts = kept_categories(rows)
    inputs = [
        (feature.name, (StringTensorType if feature.name in texts else FloatTensorType)([None, 1]))
        for feature in rows.features
    ]
    options = {id(pipeline): {"zipmap": False}} if task is Task.CLASSIFICATION else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = convert_sklearn(pipeline, "fairlead", inputs, target_opset=OPSET, options=options)
    return bytes(model.SerializeToString(deterministic=True))


def onnx_inputs(frame: pd.DataFrame) -> dict[str, Any]:
    """Return one [rows, 1] tensor per column."""
    return {str(name): frame[name].to_numpy().reshape(-1, 1) for name in frame.columns}


def _difference(pipeline: Pipeline, data: bytes, rows: TrainingRows, part: Part) -> str:
    """Return what differs between the pipeline and its conversion; empty if nothing does."""
    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        first, *rest = session.run(None, onnx_inputs(part.frame))
    except Exception as error:
        return f"the runtime refused it ({type(error).__name__})"
    expected = pipeline.predict(part.frame)
    if not rows.classes:
        return _values_differ(np.asarray(expected, dtype=np.float64), np.ravel(first))
    wrong = int(np.sum(np.ravel(first) != expected))
    if wrong:
        return f"{wrong} of {len(expected)} labels differ"
    if not hasattr(pipeline, "predict_proba"):
        return ""
    worst = float(np.max(np.abs(rest[0] - pipeline.predict_proba(part.frame)), initial=0.0))
    return f"probabilities differ by {worst:.2g}" if not worst <= TOLERANCE else ""


def _values_differ(expected: Floats, found: Any) -> str:
    scale = max(1.0, float(np.std(expected)), float(np.max(np.abs(expected), initial=0.0)))
    worst = float(np.max(np.abs(found - expected), initial=0.0)) / scale
    return f"values differ by {worst:.2g} of their scale" if not worst <= TOLERANCE else ""


def _signature(pipeline: Pipeline, rows: TrainingRows, task: Task) -> Signature:
    texts = kept_categories(rows)
    inputs = [
        Input(
            name=feature.name,
            type=feature.type,
            datatype=TEXT if feature.name in texts else FLOAT,
            categories=texts.get(feature.name),
        )
        for feature in rows.features
    ]
    return Signature(
        task=task,
        inputs=inputs,
        target=rows.target.name,
        classes=list(rows.classes),
        class_type=rows.target.type if rows.classes else None,
        label_output=LABEL if rows.classes else VALUE,
        probability_output=PROBABILITY if rows.classes and hasattr(pipeline, "predict_proba") else "",
    )
