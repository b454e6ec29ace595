"""The work queue: keys wait here once, by priority, until a worker is free or their time has come.

A key is never in two workers at once; a key added while it is being worked on is worked on again. Failing keys
come back with exponential backoff and jitter. It knows nothing of what a key means. The loop is its only user.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)

URGENT = 0  # somebody asked for something that we have not answered yet
EVENTFUL = 5  # something happened to it, mostly by ourselves
ROUTINE = 10  # start-up, relist, periodic look


class QueueMetrics(Protocol):
    """What the queue reports; `app/metrics.py` gives it controller-runtime's names."""

    def on_add(self, depth: int) -> None:
        """A key was added."""

    def on_get(self, depth: int, waited_s: float) -> None:
        """A worker took a key that had waited this long since it was ready."""

    def on_done(self, worked_s: float) -> None:
        """A worker finished a key."""

    def on_retry(self) -> None:
        """A key failed and will come back."""


class NoMetrics:
    """Reports nothing."""

    def on_add(self, depth: int) -> None:
        """Ignore."""

    def on_get(self, depth: int, waited_s: float) -> None:
        """Ignore."""

    def on_done(self, worked_s: float) -> None:
        """Ignore."""

    def on_retry(self) -> None:
        """Ignore."""


@dataclass(frozen=True)
class Backoff:
    """Delay before the n-th retry: base * 2^(n-1) up to max, times 1 +- jitter.

    Once an API server is well again, nothing may be left that wakes a key: the maximum is how late it then is.
    """

    base_s: float = 0.1
    max_s: float = 60.0
    jitter: float = 0.2

    def delay_s(self, failures: int, rand: Callable[[], float]) -> float:
        """Return the delay after this many failures in a row; `rand` gives [0, 1)."""
        plain = min(self.base_s * 2.0 ** min(failures - 1, 30), self.max_s)
        return plain * (1 + self.jitter * (2 * rand() - 1))


@dataclass(frozen=True)
class Pace:
    """How often one key may be worked on: `burst` times at once, then `per_s`; so no object can starve the others."""

    burst: float = 20.0
    per_s: float = 5.0


_PACED = 4096  # keys whose pace is remembered


