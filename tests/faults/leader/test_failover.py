"""A leader dies or is told to end; how long until the next one writes, and that they never write side by side."""

from __future__ import annotations

import asyncio
import signal

from .conftest import Groups, repetitions
from .figures import report
from .group import REAL, SCALED, Group, now

REAL_BAR_S, SIGTERM_BAR_S = 20.0, 3.0
MOST_UNPLANNED = 10  # in one group
SCALED_BAR_S = REAL_BAR_S * SCALED.duration_s / REAL.duration_s


async def fail_over(group: Group, number: int, timeout_s: float) -> float:
    """End the leader by a signal; return the seconds until the first accepted write of another."""
    leader, _ = await group.pair()
    await asyncio.sleep(group.rand.uniform(0, group.times.retry_s))  # any moment between two renewals
    since = now()
    leader.signal(number)
    for toy in range(4):
        await group.wish(toy, port=group.rand.randint(100, 60000))
    first = await group.first_write_without(leader, since, timeout_s)
    code = await leader.ended()
    if code == 1 and len(group.unplanned) < MOST_UNPLANNED:  # it had lost its Lease by itself, for want of time
        leader.is_hurt = False
        return await fail_over(group, number, timeout_s)
    assert code == (-9 if number == signal.SIGKILL else 0), leader.said()[-2000:]
    await group.settled()
    return first.at - since


async def one_after_another(group: Group, number: int, times: int, timeout_s: float) -> list[float]:
    return [await fail_over(group, number, timeout_s) for _ in range(times)]


async def both(group: Group, kills: int, terms: int) -> tuple[list[float], list[float]]:
    killed = await one_after_another(group, signal.SIGKILL, kills, REAL_BAR_S + 10)
    return killed, await one_after_another(group, signal.SIGTERM, terms, SIGTERM_BAR_S + 10)


async def test_with_the_real_lease_times(groups: Groups) -> None:
    """20 SIGKILLs: the next write at most 20 s later; 20 SIGTERMs: at most 3 s later."""
    count, kills, terms = repetitions(5, 1), repetitions(4, 0), repetitions(4, 1)
    made = await groups(count, REAL)
    found = await asyncio.gather(*(both(group, kills, terms) for group in made))
    killed, ended = ([s for pair in found for s in pair[which]] for which in (0, 1))
    report("SIGKILL, Lease 15/10/2 s: seconds to the next write", killed, REAL_BAR_S)
    report("SIGTERM, Lease 15/10/2 s: seconds to the next write", ended, SIGTERM_BAR_S)
    for group in made:
        group.assert_one_writer()
        assert group.unplanned == []
    assert max(killed, default=0) <= REAL_BAR_S
    assert max(ended) <= SIGTERM_BAR_S


async def test_with_scaled_lease_times(groups: Groups) -> None:
    """100 SIGKILLs: as many Lease durations later as 20 s are of the real one."""
    count, each = repetitions(4, 1), repetitions(25, 1)
    made = await groups(count)
    found = await asyncio.gather(*(one_after_another(group, signal.SIGKILL, each, 20) for group in made))
    killed = [s for times in found for s in times]
    report(f"SIGKILL, Lease {SCALED.duration_s:g} s: seconds to the next write", killed, SCALED_BAR_S)
    for group in made:
        group.assert_one_writer()
    assert max(killed) <= SCALED_BAR_S
