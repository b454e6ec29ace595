"""What a version answers on the rows of a frozen split, through the same model objects that the server uses.

The bytes are checked against their digest before anything is loaded, and no pickle is loaded without trust
(`serve.loading`). Never changes a row: numbers and text reach the model as training prepared them. Called by
`evaluate.job`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fairlead.contract.jobs import ArtifactRef
from fairlead.contract.training import Task
from fairlead_runtime.errors import BadInput
from fairlead_runtime.revision import TypedColumn
from fairlead_runtime.serve.loading import Fetched, fetch, load
from fairlead_runtime.serve.models import Model, ModelError
from fairlead_runtime.signature import DOUBLE, Signature, label_text
from fairlead_runtime.stats.metrics import Classified, Outcomes, Regressed
from fairlead_runtime.stats.types import Floats, Ints
from fairlead_runtime.store import Store
from fairlead_runtime.train.rows import to_frame

BATCH_ROWS = 8192


@dataclass(frozen=True)
class Version:
    """A loaded version: its files, what it takes and gives, and the model."""

    name: str
    fetched: Fetched
    model: Model
    folder: Path

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self.fetched.signature

    @property
    def size_bytes(self) -> int:
        """All its files together."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


@dataclass(frozen=True)
class Answers:
    """What a model said per row: codes into its classes or numbers, and probabilities if it has them."""

    said: Ints | Floats
    probability: Floats | None


def load_version(store: Store, reference: ArtifactRef, folder: Path) -> Version:
    """Return a version whose bytes are the ones asked for; raise BadInput with both digests otherwise."""
    fetched = fetch(store, reference, folder)
    return Version(reference.version, fetched, load(fetched), folder)


def feature_frame(version: Version, table: pa.Table) -> pd.DataFrame:
    """Return the model's inputs as training saw them; raise InputMissing naming what the data lacks."""
    missing = [column.name for column in version.signature.inputs if column.name not in table.column_names]
    if missing:
        names = ", ".join(missing[:10])
        message = f"{version.name} needs columns that the dataset revision lacks: {names}; evaluate it on another one"
        raise BadInput("InputMissing", message)
    inputs = version.signature.inputs
    doubles = {column.name for column in inputs if column.datatype == DOUBLE}
    return to_frame(table, [TypedColumn(name=column.name, type=column.type) for column in inputs], doubles)


def answer(version: Version, frame: pd.DataFrame) -> Answers:
    """Return the answers to all rows, in batches that bound memory."""
    said: list[Any] = []
    probabilities = []
    for start in range(0, len(frame), BATCH_ROWS):
        part = frame.iloc[start : start + BATCH_ROWS]
        try:
            outcome = version.model.predict([part[name].to_numpy() for name in part.columns])
        except ModelError as error:
            raise BadInput("PredictionFailed", f"{version.name} failed on the frozen rows: {error}") from None
        said += _of_target(version.signature, outcome.predictions)
        if outcome.probabilities is not None:
            probabilities.append(np.asarray(outcome.probabilities, dtype=np.float64))
    if version.signature.task == Task.REGRESSION:
        return Answers(np.array(said, dtype=np.float64), None)
    text, codes = label_text(version.signature), _codes(version.signature.classes)
    labels = np.array([codes.get(text(label), -1) for label in said], dtype=np.int64)
    if np.any(labels < 0):
        raise BadInput("SignatureMismatch", f"{version.name} answers a class that its signature.json does not list")
    return Answers(labels, np.concatenate(probabilities) if probabilities else None)


def _of_target(signature: Signature, predictions: list[Any]) -> list[Any]:
    """Return what was said of the dataset's target: gates and slices look at one, also where a model gives several."""
    if not signature.targets:
        return predictions
    if signature.target not in signature.targets:
        raise BadInput("SignatureMismatch", f"signature.json: target {signature.target!r} is none of its targets")
    place = signature.targets.index(signature.target)
    return [several[place] for several in predictions]


def row_caller(version: Version, frame: pd.DataFrame, rows: int = 500) -> Callable[[int], object]:
    """Return what answers one row, given its number, the way the server does."""
    first = frame.head(rows)
    prepared = [tuple(_value(value) for value in row) for row in first.itertuples(index=False, name=None)]
    return lambda i: version.model.predict_row(prepared[i % len(prepared)])


def truth_of(signature: Signature, values: pa.ChunkedArray) -> Ints | Floats:
    """Return codes into the classes (-1: a class that training has not seen), or numbers."""
    if signature.task == Task.REGRESSION:
        return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    text, codes = label_text(signature), _codes(signature.classes)
    return np.array([codes.get(text(v), -1) for v in values.cast(pa.string()).to_pylist()], dtype=np.int64)


def outcomes_of(signature: Signature, truth: Ints | Floats, answers: Answers) -> Outcomes:
    """Return truth beside answers."""
    if signature.task == Task.REGRESSION:
        return Regressed(truth.astype(np.float64), answers.said.astype(np.float64))
    classes = tuple(signature.classes)
    return Classified(truth.astype(np.int64), answers.said.astype(np.int64), classes, answers.probability)


def alike(own: Outcomes, champion: Answers, classes: Sequence[str]) -> Outcomes:
    """Return the champion's outcomes on the same rows, in the challenger's classes.

    A class that only the champion knows is a wrong answer here, as no row of it is left.
    """
    if isinstance(own, Regressed):
        return Regressed(own.truth, champion.said.astype(np.float64))
    codes = _codes(own.classes)
    place = np.array([codes.get(name, -1) for name in classes] or [-1], dtype=np.int64)
    probability = None
    if champion.probability is not None:
        probability = np.zeros((len(own), len(own.classes)))
        for column, target in enumerate(place):
            if target >= 0:
                probability[:, target] = champion.probability[:, column]
    return Classified(own.truth, place[champion.said.astype(np.int64)], own.classes, probability)


def _codes(classes: Sequence[str]) -> dict[str, int]:
    return {name: code for code, name in enumerate(classes)}


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return value
    number = float(value)
    return None if math.isnan(number) else number
