"""One request and its answer on their way through: what was sent, what came back, how it ended, and how that counts.

A body is passed on as it arrives, in its own framing; nothing is held but what the next socket does not take yet. It
must never send a request twice that may not be, and never end an answer as if it were whole when it is not.
Made by `client`, joined with a connection of `upstream`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import orjson

from fairlead_runtime.serve.wire import GONE, Response

from .capture import Body
from .heads import Sifted, answer_head, interim_head, may_repeat, status_line

if TYPE_CHECKING:
    from .client import Client
    from .upstream import Upstream

BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT = 502, 503, 504
_BODYLESS = frozenset((204, 304))


class Hub(Protocol):
    """What an exchange needs of the proxy that it is part of; `relay.Relay` is one."""

    draining: bool
    lineage: bytes
    timeout_s: float
    patience_s: float

    def now_s(self) -> float:
        """Return the event loop's time."""

    def connect(self, exchange: Exchange) -> None:
        """Join the exchange with a connection, now or soon; or fail it."""

    def ended(self, exchange: Exchange, status: int, elapsed_ns: int) -> None:
        """Count and capture an exchange that is over."""


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "_answer_chunked", "_began_ns", "_complete_ns", "_out", "_pending", "answer_body", "answer_type", "answered",
        "client", "closing", "cookie", "counted", "finished", "head", "headless", "hub", "id", "method", "now_ns",
        "path", "pending_bytes", "received", "recorded", "refusal", "repeatable", "request_chunked", "request_type",
        "status", "touched_s", "upstream", "version",
    )  # fmt: skip

    def __init__(self, hub: Hub, client: Client, method: bytes, path: bytes) -> None:
        self.hub = hub
        self.client = client
        self.method = method
        self.path = path
        self.version = "1.1"
        self.id = ""
        self.now_ns = 0
        self.counted = False
        self.cookie = b""  # the line that binds a client to this revision, where the route asks for one
        self.head = b""
        self.request_chunked = False
        self.received = False  # the whole request
        self.repeatable = False
        self.refusal: tuple[int, str] | None = None
        self.closing = False  # the client's connection ends with this answer
        self.answered = False  # the answer's head was sent
        self.finished = False
        self.headless = method == b"HEAD"
        self.status = 0
        self.upstream: Upstream | None = None
        self.pending_bytes = 0
        self.touched_s = hub.now_s()
        self.recorded: Body | None = None  # the request's body, where it is captured
        self.answer_body: Body | None = None
        self.request_type = b""
        self.answer_type = b""
        self._pending: list[bytes] = []
        self._out: list[bytes] = []
        self._answer_chunked = False
        self._began_ns = time.perf_counter_ns()
        self._complete_ns = 0

    # -- the request

    def begin(self) -> None:
        """Start: its turn on the client's connection has come."""
        self.touched_s = self.hub.now_s()
        if self.refusal is not None:
            self.fail(*self.refusal)
        else:
            self.hub.connect(self)

    def set_head(self, head: bytes, *, chunked: bool, bodyless: bool) -> None:
        """Take the head that the user's server is to get."""
        self.head = head
        self.request_chunked = chunked
        self.repeatable = bodyless and may_repeat(self.method)
        self._pending.append(head)
        self.pending_bytes = len(head)

    def feed(self, data: bytes) -> None:
        """Take a piece of the request's body."""
        if self.finished:
            return
        if self.request_chunked:
            self._pending += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._pending.append(data)
        self.pending_bytes += len(data)
        if self.recorded is not None:
            self.recorded.add(data)

    def end_request(self) -> None:
        """Note that the request is whole."""
        self.received = True
        self._complete_ns = time.perf_counter_ns()
        if self.request_chunked and not self.finished:
            self._pending.append(b"0\r\n\r\n")

    def attach(self, upstream: Upstream) -> None:
        """Take the connection to the user's server, and send what waits."""
        self.upstream = upstream
        self.touched_s = self.hub.now_s()
        self.flush_request()
        self.client.regulate()  # what waited is gone: read on

    def flush_request(self) -> None:
        """Send what waits, if there is a connection."""
        if self.upstream is not None and self._pending:
            data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
            self._pending.clear()
            self.pending_bytes = 0
            self.upstream.write(data)

    # -- the answer

    def interim(self, status: int, phrase: bytes, sifted: Sifted) -> None:
        """Pass an interim answer on; HTTP/1.0 knows none."""
        if self.version != "1.0":
            self.client.write(interim_head(status, phrase, sifted))

    def begin_answer(self, status: int, phrase: bytes, sifted: Sifted) -> None:
        """Pass the answer's head on, stamped; its body is framed as the client can read it."""
        self.status = status
        self.answered = True
        bodyless = self.headless or status in _BODYLESS
        unframed = sifted.length is None and not bodyless
        self._answer_chunked = unframed and self.version != "1.0"
        self.closing = self.closing or self.hub.draining or not self.received or (unframed and self.version == "1.0")
        chunked = self._answer_chunked or (bodyless and sifted.chunked)
        cookie = self.cookie if status < 500 else b""  # what the server failed at binds nobody
        lineage = b"%b%b\r\n%b" % (self.hub.lineage, self.id.encode(), cookie)
        first = status_line(status, phrase)
        self._out.append(answer_head(first, sifted, lineage, self._connection(), chunked=chunked))

    def continue_answer(self, data: bytes) -> None:
        """Pass a piece of the answer's body on."""
        if self._answer_chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)
        if self.answer_body is not None:
            self.answer_body.add(data)

    def flush_answer(self) -> None:
        """Send what came."""
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self.client.write(data)

    def end_answer(self) -> None:
        """Finish: the answer is whole."""
        if self._answer_chunked:
            self._out.append(b"0\r\n\r\n")
        self.flush_answer()
        self._finish(self.status)

    def _connection(self) -> bytes:
        if self.closing:
            return b"connection: close\r\n"
        return b"connection: keep-alive\r\n" if self.version == "1.0" else b""

    # -- other ends

    def fail(self, status: int, message: str) -> None:
        """End it with an answer of our own, or, where one has begun, by ending the connection in its middle."""
        if self.finished:
            return
        self._drop_upstream()
        if self.answered:
            self.closing = True
            self.flush_answer()
            self._finish(status)
            self.client.cut()
            return
        self.answered = True
        self.closing = self.closing or self.hub.draining or not self.received
        self._out.clear()
        self.client.write(self._own_answer(status, message))
        self._finish(status)

    def _own_answer(self, status: int, message: str) -> bytes:
        more = b"retry-after: 1\r\n" if status == UNAVAILABLE else b""
        headers = b"%b%b\r\n%b" % (self.hub.lineage, self.id.encode(), more)
        body = orjson.dumps({"error": message.encode("utf-8", "replace").decode()})
        return Response(status, body, headers).encode(close=self.closing, bodyless=self.headless)

    def abandon(self) -> None:
        """End it because the client left."""
        if not self.finished:
            self._drop_upstream()
            self._out.clear()
            self._finish(GONE)

    def lost(self) -> None:
        """React to a connection to the user's server that ended before the answer did."""
        self.upstream = None
        if self.finished:
            return
        if self.repeatable and self.received and not self.answered:
            self.repeatable = False  # once
            self._pending = [self.head]
            self.pending_bytes = len(self.head)
            self.hub.connect(self)
            return
        where = "in the middle of its answer" if self.answered else "before it answered"
        self.fail(BAD_GATEWAY, f"the server in the container closed the connection {where}")

    def check(self, now_s: float) -> None:
        """End what has made no progress for too long, by whose turn it is."""
        idle_s, hub = now_s - self.touched_s, self.hub
        if self.client.stuck:
            if idle_s > hub.patience_s:
                self.client.abort()
        elif not self.received and (self.upstream is None or not self.upstream.full):
            if idle_s > hub.patience_s:
                self.fail(408, f"nothing more of the request came for {hub.patience_s:g} seconds")
        elif idle_s > hub.timeout_s:
            self.fail(GATEWAY_TIMEOUT, f"the server in the container did not go on for {hub.timeout_s:g} seconds")

    def _drop_upstream(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.discard()

    def _finish(self, status: int) -> None:
        self.finished = True
        self._pending.clear()
        self.pending_bytes = 0
        since_ns = self._complete_ns or self._began_ns
        self.hub.ended(self, status, time.perf_counter_ns() - since_ns)
        self.client.finished(self)
