"""JSON bodies as rows of a model's columns: the forms that servers of models speak, read where they fit the signature.

| request | whose form |
|---|---|
| `{"inputs": [{"name", "shape", "data"}]}` | Open Inference Protocol v2, JSON tensors |
| `{"instances": [...]}` | TensorFlow Serving, KServe v1, Vertex AI |
| `{"dataframe_split": {"columns", "data"}}`, `{"dataframe_records": [...]}` | MLflow |
| `{"rows": [...]}`, a list of rows, one row | plain rows |

A row is an object by column names, or a list in the signature's order. It never guesses: what does not fit is None, and
the caller keeps size and hash alone. Pure; called by `capture` off the hot path.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import orjson

from fairlead.contract.training import Task
from fairlead_runtime.serve.columns import Columns, RequestError, Row
from fairlead_runtime.signature import Signature

MAX_ROWS = 10_000  # of one request; a larger one is kept as size and hash
Answer = tuple[Any, float | None]  # a label, or a regression's number; and the score, where one is told

_ONE = ("prediction", "label", "class", "predicted_class", "output", "result")  # how servers name a single answer
_SCORES = ("probabilities", "probability", "scores", "score", "predict_proba")


def read_json(body: bytes) -> Any:
    """Return the value, or None for anything that is no JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


class BodyReader:
    """Reads bodies by one signature."""

    def __init__(self, signature: Signature) -> None:
        self._columns = Columns(signature)
        self._names = self._columns.names
        self._classes = frozenset(text.lower() for text in signature.classes)
        self._order = signature.classes
        self._regression = signature.task == Task.REGRESSION
        self._indexed = signature.labels == "Index"
        self._label_output, self._probability_output = signature.label_output, signature.probability_output

    def rows(self, value: Any) -> list[Row] | None:
        """Return the rows of a request, each checked against the signature; None where it is none of the forms."""
        found = self._found(value)
        if found is None or not 0 < len(found) <= MAX_ROWS:
            return None
        try:
            return [self._columns.row(self._by_name(row)) for row in found]
        except (RequestError, TypeError):
            return None

    def _found(self, value: Any) -> list[Any] | None:
        if isinstance(value, list):
            return value
        if not isinstance(value, dict):
            return None
        if value.keys() >= set(self._names):  # a column may have the name of a form
            return [value]
        for name in ("instances", "rows", "dataframe_records"):
            if isinstance(value.get(name), list):
                return list(value[name])
        if isinstance(value.get("inputs"), list):
            return self._of_tensors(value["inputs"])
        return _of_split(value.get("dataframe_split"))

    def _by_name(self, row: Any) -> Any:
        if isinstance(row, dict):
            return row
        values = row if isinstance(row, list) else [row]
        if len(values) != len(self._names):
            raise RequestError("another number of columns")
        return dict(zip(self._names, values, strict=True))

    def _of_tensors(self, tensors: list[Any]) -> list[Any] | None:
        read = [_tensor(tensor) for tensor in tensors]
        known = [tensor for tensor in read if tensor is not None]
        if not known or len(known) != len(read):
            return None
        name, shape, data = known[0]
        width = len(self._names)
        if len(known) == 1 and len(shape) == 2 and shape[1] == width and (width > 1 or name not in self._names):
            return [data[i * width : (i + 1) * width] for i in range(shape[0])]
        columns = {name: data for name, shape, data in known if len(data) == shape[0]}
        if len(columns) != len(known) or len({len(data) for data in columns.values()}) != 1:
            return None
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    # -- answers

    def answers(self, value: Any, rows: int) -> list[Answer]:
        """Return the answer to each row; (None, None) where it cannot be told."""
        labels, scores = self._outputs(value, rows)
        return [self._answer(label, score) for label, score in zip(labels, scores, strict=True)]

    def _outputs(self, value: Any, rows: int) -> tuple[list[Any], list[Any]]:
        nothing: list[Any] = [None] * rows
        if isinstance(value, list):
            return _of_length(value, rows), nothing
        if not isinstance(value, dict):
            return nothing, nothing
        if isinstance(value.get("outputs"), list):
            return self._of_output_tensors(value["outputs"], rows)
        scores = next((value[name] for name in _SCORES if name in value), None)
        if isinstance(value.get("predictions"), list):
            return _of_length(value["predictions"], rows), _of_length(scores, rows)
        single = next((value[name] for name in _ONE if name in value), None)
        if rows == 1 and not isinstance(single, list):
            flat = scores if not (isinstance(scores, list) and len(scores) == 1) else scores[0]
            return [single], [flat]
        return _of_length(single, rows), _of_length(scores, rows)

    def _of_output_tensors(self, tensors: list[Any], rows: int) -> tuple[list[Any], list[Any]]:
        labels: list[Any] = [None] * rows
        scores: list[Any] = [None] * rows
        for tensor in map(_tensor, tensors):
            if tensor is None or not tensor[1] or tensor[1][0] != rows:
                continue
            name, _, data = tensor
            width = len(data) // rows
            if width == 1 and name != self._probability_output:
                labels = data if labels[0] is None or name == self._label_output else labels
            else:
                scores = [data[i * width : (i + 1) * width] for i in range(rows)]
        return labels, scores

    def _answer(self, label: Any, score: Any) -> Answer:
        if isinstance(label, dict):
            label, score = _named(label, _ONE), _named(label, _SCORES) if score is None else score
        if isinstance(label, list):
            if len(label) == 1:
                label = label[0]
            elif score is None:
                label, score = None, label
            else:
                label = None
        if self._regression:
            return (float(label) if _is_number(label) else None), None
        probability = self._score(score)
        if self._indexed and type(label) is int and 0 <= label < len(self._order) and not self._is_class_number(label):
            label = self._order[label]  # what the pipeline itself predicts; our server names the class
        if label is not None and str(label).lower() not in self._classes and not self._is_class_number(label):
            if probability is None and len(self._order) == 2 and _is_number(label) and 0 <= label <= 1:
                return None, float(label)
            return None, probability
        if label is None and isinstance(score, list) and len(score) == len(self._order) and all(map(_is_number, score)):
            label = self._order[max(range(len(score)), key=score.__getitem__)]
        return label, probability

    def _is_class_number(self, label: Any) -> bool:
        return _is_number(label) and float(label).is_integer() and str(int(label)) in self._classes

    def _score(self, score: Any) -> float | None:
        """Return what the server of ours captures: of two classes the second's probability, of more the largest."""
        if isinstance(score, list):
            if len(score) == 1:
                score = score[0]
            elif len(score) == len(self._order) and all(map(_is_number, score)):
                return float(score[1] if len(score) == 2 else max(score))
        return float(score) if _is_number(score) else None