class WorkQueue(Generic[K]):
    """Deduplicating, with priorities, delays and per-key backoff; for one event loop."""

    def __init__(
        self,
        backoff: Backoff = Backoff(),
        pace: Pace = Pace(),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        rand: Callable[[], float] = random.random,
        metrics: QueueMetrics | None = None,
    ) -> None:
        self._backoff, self._pace, self._monotonic, self._rand = backoff, pace, monotonic, rand
        self._metrics: QueueMetrics = metrics or NoMetrics()
        self._sequence = 0
        self._ready: list[tuple[int, int, K]] = []  # heap; entries whose key is not in _waiting are stale
        self._waiting: dict[K, tuple[int, int, float]] = {}  # key -> priority, sequence, ready since
        self._later: list[tuple[float, int, K]] = []  # heap; entries that differ from _due are stale
        self._due: dict[K, tuple[float, int]] = {}
        self._working: dict[K, float] = {}
        self._again: dict[K, int] = {}
        self._failures: dict[K, int] = {}
        self._tokens: OrderedDict[K, tuple[float, float]] = OrderedDict()  # key -> tokens left, and when that was
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: tuple[float, asyncio.TimerHandle] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: K, priority: int = ROUTINE) -> None:
        """Make a key ready now, or as soon as its pace allows; the more urgent of two priorities holds."""
        if key in self._working:
            self._again[key] = min(priority, self._again.get(key, priority))
            return
        wait_s = self._pace_wait_s(key)
        if wait_s > 0:
            self.add_after(key, wait_s)
            return
        held = self._waiting.get(key)
        if held is not None and held[0] <= priority:
            return
        self._sequence += 1
        since = held[2] if held is not None else self._monotonic()
        self._waiting[key] = (priority, self._sequence, since)
        heapq.heappush(self._ready, (priority, self._sequence, key))
        if held is None:
            self._metrics.on_add(len(self._waiting))
        self._wake_one()

    def add_after(self, key: K, delay_s: float) -> None:
        """Make a key ready after a while; of two times the earlier holds."""
        if delay_s <= 0:
            self.add(key)
            return
        due = self._monotonic() + delay_s
        if (due, 0) < self._due.get(key, (float("inf"), 0)):
            self._sequence += 1
            self._due[key] = (due, self._sequence)
            heapq.heappush(self._later, (due, self._sequence, key))
            self._drop_stale()
            self._set_timer()

    def add_failed(self, key: K, at_least_s: float = 0.0) -> float:
        """Bring a failed key back after its backoff (and at least this late); return the delay."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(at_least_s, self._backoff.delay_s(failures, self._rand))
        self._metrics.on_retry()
        self.add_after(key, delay)
        return delay

    def failures(self, key: K) -> int:
        """Return how often in a row a key has failed."""
        return self._failures.get(key, 0)

    def succeed(self, key: K) -> None:
        """Reset a key's backoff."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Wait for the most urgent ready key and take it; `done` must follow."""
        while True:
            self.promote()
            key = self._take()
            if key is not None:
                return key
            await self._wait_for_more()

    def done(self, key: K) -> None:
        """Give a key back; it is ready again at once when it was added meanwhile."""
        self._metrics.on_done(self._monotonic() - self._working.pop(key))
        priority = self._again.pop(key, None)
        if priority is not None:
            self.add(key, priority)

    def promote(self) -> None:
        """Make ready what is due; `get` does this itself, tests with a clock of their own call it."""
        now = self._monotonic()
        while self._later and self._later[0][0] <= now:
            *due, key = heapq.heappop(self._later)
            if self._due.get(key) == tuple(due):
                del self._due[key]
                self.add(key)

    def is_urgent(self) -> bool:
        """Say whether an urgent key waits for a worker; may err on the side of yes."""
        return bool(self._ready) and self._ready[0][0] == URGENT

    def oldest_work_s(self) -> float:
        """Return for how long the longest-running key has been worked on (0 when idle)."""
        return max((self._monotonic() - since for since in self._working.values()), default=0.0)

    def unfinished_work_s(self) -> float:
        """Return the sum of the times that keys now in work have been worked on."""
        now = self._monotonic()
        return sum(now - since for since in self._working.values())

    def _take(self) -> K | None:
        while self._ready:
            priority, sequence, key = heapq.heappop(self._ready)
            held = self._waiting.get(key)
            if held is None or held[:2] != (priority, sequence):
                continue
            del self._waiting[key]
            self._due.pop(key, None)  # this reconcile says anew when to look again
            self._working[key] = self._monotonic()
            self._spend_token(key)
            self._metrics.on_get(len(self._waiting), self._working[key] - held[2])
            return key
        return None

    def _pace_wait_s(self, key: K) -> float:
        tokens = self._tokens_left(key)
        return 0.0 if tokens >= 1 else (1 - tokens) / self._pace.per_s + 0.001

    def _tokens_left(self, key: K) -> float:
        held = self._tokens.get(key)
        if held is None:
            return self._pace.burst
        return min(self._pace.burst, held[0] + (self._monotonic() - held[1]) * self._pace.per_s)

    def _spend_token(self, key: K) -> None:
        self._tokens[key] = (self._tokens_left(key) - 1, self._monotonic())
        self._tokens.move_to_end(key)
        if len(self._tokens) > _PACED:
            self._tokens.popitem(last=False)

    async def _wait_for_more(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._set_timer()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            else:
                self._wake_one()  # it was woken for a key that it cannot take any more
            raise

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _set_timer(self) -> None:
        """Keep one timer, for the earliest due key, while a worker waits."""
        if not self._later or not self._waiters:
            return
        due = self._later[0][0]
        if self._timer is not None:
            if self._timer[0] <= due:
                return
            self._timer[1].cancel()
        handle = asyncio.get_running_loop().call_later(max(0.0, due - self._monotonic()), self._on_timer)
        self._timer = (due, handle)

    def _on_timer(self) -> None:
        self._timer = None
        self.promote()
        self._set_timer()

    def _drop_stale(self) -> None:
        """Keep the heap of delays within twice what is really due: a busy key leaves one entry each time."""
        if len(self._later) > 2 * len(self._due) + 1000:
            self._later = [entry for entry in self._later if self._due.get(entry[2]) == entry[:2]]
            heapq.heapify(self._later)
