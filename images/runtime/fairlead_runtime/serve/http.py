"""The queue of one worker on one port, between its connections and what answers. Knows nothing of models.

Requests are put into the queue as they arrive; it is worked off after everything that was ready has been read. So the
waiting time of a request is part of its measured time, and what does not fit into the queue is refused at once (503)
instead of making everybody late. It must never let an exception end a worker. Used by `process` for all its ports;
`connection` (HTTP/1.1) and `http2` (gRPC's port) are the protocols that fill it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from .connection import Connection
from .wire import GONE, Client, Endpoint, Limits, Receiver, Request, Response

log = logging.getLogger("fairlead.serve.http")

_SLICE_NS = 20_000_000  # how long the queue is worked off before arrivals are read again
TOGETHER = 16  # requests that are answered together when that many wait; a model's own cost is mostly per call
_CROWD = 2 * TOGETHER  # fewer that wait are no overload, however slow the model is

ProtocolOf = Callable[["HttpServer", asyncio.AbstractEventLoop], asyncio.Protocol]


class HttpServer:
    """The connections and the queue of one worker on one port."""

    def __init__(self, endpoint: Endpoint, limits: Limits, protocol: ProtocolOf | None = None) -> None:
        self.endpoint = endpoint
        self._protocol = protocol or Connection
        self.limits = limits
        self.draining = False
        self.connections: set[Client] = set()
        self._queue: deque[Request] = deque()
        self._scheduled = False
        self._now_ns = 0  # when the loop began to read what waits in the queue's end
        self.held_bytes = 0  # of requests that are received in more than one piece, until they are answered
        self._loop = asyncio.get_running_loop()

    def connect(self) -> asyncio.Protocol:
        """Return the protocol of a new connection; the factory that `loop.create_server` takes."""
        return self._protocol(self, self._loop)

    def submit(self, connection: Receiver, request: Request, *, at_once: bool = False) -> None:
        """Queue a parsed request, or refuse it: `at_once` where no other answer of that client must go first."""
        if not self._scheduled:
            self._schedule(time.perf_counter_ns())
        request.receiver = connection
        request.parsed_ns = self._now_ns
        if len(self._queue) >= _CROWD and not request.refusal:
            request.reason = self._crowded()
            request.refusal = 503 if request.reason else 0
        self.endpoint.started(request)
        if at_once and request.refusal == 503 and not request.close:
            connection.send(request, self.endpoint.refuse(request, 503, request.reason))
            self._finished([request], [503], time.perf_counter_ns())
        else:
            self._queue.append(request)

    def _schedule(self, now_ns: int) -> None:
        """Work after what is ready has been read; all of that counts as parsed now, and waits no less than it says."""
        self._scheduled = True
        self._now_ns = now_ns
        self._loop.call_soon(self._work)

    def hold(self, size: int) -> bool:
        """Count bytes of a request that is not complete; return False, and count none, where all hold too many."""
        if self.held_bytes + size > self.limits.held_bytes:
            return False
        self.held_bytes += size
        return True

    def _crowded(self) -> str:
        """Return why one more request would make everybody late, or nothing."""
        limits = self.limits
        if len(self._queue) >= limits.pending:
            return f"{limits.pending} requests wait already; try again in a second"
        if self._now_ns - self._queue[0].parsed_ns > limits.wait_s * 1e9:
            return f"requests wait for more than {limits.wait_s:g} s already; try again in a second"
        return ""

    def _finished(self, requests: list[Request], statuses: list[int], now_ns: int) -> None:
        for request in requests:
            self.held_bytes -= request.held_bytes
        self.endpoint.finished(requests, statuses, now_ns)

    def _work(self) -> None:
        """Answer what waits, oldest first and a few together, for at most a slice of time."""
        self._scheduled = False
        queue, until_ns = self._queue, time.perf_counter_ns() + _SLICE_NS
        while queue:
            turn = [queue.popleft() for _ in range(min(len(queue), TOGETHER))]
            waiting = [request for request in turn if not request.receiver.gone]
            responses = self._answers(waiting)
            for request, response in zip(waiting, responses, strict=True):
                request.receiver.send(request, response)
            now_ns = time.perf_counter_ns()
            self._finished(waiting, [response.status for response in responses], now_ns)
            if len(waiting) < len(turn):  # their clients left before they were worked on
                gone = [request for request in turn if request not in waiting]
                self._finished(gone, [GONE] * len(gone), now_ns)
            if now_ns > until_ns and queue and not self._scheduled:
                self._schedule(now_ns)
                return

    def _answers(self, requests: list[Request]) -> list[Response]:
        try:
            return self.endpoint.answer(requests)
        except Exception:
            log.exception("answering raised: %s", sorted({request.path for request in requests}))
            reason = "internal error; the server's log says more"
            return [self.endpoint.refuse(request, 500, reason) for request in requests]

    @property
    def busy(self) -> bool:
        """Return whether a request waits, is being received, or its answer has not left yet."""
        return bool(self._queue) or any(connection.busy for connection in self.connections)

    def sweep(self) -> None:
        """End connections that are idle or too slow; called every second or so."""
        now_s = self._loop.time()
        for connection in list(self.connections):
            connection.sweep(now_s)

    def close(self) -> None:
        """Close every connection once what was written has left; called at the end of a drain."""
        for connection in list(self.connections):
            connection.close()
