"""An ONNX model in ONNX Runtime: one thread, inputs bound once.

For a model of numbers alone, a row is packed into memory that the session was bound to at load: no array is made and
nothing is looked up by name (30 inputs: 9 us a run instead of 28 to 33). It never starts a thread pool of its own,
because there is one process for each CPU asked for. Made by `loading`.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fairlead_runtime.errors import BadInput
from fairlead_runtime.signature import FLOAT, Signature

from .columns import Column, Row
from .models import Labels, ModelError, Outcome

_FATAL = 4  # ONNX Runtime's log level: what it would print on each failing request, we count
_TENSOR_TYPES = {"tensor(float)": "FP32", "tensor(string)": "BYTES"}


class OnnxModel:
    """A session and how rows reach it."""

    def __init__(self, path: Path, signature: Signature) -> None:
        self._signature = signature
        self._session = _open(path)
        self._labels = Labels(signature)
        self._outputs = [name for name in (signature.label_output, signature.probability_output) if name]
        _check_outputs(self._session, self._outputs)
        self._names = _tensor_names(self._session, signature)
        self._texts = [column.datatype != FLOAT for column in signature.inputs]
        self._run_row = self._unbound if any(self._texts) else self._bound()

    def predict_row(self, row: Row) -> Outcome:
        """Return the outcome of one checked row; its arrays are valid until the next call."""
        try:
            return self._outcome(self._run_row(row))
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

    def _bound(self) -> Callable[[Row], Sequence[NDArray[Any]]]:
        """Return what runs one row of numbers through memory that stays bound to the session."""
        count = len(self._signature.inputs)
        memory = np.zeros((1, count), dtype=np.float32)
        binding = self._session.io_binding()
        for name, part in self._parts(memory):
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(part))
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        pack, window = struct.Struct(f"{count}f").pack_into, memoryview(memory.data).cast("B")
        run, outputs = self._session.run_with_iobinding, binding.copy_outputs_to_cpu

        def run_row(row: Row) -> Sequence[NDArray[Any]]:
            if None in row:
                row = tuple(math.nan if value is None else value for value in row)
            pack(window, 0, *row)
            run(binding)
            found: Sequence[NDArray[Any]] = outputs()
            return found

        return run_row

    def _parts(self, memory: NDArray[np.float32]) -> list[tuple[str, NDArray[np.float32]]]:
        """Return the input names with their views of one row's memory."""
        if self._signature.layout == "Matrix":
            return [(self._names[0], memory)]
        return [(name, memory[:, i : i + 1]) for i, name in enumerate(self._names)]

    def _unbound(self, row: Row) -> Sequence[NDArray[Any]]:
        """Run one row that has text in it; ONNX Runtime cannot bind text."""
        feeds = {}
        for name, text, value in zip(self._names, self._texts, row, strict=True):
            if text:
                feeds[name] = np.array([[value or ""]], dtype=object)
            else:
                feeds[name] = np.array([[math.nan if value is None else value]], dtype=np.float32)
        found: Sequence[NDArray[Any]] = self._session.run(self._outputs, feeds)
        return found

    def _feeds(self, columns: Sequence[Column]) -> dict[str, NDArray[Any]]:
        if self._signature.layout == "Matrix":
            return {self._names[0]: np.column_stack(columns).astype(np.float32)}
        return {name: _tensor(values) for name, values in zip(self._names, columns, strict=True)}


def _tensor(values: Column) -> NDArray[Any]:
    """Return [N, 1] in the type of the graph: null is NaN in numbers, the empty string in text."""
    if values.dtype != object:
        return values.astype(np.float32).reshape(-1, 1)
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


def _word(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
