"""What all connections of one proxy share: who it speaks for, what it counts and captures, limits, and draining.

Made by `process`; exchanges and clients speak to it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from fairlead.contract.jobs import ServeInput, Upstream
from fairlead_runtime.serve.counters import Writer
from fairlead_runtime.serve.ids import ResponseIds
from fairlead_runtime.serve.wire import Limits

from .capture import Capture
from .exchange import Exchange
from .heads import Headers, content_type, cookie_line, lineage_lines
from .upstream import Pool

if TYPE_CHECKING:
    from .client import Client

_UNCOUNTED = frozenset((b"", b"HEAD", b"OPTIONS"))  # they ask about the server, not for a prediction


class Relay:
    """The shared part of a proxy; an `exchange.Hub`."""

    def __init__(
        self, document: ServeInput, upstream: Upstream, counters: Writer, capture: Capture | None, limits: Limits
    ) -> None:
        artifact = document.artifact
        self.lineage = lineage_lines(artifact.version, artifact.digest, document.revision)
        self.timeout_s = upstream.timeout_s
        self.patience_s = limits.request_s
        self.limits = limits
        self.draining = False
        self.clients: set[Client] = set()
        self.active: set[Exchange] = set()
        self.pool = Pool(upstream.port, limits.pending)
        self.now_s = asyncio.get_running_loop().time
        self._revision = document.revision
        self._ids = ResponseIds(document.revision)
        self._counters = counters
        self._capture = capture
        self._readiness = (upstream.readiness_path or "").encode()

    def exchange(self, client: Client, method: bytes, target: bytes, headers: Headers) -> Exchange:
        """Return a new exchange with its id, counted as begun."""
        path = target.partition(b"?")[0]
        made = Exchange(self, client, method, path)
        made.now_ns = time.time_ns()
        made.id = self._ids.next(made.now_ns)
        made.cookie = cookie_line(headers, self._revision)
        made.counted = method not in _UNCOUNTED and (not self._readiness or path != self._readiness)
        if made.counted:
            self._counters.started()
            if self._capture is not None and self._capture.wanted():
                made.recorded, made.answer_body = self._capture.body(), self._capture.body()
                made.request_type = content_type(headers)
        return made

    def connect(self, exchange: Exchange) -> None:
        """Join the exchange with a connection to the user's server."""
        self.active.add(exchange)
        self.pool.give(exchange)

    def ended(self, exchange: Exchange, status: int, elapsed_ns: int) -> None:
        """Count and capture an exchange that is over; `status` says how it ended, whatever the client was told."""
        self.active.discard(exchange)
        self._counters.code(status)
        if exchange.counted:
            self._counters.answered(status, elapsed_ns)
        if self._capture is not None and exchange.recorded is not None and 200 <= status < 300:
            self._capture.add(exchange)

    @property
    def busy(self) -> bool:
        """Return whether anything is still on its way."""
        return any(client.busy for client in self.clients)

    def sweep(self) -> None:
        """End what has waited too long; called twice a second or so."""
        now_s = self.now_s()
        for exchange in list(self.active):
            exchange.check(now_s)
        for client in list(self.clients):
            client.sweep(now_s)
        self.pool.sweep(now_s)

    def close(self) -> None:
        """Close every connection; called at the end of a drain."""
        for client in list(self.clients):
            client.close()
        self.pool.close()
