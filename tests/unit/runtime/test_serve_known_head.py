"""A head that a client sends again is compared instead of parsed: the same answers as by the parser, whatever comes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairlead_runtime.serve import connection
from fairlead_runtime.serve.http import HttpServer
from fairlead_runtime.serve.wire import Limits, Request, Response

LIMITS = Limits(body_bytes=64, header_bytes=512, pipelined=4)


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def write(self, data: bytes) -> None:
        self.events.append(data)

    def close(self) -> None:
        self.events.append("closed")

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.events.append("paused")

    def resume_reading(self) -> None:
        self.events.append("resumed")

    def get_write_buffer_size(self) -> int:
        return 0


class Endpoint:
    """Answers with all that a request says."""

    def started(self, request: Request) -> None: ...

    def finished(self, requests: Sequence[Request], statuses: Sequence[int], now_ns: int) -> None: ...

    def answer(self, requests: Sequence[Request]) -> list[Response]:
        return [self.refuse(request, request.refusal or 200, request.reason) for request in requests]

    def refuse(self, request: Request, status: int, reason: str) -> Response:
        said = (request.method, request.path, request.header(b"x-who"), request.body, reason)
        return Response(status, repr(said).encode())


async def exchange(pieces: Sequence[bytes], *, known: bool) -> list[Any]:
    """Return what came of the pieces, each read in a turn of the loop of its own."""
    with patch.object(connection, "learn", connection.learn if known else lambda *_: None):
        server = HttpServer(Endpoint(), LIMITS)
        client, transport = server.connect(), Transport()
        client.connection_made(transport)  # type: ignore[arg-type]
        for piece in pieces:
            client.data_received(piece)
            await asyncio.sleep(0)
        assert server.held_bytes == 0 or client.busy  # type: ignore[attr-defined]
        return [*transport.events, client.busy]  # type: ignore[attr-defined]


def post(body: bytes, *headers: bytes, first: bytes = b"POST /a?b=c HTTP/1.1", length: bytes = b"%d") -> bytes:
    lines = (first, *headers, b"content-length: " + (length % len(body) if b"%" in length else length))
    return b"\r\n".join((*lines, b"", body))


HEADS = st.tuples(
    st.sampled_from(
        [b"POST /a HTTP/1.1", b"POST /a?b HTTP/1.1", b"HEAD / HTTP/1.1", b"POST /a HTTP/1.0", b"\r\nGET / HTTP/1.1"]
    ),
    st.lists(
        st.sampled_from(
            [
                b"host: x",
                b"x-who: me",
                b"x-who: \tyou ",
                b"expect: 100-continue",
                b"connection: close",
                b"connection: keep-alive",
                b"transfer-encoding: chunked",
                b"x: content-length: 3",
                b"content-length: 3",
                b"x: " + b"y" * 500,
            ]
        ),
        max_size=3,
    ),
    st.sampled_from([b"%d", b"%d", b"%d", b"0%d", b"+%d", b"%d ", b" %d", b"3", b"\t%d"]),
)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    heads = draw(st.lists(HEADS, min_size=1, max_size=2))
    bodies = st.one_of(
        st.binary(max_size=12), st.sampled_from([b"abc", b"x" * 64, b"x" * 65, b"5\r\nhello\r\n0\r\n\r\n"])
    )
    sent = []
    for _ in range(draw(st.integers(2, 6))):
        first, headers, length = draw(st.sampled_from(heads))
        sent.append(post(draw(bodies), *headers, first=first, length=length))
    pieces: list[bytes] = []
    for message in sent:
        cut = draw(st.sampled_from([0, 0, 0, 1, len(message) - 1, len(message) // 2]))
        joined = pieces and draw(st.integers(0, 5)) == 0
        pieces += [part for part in (message[:cut], message[cut:]) if part]
        if joined:
            pieces[-2:] = [b"".join(pieces[-2:])]
    return pieces


@settings(max_examples=400, deadline=None)
@given(streams())
@example([post(b"abc", b"x-who: me"), post(b"", b"x-who: me"), post(b"abcd" * 3, b"x-who: me")])
@example([post(b"abc"), post(b"abc") + post(b"abc"), post(b"abc")])
@example([post(b"abc"), post(b"abc")[:-1], b"c" + post(b"abc")])
@example([post(b"abc"), post(b"x" * 65)])
def test_answers_are_those_of_the_parser(pieces: list[bytes]) -> None:
    assert asyncio.run(exchange(pieces, known=True)) == asyncio.run(exchange(pieces, known=False))


async def _count_parsed(pieces: Sequence[bytes]) -> int:
    server = HttpServer(Endpoint(), LIMITS)
    client = server.connect()
    client.connection_made(Transport())  # type: ignore[arg-type]
    with patch.object(
        connection.Connection, "_parse", autospec=True, side_effect=connection.Connection._parse
    ) as parse:
        for piece in pieces:
            client.data_received(piece)
    return parse.call_count


def test_a_head_is_parsed_once_and_a_client_whose_heads_all_differ_is_not_compared_for_ever() -> None:
    same = [post(b"x" * size, b"host: x", b"x-who: me") for size in (3, 30, 0, 12)]
    assert asyncio.run(_count_parsed(same)) == 1
    differing = [post(b"abc", b"x-request-id: %d" % number) for number in range(20)]
    with patch.object(connection, "learn", wraps=connection.learn) as learn:
        assert asyncio.run(_count_parsed(differing)) == 20
    assert learn.call_count == 8


def test_a_known_head_keeps_no_body() -> None:
    body = b"z" * 60
    data = post(body, b"host: x")
    known = connection.learn(data, Request(b"POST", b"/a", [(b"host", b"x"), (b"content-length", b"60")], body))
    assert known is not None
    assert not any(body in referent for referent in _bytes_held(known))
    again = known.request(post(b"abc", b"host: x"))
    assert again is not None
    assert (again.method, again.path, again.body, again.headers) == (b"POST", b"/a", b"abc", [(b"host", b"x")])


def _bytes_held(thing: Any) -> list[bytes]:
    """Return all bytes that an object of ours refers to, directly or not."""
    found, seen, todo = [], set[int](), [thing]
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        if isinstance(one, bytes):
            found.append(one)
        elif isinstance(one, (list, tuple, dict)) or type(one).__module__.startswith("fairlead_runtime"):
            todo += gc.get_referents(one)
    return found
