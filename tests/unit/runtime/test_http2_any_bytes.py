"""Any bytes and any frames at the gRPC port: each ends in an answer, a GOAWAY or patience, never in an exception."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_runtime.serve import frames
from fairlead_runtime.serve.frames import Http2Response, frame, literal
from fairlead_runtime.serve.http import HttpServer
from fairlead_runtime.serve.http2 import Http2Connection
from fairlead_runtime.serve.wire import Limits, Request, Response

HEAD = b"\x83\x86" + literal(b":path", b"/x") + literal(b"content-type", b"application/grpc")


class Transport:
    """Takes what is written and forgets it, as a socket does."""

    def __init__(self) -> None:
        self.written = 0
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed, "written after the end"
        self.written += len(data)

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


class Endpoint:
    """Answers each request with a few bytes."""

    def started(self, request: Request) -> None: ...

    def finished(self, requests: Any, statuses: Any, now_ns: int) -> None: ...

    def answer(self, requests: Any) -> list[Response]:
        return [Http2Response(200, b"\x88", b"x" * 50, literal(b"grpc-status", b"0")) for _ in requests]

    def refuse(self, request: Request, status: int, reason: str) -> Response:
        return Http2Response(status, b"\x88" + literal(b"grpc-status", b"3"))


payloads = st.one_of(
    st.binary(max_size=40),
    st.just(HEAD),
    st.sampled_from(
        [b"\0\0\0\x08", b"\x7f\xff\xff\xff", b"\0\x04\0\0\0\x05", b"\0\x04\x7f\xff\xff\xff", b"\0\0\0\0\0"]
    ),
    st.integers(0, 64).map(lambda size: b"x" * size * 250),
)
any_frames = st.builds(
    frame,
    st.integers(0, 12),
    st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 4, 5])),
    st.integers(0, 9),
    payloads,
)


async def feed(pieces: list[bytes], limits: Limits) -> None:
    loop = asyncio.get_running_loop()
    raised: list[Any] = []
    loop.set_exception_handler(lambda _, context: raised.append(context))
    server = HttpServer(Endpoint(), limits, Http2Connection)
    connection = cast(Http2Connection, server.connect())
    transport = Transport()
    connection.connection_made(cast(asyncio.BaseTransport, transport))
    for piece in pieces:
        if not transport.closed:
            connection.data_received(piece)
        await asyncio.sleep(0)
    connection.sweep(loop.time() + 10)
    connection.sweep(loop.time() + 100)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    connection.connection_lost(None)
    await asyncio.sleep(0)
    assert not raised
    assert server.held_bytes == 0
    assert not server.busy


@settings(max_examples=150, deadline=None)
@given(st.lists(any_frames, max_size=30))
def test_any_frames(sent: list[bytes]) -> None:
    asyncio.run(feed([frames.PREFACE, *sent], Limits(body_bytes=10_000, held_bytes=30_000)))


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200), st.lists(any_frames, max_size=5), st.integers(1, 50))
def test_any_bytes_cut_anywhere(noise: bytes, sent: list[bytes], size: int) -> None:
    data = frames.PREFACE + b"".join(sent) + noise
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    asyncio.run(feed(pieces, Limits(body_bytes=10_000, held_bytes=30_000)))
    asyncio.run(feed([noise], Limits()))
