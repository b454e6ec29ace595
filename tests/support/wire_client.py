"""An HTTP client that sends exactly the bytes it is given, for what polite clients cannot send."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any


@dataclass
class Answer:
    """One parsed response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Wire:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close our end."""
        self._reader.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def read(self) -> Answer:
        """Read one response; raise ConnectionError if the server closed instead."""
        first = self._reader.readline()
        if not first:
            raise ConnectionError("closed")
        headers = {}
        while (line := self._reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = self._reader.read(int(headers.get("content-length", 0)))
        return Answer(int(first.split()[1]), headers, body)

    def post(self, path: str, value: Any, *headers: str) -> Answer:
        """Send JSON (or bytes as they are) and read the answer."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send(request("POST", path, body, *headers))
        return self.read()

    def get(self, path: str) -> Answer:
        """Send a GET and read the answer."""
        self.send(request("GET", path))
        return self.read()

    @property
    def closed(self) -> bool:
        """Whether the server has closed and nothing is left to read."""
        return self._reader.read(1) == b""


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: x", *headers]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
