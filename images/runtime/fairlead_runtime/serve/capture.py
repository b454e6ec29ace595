"""What was asked and answered, kept for drift and retraining: sampled and put into a bounded ring on the hot path.

`Capture` is one worker's ring; `Feedback` is what turned out to be true. Both are emptied by `flush`'s thread, which
turns them into Arrow batches. When the ring is full they drop and count; they never wait and never write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fairlead.contract import keys
from fairlead.contract.data import ColumnType
from fairlead.contract.jobs import ServeInput
from fairlead.contract.training import Task
from fairlead_runtime.hashing import MARK, Hasher
from fairlead_runtime.signature import Input, Signature, label_text

from .answered import Answered
from .columns import Column, Row, Rows
from .records import Record, as_columns, rows_of
from .ring import Ring, Sample

if TYPE_CHECKING:
    import pyarrow as pa  # imported where it is used: it would double the time to the first answer

MAX_VALUES = 1_000_000  # that a ring holds: about 32 MB of Python numbers
_CHUNK_ROWS = 4_000  # turned into Arrow at a time, so that the answering thread gets its turn
_LEAST_ROWS = 2_000  # that a ring has room for, however many values each has


@dataclass(frozen=True)
class Counts:
    """Where losses and successes are counted: the answering thread and the flusher's threads write apart."""

    answering: Callable[[str, int], None]
    flusher: Callable[[str, int], None]


@dataclass(frozen=True)
class Part:
    """Rows of one hour on their way to one folder of the store."""

    folder: str
    batch: pa.RecordBatch


