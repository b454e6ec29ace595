"""HTTP/2 on the wire: frames, their numbers, and header blocks (RFC 9113, and RFC 7541 by the hpack package). No IO.

A block of headers that changes nothing in the decoder's table is decoded once, since a client sends the same one with
each call. Called by `http2`, and by `grpc` for the blocks that it answers with.
"""

from __future__ import annotations

from hpack import Decoder, HPACKError
from hpack.table import HeaderTable

from .wire import Response

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 0, 1, 3, 6, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11
MAX_FRAME = 16_384
WINDOW_MAX = 2**31 - 1
_MAX_BLOCKS = 64  # header blocks that are remembered
Headers = list[tuple[bytes, bytes]]


class ProtocolError(Exception):
    """The client broke the protocol, or asks for too much: the connection ends with this code."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Http2Response(Response):
    """An answer as header blocks: `headers`, the body, and trailers (none: the headers end the stream)."""

    __slots__ = ("trailers",)

    def __init__(self, status: int, headers: bytes, body: bytes = b"", trailers: bytes = b"") -> None:
        super().__init__(status, body, headers)
        self.trailers = trailers


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return the bytes of one frame."""
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


class _Table(HeaderTable):
    """A header table that counts what is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        """Add an entry and count it."""
        self.changes += 1
        super().add(name, value)


class HeaderBlocks:
    """Decodes header blocks; those that leave the table as it is are remembered until it changes."""

    def __init__(self, max_bytes: int) -> None:
        self._decoder = Decoder(max_header_list_size=max_bytes)
        self._table = _Table()
        self._decoder.header_table = self._table
        self._known: dict[bytes, Headers] = {}

    def decode(self, block: bytes) -> Headers:
        """Return the headers of a complete block; raise ProtocolError."""
        found = self._known.get(block)
        if found is not None:
            return found
        before, resized = self._table.changes, bool(block) and block[0] & 0xE0 == 0x20
        try:
            headers = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except HPACKError as error:
            raise ProtocolError(COMPRESSION_ERROR, f"headers: {error}") from None
        if self._table.changes != before or resized:
            self._known.clear()
        elif len(self._known) < _MAX_BLOCKS:
            self._known[block] = headers
        return headers


def goaway(last: int, code: int, why: bytes) -> bytes:
    """Return the frame that ends a connection; `last` is the last stream that was taken."""
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + why)


def unpadded(flags: int, payload: bytes) -> bytes:
    """Return a payload without its padding."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError(PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]


def literal(name: bytes, value: bytes) -> bytes:
    """Return one header as HPACK writes it without a table: for blocks that are made once and sent with each answer."""
    return b"\x00%b%b%b%b" % (_length(len(name)), name, _length(len(value)), value)


def _length(size: int) -> bytes:
    """Return a length in HPACK's integers of 7 bits."""
    if size < 127:
        return bytes((size,))
    rest, out = size - 127, [127]
    while rest >= 128:
        out.append(rest % 128 | 128)
        rest //= 128
    return bytes((*out, rest))
