"""What a process that answers requests asks of the system: sockets to listen on, and to be told when to stop.

It must never know what is answered. Called by `process` of the server and of the proxy.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

from .control import Control
from .http import HttpServer
from .wire import Endpoint, Limits

_BACKLOG = 1024
_INTERNAL = Limits(body_bytes=4 << 20, connections=1_000)


async def listen(
    factory: Callable[[], asyncio.Protocol], host: str, port: int, *, shared: bool = False
) -> asyncio.Server:
    """Listen on a port, which several workers may share."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    opened.bind((host, port))
    return await asyncio.get_running_loop().create_server(factory, sock=opened, backlog=_BACKLOG)


async def listen_internally(
    control: Control, render: Callable[[], bytes], host: str, ports: tuple[int, int]
) -> list[asyncio.Server]:
    """Listen for feedback, counters and probes on the first port, for metrics on the second."""
    endpoints: tuple[Endpoint, Endpoint] = (control.control_routes(), control.metrics_routes(render))
    return [
        await listen(HttpServer(endpoint, _INTERNAL).connect, host, port)
        for endpoint, port in zip(endpoints, ports, strict=True)
    ]


def stop_event() -> asyncio.Event:
    """Return what is set at SIGTERM or SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
