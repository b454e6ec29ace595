"""An ONNX model in ONNX Runtime: one thread, inputs bound once.

For a model of numbers alone, rows are written into memory that the session is bound to, so nothing is looked up by
name (30 inputs, one row: 9 us a run instead of 28 to 33). It never starts a thread pool of its own,
because there is one process for each CPU asked for. Made by `loading`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fairlead_runtime.errors import BadInput
from fairlead_runtime.signature import DOUBLE, FLOAT, Signature

from .columns import Column, Row, Rows
from .models import Labels, ModelError, Outcome, as_columns

_Bound = tuple[NDArray[np.float32], Any]  # [rows, columns] to write into, and the session's binding of it

_FATAL = 4  # ONNX Runtime's log level: what it would print on each failing request, we count
_TENSOR_TYPES = {"tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(string)": "BYTES"}


class OnnxModel:
    """A session and how rows reach it."""

    def __init__(self, path: Path, signature: Signature) -> None:
        self._signature = signature
        self._session = _open(path)
        self._labels = Labels(signature)
        self._outputs = [name for name in (signature.label_output, signature.probability_output) if name]
        _check_outputs(self._session, self._outputs)
        self._names = _tensor_names(self._session, signature)
        self._numbers = [column.numeric for column in signature.inputs]
        self._dtypes = [np.float64 if column.datatype == DOUBLE else np.float32 for column in signature.inputs]
        self._memories: dict[int, _Bound] = {}  # by number of rows
        floats = all(column.datatype == FLOAT for column in signature.inputs)
        self._run = self._run_bound if floats and not _gives_text(self._session, self._outputs) else self._unbound

    def predict_row(self, row: Row) -> Outcome:
        """Return the outcome of one checked row; its arrays are valid until the next call."""
        return self.predict_rows((row,))

    def predict_rows(self, rows: Rows) -> Outcome:
        """Return the outcome of at most 16 checked rows (each number of rows has memory of its own)."""
        try:
            return self._outcome(self._run(rows))
        except Exception as error:
            raise ModelError(_first_line(error)) from error

    def predict(self, columns: Sequence[Column]) -> Outcome:
        """Return the outcome of checked columns."""
        try:
            return self._outcome(self._session.run(self._outputs, self._feeds(columns)))
        except Exception as error:
            raise ModelError(_first_line(error)) from error

    def _outcome(self, outputs: Sequence[NDArray[Any]]) -> Outcome:
        return Outcome(self._labels.values(outputs[0]), outputs[1] if len(outputs) > 1 else None)

    def _bound(self, rows: int) -> _Bound:
        """Return what runs so many rows of numbers through memory that stays bound to the session."""
        count = len(self._signature.inputs)
        binding = self._session.io_binding()
        if self._signature.layout == "Matrix":
            memory = np.zeros((rows, count), dtype=np.float32)
            parts = [(self._names[0], memory)]
        else:
            columns = np.zeros((count, rows, 1), dtype=np.float32)
            parts = [(name, columns[i]) for i, name in enumerate(self._names)]
            memory = columns.reshape(count, rows).T
        for name, part in parts:
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(part))
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        return memory, binding

    def _run_bound(self, rows: Rows) -> Sequence[NDArray[Any]]:
        size = len(rows)
        bound = self._memories.get(size)
        if bound is None:
            bound = self._memories[size] = self._bound(size)
        memory, binding = bound
        memory[:] = rows if isinstance(rows, np.ndarray) else np.array(rows, dtype=np.float32)  # None is NaN
        self._session.run_with_iobinding(binding)
        found: Sequence[NDArray[Any]] = binding.copy_outputs_to_cpu()
        return found

    def _unbound(self, rows: Rows) -> Sequence[NDArray[Any]]:
        """Run rows of other values than 32-bit numbers, or with text in the answer.

        ONNX Runtime cannot bind text that goes in, and reading bound text that comes out ends the process.
        """
        feeds = self._feeds(as_columns(rows, self._numbers))
        found: Sequence[NDArray[Any]] = self._session.run(self._outputs, feeds)
        return found

    def _feeds(self, columns: Sequence[Column]) -> dict[str, NDArray[Any]]:
        if self._signature.layout == "Matrix":
            return {self._names[0]: np.column_stack(columns).astype(np.float32)}
        parts = zip(self._names, columns, self._dtypes, strict=True)
        return {name: _tensor(values, dtype) for name, values, dtype in parts}


def _tensor(values: Column, dtype: type) -> NDArray[Any]:
    """Return [N, 1] in the type of the graph: null is NaN in numbers, the empty string in text."""
    if values.dtype != object:
        return values.astype(dtype).reshape(-1, 1)
    texts = np.empty((len(values), 1), dtype=object)
    texts[:, 0] = [text or "" for text in values]
    return texts


def _open(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BadInput("ModelUnreadable", f"{path.name} is no model for ONNX Runtime: {_first_line(error)}") from None


def _tensor_names(session: Any, signature: Signature) -> list[str]:
    """Return the graph's name of each input tensor, in the signature's order; raise SignatureMismatch.

    Converters write some names differently (skl2onnx turns `mean radius` into `mean_radius`), so what is not a word
    character counts as an underscore.
    """
    has = {_word(tensor.name): tensor for tensor in session.get_inputs()}
    if signature.layout == "Matrix":
        wants = {_word(signature.matrix_input): FLOAT}
    else:
        wants = {_word(column.name): str(column.datatype) for column in signature.inputs}
    types = {name: _TENSOR_TYPES.get(tensor.type, tensor.type) for name, tensor in has.items()}
    if types != wants or len(wants) != len(session.get_inputs()):
        differing = sorted(n for n in types.keys() | wants.keys() if types.get(n) != wants.get(n))[:5]
        said = "; ".join(
            f"{n}: graph {types.get(n, 'nothing')}, signature {wants.get(n, 'nothing')}" for n in differing
        )
        raise BadInput("SignatureMismatch", f"the model's inputs are not those of signature.json: {said}")
    return [has[name].name for name in wants]


def _check_outputs(session: Any, outputs: Sequence[str]) -> None:
    absent = set(outputs) - {tensor.name for tensor in session.get_outputs()}
    if absent:
        raise BadInput("SignatureMismatch", f"the model has no output {', '.join(sorted(absent))}")


def _gives_text(session: Any, outputs: Sequence[str]) -> bool:
    return any(tensor.type == "tensor(string)" for tensor in session.get_outputs() if tensor.name in outputs)


def _word(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
