"""The proxy as a process of its own in front of a server that a test plays, byte by byte, or of a real one.

`Played` answers each request with what its `script` says; `proxied` starts the proxy in front of any port. The proxy's
store is a folder, as `served` has it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.graphs import SIGNATURE, linear
from tests.support.served import Served, free_port, store_artifact

from fairlead.contract import env
from fairlead.contract.jobs import Upstream
from fairlead_runtime.signature import Signature

Script = Callable[["Talk"], None]
DRAIN_PATH = "/drain/secret"


@dataclass
class Talk:
    """One connection that the server of a test has accepted."""

    socket: socket.socket
    server: Played
    buffer: bytes = b""

    def read_head(self) -> bytes:
        """Return the next request's head with its empty line; raise ConnectionError at the end."""
        return self._read_until(b"\r\n\r\n")

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self._more()
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("closed")
        self.buffer += data

    def read(self, count: int) -> bytes:
        """Return so many bytes."""
        pieces, held = [self.buffer], len(self.buffer)
        while held < count:
            data = self.socket.recv(1 << 20)
            if not data:
                raise ConnectionError("closed")
            pieces.append(data)
            held += len(data)
        whole = b"".join(pieces)
        self.buffer = whole[count:]
        return whole[:count]

    def read_request(self) -> tuple[bytes, bytes]:
        """Return a request's head and its whole body, chunks put together."""
        head = self.read_head()
        lower = head.lower()
        _, _, rest = lower.partition(b"content-length:")
        if b"transfer-encoding: chunked" in lower:
            body = b"".join(self._chunks())
        else:
            body = self.read(int(rest.split(b"\r\n")[0])) if rest else b""
        self.server.requests.append((head, body))
        return head, body

    def _chunks(self) -> list[bytes]:
        found = []
        while size := int(self._read_until(b"\r\n"), 16):
            found.append(self.read(size))
            assert self.read(2) == b"\r\n"
        assert self.read(2) == b"\r\n"
        return found

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def answer(self, body: bytes = b"{}", status: str = "200 OK", more: bytes = b"") -> None:
        """Send a usual answer."""
        self.write(b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status.encode(), more, len(body), body))


def echo(talk: Talk) -> None:
    """Answer each request with its own body."""
    while True:
        talk.answer(talk.read_request()[1])


@dataclass
class Played:
    """A server whose every connection runs `script` in a thread; what it raises at its end is no fault."""

    script: Script = echo
    port: int = field(default_factory=free_port)
    connections: int = 0
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    _listener: socket.socket | None = None

    def last(self, path: str) -> tuple[bytes, bytes]:
        """Return the last request whose target begins so; readiness is asked in between."""
        wanted = f" {path}".encode()
        return next(request for request in reversed(self.requests) if request[0].partition(wanted)[1])

    def __enter__(self) -> Played:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(accepted,), daemon=True).start()

    def _talk(self, accepted: socket.socket) -> None:
        with accepted:
            try:
                self.script(Talk(accepted, self))
            except OSError:
                return  # the other side closed


def proxied(
    folder: Path,
    port: int,
    environ: Mapping[str, str] | None = None,
    *,
    signature: Signature = SIGNATURE,
    readiness_path: str | None = None,
    timeout_s: float = 60,
    **more: Any,
) -> Served:
    """Return a proxy that is not started, in front of a server on 127.0.0.1."""
    artifact = store_artifact(folder / "store", linear(), signature)
    upstream = Upstream(port=port, readiness_path=readiness_path, timeout_s=timeout_s)
    settings = {
        "FAIRLEAD_PORT_DRAIN": str(free_port()),
        env.DRAIN_PATH: DRAIN_PATH,
        "FAIRLEAD_MODELS_DIR": str(folder / "models"),
        "FAIRLEAD_CAPTURE_FLUSH_S": "0.5",
        **(environ or {}),
    }
    proxy = Served.of(folder, artifact, settings, upstream=upstream, **more)
    proxy.module = "fairlead_runtime.proxy"
    return proxy
