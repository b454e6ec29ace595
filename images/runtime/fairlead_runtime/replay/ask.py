"""Sends one row after the other to an arm's server, on the route that neither counts nor captures, and takes the time.

Called by `replay.job`.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fairlead.contract import env

TIMEOUT_S = 10.0
TRIES, PAUSE_S = 5, 1.0  # a Service that was made a moment ago may not be known everywhere yet


class NotServedError(Exception):
    """The server has no such route: it was born before there was one, or it is not ours."""


class UnreachableError(Exception):
    """No connection, several times; its text is where to."""


@dataclass(frozen=True)
class Answer:
    """What came back for one row; `status` is 0 when nothing came in time."""

    status: int
    prediction: Any = None
    elapsed_ms: float = 0.0

    @property
    def good(self) -> bool:
        """Whether it is an answer."""
        return self.status == 200


class Arm:
    """One server, asked over one connection."""

    def __init__(self, url: str, token: str, timeout_s: float = TIMEOUT_S, pause_s: float = PAUSE_S) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._timeout_s = parts.hostname or "", parts.port or 80, timeout_s
        self._connection = self._connect()
        self._headers = {"content-type": "application/json", env.HEADER_REPLAY: token}
        self._pause_s = pause_s

    def ask(self, row: Mapping[str, Any]) -> Answer:
        """Return the answer to a row; raise NotServedError or UnreachableError."""
        body = json.dumps(row)
        for _ in range(TRIES):
            begun = time.perf_counter()
            try:
                return self._once(body, begun)
            except TimeoutError:
                self._again()
                return Answer(0, None, (time.perf_counter() - begun) * 1000)
            except (OSError, http.client.HTTPException):
                self._again()
                time.sleep(self._pause_s)
        raise UnreachableError(f"{self._host}:{self._port}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _once(self, body: str, begun: float) -> Answer:
        self._connection.request("POST", env.PATH_REPLAY, body, self._headers)
        said = self._connection.getresponse()
        text = said.read()
        elapsed_ms = (time.perf_counter() - begun) * 1000
        if said.status in (404, 405):
            raise NotServedError
        prediction = json.loads(text)["predictions"][0] if said.status == 200 else None
        return Answer(said.status, prediction, elapsed_ms)

    def _again(self) -> None:
        self._connection.close()
        self._connection = self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