def _tensor(value: Any) -> tuple[str, list[int], list[Any]] | None:
    """Return name, shape and flat data of a JSON tensor."""
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        return None
    shape, data = value.get("shape"), value["data"]
    if not isinstance(shape, list) or not 0 < len(shape) <= 2 or not all(type(e) is int and e > 0 for e in shape):
        return None
    if data and isinstance(data[0], list):
        if not all(isinstance(inner, list) for inner in data):
            return None
        data = list(chain.from_iterable(data))
    size = shape[0] * (shape[1] if len(shape) == 2 else 1)
    return (str(value.get("name")), shape, data) if len(data) == size else None


def _of_split(value: Any) -> list[Any] | None:
    if not isinstance(value, dict):
        return None
    columns, data = value.get("columns"), value.get("data")
    if not isinstance(columns, list) or not isinstance(data, list):
        return None
    if not all(isinstance(name, str) for name in columns):
        return None
    if not all(isinstance(row, list) and len(row) == len(columns) for row in data):
        return None
    return [dict(zip(columns, row, strict=True)) for row in data]


def _of_length(value: Any, rows: int) -> list[Any]:
    if isinstance(value, list) and len(value) == rows:
        return list(value)
    return [value] if rows == 1 and value is not None and not isinstance(value, list) else [None] * rows


def _named(values: dict[str, Any], names: Sequence[str]) -> Any:
    return next((values[name] for name in names if name in values), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
