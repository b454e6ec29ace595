"""SIGKILL at every write of the scenario, before it is forwarded and after: the end is that of an undisturbed run.

`make faults` takes them all, `make test` every 101st; FAULTS_STRIDE says otherwise.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter

import pytest

from .arena import SIDE_BY_SIDE, WHOLE, Arena, Outcome
from .rules import Cut, Writes

pytestmark = pytest.mark.asyncio(loop_scope="session")

STRIDE = int(os.environ.get("FAULTS_STRIDE", "1" if WHOLE else "101"))
ONLY = os.environ.get("FAULTS_ONLY", "")  # words of the writes to look at, to find out why one of them fails
WITHIN_S = 60.0
LUCK = 8  # runs more for a point that is reached by chance
NEAR = 3  # a look at a rollout may be one less: then the look before it is the point

Point = tuple[str, int]


async def undisturbed(faults: Arena) -> tuple[Outcome, list[Point]]:
    """Return the end of a run without faults, and the writes of it.

    A write that a second such run does not have is chance (one look more at a canary) and no point of the scenario.
    """

    async def run() -> tuple[Outcome, list[Point]]:
        writes = Writes()
        async with faults.scene(writes) as scene:
            await scene.story.play()
            await scene.settle()
            return scene.outcome(), writes.points

    (outcome, points), (_, other_points) = await asyncio.gather(run(), run())
    return outcome, [point for point in points if point in other_points]


async def cut_at(faults: Arena, expected: Outcome, point: Point, *, forwarded: bool) -> float | None:
    """Kill at a point; return the seconds from there to the end, None when the run never came to the point."""
    cut = Cut(point, forwarded=forwarded)
    async with faults.scene(cut) as scene:
        cut.kill = scene.kill
        await scene.story.play()
        await scene.agree(expected)
        if cut.at is None:
            return None
        assert scene.exits == [-9], f"the operator ended by itself too: {scene.exits}; see {scene.log}"
        return time.monotonic() - cut.at


async def cut_surely(faults: Arena, expected: Outcome, point: Point, *, forwarded: bool) -> float:
    """Cut at a point, or where this run has fewer writes of its label, at the one before; return the seconds."""
    label, number = point
    for number_here in _tries(number):
        took_s = await cut_at(faults, expected, (label, number_here), forwarded=forwarded)
        if took_s is not None:
            return took_s
    raise AssertionError("no run came to this point")


def _tries(number: int) -> list[int]:
    """Return a number, those just before it, then half of each, and the first some times more.

    How often a judge looks at a step, in which step it has seen enough, and whether it asks a pod that just went:
    all that is chance.
    """
    tries = list(range(number, max(0, number - NEAR), -1))
    while tries[-1] > 1:
        tries.append(tries[-1] // 2)
    return [*tries, *[1] * LUCK]


async def test_a_kill_at_every_write_changes_nothing(faults: Arena) -> None:
    expected, points = await undisturbed(faults)
    chosen = [(point, forwarded) for point in points if ONLY in point[0] for forwarded in (False, True)][::STRIDE]
    slots, failures, times = asyncio.Semaphore(SIDE_BY_SIDE), list[str](), list[float]()

    async def one(point: Point, forwarded: bool) -> None:
        async with slots:
            try:
                times.append(await cut_surely(faults, expected, point, forwarded=forwarded))
            except (AssertionError, ExceptionGroup) as error:
                where = f"{'after' if forwarded else 'before'} {point[0]} ({point[1]})"
                failures.append(f"{where}: {str(error)[:1500]}")
                print("FAILED", failures[-1], flush=True)
            if (done := len(times) + len(failures)) % 50 == 0:
                print(f"{done} of {len(chosen)} cut points, {len(failures)} failed", flush=True)

    await asyncio.gather(*(one(point, forwarded) for point, forwarded in chosen))
    labels = Counter(point[0] for point in points)
    print(f"{len(points)} writes ({len(labels)} kinds of write), {len(chosen)} cut points, {len(times)} as undisturbed")
    print(f"longest way from the kill to the end {max(times, default=0):.1f} s")
    assert not failures, f"{len(failures)} of {len(chosen)} cut points:\n" + "\n".join(failures)
    late = [took_s for took_s in times if took_s >= WITHIN_S]
    assert not late, f"{len(late)} of {len(times)} took longer than {WITHIN_S:g} s, though all ended as undisturbed"
