"""The threads that carry captures and feedback to the store, as Parquet, off the hot path.

One gathers what the rings hold and makes one file per folder every few seconds; the other puts files into the store. So
a store that is away never keeps a ring from being emptied: files wait up to a bound, the oldest given up first and
counted. File names hold the pod, this start and a sequence number, so nothing is overwritten. Started by `process`.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fairlead_runtime.errors import JobError
from fairlead_runtime.store import Store

from .capture import Part

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("fairlead.serve.capture")


class Source(Protocol):
    """Where rows come from, and who counts what became of them."""

    def drain(self) -> Iterator[Part]:
        """Yield what has come since the last time."""

    def wrote(self, rows: int) -> None:
        """Count rows that are in the store."""

    def lost(self, rows: int) -> None:
        """Count rows that were given up."""


@dataclass(frozen=True)
class Pace:
    """How often and how much."""

    every_s: float = 10.0
    gather_s: float = 1.0
    file_rows: int = 50_000
    retry_s: float = 2.0
    waiting_bytes: int = 48 << 20  # encoded files that wait for a store that is away


@dataclass
class _File:
    source: Source
    key: str
    data: bytes
    rows: int


class Sender(threading.Thread):
    """Puts encoded files into the store, oldest first, and keeps those it could not put, up to a bound."""

    def __init__(self, store: Store, pace: Pace) -> None:
        super().__init__(name="capture-sender", daemon=True)
        self._store = store
        self._pace = pace
        self._waiting: deque[_File] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._away = False

    def offer(self, file: _File) -> None:
        """Take a file; give up the oldest where more wait than are kept."""
        with self._changed:
            self._waiting.append(file)
            while sum(len(waiting.data) for waiting in self._waiting) > self._pace.waiting_bytes:
                _give_up(self._waiting.popleft())
            self._changed.notify()

    def run(self) -> None:
        """Put files until stopped and empty."""
        while (file := self._next()) is not None:
            if self._put(file):
                file.source.wrote(file.rows)
                continue
            with self._changed:
                self._waiting.appendleft(file)
                self._changed.wait(self._pace.retry_s)

    def stop(self, until_s: float) -> None:
        """Put what waits; what the store has not taken by `until_s` (monotonic) is lost and counted."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self.join(max(0.0, until_s - time.monotonic()))
        with self._changed:
            while self._waiting:
                _give_up(self._waiting.popleft())

    def _next(self) -> _File | None:
        with self._changed:
            while not self._waiting:
                if self._stopping:
                    return None
                self._changed.wait()
            return self._waiting.popleft()

    def _put(self, file: _File) -> bool:
        try:
            self._store.put_bytes(file.key, file.data)
        except JobError as error:
            if not self._away:
                log.warning("captures wait, the store did not take them: %s", error)
            self._away = True
            return False
        if self._away:
            log.info("the store takes captures again")
        self._away = False
        return True


class Flusher(threading.Thread):
    """Gathers the rows of its sources into files until it is stopped; a daemon, so it never holds up an exit."""

    def __init__(self, store: Store, sources: Sequence[Source], name: str, pace: Pace) -> None:
        super().__init__(name="capture", daemon=True)
        self._sender = Sender(store, pace)
        self._sources = sources
        self._name = name
        self._pace = pace
        self._wake = threading.Event()
        self._stopping = False
        self._sequence = 0
        self._gathered: dict[tuple[int, str], list[pa.RecordBatch]] = {}
        self._rows = 0

    def wake(self) -> None:
        """Gather soon: a ring fills up. Called on the hot path."""
        self._wake.set()

    def run(self) -> None:
        """Gather and hand over to the sender until stopped."""
        self._sender.start()
        due = time.monotonic() + self._pace.every_s
        while not self._stopping:
            self._wake.wait(min(self._pace.gather_s, self._pace.every_s))
            self._wake.clear()
            self._gather()
            if time.monotonic() >= due or self._rows >= self._pace.file_rows:
                self._hand_over()
                due = time.monotonic() + self._pace.every_s
        self._gather()
        self._hand_over()

    def stop(self, within_s: float) -> None:
        """Write what is left; what the store has not taken `within_s` seconds later is lost and counted."""
        until_s = time.monotonic() + within_s
        self._stopping = True
        self.wake()
        self.join(within_s)
        self._sender.stop(until_s)

    def _gather(self) -> None:
        for number, source in enumerate(self._sources):
            for part in source.drain():
                self._gathered.setdefault((number, part.folder), []).append(part.batch)
                self._rows += part.batch.num_rows

    def _hand_over(self) -> None:
        for (number, folder), batches in self._gathered.items():
            self._sequence += 1
            key = f"{folder}{self._name}-{self._sequence:06d}.parquet"
            rows = sum(batch.num_rows for batch in batches)
            self._sender.offer(_File(self._sources[number], key, encode(batches), rows))
        self._gathered, self._rows = {}, 0


def _give_up(file: _File) -> None:
    file.source.lost(file.rows)
    log.error("gave up %d captured rows for %s: the store was away for too long", file.rows, file.key)


def encode(batches: Sequence[pa.RecordBatch]) -> bytes:
    """Return the batches as one Parquet file."""
    import pyarrow as pa  # noqa: PLC0415 - with the first capture, not before the first answer
    import pyarrow.parquet as pq  # noqa: PLC0415

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_batches(list(batches)), sink, compression="zstd")
    return sink.getvalue()
