"""Rows of a revision as a model takes them: float32 and text columns, and the target as codes or numbers.

The same conversion is what a server does to a request (see `signature.Input`), so training, parity check and serving
see the same bits: numbers are rounded to float32 before anything is learned. Called by `job`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fairlead.contract.data import ColumnType
from fairlead.contract.jobs import TrainInput
from fairlead.contract.training import Task
from fairlead_runtime.errors import BadInput
from fairlead_runtime.revision import SPLITS, RevisionManifest, SplitName, TypedColumn, read_split
from fairlead_runtime.stats.types import Floats
from fairlead_runtime.store import Store

TEXT_TYPES = (ColumnType.CATEGORY, ColumnType.STRING)
MIN_TRAIN_ROWS = 20
MIN_CLASS_ROWS = 2
MAX_CLASSES = 200


@dataclass(frozen=True)
class Part:
    """One split: the table as stored, the feature frame, and the target (codes into the classes, or numbers)."""

    table: pa.Table
    frame: pd.DataFrame
    target: Floats | NDArray[np.int64]


@dataclass(frozen=True)
class TrainingRows:
    """All parts, the features in order, and the classes (empty for a regression)."""

    manifest: RevisionManifest
    features: list[TypedColumn]
    target: TypedColumn
    classes: tuple[str, ...]
    parts: dict[SplitName, Part]
    dropped: dict[str, str]

    @property
    def train(self) -> Part:
        """The rows to learn from."""
        return self.parts["Train"]

    @property
    def judged(self) -> tuple[SplitName, Part]:
        """The rows that metrics and the choice of a trial are from: validation, or train if that is empty."""
        name: SplitName = "Validation" if len(self.parts["Validation"].target) else "Train"
        return name, self.parts[name]


def read_rows(store: Store, job: TrainInput, manifest: RevisionManifest, into: Path) -> TrainingRows:
    """Return the rows of all splits; raise TargetMissing, FeatureMissing, SingleClass, TooFewRows and the like."""
    target = _target(job, manifest)
    tables: dict[SplitName, pa.Table] = {}
    for split in SPLITS:
        table = read_split(store, job.namespace, job.dataset, split, into, manifest)
        tables[split] = table.filter(pc.is_valid(table[target.name]))
    features, dropped = _features(job, manifest)
    classes = _classes(job.task, target, tables["Train"])
    parts = {
        split: Part(table, to_frame(table, features), _encode(table[target.name], classes))
        for split, table in tables.items()
    }
    _check_enough(parts["Train"], classes, target)
    return TrainingRows(manifest, features, target, classes, parts, dropped)


def to_frame(table: pa.Table, features: list[TypedColumn], doubles: Collection[str] = ()) -> pd.DataFrame:
    """Return one column per feature: float32 with NaN for null (float64 for `doubles`), or text with "" for null."""
    columns = {
        f.name: _column(table[f.name], f.type, np.float64 if f.name in doubles else np.float32) for f in features
    }
    # a dtype is named: pandas would make its own text type of objects, which ONNX Runtime does not take
    return pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()})


def _column(values: pa.ChunkedArray, column_type: ColumnType, dtype: type) -> Any:
    if column_type in TEXT_TYPES:
        return pc.fill_null(values.cast(pa.string()), "").to_numpy().astype(object)
    if column_type is ColumnType.TIMESTAMP:
        values = pc.divide(values.cast(pa.int64()).cast(pa.float64(), safe=False), 1e6)
    floats = (
        values.cast(pa.float64(), safe=False) if values.type != pa.bool_() else values.cast(pa.int8()).cast("double")
    )
    return pc.fill_null(floats, float("nan")).to_numpy().astype(dtype)


def _target(job: TrainInput, manifest: RevisionManifest) -> TypedColumn:
    name = manifest.roles.target
    if not name:
        raise BadInput(
            "TargetMissing", f"Dataset {job.dataset.name} names no target; set its spec.target and take a new revision"
        )
    target = TypedColumn(name=name, type=manifest.type_of(name))
    if job.task is Task.REGRESSION and target.type not in (ColumnType.INTEGER, ColumnType.FLOAT):
        raise BadInput("TargetNotNumeric", f"task Regression needs a number to predict; {name} is {target.type}")
    return target


def _features(job: TrainInput, manifest: RevisionManifest) -> tuple[list[TypedColumn], dict[str, str]]:
    """Return the features in the manifest's order, and why other columns are none."""
    asked = job.trainer.sklearn.features if job.trainer.sklearn else None
    known = {column.name: column for column in manifest.columns}
    defaults = manifest.roles.default_features(manifest.columns)
    if asked:
        missing = [name for name in asked if name not in known]
        if missing or manifest.roles.target in asked:
            wrong = missing or [manifest.roles.target or ""]
            raise BadInput(
                "FeatureMissing",
                f"trainer.sklearn.features: {', '.join(wrong)} cannot be one; columns: {', '.join(known)}",
            )
        chosen = [column for column in manifest.columns if column.name in asked]
    else:
        chosen = defaults
    if not chosen:
        raise BadInput("NoFeatures", "no column is left to learn from; name some in trainer.sklearn.features")
    names = {column.name for column in chosen}
    return chosen, {
        column.name: _why_not(column, bool(asked)) for column in manifest.columns if column.name not in names
    }


def _why_not(column: TypedColumn, asked: bool) -> str:
    if not asked and column.type is ColumnType.TIMESTAMP:
        return "a time; derive numbers such as hour or weekday upstream to learn from it"
    if not asked and column.type is ColumnType.STRING:
        return "free text with too many values; name it in features to learn from its commonest ones"
    return "not in features" if asked else "target, timestamp, identifier or sensitive"


def _classes(task: Task, target: TypedColumn, train: pa.Table) -> tuple[str, ...]:
    if task is Task.REGRESSION:
        return ()
    found = pc.unique(train[target.name])
    found = pc.take(found, pc.sort_indices(found))
    if len(found) == 1:
        raise BadInput(
            "SingleClass",
            f"all {train.num_rows} training rows have the same {target.name}; a classifier needs two classes at least",
        )
    if len(found) > MAX_CLASSES:
        raise BadInput(
            "TooManyClasses",
            f"{target.name} has {len(found)} different values, at most {MAX_CLASSES} can be classes; a Regression?",
        )
    return tuple(found.cast(pa.string()).to_pylist())


def encode_labels(values: pa.ChunkedArray, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return codes (rows,) into the classes; -1 for a null or a class that training has not seen."""
    found = pc.index_in(values.cast(pa.string()), value_set=pa.array(classes, pa.string()))
    return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)


def _encode(values: pa.ChunkedArray, classes: tuple[str, ...]) -> Floats | NDArray[np.int64]:
    if classes:
        return encode_labels(values, classes)
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _check_enough(train: Part, classes: tuple[str, ...], target: TypedColumn) -> None:
    if len(train.target) < MIN_TRAIN_ROWS:
        raise BadInput(
            "TooFewRows",
            f"{len(train.target)} training rows with a {target.name}; at least {MIN_TRAIN_ROWS} are needed",
        )
    counts = np.bincount(train.target.astype(np.int64), minlength=len(classes)) if classes else np.array([])
    if classes and counts.min() < MIN_CLASS_ROWS:
        raise BadInput(
            "TooFewRows",
            f"a class of {target.name} has {counts.min()} training row; each needs {MIN_CLASS_ROWS} at least",
        )
