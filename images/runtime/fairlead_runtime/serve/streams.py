"""One call of an HTTP/2 connection, as `http` sees it: what waits for an answer. Made by `http2`."""

from __future__ import annotations

from collections.abc import Callable

from .frames import Headers
from .wire import Request, Response

Answer = Callable[["Stream", Response], None]


class Stream:
    """One call: what came of it, and what of its answer could not leave yet."""

    __slots__ = (
        "_answer", "body", "bytes", "gone", "headers", "held", "id", "since_s", "submitted", "unsent", "window",
    )  # fmt: skip

    def __init__(self, answer: Answer, number: int, headers: Headers, window: int) -> None:
        self._answer = answer
        self.id = number
        self.headers = headers
        self.body: list[bytes] = []
        self.bytes = 0
        self.held = 0  # of them, those that the server counts
        self.window = window
        self.unsent: tuple[bytes, bytes] | None = None
        self.gone = False
        self.submitted = False
        self.since_s = 0.0

    def send(self, request: Request, response: Response) -> None:
        """Write the answer; `http` calls this."""
        self._answer(self, response)
