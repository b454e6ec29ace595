"""A TCP proxy that cuts its connections when it sees what it was told to look for. It runs in a pod of a test.

    python cutter_program.py HOST PORT

It listens on 8000 and takes orders on 8001: GET /cut?at=REGEX&after=BYTES, GET /heal.

From the cut on every connection is reset and every new one is closed, until it is told to heal: the network of a store
that dies in the middle of a write. The standard library alone; sent to the pod as text by `cutter.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from urllib.parse import parse_qs, urlsplit

LISTEN, ORDERS = 8000, 8001
KEPT_BYTES = 4096  # of what went before, so that a text that lies across two reads is seen


class Cutter:
    """The proxy and what it was told."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._look_for: re.Pattern[bytes] | None = None
        self._after = 0
        self.is_cut = False
        self._open: set[asyncio.StreamWriter] = set()

    def arm(self, look_for: str, after: int) -> None:
        """Cut `after` bytes behind the next occurrence of a pattern in what clients send."""
        self._look_for, self._after = re.compile(look_for.encode()), after

    def heal(self) -> None:
        """Let everything through again."""
        self.is_cut = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        if self.is_cut:
            writer.transport.abort()
            return
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        self._open |= {writer, up_writer}
        try:
            with contextlib.suppress(OSError):
                await asyncio.gather(self._send(reader, up_writer), _copy(up_reader, writer))
        finally:
            for end in (writer, up_writer):
                self._open.discard(end)
                end.close()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        before, left = b"", -1
        while data := await reader.read(65536):
            if left < 0 and self._look_for and (found := self._look_for.search(before + data)):
                left = max(0, found.end() - len(before)) + self._after
            if 0 <= left <= len(data):
                writer.write(data[:left])
                self._cut()
                return
            left -= len(data) if left >= 0 else 0
            before = (before + data)[-KEPT_BYTES:]
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    def _cut(self) -> None:
        self.is_cut, self._look_for = True, None
        for end in list(self._open):
            end.transport.abort()

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one order by HTTP and say how things stand."""
        line = (await reader.readline()).decode().split()
        asked = urlsplit(line[1] if len(line) > 1 else "/")
        words = parse_qs(asked.query)
        if asked.path == "/cut":
            self.arm(words["at"][0], int(words["after"][0]))
        if asked.path == "/heal":
            self.heal()
        body = b"cut" if self.is_cut else b"whole"
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def main(host: str, port: int) -> None:
    """Listen until the pod ends."""
    cutter = Cutter(host, port)
    servers = [
        await asyncio.start_server(cutter.serve, port=LISTEN),
        await asyncio.start_server(cutter.obey, port=ORDERS),
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
