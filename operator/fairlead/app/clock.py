"""The only place where wall-clock time enters the operator; planners get it as an argument.

Delays are counted on running time, so a clock that is set, or a machine that slept, makes them wrong: `watch_steps`
tells. It never changes a time. Run by `main.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

STEP_S = 2.0  # a clock that is merely adjusted moves by at most 5 ms in the 10 s between two looks
LOOK_S = 10.0


def now() -> datetime:
    """Return the present time, aware, in UTC."""
    return datetime.now(UTC)


async def watch_steps(
    on_step: Callable[[float], None],
    *,
    look_s: float = LOOK_S,
    now: Callable[[], datetime] = now,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Call `on_step` with the seconds by which the clock went other than the running time did; for ever."""
    ahead_s = now().timestamp() - monotonic()
    while True:
        await asyncio.sleep(look_s)
        before_s, ahead_s = ahead_s, now().timestamp() - monotonic()
        if abs(ahead_s - before_s) >= STEP_S:
            on_step(ahead_s - before_s)
