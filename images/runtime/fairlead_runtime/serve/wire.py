"""What goes over the wire, as values: limits, a request, a response and its bytes. No IO.

Shared by `http` (which parses and writes) and by every endpoint (which reads a Request and returns a Response).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

JSON = b"application/json"
BINARY = b"application/octet-stream"
TEXT = b"text/plain; version=0.0.4; charset=utf-8"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\ncontent-type: ".encode() for s in HTTPStatus}
Fields = list[tuple[bytes, bytes]]  # headers as they came; never changed, requests with equal heads share them
GONE = 499  # the client closed the connection before its answer; never written, only counted


@dataclass(frozen=True)
class Limits:
    """What one worker holds for its clients."""

    body_bytes: int = 16 << 20
    header_bytes: int = 32 << 10
    pending: int = 4_096  # requests that wait; more are answered 503
    wait_s: float = 0.25  # of the oldest of at least 32 that wait; beyond it new ones are answered 503
    held_bytes: int = 64 << 20  # of all requests that are received in pieces, until answered; more are answered 503
    pipelined: int = 32  # of one connection; more are not read
    connections: int = 20_000
    idle_s: float = 3_660.0  # longer than the hour after which Envoy lets go, so it is never we who close first
    request_s: float = 30.0  # from the first byte of a request to its last


class Response:
    """Status, body, and header lines (each ending in CRLF) of one answer."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(self, status: int, body: bytes, headers: bytes = b"", content_type: bytes = JSON) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.content_type = content_type

    def encode(self, *, close: bool, bodyless: bool) -> bytes:
        """Return the bytes of the answer; `bodyless` is for HEAD, which gets the length and no body."""
        return b"%b%b\r\n%b%bcontent-length: %d\r\n\r\n%b" % (
            _STATUS_LINES[self.status],
            self.content_type,
            self.headers,
            b"connection: close\r\n" if close else b"",
            len(self.body),
            b"" if bodyless else self.body,
        )


class Request:
    """One parsed request; `path` has no query, `refusal` is a status that the wire has already decided on.

    `route` belongs to the endpoint, which looks it up once, when the request starts.
    """

    close = False
    held_bytes = 0
    parsed_ns = 0
    refusal = 0
    reason = ""
    route: Any = None
    receiver: Receiver

    def __init__(self, method: bytes, path: bytes, headers: Fields, body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self._first: dict[bytes, bytes] | None = None

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of that lower-case name."""
        first = self._first
        if first is None:
            first = self._first = {key.lower(): value for key, value in reversed(self.headers)}
        return first.get(name)

    def like(self, body: bytes) -> Request:
        """Return a request with the same head and another body."""
        other = Request(self.method, self.path, self.headers, body)
        other._first = self._first
        return other


class Receiver(Protocol):
    """Who waits for the answer to a request: a connection, or one of its streams."""

    gone: bool

    def send(self, request: Request, response: Response) -> None:
        """Write the answer."""


class Client(Protocol):
    """One connection, as the server sees it."""

    @property
    def busy(self) -> bool:
        """Return whether a request is being received, waits, or its answer has not left yet."""

    def sweep(self, now_s: float) -> None:
        """End what has been idle, or half received, for too long."""

    def close(self) -> None:
        """Close once what was written has left."""


class Endpoint(Protocol):
    """What answers on a port."""

    def started(self, request: Request) -> None:
        """Take note that a request was parsed and waits."""

    def answer(self, requests: Sequence[Request]) -> list[Response]:
        """Return the answers to requests that waited together, those with a refusal included, in their order."""

    def refuse(self, request: Request, status: int, reason: str) -> Response:
        """Return the answer to a request that the wire refused, or that raised."""

    def finished(self, requests: Sequence[Request], statuses: Sequence[int], now_ns: int) -> None:
        """Take note that the answers were handed to their sockets now (by the clock of `parsed_ns`)."""
