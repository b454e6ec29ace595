"""Signature and profile of a model that someone else's program made. Called by `container`.

The signature is the program's own `signature.json`, else it is read off the ONNX graph and the dataset. A pickle is
never loaded here: its profile has no predictions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from fairlead.contract import keys
from fairlead.contract.data import ColumnType
from fairlead.contract.jobs import TrainInput
from fairlead.contract.training import Task
from fairlead_runtime.errors import BadInput
from fairlead_runtime.profile import PREDICTION, SCORE, ModelProfile, Profile, build_profile
from fairlead_runtime.revision import RevisionManifest, TypedColumn
from fairlead_runtime.signature import DOUBLE, FLOAT, TEXT, Input, Signature

from .rows import TEXT_TYPES, to_frame

PROFILE_ROWS = 20_000
BOOSTERS = ("xgboost", "lightgbm")


def derive_signature(
    job: TrainInput, manifest: RevisionManifest, train: pa.Table, model: tuple[str, bytes], folder: Path
) -> Signature:
    """Return the signature; raise InvalidSignature, SignatureMissing, ModelUnreadable or TargetMissing."""
    form, data = model
    own = folder / keys.SIGNATURE
    if own.is_file():
        try:
            return Signature.model_validate_json(own.read_bytes())
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadInput("InvalidSignature", f"model/signature.json: {where}: {first['msg']}") from None
    target = manifest.roles.target
    if not target:
        raise BadInput("TargetMissing", f"Dataset {job.dataset.name} names no target; set its spec.target")
    classes = _classes(job.task, train[target])
    base = Signature(
        task=job.task,
        inputs=[_input(column) for column in manifest.roles.default_features(manifest.columns)],
        target=target,
        classes=classes,
        class_type=manifest.type_of(target) if classes else None,
        labels="Value",
    )
    return _of_graph(base, open_session(data)) if form == "onnx" else _of_library(base, form)


def _of_library(base: Signature, form: str) -> Signature:
    """Return the signature as pandas and a booster have it: 64 bits, NaN for text that is null, scores of classes."""
    changes = {DOUBLE: {"datatype": DOUBLE}, TEXT: {"missing": "NaN"}}
    inputs = [one.model_copy(update=changes[TEXT if not one.numeric else DOUBLE]) for one in base.inputs]
    booster = {"labels": "Index", "probability_output": "probabilities"} if base.classes and form in BOOSTERS else {}
    return base.model_copy(update={"inputs": inputs, **booster})


def open_session(onnx: bytes) -> Any:
    """Return an ONNX Runtime session; raise ModelUnreadable."""
    try:
        return onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BadInput("ModelUnreadable", f"ONNX Runtime refuses the model ({type(error).__name__})") from None


def _classes(task: Task, target: pa.ChunkedArray) -> list[str]:
    if task is Task.REGRESSION:
        return []
    found = pc.unique(target.drop_null())
    return [str(text) for text in pc.take(found, pc.sort_indices(found)).cast(pa.string()).to_pylist()]


def _input(column: TypedColumn) -> Input:
    return Input(name=column.name, type=column.type, datatype=TEXT if column.type in TEXT_TYPES else FLOAT)


def _of_graph(base: Signature, session: Any) -> Signature:
    """Return the signature with the graph's layout and output names."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    known = {field.name: field for field in base.inputs}
    changes: dict[str, Any] = {"label_output": outputs[0].name}
    if all(node.name in known for node in inputs):
        changes["inputs"] = [known[node.name] for node in inputs]
    elif len(inputs) == 1 and inputs[0].shape[-1] == len([f for f in base.inputs if f.datatype == FLOAT]):
        numbers = [field for field in base.inputs if field.datatype == FLOAT]
        changes |= {"inputs": numbers, "layout": "Matrix", "matrix_input": inputs[0].name}
    else:
        raise BadInput(
            "SignatureMissing",
            f"the graph's inputs ({', '.join(node.name for node in inputs[:10])}) are not the dataset's features; "
            "name them alike, or write model/signature.json",
        )
    if base.classes and len(outputs) > 1:
        changes["probability_output"] = outputs[1].name
    if base.classes and "int64" in outputs[0].type and base.class_type is not ColumnType.INTEGER:
        changes["labels"] = "Index"
    return base.model_copy(update=changes)


def profile_foreign(signature: Signature, onnx: bytes | None, train: pa.Table, validation: pa.Table) -> ModelProfile:
    """Return the profile of features and target, and of an ONNX model's answers on the validation part."""
    names = [field.name for field in signature.inputs if field.name in train.column_names]
    target = train.select([signature.target] if signature.target in train.column_names else [])
    if signature.classes:
        target = pa.table({name: target[name].cast(pa.string()) for name in target.column_names})
    judged = ("Validation", validation) if validation.num_rows else ("Train", train)
    answered = onnx is not None and len(names) == len(signature.inputs)
    predictions = _answers(signature, onnx or b"", judged[1].slice(0, PROFILE_ROWS)) if answered else None
    return ModelProfile(
        features=build_profile(train.select(names)),
        predictions=predictions or Profile(rows=0, columns={}),
        predictions_of=judged[0],
        target=build_profile(target),
    )


def _answers(signature: Signature, onnx: bytes, table: pa.Table) -> Profile:
    columns = [TypedColumn(name=field.name, type=field.type) for field in signature.inputs]
    frame = to_frame(table, columns)
    if signature.layout == "Matrix":
        feeds = {signature.matrix_input: frame.to_numpy(dtype=np.float32)}
    else:
        feeds = {name: frame[name].to_numpy().reshape(-1, 1) for name in frame.columns}
    wanted = [name for name in (signature.label_output, signature.probability_output) if name]
    try:
        label, *probability = open_session(onnx).run(wanted, feeds)
    except BadInput:
        raise
    except Exception as error:
        raise BadInput("ModelUnreadable", f"the model fails on the validation rows ({type(error).__name__})") from None
    return build_profile(_answer_columns(signature, np.ravel(label), probability))


def _answer_columns(signature: Signature, label: Any, probability: list[Any]) -> dict[str, Any]:
    if not signature.classes:
        return {PREDICTION: np.asarray(label, dtype=np.float64)}
    if signature.labels == "Index":
        label = np.array(signature.classes, dtype=object)[label]
    columns: dict[str, Any] = {PREDICTION: pa.array([str(one) for one in label], pa.string())}
    if probability and isinstance(probability[0], np.ndarray):
        binary = len(signature.classes) == 2
        columns[SCORE] = np.asarray(probability[0][:, 1] if binary else probability[0].max(axis=1), dtype=np.float64)
    return columns
