"""Waiting for what becomes true: the only way a test waits."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def eventually(
    look: Callable[[], T | Awaitable[T]], timeout_s: float = 10.0, *, every_s: float = 0.02, what: str = ""
) -> T:
    """Return the first true value of `look` (plain or async); fail with the last value or error after the timeout.

    An AssertionError of `look` counts as "not yet", so a look may be a block of asserts that returns True.
    """
    deadline = time.monotonic() + timeout_s
    last: Any = None
    while True:
        try:
            value = look()
            last = await value if inspect.isawaitable(value) else value
            if last:
                return last  # type: ignore[no-any-return]
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or look}; last: {last!r}")
        await asyncio.sleep(every_s)


async def never(look: Callable[[], Any], during_s: float, *, every_s: float = 0.02) -> None:
    """Fail as soon as `look` (plain or async) is true within the given time."""
    deadline = time.monotonic() + during_s
    while time.monotonic() < deadline:
        value = look()
        value = await value if inspect.isawaitable(value) else value
        assert not value, f"happened: {value!r}"
        await asyncio.sleep(every_s)
