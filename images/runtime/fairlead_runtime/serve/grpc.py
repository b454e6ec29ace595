"""Open Inference Protocol v2 over gRPC: health, metadata, infer with typed or raw contents; gRPC's own health check.

The service is `inference.proto`; the transport is `http2`, which puts calls into the same kind of queue that REST has,
so single rows that wait go through the model together. Statuses are gRPC's; the numbers that are counted for the judge
are the HTTP ones they stand for. Called by `process`, which serves it on a port of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from fairlead.contract import env
from fairlead.contract.jobs import ServeInput

from .columns import RequestError
from .frames import Http2Response, literal
from .models import ModelError, Outcome
from .predict import Answers, Asked, Predictor, PublicEndpoint, Route
from .protocol import PROTO, load_messages
from .served_model import EXTENSIONS, PLATFORM, SERVER_NAME, SERVER_VERSION, Output, ServedModel
from .tensors import Tensor, check_head, decode, from_raw, from_values, texts_of, to_raw
from .wire import Request, Response

_SERVICE = "/inference.GRPCInferenceService/"
_OK_HEAD = b"\x88" + literal(b"content-type", b"application/grpc")  # 0x88: `:status: 200` in HPACK's static table
_OK = literal(b"grpc-status", b"0")
_UNIMPLEMENTED = 12
# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
_STATUSES = {400: 3, 404: 5, 405: 12, 408: 4, 413: 8, 415: 12, 431: 8, 500: 13, 503: 14}
_CONTENTS = {"BOOL": "bool", "INT64": "int64", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes"}
_CONTENTS |= {f"INT{bits}": "int" for bits in (8, 16, 32)} | {f"UINT{bits}": "uint" for bits in (8, 16, 32)}
_RAW_ONLY = ("FP16", "BF16")
_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"  # grpc.health.v1.HealthCheckResponse.status
_MESSAGE_CHARACTERS = " !\"#$&'()*+,-./:;<=>?@[]^_`{|}~"  # of grpc-message, which escapes the rest with %


class GrpcAnswers(Answers):
    """The lineage headers as gRPC metadata, and errors as statuses."""

    def __init__(self, document: ServeInput) -> None:
        super().__init__(document)
        lineage = (
            (env.HEADER_MODEL_VERSION, document.artifact.version),
            (env.HEADER_MODEL_DIGEST, document.artifact.digest),
            (env.HEADER_REVISION, document.revision),
        )
        self._head = _OK_HEAD + b"".join(literal(name.encode(), value.encode()) for name, value in lineage)

    def message(self, message: bytes, response_id: str) -> Http2Response:
        """Return one message, and OK."""
        return Http2Response(
            200, self._headers(response_id), b"\0%b%b" % (len(message).to_bytes(4, "big"), message), _OK
        )

    def error(self, status: int, message: str, more: bytes = b"") -> Response:
        """Return a status without a message; `more` is of HTTP/1.1 and says nothing here."""
        return self._status(status, _STATUSES.get(status, 2), message, self.new_id(time.time_ns()))

    def failure(self, error: ModelError) -> Response:
        """Return INTERNAL: the model raised."""
        return self._status(500, 13, str(error), error.response_id)

    def nowhere(self, path: str) -> Response:
        """Return UNIMPLEMENTED."""
        return self._status(404, _UNIMPLEMENTED, f"there is no method {path}", self.new_id(time.time_ns()))

    def _headers(self, response_id: str) -> bytes:
        return self._head + literal(env.HEADER_RESPONSE_ID.encode(), response_id.encode())

    def _status(self, status: int, code: int, message: str, response_id: str) -> Http2Response:
        said = quote(message.encode("utf-8", "replace")[:1024], safe=_MESSAGE_CHARACTERS).encode()
        ending = literal(b"grpc-status", b"%d" % code) + literal(b"grpc-message", said)
        return Http2Response(status, self._headers(response_id) + ending)


class GrpcService:
    """The methods of one served version."""

    def __init__(self, predictor: Predictor, answers: GrpcAnswers, model: ServedModel) -> None:
        self._predictor = predictor
        self._answers = answers
        self._model = model
        self._messages = load_messages(PROTO.read_text(encoding="utf-8"))
        self._request = self._messages["ModelInferRequest"]
        self._response = self._messages["ModelInferResponse"]

    def add_to(self, endpoint: PublicEndpoint) -> None:
        """Add the methods."""
        methods: dict[str, Callable[[Any], Any]] = {
            "ServerLive": lambda _: {"live": True},
            "ServerReady": lambda _: {"ready": self._model.ready()},
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _: {"name": SERVER_NAME, "version": SERVER_VERSION, "extensions": EXTENSIONS},
            "ModelMetadata": self._metadata,
        }
        for name, method in methods.items():
            endpoint.add(_SERVICE + name, Route(b"POST", self._simple(name, method)))
        endpoint.add(f"{_SERVICE}ModelInfer", Route(b"POST", self._infer, counted=True))
        endpoint.add("/grpc.health.v1.Health/Check", Route(b"POST", self._check))

    def _simple(self, name: str, method: Callable[[Any], Any]) -> Callable[[Request], Response]:
        takes, gives = self._messages[f"{name}Request"], self._messages[f"{name}Response"]

        def answer(request: Request) -> Response:
            return self._message(gives(**method(self._parse(takes, request))).SerializeToString())

        return answer

    def _message(self, message: bytes) -> Response:
        return self._answers.message(message, self._answers.new_id(time.time_ns()))

    def _parse(self, takes: Any, request: Request) -> Any:
        """Return the one message of a call."""
        body = request.body
        if len(body) < 5 or len(body) != 5 + int.from_bytes(body[1:5], "big"):
            raise RequestError("expected one message: a byte 0, its length in four bytes, and as many bytes")
        if body[0]:
            raise RequestError(
                "compressed messages are not served; send them as they are (grpc-encoding: identity)", 415
            )
        try:
            return takes.FromString(body[5:])
        except Exception:  # protobuf's DecodeError; its text says nothing that a client could use
            name = takes.DESCRIPTOR.full_name
            raise RequestError(f"the message is no {name}: it ends early, or its fields have other types") from None

    def _check(self, request: Request) -> Response:
        return self._message(_SERVING if self._model.ready() else _NOT_SERVING)

    def _model_ready(self, asked: Any) -> dict[str, Any]:
        self._model.check(asked.name, asked.version)
        return {"ready": self._model.ready()}

    def _metadata(self, asked: Any) -> dict[str, Any]:
        model = self._model
        model.check(asked.name, asked.version)
        return {
            "name": model.name,
            "versions": [model.version],
            "platform": PLATFORM,
            "inputs": [{"name": c.name, "datatype": c.datatype, "shape": [-1, 1]} for c in model.inputs],
            "outputs": [{"name": o.name, "datatype": o.datatype, "shape": [-1, *o.more]} for o in model.outputs],
        }

    def _infer(self, request: Request) -> Response | Asked:
        asked = self._parse(self._request, request)
        self._model.check(asked.model_name, asked.model_version)
        raw = asked.raw_input_contents
        outputs = self._model.wanted([output.name for output in asked.outputs])
        encode = self._encoder(asked.id, outputs, raw=bool(raw))
        found = decode(self._predictor.columns, _tensors(asked.inputs, raw))
        if isinstance(found, tuple):
            return found, encode
        return encode(*self._predictor.predict_batch(found, self._answers))

    def _encoder(self, own_id: str, outputs: tuple[Output, ...], *, raw: bool) -> Callable[[Outcome, str], Response]:
        """Return what makes the answer, its contents raw where those of the request were."""
        model = self._model

        def encode(outcome: Outcome, response_id: str) -> Response:
            answer = self._response(model_name=model.name, model_version=model.version, id=own_id or response_id)
            rows = len(outcome.predictions)
            for output in outputs:
                shape = (rows, *output.more)
                tensor = answer.outputs.add(name=output.name, datatype=output.datatype, shape=shape)
                values = model.values(outcome, output)
                if raw:
                    answer.raw_output_contents.append(to_raw(values, output.datatype))
                else:
                    _fill(tensor.contents, output.datatype, values)
            return self._answers.message(answer.SerializeToString(), response_id)

        return encode


def _fill(contents: Any, datatype: str, values: Any) -> None:
    field = getattr(contents, f"{_CONTENTS[datatype]}_contents")
    field.extend([str(value).encode() for value in values] if datatype == "BYTES" else values)


def _tensors(inputs: Any, raw: Any) -> list[Tensor]:
    if not inputs:
        raise RequestError("inputs: expected at least one tensor")
    if raw and len(raw) != len(inputs):
        raise RequestError(f"raw_input_contents: expected one for each of {len(inputs)} inputs, got {len(raw)}")
    tensors = []
    for position, tensor in enumerate(inputs):
        shape = list(tensor.shape)
        where = check_head(tensor.name, tensor.datatype, shape, position)
        if not raw:
            tensors.append(_typed(tensor, shape, where))
            continue
        if tensor.HasField("contents"):
            raise RequestError(f"{where}: has contents beside raw_input_contents; send one of them")
        tensors.append(from_raw(tensor.name, tensor.datatype, shape, raw[position]))
    return tensors


def _typed(tensor: Any, shape: list[int], where: str) -> Tensor:
    datatype = tensor.datatype
    if datatype in _RAW_ONLY:
        raise RequestError(f"{where}: {datatype} comes in raw_input_contents only")
    field = f"{_CONTENTS[datatype]}_contents"
    filled = [descriptor.name for descriptor, _ in tensor.contents.ListFields()]
    if filled not in ([], [field]):
        raise RequestError(f"{where}: contents of a {datatype} go into {field}, got {', '.join(filled)}")
    values: list[Any] = list(getattr(tensor.contents, field))
    if datatype in ("FP32", "FP64") and any(map(math.isnan, values)):
        values = [None if math.isnan(value) else value for value in values]  # NaN is how these say null
    return from_values(tensor.name, datatype, shape, texts_of(values, tensor.name) if datatype == "BYTES" else values)
