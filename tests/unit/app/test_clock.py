"""The clock is set, or the machine sleeps: everything is looked at again."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.clock import FakeClock
from tests.support.eventually import eventually, never

from fairlead.app.clock import watch_steps


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
async def test_a_clock_that_is_set_is_told_once(step_s: float) -> None:
    clock, running, told = FakeClock(), FakeClock(), []
    watch = asyncio.create_task(watch_steps(told.append, look_s=0.01, now=clock.now, monotonic=running.monotonic))
    await never(lambda: told, 0.05)
    clock.advance(step_s)
    await eventually(lambda: told)
    assert told == [pytest.approx(step_s)]
    await never(lambda: told[1:], 0.05)
    watch.cancel()


async def test_time_that_only_passes_is_no_step() -> None:
    clock, told = FakeClock(), []
    watch = asyncio.create_task(watch_steps(told.append, look_s=0.01, now=clock.now, monotonic=clock.monotonic))
    for _ in range(5):
        clock.advance(100)
        await asyncio.sleep(0)
    await never(lambda: told, 0.05)
    watch.cancel()
