"""HTTP/1.1 on asyncio: one client, its parser (httptools) and limits. Knows nothing of models.

It must never answer out of order, hold unbounded memory for a client, or raise because of what a client sent. It fills
the queue of `http.HttpServer`, which makes it for each new client.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httptools

from .closing import end_connection
from .known_head import KnownHead, learn
from .wire import CONTINUE, Request, Response

if TYPE_CHECKING:
    from .http import HttpServer

_URL_BYTES = 8 << 10
_MAX_STRANGE = 8  # heads in a row that are not the last one's: then a client is not worth the comparing
_IDLE, _HEADERS, _EXPECTING, _BODY, _ENDED = range(5)  # what a connection is receiving


class Connection(asyncio.Protocol):
    """One client: parser callbacks, limits, and answers in the order of the requests."""

    __slots__ = (
        "_body", "_body_bytes", "_headers", "_held", "_known", "_large", "_last", "_late", "_loop", "_paused",
        "_pending", "_received", "_server", "_since", "_state", "_strange", "_touched", "_transport", "_url", "gone",
        "parser",
    )  # fmt: skip

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._transport = cast(asyncio.Transport, None)  # set before any other method is called
        self.parser = httptools.HttpRequestParser(self)
        self.gone = False
        self._state = _IDLE
        self._pending = 0
        self._paused = False
        self._touched = True
        self._large = False  # whether the bytes being parsed could hold headers beyond the limit
        self._late = False  # whether it came when there were too many already
        self._since = 0.0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._received = -1
        self._body: bytes | list[bytes] = b""
        self._body_bytes = 0
        self._held = 0  # bytes of the unfinished request that the server counts
        self._known: KnownHead | None = None
        self._last: Request | None = None  # that the parser made
        self._strange = 0  # heads in a row that had to be parsed

    # -- the transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it where there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        server = self._server
        server.connections.add(self)
        if len(server.connections) > server.limits.connections:
            self._late = True
            self._refuse(503, f"{server.limits.connections} connections are open already; try again in a second")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; its waiting requests are not worked on."""
        self.gone = True
        self._release()
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Compare with the head that is known, or parse; what follows happens in the parser's callbacks."""
        state = self._state
        if state == _ENDED:
            return  # what still comes after a refusal is read and thrown away, so that the refusal can be read
        self._touched = True
        if state == _IDLE and self._known is not None:
            request = self._known.request(data)
            if request is not None and len(request.body) <= self._server.limits.body_bytes:
                self._strange = 0
                self._submit(request)
                return
        self._parse(data)
        if state == _IDLE == self._state and self._last is not None and self._strange < _MAX_STRANGE:
            self._strange += 1
            self._known = learn(data, self._last)
        self._last = None

    def _parse(self, data: bytes) -> None:
        self._large = len(data) > self._server.limits.header_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._state = _ENDED  # the request itself was complete and is answered in HTTP/1.1; nothing follows it
        except httptools.HttpParserError as error:
            if self._state != _ENDED:
                self._refuse(400, f"not HTTP/1.1: {error}")
        if self._state != _IDLE:
            self._count(len(data))

    def _count(self, received: int) -> None:
        """Bound what the parser may hold of one unfinished request: headers, trailers, chunk extensions."""
        self._received += received if self._received >= 0 else 1  # the chunk that it began in holds others' bytes too
        limits = self._server.limits
        if self._state in (_HEADERS, _EXPECTING) and self._received > limits.header_bytes:
            self._too_many_headers()
        elif self._state == _BODY and self._received > 2 * limits.body_bytes + limits.header_bytes:
            self._too_large()
        elif self._state in (_HEADERS, _EXPECTING, _BODY):
            self._hold(received)

    def _hold(self, received: int) -> None:
        if self._server.hold(received):
            self._held += received
        else:
            bound = self._server.limits.held_bytes
            self._refuse(503, f"requests that are being received hold {bound} bytes already; try again in a second")

    def _release(self) -> None:
        self._server.held_bytes -= self._held
        self._held = 0

    def eof_received(self) -> bool:
        """Keep the connection for answers that wait; without any, let it close."""
        if self._state in (_HEADERS, _BODY):
            self._state = _ENDED  # half a request, and nobody to tell
        return self._pending > 0

    def pause_writing(self) -> None:
        """Read nothing more from a client that does not read its answers."""
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        self._paused = False
        self._read_again()

    # -- the parser's callbacks

    def on_message_begin(self) -> None:
        """Start a request."""
        if self._state == _ENDED:
            return
        self._state = _HEADERS
        self._url = b""
        self._headers = []
        self._received = -1
        self._since = 0.0
        self._body = b""
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take the request's target, possibly in pieces."""
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        self._headers.append((name, value))
        if len(name) == 6 and self._state == _HEADERS and name.lower() == b"expect":
            self._state = _EXPECTING

    def on_headers_complete(self) -> None:
        """Refuse what is too long before its body is read."""
        if self._state == _ENDED:
            return
        expecting, self._state = self._state == _EXPECTING, _BODY
        if len(self._url) > _URL_BYTES:
            self._refuse(414, f"the request's path exceeds {_URL_BYTES} bytes")
        elif (self._large or self._received >= 0) and self._header_bytes() > self._server.limits.header_bytes:
            self._too_many_headers()
        elif expecting:
            self._expect()

    def _expect(self) -> None:
        length = next((value for name, value in self._headers if name.lower() == b"content-length"), b"0")
        if int(length) > self._server.limits.body_bytes:
            self._too_large()
        elif not self._pending:
            self._transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self._state == _ENDED:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._server.limits.body_bytes:
            self._too_large()
        elif not self._body:
            self._body = body
        elif isinstance(self._body, list):
            self._body.append(body)
        else:
            self._body = [self._body, body]

    def on_message_complete(self) -> None:
        """Queue the request."""
        if self._state == _ENDED:
            return
        self._state = _IDLE
        body, url = self._body, self._url
        if isinstance(body, list):
            body = b"".join(body)
        self._body = b""
        if b"?" in url:
            url = url[: url.index(b"?")]
        request = Request(self.parser.get_method(), url, self._headers, body)
        if not self.parser.should_keep_alive() or self.parser.should_upgrade():
            request.close = True
            self._state = _ENDED
        request.held_bytes, self._held = self._held, 0
        self._last = request
        self._submit(request)

    def _submit(self, request: Request) -> None:
        self._pending += 1
        if self._pending > self._server.limits.pipelined:
            self._transport.pause_reading()
        self._server.submit(self, request, at_once=self._pending == 1)

    # -- answers

    def send(self, request: Request, response: Response) -> None:
        """Write an answer; the last one of a connection also ends it."""
        self._pending -= 1
        close = request.close or (self._server.draining and not self._pending and self._state == _IDLE)
        self._transport.write(response.encode(close=close, bodyless=request.method == b"HEAD"))
        if close:
            self._end(lingering=request.refusal != 0 and not self._late)
        elif self._pending == self._server.limits.pipelined and not self._paused:
            self._read_again()

    def _read_again(self) -> None:
        if not self.gone and not self._paused and self._pending <= self._server.limits.pipelined:
            self._transport.resume_reading()

    def _refuse(self, status: int, reason: str) -> None:
        """Queue a refusal as this connection's last answer."""
        self._state = _ENDED
        self._body = b""
        self._release()
        request = Request(b"", self._url, self._headers, b"")
        request.close, request.refusal, request.reason = True, status, reason
        self._pending += 1
        self._server.submit(self, request)

    def _too_large(self) -> None:
        self._refuse(413, f"the body exceeds {self._server.limits.body_bytes} bytes; send fewer rows at a time")

    def _header_bytes(self) -> int:
        """Return the size of the headers; asked only where they came in more than one piece, or in a large one."""
        return sum(len(name) + len(value) + 4 for name, value in self._headers)

    def _too_many_headers(self) -> None:
        self._refuse(431, f"the request's headers exceed {self._server.limits.header_bytes} bytes")

    def _end(self, *, lingering: bool) -> None:
        self._state = _ENDED
        end_connection(self._transport, self._loop, self.close, lingering=lingering)

    def close(self) -> None:
        """Close once what was written has left."""
        if not self.gone:
            self._transport.close()

    # -- time

    @property
    def busy(self) -> bool:
        """Return whether a request is being received, waits, or its answer has not left yet."""
        return self._pending > 0 or self._state in (_HEADERS, _EXPECTING, _BODY) or self._unsent > 0

    @property
    def _unsent(self) -> int:
        return 0 if self.gone else self._transport.get_write_buffer_size()

    def sweep(self, now_s: float) -> None:
        """Note when something last happened; end what has been idle, or half received, for too long."""
        if self._touched:
            self._touched = False
            if self._state == _IDLE:
                self._since = now_s
        self._since = self._since or now_s
        limits = self._server.limits
        if self._state == _IDLE and not self._pending and now_s - self._since > limits.idle_s:
            self.close()
        elif self._state in (_HEADERS, _EXPECTING, _BODY) and now_s - self._since > limits.request_s:
            self._refuse(408, f"the request was not complete after {limits.request_s:g} seconds")
