from __future__ import annotations

import asyncio

import pytest
from tests.support.clock import FakeClock
from tests.support.eventually import eventually

from fairlead.kube.queue import ROUTINE, URGENT, Backoff, Pace, WorkQueue


def build(clock: FakeClock | None = None, rand: float = 0.5) -> WorkQueue[str]:
    return WorkQueue(Backoff(1.0, 8.0), monotonic=(clock or FakeClock()).monotonic, rand=lambda: rand)


async def drain(queue: WorkQueue[str]) -> list[str]:
    taken = []
    queue.promote()
    while len(queue):
        taken.append(await queue.get())
        queue.done(taken[-1])
    return taken


async def test_a_key_waits_once() -> None:
    queue = build()
    for _ in range(3):
        queue.add("a")
    assert await drain(queue) == ["a"]


async def test_urgent_keys_go_first_and_equals_in_order() -> None:
    queue = build()
    for key, priority in (("a", ROUTINE), ("b", ROUTINE), ("c", URGENT), ("d", URGENT)):
        queue.add(key, priority)
    assert await drain(queue) == ["c", "d", "a", "b"]


async def test_a_waiting_key_becomes_urgent() -> None:
    queue = build()
    for key, priority in (("a", ROUTINE), ("b", ROUTINE), ("b", URGENT), ("b", ROUTINE)):
        queue.add(key, priority)
    assert await drain(queue) == ["b", "a"]


async def test_a_key_in_work_is_given_to_no_second_worker_but_worked_on_again() -> None:
    queue = build()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a", URGENT)
    assert len(queue) == 0
    queue.done("a")
    assert await drain(queue) == ["a"]


async def test_of_two_delays_the_earlier_holds() -> None:
    clock = FakeClock()
    queue = build(clock)
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 20)
    clock.advance(4.9)
    assert await drain(queue) == []
    clock.advance(0.2)
    assert await drain(queue) == ["a"]
    clock.advance(100)
    assert await drain(queue) == []


async def test_taking_a_key_forgets_its_delay() -> None:
    clock = FakeClock()
    queue = build(clock)
    queue.add_after("a", 5)
    queue.add("a")
    assert await drain(queue) == ["a"]
    clock.advance(10)
    assert await drain(queue) == []


async def test_failures_back_off_and_success_resets() -> None:
    clock = FakeClock()
    queue = build(clock)
    assert [queue.add_failed("a") for _ in range(6)] == [1, 2, 4, 8, 8, 8]
    assert queue.failures("a") == 6
    queue.succeed("a")
    assert queue.add_failed("a") == 1


async def test_backoff_is_jittered_and_honours_retry_after() -> None:
    assert build(rand=0.0).add_failed("a") == pytest.approx(0.8)
    assert build(rand=1.0).add_failed("a") == pytest.approx(1.2)
    assert build().add_failed("a", at_least_s=30) == 30


async def test_workers_wake_for_what_is_added_later() -> None:
    queue: WorkQueue[str] = WorkQueue()
    taken: list[str] = []

    async def work() -> None:
        while True:
            key = await queue.get()
            taken.append(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add("now")
    queue.add_after("soon", 0.01)
    queue.add_after("sooner", 0.005)
    await eventually(lambda: len(taken) == 3)
    assert taken == ["now", "sooner", "soon"]
    for worker in workers:
        worker.cancel()


async def test_a_cancelled_worker_loses_no_key() -> None:
    queue: WorkQueue[str] = WorkQueue()
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"


async def test_a_busy_key_leaves_no_heap_of_old_delays() -> None:
    clock = FakeClock()
    queue = build(clock)
    for _ in range(5000):
        queue.add_after("a", 300)
        queue.add("a")
        await drain(queue)
        clock.advance(0.2)
    assert len(queue._later) < 1100


async def test_times_in_work_are_reported() -> None:
    clock = FakeClock()
    queue = build(clock)
    assert queue.oldest_work_s() == 0
    queue.add("a")
    queue.add("b")
    await queue.get()
    clock.advance(2)
    await queue.get()
    clock.advance(3)
    assert queue.oldest_work_s() == 5
    assert queue.unfinished_work_s() == 8


async def test_a_noisy_key_is_slowed_and_others_are_not() -> None:
    clock = FakeClock()
    queue = WorkQueue[str](pace=Pace(burst=3, per_s=2), monotonic=clock.monotonic)
    taken: list[str] = []
    for number in range(100):  # 10 s, ten changes a second
        queue.add("noisy", URGENT)
        if number % 50 == 0:
            queue.add(f"calm-{number}", ROUTINE)
        taken += await drain(queue)
        clock.advance(0.1)
    assert taken.count("noisy") in range(20, 25)
    assert {"calm-0", "calm-50"} <= set(taken)
    clock.advance(1)
    assert await drain(queue) == ["noisy"], "its last change is not forgotten"


def test_no_key_waits_longer_than_72_s_however_often_it_failed() -> None:
    """An API server that is well again wakes nobody: the promise is that all is as before within 90 s."""
    queue: WorkQueue[str] = WorkQueue(monotonic=FakeClock().monotonic, rand=lambda: 1.0)
    delays = [queue.add_failed("a") for _ in range(40)]
    assert delays == sorted(delays)
    assert delays[0] < 0.2
    assert max(delays) <= 72.0
