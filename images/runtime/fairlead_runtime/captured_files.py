"""Files of captured rows and of feedback, as servers wrote them: found, read, and cut to a span of time.

It must never change one. Used by `compare`, `monitor` and `replay`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fairlead_runtime.errors import ObjectNotFound
from fairlead_runtime.store import Store


def files_in(store: Store, folders: Iterable[str]) -> Iterator[str]:
    """Yield the keys of the folders' files, folder by folder."""
    for folder in folders:
        yield from (entry.key for entry in store.list(folder) if entry.key.endswith(".parquet"))


def read_files(store: Store, keys: Iterable[str]) -> Iterator[pa.Table]:
    """Yield one table for each file; a file that retention removed after it was listed is left out."""
    for key in keys:
        try:
            table = pq.read_table(io.BytesIO(store.get_bytes(key)))
        except ObjectNotFound:
            continue
        yield table


def within(table: pa.Table, start: datetime | None, end: datetime) -> pa.Table:
    """Return the rows from `start`, or from the first, to just before `end`."""
    time = table["time"]
    chosen = pc.less(time, _moment(time, end))
    return table.filter(pc.and_(chosen, pc.greater_equal(time, _moment(time, start))) if start else chosen)


def _moment(time: pa.ChunkedArray, moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, pa.timestamp("us", "UTC")).cast(time.type)
