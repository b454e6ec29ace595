"""Captured rows come out as they went in, in whichever form the hot path kept them: a matrix, tuples, or a batch."""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fairlead.contract.data import ColumnType
from fairlead.contract.jobs import ArtifactRef, Capture, ServeInput
from fairlead.contract.training import Task
from fairlead_runtime.hashing import Hasher
from fairlead_runtime.serve.capture import Capture as Capturing
from fairlead_runtime.serve.capture import Counts, Part, ring_of
from fairlead_runtime.serve.columns import Columns, Row
from fairlead_runtime.serve.records import Record
from fairlead_runtime.signature import Input, Signature

DIGEST = "sha256:" + "0" * 64
HOUR_NS = 3_600_000_000_000
INPUTS = [
    Input(name="age", type=ColumnType.INTEGER, datatype="FP32"),
    Input(name="income", type=ColumnType.FLOAT, datatype="FP64"),
    Input(name="member", type=ColumnType.BOOLEAN, datatype="FP32"),
]
ROWS: list[Row] = [(40, 1.1, True), (None, 1e30, None), (7, None, False), (3, -0.25, True)]
CLEAR = [[40.0, None, 7.0, 3.0], [1.1, 1e30, None, -0.25], [1.0, None, 0.0, 1.0]]


def signature(**more: Any) -> Signature:
    return Signature(
        task=Task.CLASSIFICATION,
        inputs=INPUTS,
        classes=["no", "yes"],
        class_type=ColumnType.STRING,
        probability_output="probabilities",
        **more,
    )


def capturing(capture: Capture, of: Signature) -> tuple[Capturing, Counter[str]]:
    artifact = ArtifactRef(namespace="team", model="m", version="m-1", digest=DIGEST)
    document = ServeInput(namespace="team", service="m", revision=DIGEST, artifact=artifact, capture=capture)
    counted: Counter[str] = Counter()

    def count(name: str, number: int) -> None:
        counted[name] += number

    return Capturing(document, of, Counts(count, count), Hasher(b"ours")), counted


def kept(into: Capturing, counted: Counter[str]) -> pa.Table:
    batches = [part.batch for part in into.drain()]
    assert not counted
    return pa.Table.from_batches(batches)


def add(into: Capturing, form: str, rows: list[Row], start: int = 0) -> None:
    ids = [f"id-{start + i}" for i in range(len(rows))]
    labels = ["yes" if i % 2 else "no" for i in range(start, start + len(rows))]
    out = (labels, [0.5] * len(rows))
    if form == "batch":
        columns = list(np.array(rows, dtype=np.float64).T)
        into.add_rows("batch", HOUR_NS, columns, out)
    elif form == "matrix":
        into.add_together(ids, HOUR_NS, Columns(signature()).matrix(rows), out)
    else:
        into.add_together(ids, HOUR_NS, rows, out)


@pytest.mark.parametrize("form", ["matrix", "rows", "batch"])
def test_numbers_stay_as_they_were_sent(form: str) -> None:
    into, counted = capturing(Capture(percent=100), signature())
    add(into, form, ROWS)
    table = kept(into, counted)
    assert [table[f"in.{column.name}"].to_pylist() for column in INPUTS] == CLEAR
    assert table["out.label"].to_pylist() == ["no", "yes", "no", "yes"]
    assert table.schema.field("time").type == pa.timestamp("us", "UTC")
    assert table.schema.field("version").type == table.schema.field("id").type == pa.string()
    assert all(table.schema.field(f"in.{column.name}").type == pa.float64() for column in INPUTS)


