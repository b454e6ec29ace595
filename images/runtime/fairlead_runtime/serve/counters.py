"""Counts of one server, in memory that all its worker processes share: written by each, summed by whoever asks.

Each writing thread has a row of its own, so nothing is locked and nothing is lost. Cumulative since the process began;
a new start is a new `start_id`. Written on the hot path by `predict` and `capture`, read by `control`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contract.jobs import ArmReport
from fairlead_runtime.profile import PREDICTION, SCORE, ModelProfile

from .bins import MAX_BINS, MAX_CELLS, TENTHS, Grid, deciles
from .wire import GONE

REFUSALS = (400, 415, 422)  # the request does not fit what this version takes
CODES = (200, 400, 404, 405, 408, 413, 414, 415, 422, 431, GONE, 500, 503, 0)  # 0: any other
SIMPLE = (
    "ready",
    "started",
    "answered",
    "failed",
    "refused",
    "slow",
    "rows",
    "latency_us",
    "captured",
    "capture_lost",
    "feedback",
    "feedback_lost",
    "waiting_rows",
    "waiting_bytes",
    "labelled",
    "wrong",
)
LATENCY_EDGES_MS = (0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000)
_MANY = 64  # rows from which numpy counts faster than a loop
_SLOTS = 96  # of SIMPLE, CODES, latency, prediction bins and judged cells together: 16 + 14 + 15 + 10 + 19


@dataclass(frozen=True)
class Edges:
    """Where the histograms are cut: latency in ms, and the score or the number that is predicted."""

    latency_ms: tuple[float, ...]
    prediction: tuple[float, ...]

    @classmethod
    def of(cls, threshold_ms: float | None, profile: ModelProfile | None) -> Edges:
        """Return edges with one at the service's threshold, and at most ten bins of what the profile saw predicted."""
        latency = sorted({*LATENCY_EDGES_MS, *((threshold_ms,) if threshold_ms else ())})
        return cls(tuple(latency), _prediction_edges(profile))


class Counters:
    """The rows of all writers; `writer(i)` is what thread i of the server, and no other, writes to."""

    def __init__(
        self,
        writers: int,
        edges: Edges,
        threshold_ms: float | None,
        grid: Grid | None = None,
        outlives: Path | None = None,
    ) -> None:
        """Count in memory of this process and its forks, or in a file that `outlives` it.

        Requests that the process before had not answered when it ended are counted as failed now: their clients got
        nothing, and no process was left to say so.
        """
        self.edges = edges
        self.grid = grid or Grid()
        self.labels = False  # whether answers are remembered, so that labels can be held against them
        self.threshold_ns = int(threshold_ms * 1e6) if threshold_ms else 0
        self._writers = writers
        size = writers * _SLOTS * 8
        opened, before = _lock(outlives, size) if outlives else (-1, b"")
        self._memory = mmap.mmap(opened, size)  # shared: forked workers see it too
        if opened >= 0:
            os.close(opened)  # the map keeps the file open, and so locked
        self._view = memoryview(self._memory).cast("Q")
        if len(before) == size:
            self._count_unfinished(memoryview(before).cast("Q"))

    def _count_unfinished(self, before: memoryview) -> None:
        started, answered = (sum(before[slot::_SLOTS]) for slot in (_STARTED, _ANSWERED))
        for slot in (_STARTED, _ANSWERED, _FAILED):
            self._view[slot] += max(0, started - answered)

    def writer(self, index: int) -> Writer:
        """Return writer `index`."""
        return Writer(self, self._view[index * _SLOTS : (index + 1) * _SLOTS])

    def total(self, slot: int) -> int:
        """Return one slot's sum over the writers."""
        return sum(self._view[row * _SLOTS + slot] for row in range(self._writers))

    def simple(self) -> dict[str, int]:
        """Return the plain counts by name."""
        return {name: self.total(slot) for slot, name in enumerate(SIMPLE)}

    def codes(self) -> dict[int, int]:
        """Return the requests by status code; 0 stands for any code that has no slot."""
        return {code: self.total(CODES_AT + i) for i, code in enumerate(CODES)}

    def latency(self) -> list[int]:
        """Return the counts of the latency bins, the last one open."""
        return [self.total(LATENCY_AT + i) for i in range(len(self.edges.latency_ms) + 1)]

    def predictions(self) -> list[int]:
        """Return the counts of the prediction bins, both outer ones open."""
        return [self.total(PREDICTION_AT + i) for i in range(len(self.edges.prediction) + 1)]

    def arm(self, start_id: str, revision: str) -> ArmReport:
        """Return what the judge reads: predictions that were answered in any way, and those that wait."""
        counts = self.simple()
        return ArmReport(
            start_id=start_id,
            revision=revision,
            requests=counts["answered"],
            failed=counts["failed"],
            refused=counts["refused"],
            slow=counts["slow"],
            in_flight=max(0, counts["started"] - counts["answered"]),
            captured=counts["captured"],
            capture_lost=counts["capture_lost"],
            labelled=counts["labelled"] if self.labels else None,
            wrong=counts["wrong"],
            predictions=self.grid.fold([self.total(JUDGED_AT + cell) for cell in range(self.grid.cells)]),
        )


