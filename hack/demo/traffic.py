"""Live traffic on 127.0.0.1: flights ask for predictions through the gateway, and the truth comes back as feedback.

Bounded in rate and in requests in flight; it ends with the story. It remembers every answer by the version that
made it, so that the story can tell a failure that version 3 made from one that nobody should have seen.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from .feedback import Feedback

IN_FLIGHT_MAX = 64
TIMEOUT_S = 10.0
NO_VERSION = "no version"


@dataclass(frozen=True)
class Flight:
    """One request and what turned out to be true of it."""

    features: dict[str, Any]
    late: bool


@dataclass
class Ledger:
    """What was answered, by version."""

    answered: collections.Counter[str] = field(default_factory=collections.Counter)
    failed: collections.Counter[str] = field(default_factory=collections.Counter)
    first_failure: dict[str, float] = field(default_factory=dict)
    last_failure: dict[str, float] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def record(self, version: str, problem: str) -> None:
        """Count one answer; `problem` is empty when it was good."""
        self.answered[version] += 1
        if problem:
            self.failed[version] += 1
            self.first_failure.setdefault(version, time.monotonic())
            self.last_failure[version] = time.monotonic()
            if len(self.examples) < 20:
                self.examples.append(f"{version}: {problem}"[:300])

    def failures_but_of(self, version: str) -> int:
        """Return how many requests failed that the named version did not make fail."""
        return sum(count for name, count in self.failed.items() if name != version)


class Traffic:
    """A steady stream of requests in a thread of its own."""

    def __init__(self, url: str, host: str, per_second: float, feedback: Feedback) -> None:
        self.ledger = Ledger()
        self._url, self._host, self._pause_s = url, host, 1.0 / per_second
        self._feedback = feedback
        self._flights: Sequence[Flight] = ()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def fly(self, flights: Sequence[Flight]) -> None:
        """From now on send these, over and over."""
        self._flights = flights

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the requests in flight."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=TIMEOUT_S + 5)

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        tasks: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=16)) as session:
            await self._until_served(session)
            number, due = 0, time.monotonic()
            while not self._stopping.is_set():
                due = max(due + self._pause_s, time.monotonic() - 1)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if len(tasks) < IN_FLIGHT_MAX and self._flights:
                    task = asyncio.create_task(self._ask(session, self._flights[number % len(self._flights)]))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    number += 1
            await asyncio.gather(*tasks)

    async def _until_served(self, session: aiohttp.ClientSession) -> None:
        """Wait for the first good answer: a route that is accepted reaches the gateway's proxy some 100 ms later."""
        deadline = time.monotonic() + TIMEOUT_S
        while self._flights and time.monotonic() < deadline and not self._stopping.is_set():
            body = {"rows": [self._flights[0].features]}
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(self._url, json=body, headers={"Host": self._host}) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)

    async def _ask(self, session: aiohttp.ClientSession, flight: Flight) -> None:
        body = {"rows": [flight.features]}
        try:
            async with session.post(self._url, json=body, headers={"Host": self._host}) as answer:
                text = await answer.text()
                version = answer.headers.get("x-fairlead-model-version", NO_VERSION)
                self.ledger.record(version, "" if answer.status == 200 else f"{answer.status} {text}")
                if answer.status == 200:
                    self._feedback.add(answer.headers["x-fairlead-response-id"], flight.late)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.ledger.record(NO_VERSION, f"{type(error).__name__}: {error}")