def test_all_forms_make_one_file_with_one_order() -> None:
    into, counted = capturing(Capture(percent=100), signature())
    for number, form in enumerate(("matrix", "matrix", "rows", "batch", "matrix")):
        add(into, form, ROWS, 4 * number)
    table = kept(into, counted)
    singles = [[f"id-{i}" for i in range(4 * n, 4 * n + 4)] for n in range(5)]
    singles[3] = [f"batch.{i}" for i in range(4)]
    assert table["id"].to_pylist() == [own for four in singles for own in four]
    for column, values in zip(INPUTS, CLEAR, strict=True):
        assert table[f"in.{column.name}"].to_pylist() == values * 5
    assert {stamp.timestamp() for stamp in table["time"].to_pylist()} == {3600.0}


def test_a_hash_is_the_same_whichever_form_it_came_in() -> None:
    found = []
    for form in ("matrix", "rows", "batch"):
        into, counted = capturing(Capture(percent=100, hash=["age", "member"], drop=["income"]), signature())
        add(into, form, ROWS)
        table = kept(into, counted)
        assert "in.income" not in table.column_names
        found.append([table["in.age"].to_pylist(), table["in.member"].to_pylist()])
        assert found[-1][0][1] is None
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("form", ["matrix", "rows"])
def test_a_sample_takes_whole_rows(form: str) -> None:
    into, counted = capturing(Capture(percent=50), signature())
    add(into, form, ROWS)
    table = kept(into, counted)
    assert table["id"].to_pylist() == ["id-1", "id-3"]
    assert table["in.age"].to_pylist() == [None, 3.0]
    assert table["out.label"].to_pylist() == ["yes", "yes"]


def test_labels_that_are_equal_and_not_alike_keep_their_texts() -> None:
    classes = Signature(task=Task.CLASSIFICATION, inputs=INPUTS, classes=["1", "true"])
    into, counted = capturing(Capture(percent=100), classes)
    into.add_together(["a", "b", "c", "d"], HOUR_NS, ROWS, ([1, True, 1.0, None], [0.0] * 4))
    assert kept(into, counted)["out.label"].to_pylist() == ["1", "true", "1", None]


def test_what_comes_while_a_ring_is_emptied_waits_until_it_is_a_chunk() -> None:
    ring = ring_of(40_000, lambda _: None)
    asked: list[int] = []

    def add(number: int) -> None:
        for _ in range(number):
            asked.append(len(asked))
            ring.add((asked[-1:], HOUR_NS, [ROWS[0]], (["no"], [0.5])), 1)

    taken: list[list[int]] = []
    add(9_000)
    for records in ring.chunks():
        taken.append([record[0][0] for record in records])
        if len(taken) == 1:
            add(4_500)  # more than a chunk: taken now
        elif len(taken) == 3:
            add(10)  # less: taken the next time
    assert [len(numbers) for numbers in taken] == [4_000, 4_000, 4_000]
    add(1)
    taken += [[record[0][0] for record in records] for records in ring.chunks()]
    assert len(taken[-1]) == 1_511
    assert [number for numbers in taken for number in numbers] == asked


def test_a_small_ring_is_emptied_before_it_is_full() -> None:
    lost: list[int] = []
    ring, woken = ring_of(2_000, lost.append), list[int]()
    ring.attach(lambda: woken.extend(len(records) for records in ring.chunks()))
    for _ in range(10_000):
        ring.add(("id", HOUR_NS, ROWS[0], ("no", 0.5)), 1)
    assert not lost
    assert len(woken) == 20


def test_rows_that_no_file_can_hold_are_counted_and_the_rest_goes_on() -> None:
    ring, lost = ring_of(40_000, lambda _: None), list[int]()
    for hour in (1, 1, 2, 3):
        ring.add(("id", hour * HOUR_NS, ROWS[0], ("no", 0.5)), 1)
    batch = pa.RecordBatch.from_pydict({"id": ["id"]})

    def parts(hour: int, records: list[Record]) -> list[Part]:
        if len(records) == 2:
            raise pa.ArrowInvalid("no such number")
        return [Part(f"{hour}/", batch)]

    made = list(ring.parts(itemgetter(1), parts, lambda same: lost.append(len(same))))
    assert [part.folder for part in made] == ["2/", "3/"]
    assert lost == [2]
