"""How a connection is ended so that its last answer can be read. Used by `connection`, and by the proxy's `client`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LINGER_S = 5.0  # how long an answer that ends a connection may take to be read


def end_connection(
    transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, close: Callable[[], None], *, lingering: bool
) -> None:
    """Close now, or, where the client may still be sending, only after it has had the time to read.

    Closing a socket with unread data resets the connection, and the client would never see its answer.
    """
    if lingering and transport.can_write_eof():
        transport.write_eof()
        loop.call_later(_LINGER_S, close)
    else:
        transport.close()
