"""The threads that carry captures and feedback to the store, as Parquet, off the hot path.

One gathers what the rings hold and makes one file per folder every few seconds; the other puts files into the store. So
a store that is away never keeps a ring from being emptied: files wait up to a bound in bytes, the oldest given up first
and counted. File names hold the pod, this start and a sequence number, so nothing is overwritten. Started by `process`.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fairlead_runtime.errors import JobError
from fairlead_runtime.store import Store

from .capture import Part

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("fairlead.serve.capture")

_LAST_TRIES_S = 0.5  # between tries when the process is about to end


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
    waiting_bytes: int = 48 << 20  # encoded files that wait for a store that is away, of one process


Waits = Callable[[int, int], None]  # is told how many rows and bytes wait for the store


@dataclass
class _File:
    source: Source
    key: str
    data: bytes
    rows: int


class Sender:
    """Puts encoded files into the store, oldest first, and keeps those it could not put, up to a bound.

    `turn` is called by one thread, `offer` by another; the thread that runs it is `SendingThread`.
    """

    def __init__(self, store: Store, pace: Pace, waits: Waits | None = None) -> None:
        self._store = store
        self._pace = pace
        self._waits = waits or _unseen
        self._waiting: deque[_File] = deque()
        self._bytes = self._rows = 0  # that wait, the file that is being put included
        self._away = False
        self.changed = threading.Condition()

    def _count(self, file: _File, sign: int) -> None:
        self._bytes += sign * len(file.data)
        self._rows += sign * file.rows
        self._waits(self._rows, self._bytes)

    def offer(self, file: _File) -> None:
        """Take a file; give up the oldest where more wait than are kept."""
        with self.changed:
            self._waiting.append(file)
            self._count(file, 1)
            while self._bytes > self._pace.waiting_bytes and self._waiting:
                self._give_up(self._waiting.popleft())
            self.changed.notify()

    def turn(self) -> float | None:
        """Put the oldest file; return the seconds to wait before the next turn, None when nothing waits."""
        with self.changed:
            if not self._waiting:
                return None
            file = self._waiting.popleft()
        if self._put(file):
            with self.changed:
                self._count(file, -1)
            file.source.wrote(file.rows)
            return 0.0
        with self.changed:
            self._waiting.appendleft(file)
        return self._pace.retry_s

    def give_up(self) -> None:
        """Count all that waits as lost: the process ends."""
        with self.changed:
            while self._waiting:
                self._give_up(self._waiting.popleft())

    def _give_up(self, file: _File) -> None:
        self._count(file, -1)
        file.source.lost(file.rows)
        log.error("gave up %d captured rows for %s: the store was away for too long", file.rows, file.key)

    def _put(self, file: _File) -> bool:
        try:
            self._store.put_bytes(file.key, file.data)
        except JobError as error:
            self._say_away(f"{error}")
            return False
        except Exception as error:  # whatever a client library raises, the thread that sends must not end
            self._say_away(f"{type(error).__name__}: {error}")
            return False
        if self._away:
            log.info("the store takes captures again")
        self._away = False
        return True

    def _say_away(self, reason: str) -> None:
        if not self._away:
            log.warning("captures wait, the store did not take them: %s", reason)
        self._away = True


class SendingThread(threading.Thread):
    """Gives a sender its turns until it is stopped and nothing waits."""

    def __init__(self, sender: Sender) -> None:
        super().__init__(name="capture-sender", daemon=True)
        self._sender = sender
        self._stopping = False

    def run(self) -> None:
        """Send."""
        changed = self._sender.changed
        while True:
            wait_s = self._sender.turn()
            with changed:
                if wait_s is None:
                    if self._stopping:
                        return
                    changed.wait(1.0)  # bounded: an offer may come between the turn and here
                elif wait_s and self._stopping:
                    changed.wait(min(wait_s, _LAST_TRIES_S))
                elif wait_s:
                    changed.wait_for(lambda: self._stopping, wait_s)

    def stop(self, until_s: float) -> None:
        """Send what waits; what the store has not taken by `until_s` (monotonic) is lost and counted."""
        changed = self._sender.changed
        with changed:
            self._stopping = True
            changed.notify()
        self.join(max(0.0, until_s - time.monotonic()))
        self._sender.give_up()


class Gatherer:
    """Gathers the rows of its sources and hands them over as files, when they are due or many."""

    def __init__(self, sources: Sequence[Source], sender: Sender, name: str, pace: Pace) -> None:
        self._sources = sources
        self._sender = sender
        self._name = name
        self._pace = pace
        self._sequence = 0
        self._gathered: dict[tuple[int, str], list[pa.RecordBatch]] = {}
        self._rows = 0
        self._due_s: float | None = None

    def turn(self, now_s: float, *, last: bool = False) -> None:
        """Gather; hand over when it is time, or when this is the last turn. `now_s` is monotonic."""
        for number, source in enumerate(self._sources):
            for part in source.drain():
                self._gathered.setdefault((number, part.folder), []).append(part.batch)
                self._rows += part.batch.num_rows
                if self._rows >= self._pace.file_rows:
                    self._hand_over()
        if self._due_s is None:
            self._due_s = now_s + self._pace.every_s
        if last or now_s >= self._due_s:
            self._hand_over()
            self._due_s = now_s + self._pace.every_s

    def _hand_over(self) -> None:
        for (number, folder), batches in self._gathered.items():
            self._sequence += 1
            key = f"{folder}{self._name}-{self._sequence:06d}.parquet"
            rows = sum(batch.num_rows for batch in batches)
            self._sender.offer(_File(self._sources[number], key, encode(batches), rows))
        self._gathered, self._rows = {}, 0


class Flusher(threading.Thread):
    """The thread that gathers, and the one that sends; daemons, so they never hold up an exit."""

    def __init__(
        self, store: Store, sources: Sequence[Source], name: str, pace: Pace, waits: Waits | None = None
    ) -> None:
        super().__init__(name="capture", daemon=True)
        sender = Sender(store, pace, waits)
        self._gatherer = Gatherer(sources, sender, name, pace)
        self._sending = SendingThread(sender)
        self._tick_s = min(pace.gather_s, pace.every_s)
        self._wake = threading.Event()
        self._stopping = False

    def wake(self) -> None:
        """Gather soon: a ring fills up. Called on the hot path."""
        self._wake.set()

    def run(self) -> None:
        """Gather and hand over to the sender until stopped."""
        self._sending.start()
        while not self._stopping:
            self._wake.wait(self._tick_s)
            self._wake.clear()
            self._gatherer.turn(time.monotonic())
        self._gatherer.turn(time.monotonic(), last=True)

    def stop(self, within_s: float) -> None:
        """Write what is left; what the store has not taken `within_s` seconds later is lost and counted."""
        until_s = time.monotonic() + within_s
        self._stopping = True
        self.wake()
        self.join(within_s)
        self._sending.stop(until_s)


def _unseen(rows: int, waiting_bytes: int) -> None:
    """Tell nobody."""


def warm() -> None:
    """Load what writing needs, before the first request: later it would hold that up by as much CPU as it takes."""
    import pyarrow as pa  # noqa: PLC0415 - only where something is captured

    encode([pa.RecordBatch.from_pydict({"id": pa.array(["x"]), "time": pa.array([0.0]), "text": pa.array(["x"])})])


def encode(batches: Sequence[pa.RecordBatch]) -> bytes:
    """Return the batches as one Parquet file.

    Dictionaries only for text that repeats: of numbers and ids they cost time and save nothing. Statistics only of
    the time, by which files are read.
    """
    import pyarrow as pa  # noqa: PLC0415 - with the first capture, not before the first answer
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pa.Table.from_batches(list(batches))
    repeating = [f.name for f in table.schema if pa.types.is_string(f.type) and f.name != "id"]
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", use_dictionary=repeating, write_statistics=["time"])
    return sink.getvalue()
