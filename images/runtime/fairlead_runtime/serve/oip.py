"""Open Inference Protocol v2 over REST with JSON tensors: health, metadata, infer.

Inputs are one tensor per column, or a single [rows, columns] tensor where all columns are numbers. It shares the
`Predictor` with `/predict`; gRPC and the binary extension will only add ways to decode tensors and encode outputs.
Called by `process`, which adds its routes to the public endpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from fairlead.contract.jobs import ServeInput
from fairlead.contract.training import Task
from fairlead_runtime.signature import FLOAT, Input

from .columns import Column, RequestError, accepted_types, flatten, kind_of, wanted_by
from .models import Outcome
from .predict import MAX_ROWS, Answers, Predictor, PublicEndpoint, Route, parse_json
from .wire import Request, Response

INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
NUMBERS = ("FP16", "FP32", "FP64", *INTEGERS)
_CLASS_DATATYPES = {"Integer": "INT64", "Boolean": "BOOL", "Float": "FP64"}
_BINARY = b"inference-header-content-length"


@dataclass(frozen=True)
class Tensor:
    """One decoded input: its values flat, row by row."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any]


class InferenceProtocol:
    """The protocol's view of one served version."""

    def __init__(self, predictor: Predictor, answers: Answers, document: ServeInput, ready: Callable[[], bool]) -> None:
        self._predictor = predictor
        self._columns = predictor.columns
        self._answers = answers
        self._name, self._version = document.artifact.model, document.artifact.version
        self._names = {document.artifact.model, document.service}
        self._ready = ready
        self._outputs = _output_names(predictor)

    def add_to(self, endpoint: PublicEndpoint) -> None:
        """Add the routes: for the model's and the service's name, with and without the version."""
        endpoint.add("/v2", Route(b"GET", self._server))
        endpoint.add("/v2/health/live", Route(b"GET", lambda _: self._answers.value(200, {"live": True})))
        endpoint.add("/v2/health/ready", Route(b"GET", self._readiness))
        for name in sorted(self._names):
            for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{self._version}"):
                endpoint.add(path, Route(b"GET", self._metadata))
                endpoint.add(f"{path}/ready", Route(b"GET", self._readiness))
                endpoint.add(f"{path}/infer", Route(b"POST", self._infer, counted=True))

    def _server(self, request: Request) -> Response:
        return self._answers.value(200, {"name": "fairlead", "version": "0.2.0", "extensions": []})

    def _readiness(self, request: Request) -> Response:
        ready = self._ready()
        return self._answers.value(200 if ready else 503, {"name": self._name, "ready": ready})

    def _metadata(self, request: Request) -> Response:
        value = {
            "name": self._name,
            "versions": [self._version],
            "platform": "fairlead",
            "inputs": [{"name": c.name, "datatype": c.datatype, "shape": [-1, 1]} for c in self._columns.inputs],
            "outputs": [{"name": n, "datatype": t, "shape": [-1, *more]} for n, t, more in self._output_metadata()],
        }
        return self._answers.value(200, value)

    def _output_metadata(self) -> list[tuple[str, str, list[int]]]:
        signature = self._predictor.signature
        regression = signature.task == Task.REGRESSION
        label = "FP32" if regression else _CLASS_DATATYPES.get(str(signature.class_type), "BYTES")
        more = [(self._outputs[1], "FP32", [len(signature.classes)])] if len(self._outputs) > 1 else []
        return [(self._outputs[0], label, []), *more]

    def _infer(self, request: Request) -> Response:
        if request.header(_BINARY) is not None:
            raise RequestError("the binary tensor extension is not served; send tensors as JSON data")
        document = parse_json(request)
        if not isinstance(document, dict):
            raise RequestError(f"expected an object with inputs, got {kind_of(document)}")
        wanted = _wanted_outputs(document, self._outputs)
        columns = self._decode(_tensors(document))
        now_ns = time.time_ns()
        response_id = self._answers.new_id(now_ns)
        outcome = self._predictor.predict(columns, response_id, now_ns)
        own = document.get("id")
        return self._encode(outcome, wanted, own if isinstance(own, str) and own else response_id, response_id)

    def _decode(self, tensors: list[Tensor]) -> list[Column]:
        if len(tensors) == 1 and len(tensors[0].shape) == 2 and self._columns.all_numbers:
            only = tensors[0]
            if only.name not in self._columns.names or only.shape[1] != 1:
                return self._decode_matrix(only)
        by_name = {tensor.name: tensor for tensor in tensors}
        self._check_names(by_name, len(tensors))
        rows = tensors[0].shape[0]
        return [self._decode_column(index, by_name[name], rows) for index, name in enumerate(self._columns.names)]

    def _check_names(self, by_name: dict[str, Tensor], count: int) -> None:
        names = set(self._columns.names)
        absent, unknown = sorted(names - by_name.keys()), sorted(by_name.keys() - names)
        if absent or unknown or count != len(by_name):
            parts = [f"missing {_few(absent)}"] if absent else []
            parts += [f"unknown {_few(unknown)}"] if unknown else []
            parts += ["a name occurs twice"] if count != len(by_name) else []
            raise RequestError(f"inputs: {'; '.join(parts)}; expected one tensor for each of {len(names)} columns")

    def _decode_column(self, index: int, tensor: Tensor, rows: int) -> Column:
        if tensor.shape not in ((rows,), (rows, 1)):
            raise RequestError(
                f"input {tensor.name!r}: expected shape [{rows}] or [{rows}, 1], got {list(tensor.shape)}"
            )
        column = self._columns.inputs[index]
        _check_datatype(tensor, column)
        types = set(map(type, tensor.data))
        accepted = accepted_types(column) | ({bool} if tensor.datatype == "BOOL" else frozenset())
        _check_types(tensor, types, accepted, wanted_by(column))
        return self._columns.column(index, tensor.data, types, f"input {tensor.name!r}: data")

    def _decode_matrix(self, tensor: Tensor) -> list[Column]:
        count = len(self._columns.names)
        if tensor.shape[1] != count:
            message = f"input {tensor.name!r}: expected shape [rows, {count}], got {list(tensor.shape)}"
            raise RequestError(f"{message}; the columns are {_few(self._columns.names)}")
        if tensor.datatype not in NUMBERS:
            raise RequestError(f"input {tensor.name!r}: expected datatype FP32 or FP64, got {tensor.datatype}")
        types = set(map(type, tensor.data))
        nullable = all(column.nullable for column in self._columns.inputs)
        accepted = frozenset[type]({int, float, type(None)} if nullable else {int, float})
        _check_types(tensor, types, accepted, "a number")
        matrix = np.array(tensor.data, dtype=np.float64).reshape(tensor.shape)
        for index in range(count):
            self._columns.check_range(index, matrix[:, index], f"input {tensor.name!r}: rows")
        return list(matrix.T)

    def _encode(self, outcome: Outcome, wanted: Sequence[str], own_id: str, response_id: str) -> Response:
        rows = len(outcome.predictions)
        kinds = self._output_metadata()
        outputs: list[dict[str, Any]] = []
        if self._outputs[0] in wanted:
            name, datatype, _ = kinds[0]
            outputs.append({"name": name, "datatype": datatype, "shape": [rows], "data": outcome.predictions})
        if outcome.probabilities is not None and self._outputs[-1] in wanted:
            flat = np.ascontiguousarray(outcome.probabilities, dtype=np.float32)
            shape = list(flat.shape)
            outputs.append({"name": self._outputs[-1], "datatype": "FP32", "shape": shape, "data": flat.reshape(-1)})
        value = {"model_name": self._name, "model_version": self._version, "id": own_id, "outputs": outputs}
        return self._answers.make(200, orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), response_id)


