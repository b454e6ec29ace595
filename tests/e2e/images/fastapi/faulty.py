"""The example's app with a fault to be found: one in five predictions fails."""

from __future__ import annotations

from itertools import count
from typing import Any

from app import app as sound

requests = count(1)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer as the app does, but for every fifth prediction."""
    if scope["type"] != "http" or scope["path"] != "/predict" or next(requests) % 5:
        await sound(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})
