"""Whether the user's server is ready: its port is open, or the path that it names answers 2xx.

Asked over and over while the proxy runs; a server that hangs is not ready. Called by `process`.
"""

from __future__ import annotations

import asyncio

from fairlead.contract.jobs import Upstream

EVERY_S = 1.0
_ANSWER_S = 2.0
_LINE_BYTES = 4096


async def is_ready(upstream: Upstream) -> bool:
    """Ask once."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port, limit=_LINE_BYTES)
            try:
                return not upstream.readiness_path or await _answers(reader, writer, upstream.readiness_path)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, ValueError):  # ValueError: a first line that is none
        return False


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> bool:
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
    words = (await reader.readline()).split()
    return len(words) > 1 and words[0].startswith(b"HTTP/1.") and words[1].startswith(b"2")