def _output_names(predictor: Predictor) -> tuple[str, ...]:
    signature = predictor.signature
    return (
        (signature.label_output, signature.probability_output)
        if signature.probability_output
        else (signature.label_output,)
    )


def _wanted_outputs(document: dict[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    outputs = document.get("outputs")
    if outputs is None or outputs == []:
        return names
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise RequestError("outputs: expected a list of objects with a name")
    wanted = tuple(output.get("name") for output in outputs)
    unknown = [str(name)[:64] for name in wanted if name not in names]
    if unknown:
        raise RequestError(f"outputs: unknown {_few(unknown)}; this model has {_few(names)}")
    return tuple(str(name) for name in wanted)


def _tensors(document: dict[str, Any]) -> list[Tensor]:
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise RequestError(f"inputs: expected a list of tensors, got {'[]' if inputs == [] else kind_of(inputs)}")
    return [_tensor(position, value) for position, value in enumerate(inputs)]


def _tensor(position: int, value: Any) -> Tensor:
    where = f"inputs[{position}]"
    if not isinstance(value, dict):
        raise RequestError(f"{where}: expected an object with name, shape, datatype and data, got {kind_of(value)}")
    name, datatype, shape = value.get("name"), value.get("datatype"), value.get("shape")
    if not isinstance(name, str):
        raise RequestError(f"{where}: name: expected text, got {kind_of(name)}")
    where = f"input {name[:64]!r}"
    if datatype not in (*NUMBERS, "BOOL", "BYTES"):
        got = repr(datatype[:32]) if isinstance(datatype, str) else kind_of(datatype)
        raise RequestError(f"{where}: datatype: expected one of {', '.join(NUMBERS)}, BOOL, BYTES, got {got}")
    good = isinstance(shape, list) and len(shape) in (1, 2) and all(type(e) is int and e > 0 for e in shape)
    if not good or not isinstance(shape, list) or shape[0] > MAX_ROWS or shape[-1] > 1_000_000:
        raise RequestError(
            f"{where}: shape: expected [rows] or [rows, columns], at most {MAX_ROWS} rows, got {shape!r:.64}"
        )
    return Tensor(name, datatype, tuple(shape), flatten(value.get("data"), shape, where))


def _check_datatype(tensor: Tensor, column: Input) -> None:
    fitting = (*NUMBERS, "BOOL") if column.datatype == FLOAT else ("BYTES",)
    if tensor.datatype not in fitting:
        wanted = "FP32, FP64 or an integer type" if column.datatype == FLOAT else "BYTES"
        raise RequestError(f"input {tensor.name!r}: expected datatype {wanted}, got {tensor.datatype}")


def _check_types(tensor: Tensor, types: set[type], accepted: frozenset[type], wanted: str) -> None:
    if types <= accepted:
        return
    place, value = next((i, value) for i, value in enumerate(tensor.data) if type(value) not in accepted)
    raise RequestError(f"input {tensor.name!r}: data[{place}]: expected {wanted}, got {kind_of(value)}")


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(name[:64] for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
