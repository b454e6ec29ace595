"""HTTP/2 on asyncio, as much of it as gRPC's unary calls need; another way into the queue of `http.HttpServer`.

RFC 9113 without push and priorities. Every bound is on what a client can make us hold: streams, bodies, headers,
resets, unread answers. Knows nothing of gRPC. Used by `process`.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, cast

from . import frames
from .frames import DATA, END_HEADERS, END_STREAM, HEADERS, MAX_FRAME, Headers, Http2Response, ProtocolError, frame
from .streams import Stream
from .wire import Request, Response

if TYPE_CHECKING:
    from .http import HttpServer

_RENEW_AT = 2**30  # received bytes after which the connection's window is opened again
_MAX_RESETS = 100  # calls that were reset before their answer, beyond those that were answered (CVE-2023-44487)
_SETTING = struct.Struct(">HI")
_TAKEN_SETTINGS = {3: 256, 4: frames.WINDOW_MAX, 6: 32 << 10}  # streams at a time, a stream's window, bytes of headers
_NOT_HTTP2 = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
    b"this port speaks gRPC (HTTP/2 without TLS); REST is on the other one\n"
)


class Http2Connection(asyncio.Protocol):
    """One client and its streams."""

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._transport = cast(asyncio.Transport, None)  # set before any other method is called
        self._loop = loop
        self._blocks = frames.HeaderBlocks(server.limits.header_bytes)
        self._streams: dict[int, Stream] = {}
        self._buffer = b""
        self._greeted = False
        self._ended = False
        self._leaving = False
        self._last = 0  # the highest stream that the client opened
        self._open: tuple[int, int, bytes] | None = None  # stream, flags and headers so far, until they are complete
        self._window = 65_535  # what the client lets us send
        self._stream_window = 65_535
        self._frame_bytes = MAX_FRAME
        self._received = 0
        self._waiting = 0  # requests in the server's queue
        self._resets = 0
        self._touched = True
        self._since_s = 0.0

    # -- the transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or refuse the connection where there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        server = self._server
        server.connections.add(self)
        settings = b"".join(_SETTING.pack(*item) for item in _TAKEN_SETTINGS.items())
        grown = (frames.WINDOW_MAX - 65_535).to_bytes(4, "big")
        self._transport.write(frame(frames.SETTINGS, 0, 0, settings) + frame(frames.WINDOW_UPDATE, 0, 0, grown))
        if len(server.connections) > server.limits.connections:
            self._end(frames.ENHANCE_YOUR_CALM, f"{server.limits.connections} connections are open already")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; its waiting requests are not worked on."""
        self._ended = True
        for stream in self._streams.values():
            stream.gone = True
            self._release(stream)
        self._server.connections.discard(self)

    def pause_writing(self) -> None:
        """Read nothing more from a client that does not read its answers."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        if not self._ended:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take whole frames off what has come."""
        if self._ended:
            return
        self._touched = True
        data = self._buffer + data if self._buffer else data
        try:
            at = 0 if self._greeted else self._greet(data)
            self._buffer = data[self._frames(data, at) :] if self._greeted else data
        except ProtocolError as error:
            self._end(error.code, str(error))

    def _greet(self, data: bytes) -> int:
        size = min(len(data), len(frames.PREFACE))
        if data[:size] != frames.PREFACE[:size]:
            self._ended = True
            self._transport.write(_NOT_HTTP2)
            self._transport.close()
            return 0
        self._greeted = size == len(frames.PREFACE)
        return size if self._greeted else 0

    def _frames(self, data: bytes, at: int) -> int:
        """Handle every whole frame from `at` on; return where the rest begins."""
        end = len(data)
        while end - at >= 9 and not self._ended:
            length = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2]
            if length > MAX_FRAME:
                raise ProtocolError(frames.FRAME_SIZE_ERROR, f"a frame of {length} bytes; at most {MAX_FRAME}")
            stop = at + 9 + length
            if stop > end:
                break
            number = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
            self._frame(data[at + 3], data[at + 4], number, data[at + 9 : stop])
            at = stop
        return at

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._open is not None and (kind != frames.CONTINUATION or number != self._open[0]):
            raise ProtocolError(frames.PROTOCOL_ERROR, "headers were not complete")
        if kind == HEADERS:
            self._begin(number, flags, payload)
        elif kind == DATA:
            self._data(number, flags, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._grow(number, payload)
        elif kind == frames.RST_STREAM:
            self._reset(number, payload)
        elif kind == frames.CONTINUATION:
            self._continue(number, flags, payload)
        elif kind in (frames.SETTINGS, frames.PING):
            self._control(kind, flags, number, payload)
        elif kind == frames.PUSH_PROMISE:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a client cannot push")

    # -- what the client says

    def _begin(self, number: int, flags: int, payload: bytes) -> None:
        if not number & 1:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a client's streams have odd numbers")
        block = frames.unpadded(flags, payload)
        if flags & frames.PRIORITY:
            block = block[5:]
        self._open = (number, flags, block)
        self._headers_if_complete(flags)

    def _continue(self, number: int, flags: int, payload: bytes) -> None:
        if self._open is None:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a continuation of nothing")
        block = self._open[2] + payload
        if len(block) > self._server.limits.header_bytes or not payload:
            raise ProtocolError(
                frames.ENHANCE_YOUR_CALM, f"headers of more than {self._server.limits.header_bytes} bytes"
            )
        self._open = (number, self._open[1], block)
        self._headers_if_complete(flags)

    def _headers_if_complete(self, flags: int) -> None:
        if not flags & END_HEADERS or self._open is None:
            return
        number, first_flags, block = self._open
        self._open = None
        headers = self._blocks.decode(block)  # also of a stream that is refused: the table must stay the client's
        stream = self._streams.get(number)
        if stream is None:
            stream = self._open_stream(number, headers)
        elif not first_flags & END_STREAM:
            raise ProtocolError(frames.PROTOCOL_ERROR, "trailers that do not end their stream")
        if stream is not None and first_flags & END_STREAM:
            self._submit(stream)

    def _open_stream(self, number: int, headers: Headers) -> Stream | None:
        if number <= self._last:
            raise ProtocolError(frames.PROTOCOL_ERROR, f"stream {number} was used already")
        self._last = number
        if self._leaving:
            return None  # the client knows from our GOAWAY that it was not taken
        limit = _TAKEN_SETTINGS[3]
        if len(self._streams) >= limit or self._waiting >= limit:
            self._transport.write(frame(frames.RST_STREAM, 0, number, frames.REFUSED_STREAM.to_bytes(4, "big")))
            return None
        stream = self._streams[number] = Stream(self.answer, number, headers, self._stream_window)
        return stream

    def _data(self, number: int, flags: int, payload: bytes) -> None:
        if not number or number > self._last:
            raise ProtocolError(frames.PROTOCOL_ERROR, "data of a stream that is not open")
        self._received += len(payload)
        if self._received > _RENEW_AT:
            self._transport.write(frame(frames.WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big")))
            self._received = 0
        stream = self._streams.get(number)
        if stream is None or stream.submitted:
            return  # it was refused or reset; its data was on the way
        body = frames.unpadded(flags, payload)
        stream.body.append(body)
        stream.bytes += len(body)
        limits = self._server.limits
        if stream.bytes > limits.body_bytes:
            self._submit(stream, 413, f"the message exceeds {limits.body_bytes} bytes; send fewer rows at a time")
        elif flags & END_STREAM and not stream.held:
            self._submit(stream)  # in one piece, as most come
        elif not self._server.hold(len(body)):
            bound = limits.held_bytes
            self._submit(
                stream, 503, f"calls that are being received hold {bound} bytes already; try again in a second"
            )
        else:
            stream.held += len(body)
            if flags & END_STREAM:
                self._submit(stream)

    def _submit(self, stream: Stream, refusal: int = 0, reason: str = "") -> None:
        """Queue a request that is complete, or that is refused before it is."""
        if stream.submitted:
            return  # it was refused before it was complete
        stream.submitted = True
        headers = dict(stream.headers)
        body, stream.body = b"".join(stream.body) if not refusal else b"", []
        request = Request(headers.get(b":method", b""), headers.get(b":path", b""), stream.headers, body)
        request.refusal, request.reason = refusal, reason
        request.held_bytes, stream.held = stream.held, 0
        self._waiting += 1
        self._server.submit(stream, request, at_once=True)

    def _reset(self, number: int, payload: bytes) -> None:
        if len(payload) != 4 or not number or number > self._last:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a reset of nothing")
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        stream.gone = True
        self._release(stream)
        self._waiting -= stream.submitted and stream.unsent is None
        self._resets += 1
        if self._resets > _MAX_RESETS:
            raise ProtocolError(frames.ENHANCE_YOUR_CALM, "more calls are reset than answered")

    def _release(self, stream: Stream) -> None:
        self._server.held_bytes -= stream.held
        stream.held = 0

    def _grow(self, number: int, payload: bytes) -> None:
        by = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if len(payload) != 4 or not by:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a window update of nothing")
        if not number:
            self._window += by
        elif number in self._streams:
            self._streams[number].window += by
        if self._window > frames.WINDOW_MAX:
            raise ProtocolError(frames.FLOW_CONTROL_ERROR, "a window beyond 31 bits")
        self._push_all()

    def _control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if number or (kind == frames.PING and len(payload) != 8) or (kind == frames.SETTINGS and len(payload) % 6):
            raise ProtocolError(frames.PROTOCOL_ERROR, "settings and pings are of the connection, in their size")
        if flags & frames.ACK:
            return
        if kind == frames.SETTINGS:
            for key, value in _SETTING.iter_unpack(payload):
                self._setting(key, value)
            self._push_all()
        self._transport.write(frame(kind, frames.ACK, 0, payload if kind == frames.PING else b""))

    def _setting(self, key: int, value: int) -> None:
        if key == 4:
            if value > frames.WINDOW_MAX:
                raise ProtocolError(frames.FLOW_CONTROL_ERROR, "a window beyond 31 bits")
            for stream in self._streams.values():
                stream.window += value - self._stream_window
            self._stream_window = value
        elif key == 5:
            if not MAX_FRAME <= value < 1 << 24:
                raise ProtocolError(frames.PROTOCOL_ERROR, f"frames of {value} bytes")
            self._frame_bytes = min(value, 1 << 20)

    # -- what we say

    def answer(self, stream: Stream, response: Response) -> None:
        """Write an answer, as far as the client's windows let it leave now."""
        self._waiting -= 1
        self._resets = max(0, self._resets - 1)
        trailers = cast(Http2Response, response).trailers
        number, size = stream.id, len(response.body)
        if not trailers:
            self._transport.write(frame(HEADERS, END_HEADERS | END_STREAM, number, response.headers))
            self._close_stream(stream)
        elif size <= MAX_FRAME and size <= stream.window and size <= self._window:
            self._window -= size
            head = frame(HEADERS, END_HEADERS, number, response.headers)
            tail = frame(HEADERS, END_HEADERS | END_STREAM, number, trailers)
            self._transport.write(b"".join((head, frame(DATA, 0, number, response.body), tail)))
            self._close_stream(stream)
        else:
            self._transport.write(frame(HEADERS, END_HEADERS, number, response.headers))
            stream.unsent = (response.body, trailers)
            self._push(stream)
        if self._server.draining:
            self._leave()

    def _push_all(self) -> None:
        for stream in [stream for stream in self._streams.values() if stream.unsent is not None]:
            self._push(stream)

    def _push(self, stream: Stream) -> None:
        """Send what the windows allow of an answer that is too large for them."""
        assert stream.unsent is not None
        body, trailers = stream.unsent
        at, parts = 0, []
        while at < len(body):
            size = min(len(body) - at, self._frame_bytes, stream.window, self._window)
            if size <= 0:
                break
            parts.append(frame(DATA, 0, stream.id, body[at : at + size]))
            at += size
            stream.window -= size
            self._window -= size
        stream.unsent = (body[at:], trailers)
        if at == len(body):
            parts.append(frame(HEADERS, END_HEADERS | END_STREAM, stream.id, trailers))
            self._close_stream(stream)
        self._transport.write(b"".join(parts))

    def _close_stream(self, stream: Stream) -> None:
        stream.unsent = None
        self._streams.pop(stream.id, None)

    def _leave(self) -> None:
        """Tell the client to take a new connection for new calls; those that were taken are answered."""
        if not self._leaving:
            self._leaving = True
            self._transport.write(frames.goaway(self._last, frames.NO_ERROR, b""))

    def _end(self, code: int, why: str) -> None:
        """End the connection at once, with the reason for whoever debugs the client."""
        self._ended = True
        for stream in self._streams.values():
            stream.gone = True
        self._transport.write(frames.goaway(self._last, code, why.encode()))
        self._transport.close()

    def close(self) -> None:
        """Close once what was written has left."""
        if not self._ended:
            self._leave()
            self._transport.close()

    # -- time

    @property
    def busy(self) -> bool:
        """Return whether a request is being received, waits, or its answer has not left yet."""
        return not self._ended and (bool(self._streams) or self._transport.get_write_buffer_size() > 0)

    def sweep(self, now_s: float) -> None:
        """End what has been idle, half received or half read for too long."""
        limits = self._server.limits
        if self._touched or not self._since_s:
            self._touched, self._since_s = False, now_s
        if not self._streams and now_s - self._since_s > (limits.idle_s if self._greeted else limits.request_s):
            self.close()
        for stream in list(self._streams.values()):
            stream.since_s = stream.since_s or now_s
            if now_s - stream.since_s <= limits.request_s:
                continue
            if not stream.submitted:
                self._submit(stream, 408, f"the request was not complete after {limits.request_s:g} seconds")
            elif stream.unsent is not None and now_s - stream.since_s > 2 * limits.request_s:
                self._transport.write(frame(frames.RST_STREAM, 0, stream.id, frames.CANCEL.to_bytes(4, "big")))
                self._close_stream(stream)
