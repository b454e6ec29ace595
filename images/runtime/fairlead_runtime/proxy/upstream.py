"""Connections to the user's server on 127.0.0.1, kept for the next request while they are young.

One request at a time on each. A kept connection is asked whether the server ended it before it is used again, since a
prediction may not be sent twice. Called by `process` and by exchanges.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections import deque
from typing import cast

import httptools

from .exchange import BAD_GATEWAY, UNAVAILABLE, Exchange
from .heads import HeadError, content_type, sift

log = logging.getLogger("fairlead.proxy")

KEPT_S = 1.0  # shorter than any server keeps one that says nothing: gunicorn 2 s, uvicorn and Node.js 5 s
CONNECT_S = 5.0
_HEAD_BYTES = 256 << 10
_BODYLESS = frozenset((204, 304))


class Upstream(asyncio.Protocol):
    """One connection to the user's server."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport = cast(asyncio.Transport, None)
        self._poll = select.poll()
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._phrase = b""
        self._held = 0  # bytes since the parser last got anywhere
        self._interim = False
        self._until_close = False
        self._keep = False
        self._renew = False
        self.exchange: Exchange | None = None
        self.full = False
        self.idle_since_s = 0.0
        self.gone = False

    # -- the transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP)

    def data_received(self, data: bytes) -> None:
        """Parse; what came goes to the client in one write."""
        exchange = self.exchange
        if exchange is None:
            self.discard()  # nobody asked
            return
        exchange.touched_s = exchange.hub.now_s()
        self._held += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._refuse(exchange, error.__context__ or error)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._refuse(exchange, error)
        if self._held > _HEAD_BYTES:
            self._refuse(exchange, HeadError(f"its head exceeds {_HEAD_BYTES} bytes", BAD_GATEWAY))
        if self._renew:
            self._renew = False
            self._parser = httptools.HttpResponseParser(self)  # the old one waits for a body that must not come
        if not exchange.finished:
            exchange.flush_answer()

    def _refuse(self, exchange: Exchange, error: BaseException) -> None:
        if not isinstance(error, (HeadError, httptools.HttpParserError)):
            log.error("passing an answer on raised", exc_info=error)
        self._release(keep=False)
        exchange.fail(BAD_GATEWAY, f"the server in the container did not answer in HTTP/1.1: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange, if one waits."""
        self.gone = True
        self._pool.forget(self)
        exchange, self.exchange = self.exchange, None
        if exchange is None or exchange.finished:
            return
        if self._until_close and exc is None:
            exchange.upstream = None
            exchange.end_answer()
        else:
            exchange.lost()

    def pause_writing(self) -> None:
        """Read nothing more of a request that the server does not take."""
        self.full = True
        if self.exchange is not None:
            self.exchange.client.regulate()

    def resume_writing(self) -> None:
        """Read on."""
        self.full = False
        if self.exchange is not None:
            self.exchange.touched_s = self.exchange.hub.now_s()
            self.exchange.client.regulate()

    # -- the parser's callbacks

    def on_message_begin(self) -> None:
        """Start an answer, or end a connection on which one comes that nobody asked for."""
        if self.exchange is None:
            self.discard()
        self._headers = []
        self._phrase = b""
        self._interim = self._until_close = False

    def on_status(self, phrase: bytes) -> None:
        """Take the reason phrase, possibly in pieces."""
        self._phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; those after the body are left out."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Pass the head on."""
        exchange, status = self.exchange, self._parser.get_status_code()
        if exchange is None:
            return
        self._held = 0
        sifted = sift(self._headers)
        if status < 200:
            if status == 101:
                raise HeadError("it switched protocols, which was not asked for", BAD_GATEWAY)
            self._interim = True
            exchange.interim(status, self._phrase, sifted)
            return
        bodyless = exchange.headless or status in _BODYLESS
        self._keep = not sifted.closes(self._parser.get_http_version())
        self._until_close = not (bodyless or sifted.chunked or sifted.length is not None)
        exchange.answer_type = content_type(self._headers) if exchange.answer_body is not None else b""
        exchange.begin_answer(status, self._phrase, sifted)
        if bodyless:
            self._renew = True
            self._complete(exchange)

    def on_body(self, data: bytes) -> None:
        """Pass a piece of the body on."""
        self._held = 0
        if self.exchange is not None:
            self.exchange.continue_answer(data)

    def on_message_complete(self) -> None:
        """Finish the answer; what comes next is another one's."""
        if self._interim:
            self._interim = False
        elif self.exchange is not None and not self._until_close:
            self._complete(self.exchange)

    def _complete(self, exchange: Exchange) -> None:
        self._held = 0
        self._release(keep=self._keep and exchange.received and not exchange.pending_bytes and not self.full)
        exchange.end_answer()

    # -- its life

    def _release(self, *, keep: bool) -> None:
        """Part from the exchange; wait for another, or end."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.upstream = None
        if keep and not self.gone and not self._transport.is_closing():
            self._transport.resume_reading()
            self._pool.keep(self)
        else:
            self.discard()

    def usable(self) -> bool:
        """Return whether the server has neither ended the connection nor said anything unasked."""
        return not self.gone and not self._transport.is_closing() and not self._poll.poll(0)

    def write(self, data: bytes) -> None:
        """Send a part of a request."""
        if not self.gone:
            self._transport.write(data)

    def pause(self, *, paused: bool) -> None:
        """Read nothing more for a client that does not read its answer; or read on."""
        if self.gone or self._transport.is_closing():
            return
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def discard(self) -> None:
        """End the connection at once, whatever was going on."""
        self.exchange = None
        if not self.gone:
            self._transport.abort()


class Pool:
    """All connections to the user's server."""

    def __init__(self, port: int, limit: int) -> None:
        self._port = port
        self._limit = limit
        self._kept: deque[Upstream] = deque()  # the youngest is used first, the oldest ended first
        self._open = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def give(self, exchange: Exchange) -> None:
        """Join an exchange with a kept connection, or with a new one soon; fail it where there are too many."""
        while self._kept:
            upstream = self._kept.pop()
            if upstream.usable():
                upstream.exchange = exchange
                exchange.attach(upstream)
                return
            upstream.discard()
        if self._open >= self._limit:
            exchange.fail(UNAVAILABLE, f"{self._limit} requests wait for the server in the container; try again")
            return
        self._open += 1
        task = self._loop.create_task(self._connect(exchange))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, exchange: Exchange) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                _, upstream = await self._loop.create_connection(lambda: Upstream(self), "127.0.0.1", self._port)
        except (OSError, TimeoutError) as error:
            self._open -= 1
            why = error.strerror if isinstance(error, OSError) and error.strerror else "it did not accept in time"
            exchange.fail(BAD_GATEWAY, f"the server in the container is not there on port {self._port}: {why}")
            return
        if exchange.finished:
            self.keep(upstream)
            return
        upstream.exchange = exchange
        exchange.attach(upstream)

    def keep(self, upstream: Upstream) -> None:
        """Keep a connection for the next request."""
        upstream.idle_since_s = self._loop.time()
        self._kept.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        """Take note that a connection ended."""
        self._open -= 1
        if upstream in self._kept:
            self._kept.remove(upstream)

    def sweep(self, now_s: float) -> None:
        """End connections that were kept long enough."""
        while self._kept and now_s - self._kept[0].idle_since_s > KEPT_S:
            self._kept.popleft().discard()

    def close(self) -> None:
        """End all that is kept."""
        while self._kept:
            self._kept.popleft().discard()
