"""An API server that fails: a third of all requests for a minute; a conflict for the first sending of every apply."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import Counter
from typing import Any

import aiohttp
import pytest
from tests.support.eventually import eventually
from tests.support.served import free_port

from .arena import PATIENCE_S, SOON, WHOLE, Arena, Outcome, Scene
from .rules import ConflictOnce, Noise, NoLists

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHARE, NOISE_S, NORMAL_WITHIN_S = 0.3, 60.0 if WHOLE else 10.0, 90.0
REQUESTS_PER_S = 60.0  # at most, in any 5 s; an undisturbed run has about 30


@pytest.mark.whole
async def test_a_conflict_for_every_apply(faults: Arena, expected: Outcome) -> None:
    rule = ConflictOnce()
    async with faults.scene(rule) as scene:
        await scene.story.play()
        await scene.agree(expected)
        assert rule.refused > 30
        print(f"{rule.refused} applies refused once")


async def test_a_third_of_the_requests_fails_for_a_minute(faults: Arena, expected: Outcome) -> None:
    noise, metrics_port = Noise(SHARE), free_port()
    async with faults.scene(noise, **{"metrics-port": str(metrics_port)}) as scene:
        noise.is_on = True
        seen = [0.0]
        watching = [asyncio.create_task(watch_health(scene)), asyncio.create_task(watch_retries(metrics_port, seen))]
        playing = asyncio.create_task(scene.story.play())
        await asyncio.sleep(NOISE_S)  # the fault's own length, not a wait for something
        await eventually(lambda: max(seen) > 0, PATIENCE_S, every_s=0.1, what="backoff is to be seen in /metrics")
        noise.is_on = False
        ended = time.monotonic()
        await playing
        await scene.agree(expected)
        normal_s, retries = time.monotonic() - ended, max(seen)
        for task in watching:
            task.cancel()
        rate = busiest(scene, 5.0)
        print(
            f"{dict(noise.hurt)}; normal after {normal_s:.1f} s; at most {rate:.0f} requests/s; {retries:.0f} retries"
        )
        assert normal_s < NORMAL_WITHIN_S
        assert rate < REQUESTS_PER_S
        assert set(scene.exits) <= {1}, f"{scene.exits}: only a lost Lease or stream may end it; {scene.log}"
        assert scene.unhealthy == [], scene.unhealthy


async def test_healthz_says_when_lists_are_too_old_and_when_they_are_not(faults: Arena) -> None:
    rule = NoLists()
    async with faults.scene(rule, **SOON) as scene:
        await eventually(functools.partial(health_of, scene, 200, "readyz"), PATIENCE_S, every_s=0.1)
        rule.is_on = True
        await eventually(functools.partial(health_of, scene, 503), PATIENCE_S, every_s=0.1)
        rule.is_on = False
        await eventually(functools.partial(health_of, scene, 200), PATIENCE_S, every_s=0.1)


async def health_of(scene: Scene, status: int, check: str = "healthz") -> Any:
    """Say whether a check answers so."""
    try:
        url = scene.health_url.replace("healthz", check)
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status == status
    except aiohttp.ClientConnectorError:
        return False


async def watch_health(scene: Scene) -> None:
    """Note whenever /healthz says that a process which works does not."""
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(scene.health_url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
                    said = await answer.text()
                    if answer.status != 200 and not scene.lists_are_old():
                        scene.unhealthy.append(said)
            except aiohttp.ClientConnectorError:
                pass  # it is starting
            await asyncio.sleep(0.5)


async def watch_retries(port: int, seen: list[float]) -> None:
    """Note how many retries each process counts; one that begins again counts from 0."""
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            seen.append(await metric(port, "workqueue_retries_total"))
        await asyncio.sleep(0.2)


async def metric(port: int, name: str) -> float:
    """Return the sum of a metric over its labels."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def busiest(scene: Scene, window_s: float) -> float:
    """Return the most requests per second in any window of the run."""
    counts = Counter(int(call.at / window_s) for call in scene.proxy.calls)
    return max(counts.values()) / window_s
