"""Open Inference Protocol v2 over REST: health, metadata, infer, with JSON tensors and the binary tensor extension.

Protocol: https://github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md); extension:
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol/binary-tensor-data-extension.
Parameters that it does not know are allowed and do nothing, but none that would change the answer is ignored.
Called by `process`, which adds its routes to the public endpoint.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .columns import LARGEST, Column, Columns, RequestError, Row, kind_of
from .forms import Forms
from .models import Outcome
from .predict import MAX_ROWS, Answers, Asked, Predictor, PublicEndpoint, Route, load_json, parse_json
from .row_answers import RowAnswers
from .served_model import EXTENSIONS, PLATFORM, SERVER_NAME, SERVER_VERSION, Output, ServedModel
from .tensors import Tensor, check_head, decode, from_raw, from_values, to_raw
from .wire import BINARY, Request, Response

_LENGTH_HEADER = b"inference-header-content-length"
_PLAIN = ("FP32", "FP64")
_FEW = 2_000  # values; to look at more of them takes longer than to search the body
_PART = 65_536  # values that are packed at a time, for each is on the stack meanwhile
_ONE = ([1], [1, 1])  # shapes of one value
_UNSERVED = ("shared_memory_region", "classification")  # they ask for another answer than a tensor in the body


class InferenceProtocol:
    """The protocol's view of one served version."""

    def __init__(self, predictor: Predictor, answers: Answers, model: ServedModel) -> None:
        self._predictor = predictor
        self._columns = predictor.columns
        self._answers = answers
        self._model = model
        self._forms = Forms(len(self._columns.names))
        self._row = None if model.outputs[0].more else RowAnswers(answers.make, _row_pieces(model), np.float32)

    def add_to(self, endpoint: PublicEndpoint) -> None:
        """Add the routes: for the model's and the service's name, with and without the version."""
        endpoint.add("/v2", Route(b"GET", self._server))
        endpoint.add("/v2/health/live", Route(b"GET", lambda _: self._answers.value(200, {"live": True})))
        endpoint.add("/v2/health/ready", Route(b"GET", self._server_readiness))
        for name in sorted(self._model.names):
            for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{self._model.version}"):
                endpoint.add(path, Route(b"GET", self._metadata))
                endpoint.add(f"{path}/ready", Route(b"GET", self._readiness))
                endpoint.add(f"{path}/infer", Route(b"POST", self._infer, counted=True))

    def _server(self, request: Request) -> Response:
        value = {"name": SERVER_NAME, "version": SERVER_VERSION, "extensions": EXTENSIONS}
        return self._answers.value(200, value)

    def _readiness(self, request: Request) -> Response:
        ready = self._model.ready()
        return self._answers.value(200 if ready else 503, {"name": self._model.name, "ready": ready})

    def _server_readiness(self, request: Request) -> Response:
        ready = self._model.ready()
        return self._answers.value(200 if ready else 503, {"ready": ready, "live": True})

    def _metadata(self, request: Request) -> Response:
        model = self._model
        value = {
            "name": model.name,
            "versions": [model.version],
            "platform": PLATFORM,
            "inputs": [{"name": c.name, "datatype": c.datatype, "shape": [-1, 1]} for c in model.inputs],
            "outputs": [{"name": o.name, "datatype": o.datatype, "shape": [-1, *o.more]} for o in model.outputs],
        }
        return self._answers.value(200, value)

    def _infer(self, request: Request) -> Response | Asked:
        known = self._forms.row(request.body) if request.header(_LENGTH_HEADER) is None else None
        if known is not None and self._row is not None:
            return known, self._row
        document, binary = _split(request)
        if not isinstance(document, dict):
            raise RequestError(f"expected an object with inputs, got {kind_of(document)}")
        row = _plain_row(self._columns, document) if binary is None else None
        if row is not None and len(document) == 1 and self._row is not None:  # it names no id and no outputs
            self._forms.learn(request.body, row)
            return row, self._row
        encoder = _Encoder(self._model, self._answers, document)
        if row is not None:
            return row, encoder.encode
        batch = _plain_batch(self._columns, document, request.body) if binary is None else None
        if batch is not None:
            return self._many(batch, encoder)
        found = decode(self._columns, _tensors(document, binary or b""))
        if isinstance(found, tuple):
            return found, encoder.encode
        return self._many(found, encoder)

    def _many(self, columns: list[Column], encoder: _Encoder) -> Response:
        outcome, response_id = self._predictor.predict_batch(columns, self._answers)
        return encoder.encode(outcome, response_id)