CODES_AT = len(SIMPLE)
LATENCY_AT = CODES_AT + len(CODES)
PREDICTION_AT = LATENCY_AT + len(LATENCY_EDGES_MS) + 2
JUDGED_AT = PREDICTION_AT + MAX_BINS
assert JUDGED_AT + MAX_CELLS <= _SLOTS
_AT = {name: slot for slot, name in enumerate(SIMPLE)}
_CODE_AT = {code: CODES_AT + i for i, code in enumerate(CODES)}
_STARTED, _ANSWERED, _FAILED, _SLOW = _AT["started"], _AT["answered"], _AT["failed"], _AT["slow"]
_REFUSED = _AT["refused"]
_ROWS, _LATENCY_US = _AT["rows"], _AT["latency_us"]


class Writer:
    """What one thread counts; every method is a few additions."""

    def __init__(self, counters: Counters, view: memoryview) -> None:
        self._view = view
        self._latency_ns = [int(edge * 1e6) for edge in counters.edges.latency_ms]
        self._prediction = counters.edges.prediction
        self._threshold_ns = counters.threshold_ns
        self._edges = counters.grid.edges
        self._class_cell = counters.grid.class_cell if counters.grid.cells else None

    def add(self, name: str, count: int = 1) -> None:
        """Add to a plain count."""
        self._view[_AT[name]] += count

    def waits(self, rows: int, waiting_bytes: int) -> None:
        """Say how much waits for the store now."""
        self._view[_AT["waiting_rows"]] = rows
        self._view[_AT["waiting_bytes"]] = waiting_bytes

    def started(self) -> None:
        """Count a prediction request that waits for its answer."""
        self._view[_STARTED] += 1

    def code(self, status: int, count: int = 1) -> None:
        """Count answers of any kind."""
        self._view[_CODE_AT.get(status, _CODE_AT[0])] += count

    def answered(self, status: int, elapsed_ns: int, count: int = 1) -> None:
        """Count answers to prediction requests that took the same time."""
        view = self._view
        view[_ANSWERED] += count
        view[_LATENCY_US] += elapsed_ns // 1000 * count
        view[LATENCY_AT + bisect_left(self._latency_ns, elapsed_ns)] += count
        if status >= 500:
            view[_FAILED] += count
        elif status in REFUSALS:
            view[_REFUSED] += count
        if elapsed_ns > self._threshold_ns > 0:
            view[_SLOW] += count

    def predicted(self, scores: Sequence[float]) -> None:
        """Count rows by the score or number that was predicted."""
        view, edges = self._view, self._prediction
        view[_ROWS] += len(scores)
        if len(scores) > _MANY:
            for cell, count in enumerate(np.bincount(np.searchsorted(edges, scores, "right")).tolist()):
                view[PREDICTION_AT + cell] += count
            return
        for score in scores:
            view[PREDICTION_AT + bisect_right(edges, score)] += 1

    def judged(self, predictions: Sequence[Any], scores: Sequence[float]) -> None:
        """Count one answer of each request: rows of one batch are no independent evidence."""
        edges, class_cell = self._edges, self._class_cell
        if edges:
            for score in scores:
                self._view[JUDGED_AT + bisect_right(edges, score)] += 1
        elif class_cell is not None:
            for prediction in predictions:
                self._view[JUDGED_AT + class_cell(prediction)] += 1


def _lock(path: Path, size: int) -> tuple[int, bytes]:
    """Return an open file of zeros and what the process before left in it; -1 if that one still lives.

    The file stays locked until this process ends: two servers that were given one folder do not share counts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        return -1, b""
    before = os.read(opened, size + 1)
    os.ftruncate(opened, 0)
    os.ftruncate(opened, size)
    return opened, before


def _prediction_edges(profile: ModelProfile | None) -> tuple[float, ...]:
    """Return inner edges: deciles of the profile's own bins; of a probability without a profile, tenths."""
    columns = profile.predictions.columns if profile else {}
    return deciles(columns.get(SCORE) or columns.get(PREDICTION)) or TENTHS
