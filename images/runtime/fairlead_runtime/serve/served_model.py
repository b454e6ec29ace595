"""The served version as the Open Inference Protocol describes it: names, versions, and its output tensors.

Knows nothing of JSON or protobuf. Made by `process`; `oip` (REST) and `grpc` put it into words of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from fairlead.contract.jobs import ServeInput
from fairlead.contract.training import Task
from fairlead_runtime.signature import Input, Signature

from .columns import RequestError
from .models import Outcome
from .tensors import few

SERVER_NAME, SERVER_VERSION = "fairlead", "0.2.0"
PLATFORM = "fairlead"
EXTENSIONS = ("binary_tensor_data",)
_CLASS_DATATYPES = {"Integer": "INT64", "Boolean": "BOOL", "Float": "FP64"}


@dataclass(frozen=True)
class Output:
    """One output tensor; its shape is [rows, *more]."""

    name: str
    datatype: str
    more: tuple[int, ...]


class ServedModel:
    """One version, its names (the model's and the service's) and outputs."""

    def __init__(self, document: ServeInput, signature: Signature, ready: Callable[[], bool]) -> None:
        self.name, self.version = document.artifact.model, document.artifact.version
        self.names = frozenset((document.artifact.model, document.service))
        self.inputs: Sequence[Input] = signature.inputs
        self.outputs = _outputs(signature)
        self.ready = ready
        self._by_name = {output.name: output for output in self.outputs}

    def check(self, name: str, version: str) -> None:
        """Raise RequestError (404) unless this is the model of that name and, where one is asked for, version."""
        if name not in self.names:
            raise RequestError(f"there is no model {name[:64]!r} here; it is {self.name!r}", 404)
        if version not in ("", self.version):
            raise RequestError(f"model {self.name!r} has no version {version[:64]!r} here; it is {self.version!r}", 404)

    def wanted(self, names: Sequence[Any]) -> tuple[Output, ...]:
        """Return the outputs of these names, in the model's order, or all for none; raise RequestError."""
        unknown = [str(name) for name in names if not isinstance(name, str) or name not in self._by_name]
        if unknown:
            raise RequestError(f"outputs: unknown {few(unknown)}; this model has {few(list(self._by_name))}")
        return tuple(output for output in self.outputs if output.name in names) if names else self.outputs

    def values(self, outcome: Outcome, output: Output) -> Any:
        """Return an output's values, flat: a list of labels or numbers, or an array of 32-bit floats."""
        if output is self.outputs[0]:
            return list(chain.from_iterable(outcome.predictions)) if output.more else outcome.predictions
        return np.ascontiguousarray(outcome.probabilities, dtype=np.float32).reshape(-1)


def _outputs(signature: Signature) -> tuple[Output, ...]:
    regression = signature.task == Task.REGRESSION
    datatype = "FP32" if regression else _CLASS_DATATYPES.get(str(signature.class_type), "BYTES")
    label = Output(signature.label_output, datatype, (len(signature.targets),) if signature.targets else ())
    if regression or not signature.probability_output:
        return (label,)
    return label, Output(signature.probability_output, "FP32", (len(signature.classes),))