class _Encoder:
    """What one request asked of its answer: an id, which outputs, and which of them as raw bytes."""

    __slots__ = ("_answers", "_binary", "_id", "_model", "_outputs")

    def __init__(self, model: ServedModel, answers: Answers, document: dict[str, Any]) -> None:
        self._model = model
        self._answers = answers
        own = document.get("id")
        self._id = own if isinstance(own, str) else ""
        parameters = _parameters(document, "the request") if "parameters" in document else {}
        default = _flag(parameters, "binary_data_output", "the request")
        asked = document.get("outputs") or ()
        if not asked:
            self._outputs: tuple[Output, ...] = model.outputs
            self._binary = frozenset(output.name for output in model.outputs) if default else frozenset[str]()
            return
        if not isinstance(asked, list) or not all(isinstance(output, dict) for output in asked):
            raise RequestError("outputs: expected a list of objects with a name")
        self._outputs = model.wanted([output.get("name") for output in asked])
        self._binary = frozenset(output["name"] for output in asked if _wants_binary(output, default))

    def encode(self, outcome: Outcome, response_id: str) -> Response:
        """Return the answer; with raw outputs its body is the JSON object and then their bytes, in its order."""
        rows, parts = len(outcome.predictions), []
        outputs: list[dict[str, Any]] = []
        for output in self._outputs:
            value: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": [rows, *output.more]}
            values = self._model.values(outcome, output)
            if output.name in self._binary:
                parts.append(to_raw(values, output.datatype))
                value["parameters"] = {"binary_data_size": len(parts[-1])}
            else:
                value["data"] = values
            outputs.append(value)
        head = orjson.dumps(
            {
                "model_name": self._model.name,
                "model_version": self._model.version,
                "id": self._id or response_id,
                "outputs": outputs,
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        if not parts:
            return self._answers.make(200, head, response_id)
        length = b"%b: %d\r\n" % (_LENGTH_HEADER, len(head))
        response = self._answers.make(200, b"".join((head, *parts)), response_id, length)
        response.content_type = BINARY
        return response


def _row_pieces(model: ServedModel) -> list[bytes]:
    """Return what `_Encoder` writes around the id, the label and the probabilities of one row that asked for all."""
    names = {"model_name": model.name, "model_version": model.version}
    outputs = [{"name": o.name, "datatype": o.datatype, "shape": [1, *o.more]} for o in model.outputs]
    label, *more = [orjson.dumps(output)[:-1] + b',"data":[' for output in outputs]
    start, after_id = orjson.dumps(names)[:-1] + b',"id":"', b'","outputs":[' + label
    return [start, after_id, b"]}," + more[0], b"]}]}"] if more else [start, after_id, b"]}]}", b""]


def _split(request: Request) -> tuple[Any, memoryview | None]:
    """Return the JSON value, and the bytes after it where a header says how long it is."""
    header = request.header(_LENGTH_HEADER)
    if header is None:
        return parse_json(request), None
    size = len(request.body)
    if not header.isdigit() or len(header) > 12 or not 0 < int(header) <= size:
        shown = header[:32].decode("utf-8", "backslashreplace")
        raise RequestError(f"Inference-Header-Content-Length: expected 1 to {size}, the body's bytes, got {shown!r}")
    return load_json(request.body[: int(header)]), memoryview(request.body)[int(header) :]


def _plain_row(columns: Columns, document: dict[str, Any]) -> Row | None:
    """Return the row of the commonest requests, floats in one [1, columns] tensor or one tensor each; else None."""
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not columns.all_numbers:
        return None
    count = len(columns.names)
    if len(inputs) != 1 or count == 1:
        return _row_of_tensors(columns, inputs) if len(inputs) == count else None
    tensor = inputs[0]
    if not isinstance(tensor, dict) or tensor.get("datatype") not in _PLAIN or "parameters" in tensor:
        return None
    data = tensor.get("data")
    if tensor.get("shape") != [1, count] or not isinstance(data, list):
        return None
    values = data[0] if len(data) == 1 and isinstance(data[0], list) else data
    return columns.checked(tuple(values)) if len(values) == count and isinstance(tensor.get("name"), str) else None


def _plain_batch(columns: Columns, document: dict[str, Any], body: bytes) -> list[Column] | None:
    """Return the columns of the commonest batches, floats in one flat [rows, columns] tensor; else None.

    None also for all that is wrong with such a tensor: `decode` looks at each value and says what it is.
    """
    inputs, count = document.get("inputs"), len(columns.names)
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        return None
    if not columns.all_numbers or count == 1 or not _is_plain_matrix(inputs[0], count):
        return None
    data = inputs[0]["data"]
    try:
        values = np.frombuffer(b"".join(map(_packed, range(0, len(data), _PART), repeat(data))))
    except struct.error:
        return None
    if _has_booleans(values, data, body) or not np.abs(values).max() <= LARGEST:
        return None
    return list(values.reshape(-1, count).T)


def _packed(start: int, data: list[Any]) -> bytes:
    """Return a part of the data as 64-bit floats; a third of the time of numpy.array, or of array.array."""
    part = data[start : start + _PART]
    return struct.pack(f"{len(part)}d", *part)


def _has_booleans(values: NDArray[np.float64], data: list[Any], body: bytes) -> bool:
    """Return whether a boolean may be among the data, each of which became the number in its place."""
    alike = np.flatnonzero((values == 0) | (values == 1))
    if len(alike) > _FEW:
        return b"true" in body or b"false" in body
    return any(type(data[i]) is bool for i in alike.tolist())


def _is_plain_matrix(tensor: dict[str, Any], count: int) -> bool:
    shape, data = tensor.get("shape"), tensor.get("data")
    if not isinstance(shape, list) or len(shape) != 2 or shape[1] != count or type(shape[0]) is not int:
        return False
    if tensor.get("datatype") not in _PLAIN or "parameters" in tensor or not isinstance(tensor.get("name"), str):
        return False
    return 1 < shape[0] <= MAX_ROWS and isinstance(data, list) and len(data) == shape[0] * count


def _row_of_tensors(columns: Columns, inputs: list[Any]) -> Row | None:
    values: dict[str, Any] = {}
    for tensor in inputs:
        if not isinstance(tensor, dict) or tensor.get("datatype") not in _PLAIN or "parameters" in tensor:
            return None
        name, data = tensor.get("name"), tensor.get("data")
        if tensor.get("shape") not in _ONE or not isinstance(data, list) or len(data) != 1 or not isinstance(name, str):
            return None
        values[name] = data[0]
    if isinstance(inputs[0]["data"][0], list) or values.keys() != set(columns.names):
        return None
    return columns.row(values)


def _tensors(document: dict[str, Any], binary: bytes | memoryview) -> list[Tensor]:
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise RequestError(f"inputs: expected a list of tensors, got {'[]' if inputs == [] else kind_of(inputs)}")
    tensors, at = [], 0
    for position, value in enumerate(inputs):
        tensor, size = _tensor(position, value, binary[at:])
        tensors.append(tensor)
        at += size
    if at != len(binary):
        raise RequestError(f"the body has {len(binary)} bytes after its JSON, the inputs' binary_data_size name {at}")
    return tensors


def _tensor(position: int, value: Any, binary: bytes | memoryview) -> tuple[Tensor, int]:
    """Return one input, and how many of the bytes after the JSON are its own."""
    if not isinstance(value, dict):
        where = f"inputs[{position}]"
        raise RequestError(f"{where}: expected an object with name, shape, datatype and data, got {kind_of(value)}")
    name, datatype, shape = value.get("name"), value.get("datatype"), value.get("shape")
    where = check_head(name, datatype, shape, position)
    size = _parameters(value, where).get("binary_data_size") if "parameters" in value else None
    if size is None:
        return from_values(name, datatype, shape, value.get("data")), 0  # type: ignore[arg-type]
    if "data" in value:
        raise RequestError(f"{where}: has both data and binary_data_size; send one of them")
    if type(size) is not int or not 0 <= size <= len(binary):
        raise RequestError(f"{where}: binary_data_size: expected 0 to {len(binary)} (bytes left), got {size!r:.40}")
    return from_raw(name, datatype, shape, binary[:size]), size  # type: ignore[arg-type]


def _parameters(value: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = value["parameters"]
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise RequestError(f"{where}: parameters: expected an object, got {kind_of(parameters)}")
    for name in _UNSERVED:
        if parameters.get(name):
            raise RequestError(f"{where}: parameter {name} is not served; tensors come and go in the body")
    return parameters


def _flag(parameters: dict[str, Any], name: str, where: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise RequestError(f"{where}: parameter {name}: expected a boolean, got {kind_of(value)}")
    return value


def _wants_binary(output: dict[str, Any], default: bool) -> bool:
    if "parameters" not in output:
        return default
    where = f"output {output['name']!r}"
    return _flag({"binary_data": default, **_parameters(output, where)}, "binary_data", where)


__all__: Sequence[str] = ("InferenceProtocol",)
