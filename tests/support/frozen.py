"""Frozen revisions and artifacts in a local store, as the snapshot and train Jobs leave them."""

from __future__ import annotations

import io
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression, LogisticRegression

from fairlead.contract import keys
from fairlead.contract.base import canonical_json, digest_of
from fairlead.contract.data import ColumnType, DatasetRevision, Format, Split
from fairlead.contract.jobs import ArtifactRef
from fairlead.contract.training import Task
from fairlead_runtime.artifact import describe_artifact, write_artifact
from fairlead_runtime.digest import file_entry
from fairlead_runtime.profile import ModelProfile, build_profile
from fairlead_runtime.revision import Part, RevisionManifest, Roles, TypedColumn
from fairlead_runtime.signature import Input, Signature
from fairlead_runtime.store import Store

NAMESPACE = "fraud"
_TYPES = {"int64": ColumnType.INTEGER, "double": ColumnType.FLOAT, "string": ColumnType.CATEGORY}


def transactions(rows: int, seed: int = 1, shift: float = 0.0) -> pa.Table:
    """Return amount, age and channel with a target that the first two explain."""
    random = np.random.default_rng(seed)
    amount, age = random.normal(shift, 1, rows), random.normal(size=rows)
    chance = 1 / (1 + np.exp(-(2.0 * amount + 1.0 * age - 0.3)))
    fraud = random.uniform(size=rows) < chance
    return pa.table({
        "amount": amount,
        "age": age,
        "channel": random.choice(["web", "app", "pos"], rows, p=[0.6, 0.3, 0.1]).tolist(),
        "loss": 3 * amount - age + random.normal(size=rows),
        "is_fraud": np.where(fraud, "yes", "no").tolist(),
    })  # fmt: skip


def freeze(store: Store, table: pa.Table, target: str = "is_fraud") -> DatasetRevision:
    """Write the table as the Test part of a revision."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    entry = file_entry("data/part-test-0.parquet", buffer.getvalue())
    revision = digest_of([entry.sha256])
    manifest = RevisionManifest(
        revision=revision,
        preparation_version=1,
        format=Format.PARQUET,
        source=[],
        rows=table.num_rows,
        columns=[TypedColumn(name=field.name, type=_TYPES[str(field.type)]) for field in table.schema],
        roles=Roles(target=target),
        split=Split(),
        parts=[Part(split="Test", rows=table.num_rows, file=entry)],
    )
    folder = keys.dataset_revision(NAMESPACE, "transactions", revision)
    store.put_bytes(folder + entry.path, buffer.getvalue())
    store.put_bytes(folder + keys.MANIFEST, canonical_json(manifest.to_json_object()))
    return DatasetRevision(name="transactions", revision=revision)


def publish(
    store: Store, version: str, form: str = "onnx", task: Task = Task.CLASSIFICATION, noise: float = 0.0
) -> ArtifactRef:
    """Train on 4,000 rows, write the artifact and return its reference; noise in the better feature spoils it."""
    table = transactions(4000, seed=2)
    random = np.random.default_rng(3)
    features = np.column_stack([table["amount"], table["age"]]).astype(np.float32)
    inputs = features.copy()
    inputs[:, 0] += noise * random.normal(size=len(features))
    classify = task == Task.CLASSIFICATION
    target = table["is_fraud"].to_numpy(zero_copy_only=False) == "yes" if classify else table["loss"].to_numpy()
    model = (LogisticRegression() if classify else LinearRegression()).fit(inputs, target)
    data = _bytes(model, features, form, classify)
    name = f"model.{form}"
    signature = canonical_json(_signature(task).to_json_object())
    profile = _profile(table, model, features, classify).to_json()
    lineage = canonical_json({"trainingRun": version, "seed": 3, "parameters": {"noise": noise}})
    serving: dict[str, Any] = {name: data, keys.SIGNATURE: signature}
    beside: dict[str, Any] = {keys.PROFILE: profile, keys.LINEAGE: lineage}
    manifest = describe_artifact(form, serving, beside)
    write_artifact(store, keys.model(NAMESPACE, "fraud", manifest.digest), manifest, {**serving, **beside})
    return ArtifactRef(namespace=NAMESPACE, model="fraud", version=version, digest=manifest.digest)


def _bytes(model: Any, features: Any, form: str, classify: bool) -> bytes:
    if form == "joblib":
        buffer = io.BytesIO()
        joblib.dump(model, buffer)
        return buffer.getvalue()
    options = {id(model): {"zipmap": False}} if classify else None
    return bytes(to_onnx(model, features[:1], options=options).SerializeToString(deterministic=True))


def _signature(task: Task) -> Signature:
    inputs = [Input(name=name, type=ColumnType.FLOAT, datatype="FP32") for name in ("amount", "age")]
    if task == Task.REGRESSION:
        return Signature(
            task=task, inputs=inputs, layout="Matrix", matrix_input="X", target="loss", label_output="variable"
        )
    return Signature(
        task=task,
        inputs=inputs,
        layout="Matrix",
        matrix_input="X",
        target="is_fraud",
        classes=["no", "yes"],
        class_type=ColumnType.CATEGORY,
        label_output="label",
        probability_output="probabilities",
    )


def _profile(table: pa.Table, model: Any, features: Any, classify: bool) -> ModelProfile:
    said = model.predict(features)
    answers: dict[str, Any] = {"prediction": np.where(said, "yes", "no").tolist() if classify else said}
    if classify:
        answers["score"] = model.predict_proba(features)[:, 1]
    return ModelProfile(
        features=build_profile(table.select(["amount", "age"])),
        predictions=build_profile(answers),
        target=build_profile(table.select(["is_fraud" if classify else "loss"])),
        importances={"amount": 0.8, "age": 0.2},
    )
