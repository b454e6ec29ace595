"""Steady load through the gateway on 127.0.0.1: a bounded number of requests a second, every answer kept.

It never waits for one answer before it sends the next, and never has more than 64 in flight, so a slow version shows as
slow answers and not as less load. One thread of its own; it ends with the block.
"""

from __future__ import annotations

import asyncio
import collections
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from tests.e2e.asking import DIGEST, REVISION, VERSION
from tests.e2e.team import GATEWAY, eventually

IN_FLIGHT_MAX = 64
TIMEOUT_S = 20.0
SETTLES_S = 1.0  # after the first answer all workers of the proxy have the route


@dataclass(frozen=True)
class Sent:
    """One request: when it was sent (monotonic), what came back (status 0: no answer), by whom, how soon."""

    at: float
    status: int
    version: str
    revision: str
    text: str
    digest: str = ""
    took_s: float = 0.0


@dataclass
class Load:
    """What was sent until now."""

    rows: Sequence[Mapping[str, Any]]
    url: str
    sent: list[Sent] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def failed(self, *excused: str) -> list[Sent]:
        """Return what was not answered well, but for answers that these versions made."""
        return [one for one in self.sent if one.status != 200 and one.version not in excused]

    def by_version(self, since: float = 0.0, until: float = float("inf")) -> collections.Counter[str]:
        """Return answers by the version that made them, of what was sent in a span of time."""
        return collections.Counter(one.version for one in self.sent if since <= one.at <= until)


@contextmanager
def steady(hostname: str, rows: Sequence[Mapping[str, Any]], per_second: float, path: str = "") -> Iterator[Load]:
    """Send rows one by one, over and over, until the block ends; `load.rows` may be changed meanwhile."""
    load = Load(rows=rows, url=f"{GATEWAY}{path}/predict")
    thread = threading.Thread(target=lambda: asyncio.run(_run(load, hostname, per_second)), daemon=True)
    thread.start()
    try:
        yield load
    finally:
        load.stopping.set()
        thread.join(TIMEOUT_S + 10)


async def _run(load: Load, hostname: str, per_second: float) -> None:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    headers = {"Host": hostname, "content-type": "application/json"}
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT_MAX)
    tasks: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=headers) as session:
        number, due = 0, time.monotonic()
        while not load.stopping.is_set():
            due = max(due + 1 / per_second, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            while len(tasks) >= IN_FLIGHT_MAX:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            rows = load.rows
            task = asyncio.create_task(_send(load, session, rows[number % len(rows)]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        if tasks:
            await asyncio.wait(tasks, timeout=TIMEOUT_S)


async def _send(load: Load, session: aiohttp.ClientSession, row: Mapping[str, Any]) -> None:
    at = time.monotonic()
    try:
        async with session.post(load.url, data=json.dumps(row)) as said:
            text = await said.text()
            made = [said.headers.get(name, "") for name in (VERSION, REVISION, DIGEST)]
            load.sent.append(Sent(at, said.status, made[0], made[1], text[:200], made[2], time.monotonic() - at))
    except (aiohttp.ClientError, TimeoutError) as error:
        load.sent.append(Sent(at, 0, "", "", f"{type(error).__name__}: {error}"[:200]))


def until_routed(load: Load, team_says: str = "the gateway's proxy has no route", timeout_s: float = 60) -> None:
    """Wait for the first good answer, and forget what came before it: a new route takes a moment to reach the proxy."""
    eventually(lambda: any(one.status == 200 for one in load.sent), team_says, timeout_s)
    first = min(one.at for one in load.sent if one.status == 200)
    load.sent = [one for one in load.sent if one.at >= first + SETTLES_S]