def ring_of(rows: int, lost: Callable[[int], None]) -> Ring[Record]:
    """Return a ring for so many rows; `lost` is told how many found no room."""
    return Ring(rows, min(_CHUNK_ROWS, rows // 4), rows_of, lost)


class Capture:
    """One worker's captured requests."""

    def __init__(self, document: ServeInput, signature: Signature, counts: Counts, hasher: Hasher) -> None:
        self._percent = document.capture.percent
        self.wanted = Sample(self._percent).wanted
        self._count = counts.flusher
        self._layout = CaptureLayout(document, signature, hasher)
        rows = max(_LEAST_ROWS, MAX_VALUES // max(1, len(signature.inputs)))
        self._ring = ring_of(rows, lambda n: counts.answering("capture_lost", n))
        self.attach = self._ring.attach

    def add_row(self, response_id: str, now_ns: int, row: Row, out: tuple[Any, float]) -> None:
        """Keep one row; `out` is the prediction and its score."""
        self._ring.add((response_id, now_ns, row, out), 1)

    def add_together(self, ids: Sequence[str], now_ns: int, rows: Rows, out: tuple[list[Any], list[float]]) -> None:
        """Keep those rows of the sample that were answered together, each a request of its own; `out` as in `add_rows`.

        One record for all of them: a record for each would cost a tenth of what a small model's answer does.
        """
        labels, scores = out
        if self._percent < 100:
            chosen = [i for i in range(len(ids)) if self.wanted()]
            if not chosen:
                return
            ids = [ids[i] for i in chosen]
            rows = rows[chosen] if isinstance(rows, np.ndarray) else [rows[i] for i in chosen]
            labels, scores = [labels[i] for i in chosen], [scores[i] for i in chosen]
        self._ring.add((ids, now_ns, rows, (labels, scores)), len(ids))

    def add_rows(
        self, response_id: str, now_ns: int, columns: Sequence[Column], out: tuple[list[Any], list[float]]
    ) -> None:
        """Keep a batch: row i gets the id `<response id>.<i>`, which is also what feedback names; of one row, no i."""
        self._ring.add((response_id, now_ns, list(columns), out), len(out[0]))

    def drain(self) -> Iterator[Part]:
        """Yield what the ring holds, by chunks, each within one hour (UTC)."""
        return self._ring.parts(_time_ns, self._layout.parts, lambda same: self.lost(sum(map(rows_of, same))))

    def wrote(self, rows: int) -> None:
        """Count rows that are in the store."""
        self._count("captured", rows)

    def lost(self, rows: int) -> None:
        """Count rows that were given up."""
        self._count("capture_lost", rows)


class CaptureLayout:
    """The columns of a captured file: id, time, version, in.<column>..., out.label and out.probability, or out.value.

    Numbers are float64 as they were sent (not as the model rounds them), so that they fall into the bins that the
    training profile put them into. Labels are text, as `signature.classes` has them. A column of hashes says in its
    field's metadata which salt made them.
    """

    def __init__(self, document: ServeInput, signature: Signature, hasher: Hasher) -> None:
        self._document = document
        self._version = document.artifact.version
        self._regression = signature.task == Task.REGRESSION
        self._probability = bool(signature.probability_output)
        self._hasher = hasher
        self._kept = [(i, c) for i, c in enumerate(signature.inputs) if c.name not in document.capture.drop]
        self._names = [f"in.{column.name}" for _, column in self._kept]
        self._hashed = frozenset(document.capture.hash)
        self._numbers = [c.numeric and c.name not in self._hashed for c in signature.inputs]
        self._label = label_text(signature)

    def parts(self, hour: int, records: list[Record]) -> list[Part]:
        """Return the records of an hour since 1970 in their folder."""
        date, of_day = hour_name(hour)
        folder = keys.captures(self._document.namespace, self._document.service, date, of_day, self._version)
        return [Part(folder, self.batch(records))]

    def batch(self, records: list[Record]) -> pa.RecordBatch:
        """Return the Arrow form of records."""
        import pyarrow as pa  # noqa: PLC0415

        ids, times, columns, labels, scores = as_columns(records, self._numbers)
        arrays: dict[str, Any] = {
            "id": pa.array(ids, pa.string()),
            "time": pa.array(times // 1000).cast(pa.timestamp("us", "UTC")),
            "version": pa.repeat(self._version, len(ids)),
        }
        arrays |= zip(self._names, self._inputs(columns), strict=True)
        if self._regression:
            arrays["out.value"] = pa.array(labels, pa.float64())
        else:
            arrays["out.label"] = pa.array(self._texts(labels), pa.string())
            if self._probability:
                arrays["out.probability"] = pa.array(scores, pa.float64())
        batch = pa.RecordBatch.from_pydict(arrays)
        return self._marked(batch) if self._hashed else batch

    def _texts(self, labels: Sequence[Any]) -> list[str | None]:
        """Return the labels as text; each one that occurs is read once, for they are a few classes, named often."""
        if len(set(map(type, labels))) > 1:  # 1, 1.0 and True are equal, their texts are not
            return [None if label is None else self._label(label) for label in labels]
        texts = {label: None if label is None else self._label(label) for label in set(labels)}
        return [texts[label] for label in labels]

    def _marked(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        import pyarrow as pa  # noqa: PLC0415

        hashed = {f"in.{name}" for name in self._hashed}
        fields = [f.with_metadata({MARK: self._hasher.mark}) if f.name in hashed else f for f in batch.schema]
        return pa.RecordBatch.from_arrays(batch.columns, schema=pa.schema(fields))

    def _inputs(self, columns: Sequence[Any]) -> list[Any]:
        import pyarrow as pa  # noqa: PLC0415

        if not isinstance(columns, np.ndarray):
            return [self._input(column, columns[index]) for index, column in self._kept]
        count = columns.shape[1]
        values = pa.array(columns.reshape(-1), from_pandas=True)  # one call: after each the answering thread has a turn
        return [values.slice(index * count, count) for index, _ in self._kept]

    def _input(self, column: Input, values: Sequence[Any]) -> Any:
        import pyarrow as pa  # noqa: PLC0415

        if column.name in self._hashed:
            as_sent = [float(value) if isinstance(value, int) else value for value in values]  # 1 and 1.0 are equal
            return pa.array([self._hasher.hash(value) for value in as_sent], pa.string())
        if column.type == ColumnType.BOOLEAN and column.numeric and isinstance(values, list):
            values = [float(value) if isinstance(value, bool) else value for value in values]
        return pa.array(values, pa.float64() if column.numeric else pa.string(), from_pandas=True)


class Feedback:
    """What turned out to be true, by response id: columns id, time, label (text; a number for a regression)."""

    def __init__(
        self, document: ServeInput, signature: Signature, counts: Counts, answered: Answered | None = None
    ) -> None:
        self._document = document
        self._count = counts.flusher
        self._judged = counts.answering
        self._answered = answered
        self._regression = signature.task == Task.REGRESSION
        self._label = label_text(signature)
        self._ring = ring_of(50_000, lambda n: counts.answering("feedback_lost", n))
        self.attach = self._ring.attach

    def check(self, label: Any) -> str | None:
        """Return what is wrong with a label, or None."""
        if self._regression:
            good = isinstance(label, (int, float)) and not isinstance(label, bool)
            return None if good else "label: expected a number, the target that turned out to be true"
        return (
            None if isinstance(label, (str, int, float, bool)) else "label: expected a class (text, number or boolean)"
        )

    def add(self, response_id: str, now_ns: int, label: Any) -> bool:
        """Keep a label, and hold it against the answer if that is still known; return False if there was no room."""
        if not self._ring.add((response_id, now_ns, (), float(label) if self._regression else self._label(label)), 1):
            return False
        wrong = self._answered.is_wrong(response_id, label) if self._answered else None
        if wrong is not None:
            self._judged("labelled", 1)
            self._judged("wrong", int(wrong))
        return True

    def drain(self) -> Iterator[Part]:
        """Yield what the ring holds, each part within one hour (UTC)."""
        return self._ring.parts(_time_ns, self._parts, lambda same: self.lost(len(same)))

    def _parts(self, hour: int, records: list[Record]) -> list[Part]:
        import pyarrow as pa  # noqa: PLC0415

        ids, times, _, labels = zip(*records, strict=True)
        arrays = {
            "id": pa.array(ids, pa.string()),
            "time": pa.array([ns // 1000 for ns in times], pa.int64()).cast(pa.timestamp("us", "UTC")),
            "label": pa.array(labels, pa.float64() if self._regression else pa.string()),
        }
        date, of_day = hour_name(hour)
        folder = keys.feedback(self._document.namespace, self._document.service, date, of_day)
        return [Part(folder, pa.RecordBatch.from_pydict(arrays))]

    def wrote(self, rows: int) -> None:
        """Count labels that are in the store."""
        self._count("feedback", rows)

    def lost(self, rows: int) -> None:
        """Count labels that were given up."""
        self._count("feedback_lost", rows)


def _time_ns(record: Record) -> int:
    return int(record[1])


def hour_name(hour: int) -> tuple[str, str]:
    """Return (YYYY-MM-DD, HH) of an hour since 1970, UTC."""
    import time  # noqa: PLC0415

    moment = time.gmtime(hour * 3600)
    return time.strftime("%Y-%m-%d", moment), time.strftime("%H", moment)
