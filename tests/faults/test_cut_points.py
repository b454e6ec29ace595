"""SIGKILL at every write of the scenario, before it is forwarded and after: the end is that of an undisturbed run.

`FAULTS_STRIDE=n` takes every n-th cut point (`make test`); all of them is the default (`make faults`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter

import pytest

from .arena import Arena, Outcome
from .rules import Cut, Writes

pytestmark = pytest.mark.asyncio(loop_scope="session")

STRIDE = int(os.environ.get("FAULTS_STRIDE", "1"))
SIDE_BY_SIDE = int(os.environ.get("FAULTS_SIDE_BY_SIDE", "5"))
WITHIN_S = 60.0
TRIES = 3  # a look at a rollout may be one more or one less; then the point is not reached and the run says nothing

Point = tuple[str, int]


async def undisturbed(faults: Arena) -> tuple[Outcome, list[Point]]:
    """Return the end and the writes of a run without faults."""
    writes = Writes()
    async with faults.scene(writes) as scene:
        await scene.story.play()
        await scene.settle()
        return scene.outcome(), writes.points


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


async def test_a_kill_at_every_write_changes_nothing(faults: Arena) -> None:
    expected, points = await undisturbed(faults)
    chosen = [(point, forwarded) for point in points for forwarded in (False, True)][::STRIDE]
    slots, failures, times, missed = asyncio.Semaphore(SIDE_BY_SIDE), [], [], []

    async def one(point: Point, forwarded: bool) -> None:
        where = f"{'after' if forwarded else 'before'} {point[0]} ({point[1]})"
        async with slots:
            try:
                for _ in range(TRIES):
                    took_s = await cut_at(faults, expected, point, forwarded=forwarded)
                    if took_s is not None:
                        times.append(took_s)
                        return
                missed.append(where)
            except (AssertionError, ExceptionGroup) as error:
                failures.append(f"{where}: {str(error)[:1500]}")
                print("FAILED", failures[-1], flush=True)

    await asyncio.gather(*(one(point, forwarded) for point, forwarded in chosen))
    labels = Counter(point[0] for point in points)
    print(f"{len(points)} writes ({len(labels)} kinds of write), {len(chosen)} cut points, {len(times)} cut")
    print(f"longest way from the kill to the end {max(times, default=0):.1f} s; not reached: {missed}")
    assert not failures, f"{len(failures)} of {len(chosen)} cut points:\n" + "\n".join(failures)
    assert not missed, missed
    assert max(times) < WITHIN_S
