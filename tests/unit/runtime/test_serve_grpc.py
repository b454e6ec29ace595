"""The gRPC port over real sockets: a public client's calls, lineage, bad input, and HTTP/2 as hostile clients do it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.support.eventually import eventually
from tests.support.graphs import MIXED, SIGNATURE, fragile, linear
from tests.support.served import REVISION, Served, store_artifact

from fairlead_runtime.serve import frames
from fairlead_runtime.serve.frames import frame, literal
from fairlead_runtime.serve.protocol import PROTO, load_messages

MESSAGES = load_messages(PROTO.read_text())
LIMITS = {
    "FAIRLEAD_MAX_BODY_BYTES": "400000",
    "FAIRLEAD_REQUEST_S": "1",
    "FAIRLEAD_MAX_HELD_BYTES": "1700000",
    "FAIRLEAD_MAX_WAIT_S": "60",  # a slow machine is no overload here
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    server = Served.of(folder, store_artifact(folder / "store", linear(), SIGNATURE), LIMITS).start()
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture
def channel(served: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc}") as channel:
        yield channel


def method(channel: grpc.Channel, name: str) -> Callable[..., Any]:
    return channel.unary_unary(
        f"/inference.GRPCInferenceService/{name}",
        request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
        response_deserializer=MESSAGES[f"{name}Response"].FromString,
    )


def asked(*tensors: dict[str, Any], **more: Any) -> Any:
    return MESSAGES["ModelInferRequest"](**{"model_name": "tumor", "inputs": tensors, **more})


AGE = {"name": "age", "shape": [2, 1], "datatype": "FP32", "contents": {"fp32_contents": [5, 15]}}
RADIUS = {"name": "mean radius", "shape": [2], "datatype": "FP64", "contents": {"fp64_contents": [1.5, float("nan")]}}


def test_health_and_metadata(channel: grpc.Channel) -> None:
    for name, field in (("ServerLive", "live"), ("ServerReady", "ready")):
        assert getattr(method(channel, name)(MESSAGES[f"{name}Request"]()), field)
    for version in ("", "tumor-1"):
        assert method(channel, "ModelReady")(MESSAGES["ModelReadyRequest"](name="risk", version=version)).ready
    metadata = method(channel, "ModelMetadata")(MESSAGES["ModelMetadataRequest"](name="tumor"))
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
        ("label", "BYTES", [-1]),
        ("probabilities", "FP32", [-1, 2]),
    ]
    assert method(channel, "ServerMetadata")(b"").name == "fairlead"
    health = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert health(b"") == b"\x08\x01"  # SERVING


def test_typed_contents_are_answered_typed_and_raw_contents_raw(channel: grpc.Channel) -> None:
    infer = method(channel, "ModelInfer")
    typed = infer(asked(AGE, RADIUS, id="mine"))
    assert (typed.model_name, typed.model_version, typed.id) == ("tumor", "tumor-1", "mine")
    assert list(typed.outputs[0].contents.bytes_contents) == [b"benign", b"malign"]
    matrix = {"name": "x", "shape": [2, 2], "datatype": "FP32"}
    rows = np.array([[5, 0], [15, np.nan]], "<f4")
    raw = infer(asked(matrix, raw_input_contents=[rows.tobytes()], outputs=[{"name": "probabilities"}]))
    assert [output.name for output in raw.outputs] == ["probabilities"]
    found = np.frombuffer(raw.raw_output_contents[0], "<f4")
    assert found.tolist() == pytest.approx(list(typed.outputs[1].contents.fp32_contents))
    one = infer(asked({**matrix, "shape": [1, 2], "contents": {"fp32_contents": [15, float("nan")]}}))
    assert list(one.outputs[0].contents.bytes_contents) == [b"malign"]


def test_every_call_says_who_answered(served: Served, channel: grpc.Channel) -> None:
    _, call = method(channel, "ModelInfer").with_call(asked(AGE, RADIUS))
    with pytest.raises(grpc.RpcError) as refused:
        method(channel, "ModelInfer")(asked(AGE))
    for metadata in (call.initial_metadata(), refused.value.initial_metadata() or refused.value.trailing_metadata()):
        said = dict(metadata)
        assert said["x-fairlead-model-version"] == "tumor-1"
        assert said["x-fairlead-model-digest"] == served.document.artifact.digest
        assert said["x-fairlead-revision"] == REVISION
        assert said["x-fairlead-response-id"].startswith("5e5e5e5e5e-")


BAD: list[tuple[Any, grpc.StatusCode, str]] = [
    (asked(), grpc.StatusCode.INVALID_ARGUMENT, "at least one tensor"),
    (asked(AGE), grpc.StatusCode.INVALID_ARGUMENT, "missing mean radius"),
    (asked(AGE, RADIUS, model_name="x"), grpc.StatusCode.NOT_FOUND, "there is no model 'x' here; it is 'tumor'"),
    (asked(AGE, RADIUS, model_version="2"), grpc.StatusCode.NOT_FOUND, "no version '2'"),
    (
        asked(AGE, RADIUS, raw_input_contents=[b"1"]),
        grpc.StatusCode.INVALID_ARGUMENT,
        "one for each of 2 inputs, got 1",
    ),
    (
        asked(AGE, RADIUS, raw_input_contents=[b"1", b"2"]),
        grpc.StatusCode.INVALID_ARGUMENT,
        "contents beside raw_input_contents",
    ),
    (asked({**AGE, "datatype": "INT64"}, RADIUS), grpc.StatusCode.INVALID_ARGUMENT, "go into int64_contents"),
    (asked({**AGE, "datatype": "FP16"}, RADIUS), grpc.StatusCode.INVALID_ARGUMENT, "raw_input_contents only"),
    (asked({**AGE, "shape": [3]}, RADIUS), grpc.StatusCode.INVALID_ARGUMENT, "shape [3] needs 3 values, got 2"),
    (asked({**AGE, "shape": [-1]}, RADIUS), grpc.StatusCode.INVALID_ARGUMENT, "shape: expected [rows]"),
    (asked(AGE, RADIUS, outputs=[{"name": "y"}]), grpc.StatusCode.INVALID_ARGUMENT, "outputs: unknown y"),
    (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "the message is no inference.ModelInferRequest"),
    (b"\x0a\x03\xff\xfe\xfd", grpc.StatusCode.INVALID_ARGUMENT, "the message is no inference.ModelInferRequest"),
    (b"\x00" * 500_000, grpc.StatusCode.RESOURCE_EXHAUSTED, "the message exceeds 400000 bytes"),
]


@pytest.mark.parametrize(("message", "code", "said"), BAD)
def test_bad_calls_get_a_status_that_says_what_was_wrong(
    channel: grpc.Channel, message: Any, code: grpc.StatusCode, said: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        method(channel, "ModelInfer")(message, timeout=10)
    assert (refused.value.code(), said in refused.value.details()) == (code, True), refused.value.details()
    assert method(channel, "ModelInfer")(asked(AGE, RADIUS)).id


def test_unknown_methods_and_compressed_messages(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as unknown:
        channel.unary_unary("/inference.GRPCInferenceService/ModelStatistics")(b"")
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
    large = asked(*({**AGE, "name": "é" * 99},) * 50)
    with pytest.raises(grpc.RpcError) as compressed:
        method(channel, "ModelInfer")(large, compression=grpc.Compression.Gzip)
    assert compressed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "compressed messages are not served" in compressed.value.details()


def test_many_rows_and_many_calls_at_once(channel: grpc.Channel) -> None:
    rows = np.tile(np.array([[5, 0], [15, 0]], "<f4"), (20_000, 1))  # 320 kB out, in far more than one window
    tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP32"}
    infer = method(channel, "ModelInfer")
    calls = [infer.future(asked(tensor, raw_input_contents=[rows.tobytes()])) for _ in range(5)]
    calls += [infer.future(asked(AGE, RADIUS, id=f"{i}")) for i in range(400)]
    answers = [call.result(60) for call in calls]
    assert [len(answer.raw_output_contents[1]) for answer in answers[:5]] == [320_000] * 5
    assert [answer.id for answer in answers[5:]] == [f"{i}" for i in range(400)]


def test_a_model_that_raises_is_internal_and_calls_are_counted(tmp_path: Path) -> None:
    server = Served.of(tmp_path, store_artifact(tmp_path / "store", fragile(), MIXED)).start()
    delay = {"name": "delay", "shape": [1], "datatype": "FP32", "contents": {"fp32_contents": [1.5]}}
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        for carrier, good in ((b"UA", True), (b"", False)):
            text = {"name": "carrier", "shape": [1], "datatype": "BYTES", "contents": {"bytes_contents": [carrier]}}
            if good:
                answer = method(channel, "ModelInfer")(asked(delay, text))
                assert list(answer.outputs[0].contents.bool_contents) == [True]
                continue
            with pytest.raises(grpc.RpcError) as failed:
                method(channel, "ModelInfer")(asked(delay, text))
            assert failed.value.code() is grpc.StatusCode.INTERNAL
            assert "the model failed on this input" in failed.value.details()
        assert (server.arm()["requests"], server.arm()["failed"]) == (2, 1)
        server.terminate()
        assert method(channel, "ModelInfer")(asked(delay, text | {"contents": {"bytes_contents": [b"AA"]}})).id
    assert server.stop() == 0, server.log()


# -- HTTP/2 as no good client speaks it


class Http2:
    """A client that sends exactly the frames it is given."""

    def __init__(self, port: int, preface: bytes = frames.PREFACE) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.sendall(preface)
        self.data = b""

    def send(self, *sent: bytes) -> None:
        self.socket.sendall(b"".join(sent))

    def read(self, kind: int) -> tuple[int, int, bytes]:
        """Return (flags, stream, payload) of the next frame of a kind; raise ConnectionError at the end."""
        while True:
            while len(self.data) < 9 or len(self.data) < 9 + int.from_bytes(self.data[:3], "big"):
                more = self.socket.recv(65536)
                if not more:
                    raise ConnectionError(self.data)
                self.data += more
            end = 9 + int.from_bytes(self.data[:3], "big")
            found, self.data = self.data[:end], self.data[end:]
            if found[3] == kind:
                return found[4], int.from_bytes(found[5:9], "big"), found[9:]

    def goaway(self) -> tuple[int, str]:
        payload = self.read(frames.GOAWAY)[2]
        return int.from_bytes(payload[4:8], "big"), payload[8:].decode()


Connect = Callable[..., Http2]


@pytest.fixture
def connect(served: Served) -> Iterator[Connect]:
    opened: list[Http2] = []

    def open_one(*preface: bytes) -> Http2:
        opened.append(Http2(served.grpc, *preface))
        return opened[-1]

    yield open_one
    for client in opened:
        client.socket.close()


HEAD = b"\x83\x86" + b"".join(
    literal(name, value)
    for name, value in (
        (b":path", b"/inference.GRPCInferenceService/ServerLive"),
        (b":authority", b"x"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)
EMPTY = b"\0\0\0\0\0"


def call(number: int) -> bytes:
    return frame(frames.HEADERS, frames.END_HEADERS, number, HEAD) + frame(
        frames.DATA, frames.END_STREAM, number, EMPTY
    )


def test_headers_in_pieces_padding_priority_and_byte_by_byte(connect: Connect) -> None:
    client = connect()
    padded = bytes((3,)) + b"\0\0\0\0\x10" + HEAD[:20] + b"\0" * 3
    sent = (
        frame(frames.HEADERS, frames.PADDED | frames.PRIORITY, 1, padded)
        + frame(frames.CONTINUATION, 0, 1, HEAD[20:50])
        + frame(frames.CONTINUATION, frames.END_HEADERS, 1, HEAD[50:])
        + frame(frames.DATA, frames.END_STREAM | frames.PADDED, 1, b"\x02" + EMPTY + b"\0\0")
    )
    for byte in sent:
        client.send(bytes((byte,)))
    assert client.read(frames.DATA)[2] == b"\0\0\0\0\x02\x08\x01"
    assert client.read(frames.HEADERS)[0] & frames.END_STREAM
    client.send(frame(frames.PING, 0, 0, b"12345678"), frame(99, 0, 0, b"unknown kinds are passed over"))
    assert client.read(frames.PING) == (frames.ACK, 0, b"12345678")


def test_an_answer_waits_for_the_windows_of_its_client(connect: Connect) -> None:
    client = connect()
    client.send(frame(frames.SETTINGS, 0, 0, struct.pack(">HI", 4, 3)), call(1))
    assert client.read(frames.DATA)[2] == b"\0\0\0"
    client.send(frame(frames.WINDOW_UPDATE, 0, 1, (1).to_bytes(4, "big")))
    assert client.read(frames.DATA)[2] == b"\0"
    client.send(frame(frames.SETTINGS, 0, 0, struct.pack(">HI", 4, 50)))
    assert client.read(frames.DATA)[2] == b"\x02\x08\x01"
    assert client.read(frames.HEADERS)[0] & frames.END_STREAM


ABUSE: list[tuple[bytes, int]] = [
    (frame(frames.HEADERS, frames.END_HEADERS, 2, HEAD), frames.PROTOCOL_ERROR),
    (frame(frames.DATA, 0, 1, b"x"), frames.PROTOCOL_ERROR),
    (call(3) + call(1), frames.PROTOCOL_ERROR),
    (frame(frames.HEADERS, 0, 1, HEAD) + frame(frames.PING, 0, 0, b"12345678"), frames.PROTOCOL_ERROR),
    (frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff"), frames.COMPRESSION_ERROR),
    (frame(frames.HEADERS, frames.END_HEADERS | frames.PADDED, 1, b"\x09abc"), frames.PROTOCOL_ERROR),
    (frame(frames.PUSH_PROMISE, 0, 1, b""), frames.PROTOCOL_ERROR),
    (frame(frames.SETTINGS, 0, 0, b"123"), frames.PROTOCOL_ERROR),
    (frame(frames.SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31)), frames.FLOW_CONTROL_ERROR),
    (frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), frames.PROTOCOL_ERROR),
    (frame(frames.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2, frames.FLOW_CONTROL_ERROR),
    (b"\xff\xff\xff\0\0\0\0\0\x01", frames.FRAME_SIZE_ERROR),
    # floods: of continuations (CVE-2024-27316) and of resets (CVE-2023-44487)
    (
        frame(frames.HEADERS, 0, 1, HEAD) + frame(frames.CONTINUATION, 0, 1, literal(b"x", b"y" * 9_000)) * 5,
        frames.ENHANCE_YOUR_CALM,
    ),
    (
        b"".join(
            frame(frames.HEADERS, frames.END_HEADERS, n, HEAD) + frame(frames.RST_STREAM, 0, n, b"\0\0\0\x08")
            for n in range(1, 500, 2)
        ),
        frames.ENHANCE_YOUR_CALM,
    ),
]


@pytest.mark.parametrize(("sent", "code"), ABUSE)
def test_a_client_that_breaks_the_protocol_is_told_and_left(connect: Connect, sent: bytes, code: int) -> None:
    client = connect()
    client.send(sent)
    found, why = client.goaway()
    assert (found, bool(why)) == (code, True), why
    with pytest.raises(ConnectionError):
        client.read(-1)


def test_more_calls_than_a_connection_may_have_are_refused_alone(connect: Connect) -> None:
    client = connect()
    for number in range(1, 2 * 258, 2):  # none is complete
        client.send(frame(frames.HEADERS, frames.END_HEADERS, number, HEAD))
    _, number, payload = client.read(frames.RST_STREAM)
    assert (number, int.from_bytes(payload, "big")) == (513, frames.REFUSED_STREAM)
    client.send(frame(frames.DATA, frames.END_STREAM, 1, EMPTY))
    assert client.read(frames.DATA)[1] == 1


def test_half_a_call_is_ended_and_another_protocol_is_told(connect: Connect) -> None:
    client = connect()
    client.send(frame(frames.HEADERS, frames.END_HEADERS, 1, HEAD), frame(frames.DATA, 0, 1, EMPTY))
    flags, _, block = client.read(frames.HEADERS)
    assert flags & frames.END_STREAM
    assert literal(b"grpc-status", b"4") in block  # DEADLINE_EXCEEDED
    rest = connect(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"this port speaks gRPC" in rest.socket.recv(65536) + rest.socket.recv(65536)


async def test_what_all_unfinished_calls_hold_is_bounded_and_given_back(connect: Connect) -> None:
    pieces = [frame(frames.DATA, 0, 1, b"x" * 16_000)] * 20
    first = [connect() for _ in range(5)]
    for client in first:
        client.send(frame(frames.HEADERS, frames.END_HEADERS, 1, HEAD), *pieces)
    last = connect()
    last.send(frame(frames.HEADERS, frames.END_HEADERS, 1, HEAD), *pieces)
    refused = [client for client in (*first, last) if literal(b"grpc-status", b"14") in client.read(frames.HEADERS)[2]]
    assert len(refused) == 1  # UNAVAILABLE; the others end by their time (DEADLINE_EXCEEDED)
    for client in first:
        client.socket.close()
    again = connect()
    again.send(frame(frames.HEADERS, frames.END_HEADERS, 1, HEAD), *pieces[:10])
    again.send(frame(frames.RST_STREAM, 0, 1, b"\0\0\0\x08"), call(3))
    assert again.read(frames.DATA)[1] == 3


async def test_a_client_that_leaves_in_the_middle_costs_nothing(served: Served, connect: Connect) -> None:
    for _ in range(20):
        client = connect()
        client.send(call(1), call(3)[:-3])
        client.socket.close()
    await eventually(lambda: served.arm()["inFlight"] == 0)
    client = connect()
    client.send(call(1))
    assert client.read(frames.DATA)[2] == b"\0\0\0\0\x02\x08\x01"
