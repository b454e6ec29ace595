"""Heads of requests and answers on their way through: what belongs to one connection is taken off, all else stays.

Names, values and their order are passed as they came (RFC 9110, section 7.6.1 says what a proxy takes off). Pure:
bytes in, bytes out. Used by `client` and `upstream`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from fairlead.contract import env
from fairlead.contract.base import short

Headers = Sequence[tuple[bytes, bytes]]

_OWN = frozenset(
    name.encode()
    for name in (env.HEADER_MODEL_VERSION, env.HEADER_MODEL_DIGEST, env.HEADER_REVISION, env.HEADER_RESPONSE_ID)
)
_RESPONSE_ID = env.HEADER_RESPONSE_ID.encode()
_STICKY = env.HEADER_STICKY.encode()
_COOKIE_S = 90 * 86400  # longer than any test of outcomes
_HOP = frozenset((b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"))
_SPECIAL = _HOP | _OWN | {b"connection", b"transfer-encoding", b"content-length"}
_HARMLESS = frozenset((b"close", b"keep-alive", b"upgrade", b"te", b""))  # name no header that is left
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))  # may be sent again: RFC 9110, 9.2.2


class HeadError(Exception):
    """A head that cannot be passed on; `status` is what a client is told."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Sifted:
    """What a head says: the lines that go on, and how its body is framed."""

    lines: list[bytes]
    tokens: frozenset[bytes]
    length: bytes | None
    chunked: bool

    def closes(self, version: str) -> bool:
        """Return whether the connection ends with this message."""
        return b"close" in self.tokens or (version == "1.0" and b"keep-alive" not in self.tokens)


def sift(headers: Headers) -> Sifted:
    """Return the header lines without those of the connection itself; raise HeadError for codings that are not ours."""
    lines, length, chunked = [], None, False
    connection = b""
    for name, value in headers:
        lower = name.lower()
        if lower not in _SPECIAL:
            lines.append(b"%b: %b\r\n" % (name, value))
        elif lower == b"connection":
            connection = connection + b"," + value.lower() if connection else value.lower()
        elif lower == b"content-length":
            length = value
        elif lower == b"transfer-encoding":
            if value.strip().lower() != b"chunked" or chunked:
                raise HeadError("transfer-encoding: send chunked, or a content-length", 501)
            chunked = True
    tokens = frozenset(token.strip() for token in connection.split(b",")) if connection else frozenset[bytes]()
    if not tokens <= _HARMLESS:
        lines = [line for line in lines if line.partition(b":")[0].lower() not in tokens]
    return Sifted(lines, tokens, None if chunked else length, chunked)


def may_repeat(method: bytes) -> bool:
    """Return whether a request may be sent again without asking who sent it."""
    return method in _SAFE


def request_head(method: bytes, target: bytes, sifted: Sifted, response_id: str) -> bytes:
    """Return the head that the user's server gets; the id lets it log what its answer will be known by."""
    lines = sifted.lines
    return b"".join(
        (
            b"%b %b HTTP/1.1\r\n" % (method, target),
            b"" if any(line[:5].lower() == b"host:" for line in lines) else b"host: 127.0.0.1\r\n",
            *lines,
            _framing(sifted),
            b"%b: %b\r\n\r\n" % (_RESPONSE_ID, response_id.encode()),
        )
    )


def _framing(sifted: Sifted) -> bytes:
    if sifted.chunked:
        return b"transfer-encoding: chunked\r\n"
    return b"content-length: %b\r\n" % sifted.length if sifted.length is not None else b""


def status_line(status: int, phrase: bytes) -> bytes:
    """Return the first line of an answer, with the phrase as it came."""
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase or _PHRASES.get(status, b""))


def interim_head(status: int, phrase: bytes, sifted: Sifted) -> bytes:
    """Return an interim answer (100, 103) as it came."""
    return b"".join((status_line(status, phrase), *sifted.lines, b"\r\n"))


def answer_head(first: bytes, sifted: Sifted, lineage: bytes, connection: bytes, *, chunked: bool) -> bytes:
    """Return the head that the client gets; `lineage` are whole lines, `chunked` is how this proxy frames the body."""
    framing = b"transfer-encoding: chunked\r\n" if chunked else _length(sifted)
    return b"".join((first, *sifted.lines, framing, lineage, connection, b"\r\n"))


def _length(sifted: Sifted) -> bytes:
    return b"content-length: %b\r\n" % sifted.length if sifted.length is not None else b""


def lineage_lines(version: str, digest: str, revision: str) -> bytes:
    """Return the header lines that say who answers, up to the id's value."""
    pairs = ((env.HEADER_MODEL_VERSION, version), (env.HEADER_MODEL_DIGEST, digest), (env.HEADER_REVISION, revision))
    return "".join(f"{name}: {value}\r\n" for name, value in pairs).encode() + b"%b: " % _RESPONSE_ID


def cookie_line(headers: Headers, revision: str) -> bytes:
    """Return the line that asks a client to stay at this revision, where the route asks for one; as our server does."""
    path = next((value for name, value in headers if name.lower() == _STICKY), b"")
    if not path.startswith(b"/") or b";" in path:
        return b""
    kept = f"{env.COOKIE_ARM}={short(revision)}".encode()
    return b"set-cookie: %b; Path=%b; Max-Age=%d; HttpOnly; SameSite=Lax\r\n" % (kept, path, _COOKIE_S)


def content_type(headers: Headers) -> bytes:
    """Return the type of a body, as its head says it."""
    return next((value for name, value in headers if name.lower() == b"content-type"), b"")
