"""The head of a request that a client sends again and again: compared byte by byte instead of parsed. No IO.

A client that keeps its connection sends the same head with each request, but for the digits of its content-length.
Equal bytes are parsed to equal things, so what the parser made of them once is used again. Only requests that came
whole and alone in one piece are compared; anything else goes through the parser. Used by `connection`.
"""

from __future__ import annotations

import re

from .wire import Request

_MAX_BYTES = 2_048  # of a head; one is kept for each connection
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"


class KnownHead:
    """A head that the parser accepted, and what it found there."""

    __slots__ = ("_after", "_after_bytes", "_at", "_before", "_same")

    def __init__(self, before: bytes, after: bytes, same: Request) -> None:
        self._before = before  # up to the digits of content-length
        self._at = len(before)
        self._after = after
        self._after_bytes = len(after)
        self._same = same
        same.header(b"")  # looks through the headers, once for all requests

    def request(self, data: bytes) -> Request | None:
        """Return the request, if it has this head and its whole body, and nothing follows."""
        if not data.startswith(self._before):
            return None
        end = data.find(b"\r", self._at)
        start = end + self._after_bytes
        if data[self._at : end] != b"%d" % (len(data) - start) or not data.startswith(self._after, end):
            return None
        return self._same.like(data[start:])


def learn(data: bytes, request: Request) -> KnownHead | None:
    """Return the head of a request that the parser just made of all of `data`; None where its end is not so simple.

    A body with content-length ends where that says; then the rest of `data` is the body, or `data` was something else.
    """
    end = data.find(_END, 0, _MAX_BYTES)
    if end < 0 or data[end + 4 :] != request.body or request.header(b"expect") is not None:
        return None
    found = _LENGTH.search(data, 0, end + 2)
    if found is None or found[1] != b"%d" % len(request.body):
        return None
    headers = [(name, value) for name, value in request.headers if name.lower() != b"content-length"]
    same = Request(request.method, request.path, headers, b"")  # without the body, which is not to be kept
    return KnownHead(data[: found.start(1)], data[found.end(1) : end + 4], same)
