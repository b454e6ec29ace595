"""The store is away for five minutes while requests are captured: what is kept, within which bound, what is counted.

Time is simulated: the flusher's two halves are given their turns by the test.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.graphs import SIGNATURE
from tests.support.served import REVISION

from fairlead.contract.data import ColumnType
from fairlead.contract.jobs import ArtifactRef, ServeInput
from fairlead.contract.jobs import Capture as CaptureSpec
from fairlead_runtime.errors import StoreError
from fairlead_runtime.hashing import hasher_of
from fairlead_runtime.serve.capture import Capture, Counts
from fairlead_runtime.serve.flush import Gatherer, Pace, Sender
from fairlead_runtime.signature import Input, Signature

ARTIFACT = ArtifactRef(namespace="test", model="tumor", version="tumor-1", digest="sha256:" + "0" * 64)
START_NS = 1_800_000_000 * 10**9
WIDE = SIGNATURE.model_copy(
    update={"inputs": [Input(name=f"x{i}", type=ColumnType.FLOAT, datatype="FP32", nullable=False) for i in range(30)]}
)


class Away:
    """A store that takes nothing between two moments of a simulated clock."""

    def __init__(self, begins_s: float, ends_s: float, error: Callable[[], Exception]) -> None:
        self.begins_s, self.ends_s, self.error = begins_s, ends_s, error
        self.now_s = 0.0
        self.files: dict[str, bytes] = {}

    def put_bytes(self, key: str, data: bytes) -> None:
        if self.begins_s <= self.now_s < self.ends_s:
            raise self.error()
        assert key not in self.files, "a file was written over"
        self.files[key] = data

    def rows(self) -> pa.Table:
        return pa.concat_tables([pq.read_table(io.BytesIO(data)) for data in self.files.values()])


class World:
    """A capture, its flusher and its store, a second at a time."""

    def __init__(self, store: Away, pace: Pace, signature: Signature = WIDE) -> None:
        self.store, self.pace, self.signature = store, pace, signature
        self.counted: Counter[str] = Counter()
        self.most_bytes = 0
        counts = Counts(self._count, self._count)
        document = ServeInput(
            namespace="test", service="risk", revision=REVISION, artifact=ARTIFACT, capture=CaptureSpec(percent=100)
        )
        self.capture = Capture(document, signature, counts, hasher_of({}, "test", "risk"))
        self.sender = Sender(store, pace, self._waits)  # type: ignore[arg-type]
        self.gatherer = Gatherer([self.capture], self.sender, "pod", pace)
        self.noise = np.random.default_rng(7)
        self.asked = 0
        self.waiting = (0, 0)
        self.next_try_s = 0.0

    def _count(self, name: str, count: int) -> None:
        self.counted[name] += count

    def _waits(self, rows: int, waiting_bytes: int) -> None:
        self.waiting = (rows, waiting_bytes)
        self.most_bytes = max(self.most_bytes, waiting_bytes)

    def second(self, now_s: float, rate: int) -> None:
        """Answer `rate` requests, a few together, and let the flusher have its turns of one second."""
        self.store.now_s = now_s
        now_ns = START_NS + int(now_s * 1e9)
        values = self.noise.standard_normal((rate, len(self.signature.inputs))).tolist()
        for first in range(0, rate, 16):
            rows = [tuple(row) for row in values[first : first + 16]]
            ids = [f"id-{self.asked + i}" for i in range(len(rows))]
            self.asked += len(rows)
            self.capture.add_together(ids, now_ns, rows, ([1] * len(rows), [0.5] * len(rows)))
        self.gatherer.turn(now_s)
        self.send(now_s)

    def send(self, now_s: float) -> None:
        while now_s >= self.next_try_s:
            wait_s = self.sender.turn()
            if wait_s is None:
                return
            self.next_try_s = now_s + wait_s

    def finish(self, now_s: float) -> None:
        self.store.now_s = now_s
        self.gatherer.turn(now_s, last=True)
        self.send(now_s)
        self.sender.give_up()


def refuses() -> Exception:
    return StoreError("StoreUnreachable", "connection refused")


@pytest.mark.parametrize("rate", [23, 500])
def test_nothing_is_lost_in_an_outage_of_five_minutes_within_the_bound(rate: int) -> None:
    store = Away(20, 320, refuses)
    world = World(store, Pace())
    for now_s in range(340):
        world.second(now_s, rate)
        if 30 < now_s < 320:
            assert world.waiting[0] > 0, "what waits is seen"
    world.finish(341)
    assert world.counted == {"captured": world.asked}
    assert world.asked == 340 * rate
    assert sorted(store.rows()["id"].to_pylist()) == sorted(f"id-{i}" for i in range(world.asked))
    assert world.most_bytes <= Pace().waiting_bytes
    assert world.waiting == (0, 0)


def test_beyond_the_bound_the_oldest_are_given_up_and_counted() -> None:
    store = Away(20, 320, refuses)
    world = World(store, Pace(waiting_bytes=200_000))
    for now_s in range(340):
        world.second(now_s, 23)
        assert world.most_bytes <= 200_000 + 10 * 23 * 400, "at most a file more, for the moment that it is offered"
        assert world.waiting[1] <= 200_000
    world.finish(341)
    stored = store.rows().sort_by("time")["id"].to_pylist()
    assert world.counted["capture_lost"] > 0
    assert world.counted["capture_lost"] + world.counted["captured"] == world.asked
    assert len(stored) == len(set(stored)) == world.counted["captured"]
    missing = sorted(set(range(world.asked)) - {int(own[3:]) for own in stored})
    assert missing == list(range(missing[0], missing[0] + len(missing))), "the oldest of the outage, in one piece"
    assert missing[0] >= 10 * 23


def test_a_store_that_never_comes_back_costs_what_was_captured_and_says_so() -> None:
    world = World(Away(0, 10_000, refuses), Pace())
    for now_s in range(30):
        world.second(now_s, 23)
    world.finish(31)
    assert world.counted == {"capture_lost": world.asked}


def test_an_error_that_no_one_foresaw_ends_no_thread() -> None:
    store = Away(0, 60, lambda: ValueError("a header that is none"))
    world = World(store, Pace())
    for now_s in range(80):
        world.second(now_s, 23)
    world.finish(81)
    assert world.counted == {"captured": world.asked}


def test_rows_that_no_file_can_hold_are_counted_and_spoil_no_others() -> None:
    store = Away(0, 0, refuses)
    world = World(store, Pace())
    world.capture.add_together(["bad"], START_NS, [("text",) * 30], ([1], [0.5]))
    world.second(3_600, 5)  # another hour: another group
    world.finish(3_601)
    assert world.counted == {"capture_lost": 1, "captured": 5}


def test_the_ring_drops_and_counts_when_nobody_empties_it() -> None:
    world = World(Away(0, 0, refuses), Pace())
    ids = [str(i) for i in range(1000)]
    rows = [(0.0,) * 30] * 1000
    for _ in range(40):
        world.capture.add_together(ids, START_NS, rows, ([1] * 1000, [0.5] * 1000))
    held = 40_000 - world.counted["capture_lost"]
    assert held == 33_000, "a million values"
    world.finish(1)
    assert world.counted["captured"] == held


def test_bounds_are_the_documented_ones() -> None:
    assert (Pace().waiting_bytes, Pace().every_s) == (48 << 20, 10)
