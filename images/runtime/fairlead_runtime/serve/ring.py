"""What lies between the thread that answers and the one that writes captures: a sample, and a bounded queue of it.

One thread adds, one other takes; no lock, and neither ever waits. Used by `capture` here and in the proxy.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Generic, TypeVar

log = logging.getLogger("fairlead.serve.capture")

T = TypeVar("T")
P = TypeVar("P")
_HOUR_NS = 3_600_000_000_000


class Sample:
    """Exactly `percent` of any hundred in a row."""

    __slots__ = ("_due", "_percent")

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self._due = 0

    def wanted(self) -> bool:
        """Return whether this one is of the sample."""
        self._due += self._percent
        if self._due < 100:
            return False
        self._due -= 100
        return True


class Ring(Generic[T]):
    """A bounded queue of items that have sizes, rows or bytes; what finds no room is dropped, and `dropped` told."""

    def __init__(self, limit: int, chunk: int, size: Callable[[T], int], dropped: Callable[[int], None]) -> None:
        """Hold items of at most `limit` together, and give them out by chunks of about `chunk`."""
        self._items: deque[T] = deque()
        self._limit = limit
        self._chunk = chunk
        self._size = size
        self._dropped = dropped
        self._added = 0
        self._taken = 0  # written by the reader alone, so neither count needs a lock
        self._wake: Callable[[], None] = _nothing

    def attach(self, wake: Callable[[], None]) -> None:
        """Call `wake` when a chunk is there."""
        self._wake = wake

    def add(self, item: T, size: int) -> bool:
        """Take an item of that size, or drop it; return whether there was room."""
        held = self._added - self._taken
        if held + size > self._limit:
            self._dropped(size)
            return False
        self._items.append(item)
        self._added += size
        if held < self._chunk <= held + size:
            self._wake()
        return True

    def chunks(self) -> Iterator[list[T]]:
        """Yield the items that are there, oldest first, about a chunk at a time.

        What comes meanwhile waits until it is a chunk: one of a few rows costs as much as one of thousands.
        """
        there = self._added
        while self._taken < there or self._added - self._taken >= self._chunk:
            taken: list[T] = []
            size = 0
            while self._items and size < self._chunk:
                taken.append(self._items.popleft())
                size += self._size(taken[-1])
            self._taken += size
            yield taken

    def parts(
        self, time_ns: Callable[[T], int], make: Callable[[int, list[T]], Iterable[P]], lost: Callable[[list[T]], None]
    ) -> Iterator[P]:
        """Yield what `make` makes of the hour (since 1970) and the items of chunks, each within one hour.

        Items of which it makes nothing are given up, and `lost` is told. The rest goes on.
        """
        for items in self.chunks():
            for hour, group in groupby(items, key=lambda item: time_ns(item) // _HOUR_NS):
                same = list(group)
                try:
                    made = list(make(hour, same))
                except Exception:
                    log.exception("captured rows that no file can hold are given up")
                    lost(same)
                    continue
                yield from made


def _nothing() -> None:
    """Wake nobody: no flusher is attached yet."""
