"""Connections of clients: requests are parsed as they arrive and answered in their order, one at a time.

Nothing is read that cannot be passed on yet, so a slow server or a slow client costs no memory. Only what could not be
passed on safely is refused here; whether a request makes sense is for the user's server to say. Used by `process`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import cast

import httptools

from fairlead_runtime.serve.closing import end_connection

from .exchange import Exchange
from .heads import HeadError, request_head, sift
from .relay import Relay

log = logging.getLogger("fairlead.proxy")

_TARGET_BYTES = 64 << 10
_HELD_BYTES = 256 << 10  # of a request that wait for a connection; then nothing more is read


class Client(asyncio.Protocol):
    """One client."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._transport = cast(asyncio.Transport, None)
        self._parser = httptools.HttpRequestParser(self)
        self._exchanges: deque[Exchange] = deque()  # the first is going on, others wait
        self._receiving: Exchange | None = None
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._held = 0  # bytes since the parser last got anywhere
        self._between = True  # no request has begun to come
        self._ended = False  # nothing more is read
        self._reading = True
        self.stuck = False  # the client does not read its answer
        self.gone = False
        self.since_s = self._begun_s = relay.now_s()

    # -- the transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it where there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        relay = self._relay
        relay.clients.add(self)
        if len(relay.clients) > relay.limits.connections:
            self._refuse(503, f"{relay.limits.connections} connections are open already; try again in a second")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection and what it asked for."""
        self.gone = self._ended = True
        self._relay.clients.discard(self)
        waiting, self._exchanges = list(self._exchanges), deque()
        for exchange in waiting:
            exchange.abandon()

    def eof_received(self) -> bool:
        """Take a client that closes while it waits for one that left, as other proxies do."""
        return False

    def data_received(self, data: bytes) -> None:
        """Parse; what came goes to the user's server in one write."""
        if self._ended:
            return  # what still comes after a refusal is read and thrown away, so that the refusal can be read
        self.since_s = self._relay.now_s()
        self._held += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._stop()  # the request itself was complete and is passed on in HTTP/1.1; nothing follows it
        except httptools.HttpParserCallbackError as error:
            self._broken(error.__context__ or error)
        except httptools.HttpParserError as error:
            self._refuse(400, f"not HTTP/1.1: {error}")
        if not self._between and self._held > self._relay.limits.header_bytes + len(data):
            self._refuse(431, f"the request's headers exceed {self._relay.limits.header_bytes} bytes")
        if self._exchanges:
            first = self._exchanges[0]
            first.touched_s = self.since_s
            first.flush_request()
        self.regulate()

    def _broken(self, error: BaseException) -> None:
        if isinstance(error, HeadError):
            self._refuse(error.status, str(error))
        else:
            log.error("passing a request on raised", exc_info=error)
            self._refuse(500, "internal error; the proxy's log says more")

    def pause_writing(self) -> None:
        """Read nothing more for a client that does not read its answer."""
        self.stuck = True
        self._pause_upstream(paused=True)

    def resume_writing(self) -> None:
        """Read on."""
        self.stuck = False
        if self._exchanges:
            self._exchanges[0].touched_s = self._relay.now_s()
        self._pause_upstream(paused=False)

    def _pause_upstream(self, *, paused: bool) -> None:
        upstream = self._exchanges[0].upstream if self._exchanges else None
        if upstream is not None:
            upstream.pause(paused=paused)

    def regulate(self) -> None:
        """Read from the client, or wait until the user's server has taken what came."""
        if self.gone or self._transport.is_closing():
            return
        first = self._exchanges[0] if self._exchanges else None
        full = first is not None and (
            len(self._exchanges) > 1
            or first.pending_bytes > _HELD_BYTES
            or (first.upstream is not None and first.upstream.full)
        )
        wanted = self._ended or not full
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # -- the parser's callbacks

    def on_message_begin(self) -> None:
        """Start a request."""
        self._between = False
        self._begun_s = self.since_s
        self._receiving = None
        self._target = b""
        self._headers = []
        self._header_bytes = 0

    def on_url(self, target: bytes) -> None:
        """Take the request's target, possibly in pieces."""
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; those after the body are left out."""
        self._headers.append((name, value))
        self._header_bytes += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        """Make an exchange of it, and begin it when it is the only one."""
        if self._ended:
            return
        self._held = 0
        method, limits = self._parser.get_method(), self._relay.limits
        if len(self._target) > _TARGET_BYTES:
            raise HeadError(f"the request's path exceeds {_TARGET_BYTES} bytes", 414)
        if self._header_bytes > limits.header_bytes:
            raise HeadError(f"the request's headers exceed {limits.header_bytes} bytes", 431)
        if method == b"CONNECT":
            raise HeadError("CONNECT: this is no forward proxy", 501)
        self._receiving = self._exchange_of(method)
        self._add(self._receiving)

    def _exchange_of(self, method: bytes) -> Exchange:
        sifted, target = sift(self._headers), self._target
        exchange = self._relay.exchange(self, method, target, self._headers)
        exchange.version = self._parser.get_http_version()
        exchange.closing = sifted.closes(exchange.version) or b"upgrade" in sifted.tokens
        head = request_head(method, target, sifted, exchange.id)
        exchange.set_head(head, chunked=sifted.chunked, bodyless=not sifted.chunked and sifted.length in (None, b"0"))
        return exchange

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._held = 0
        if self._receiving is not None and not self._ended:
            self._receiving.feed(data)

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._held = 0
        self._between = True
        exchange, self._receiving = self._receiving, None
        if exchange is not None and not self._ended:
            exchange.end_request()
            if exchange.closing:
                self._stop()

    # -- exchanges

    def _add(self, exchange: Exchange) -> None:
        self._exchanges.append(exchange)
        if len(self._exchanges) == 1:
            exchange.begin()

    def _refuse(self, status: int, reason: str) -> None:
        """End the connection with an answer of our own, after those that are due before it."""
        if self._ended:
            return
        receiving, self._receiving = self._receiving, None
        self._stop()
        if receiving is not None:
            receiving.closing = True
            if self._exchanges and receiving is self._exchanges[0]:
                receiving.fail(status, reason)
            else:
                receiving.refusal = (status, reason)
            return
        exchange = self._relay.exchange(self, b"", self._target, ())
        exchange.closing, exchange.refusal = True, (status, reason)
        self._add(exchange)

    def _stop(self) -> None:
        self._ended = True
        self._headers = []

    def finished(self, exchange: Exchange) -> None:
        """Go on to the next request, or end the connection."""
        if not self._exchanges or self._exchanges[0] is not exchange:
            return
        self._exchanges.popleft()
        if exchange.closing:
            self._end(lingering=not exchange.received)
        elif self._exchanges:
            asyncio.get_running_loop().call_soon(self._begin_next, self._exchanges[0])
        elif self._ended:
            self._end(lingering=False)
        self.regulate()

    def _begin_next(self, exchange: Exchange) -> None:
        if self._exchanges and self._exchanges[0] is exchange:
            exchange.begin()
            exchange.flush_request()
            self.regulate()

    # -- its end

    def write(self, data: bytes) -> None:
        """Send a part of an answer."""
        if not self.gone:
            self._transport.write(data)

    def cut(self) -> None:
        """End the connection so that the client sees that its answer is not whole."""
        self._stop()
        if not self.gone:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        if not self.gone:
            self._transport.abort()

    def _end(self, *, lingering: bool) -> None:
        self._stop()
        if not self.gone:
            end_connection(self._transport, asyncio.get_running_loop(), self.close, lingering=lingering)

    def close(self) -> None:
        """Close once what was written has left."""
        if not self.gone:
            self._transport.close()

    @property
    def busy(self) -> bool:
        """Return whether a request is being received or answered, or an answer has not left yet."""
        return bool(self._exchanges) or not self._between or (not self.gone and self._unsent > 0)

    @property
    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def sweep(self, now_s: float) -> None:
        """End what has been idle, or has sent half a head, for too long."""
        if self._exchanges or self._ended:
            return
        limits = self._relay.limits
        if self._between and now_s - self.since_s > limits.idle_s:
            self.close()
        elif not self._between and now_s - self._begun_s > limits.request_s:
            self._refuse(408, f"the request was not complete after {limits.request_s:g} seconds")
