"""The newest captured requests of a version, as the JSON rows that its clients had sent.

A sensitive column is captured as hashes; those of categories that training saw are turned back, as drift checks do. A
column that captures do not show (an identifier, a hashed number) is named as lacking. Must never read more files than
the wanted rows need. Called by `replay.job`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fairlead.contract import keys
from fairlead.contract.data import ColumnType
from fairlead.contract.jobs import ReplayInput
from fairlead_runtime.captured_files import read_files, within
from fairlead_runtime.hashing import MARK, hasher_of
from fairlead_runtime.monitor.inputs import PREFIX, InputReader
from fairlead_runtime.monitor.window import instant
from fairlead_runtime.profile import ModelProfile
from fairlead_runtime.signature import Signature
from fairlead_runtime.store import Store

MOST_DAYS = 8  # looked back: what users asked longer ago says little of what they ask next


@dataclass(frozen=True)
class Captured:
    """Rows to send, newest first; `lacking` are columns of the model that captures do not show."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    lacking: tuple[str, ...] = ()


def read_newest(store: Store, job: ReplayInput, signature: Signature, profile: ModelProfile | None) -> Captured:
    """Return the newest requests of the stable version from before the rollout, at most as many as asked for."""
    hasher = hasher_of(os.environ, job.namespace, job.name)
    reader = InputReader(signature, profile.features, hasher) if profile else None
    tables: list[pa.Table] = []
    count = 0
    for table in _tables(store, job):
        tables.append(_as_sent(table, signature, reader))
        count += table.num_rows
        if count >= job.requests:
            break
    if not tables:
        return Captured()
    whole = pa.concat_tables(tables, promote_options="default")
    newest = whole.take(pc.sort_indices(whole, [("time", "descending")])[: job.requests]).drop_columns(["time"])
    lacking = tuple(c.name for c in signature.inputs if c.name not in newest.column_names)
    return Captured(newest.to_pylist(), newest.to_pandas(), lacking)


def _tables(store: Store, job: ReplayInput) -> Iterator[pa.Table]:
    """Yield what the version's files hold from before the rollout, the newest file first."""
    before = instant(job.rollout)
    for day in range(MOST_DAYS):
        date = (before - timedelta(days=day)).strftime("%Y-%m-%d")
        folder = keys.captures(job.namespace, job.name, date, "", "").rstrip("/") + "/"
        found = [e for e in store.list(folder) if f"/{job.stable.version}/" in e.key and e.key.endswith(".parquet")]
        found.sort(key=lambda e: (e.key.removeprefix(folder)[:2], e.modified_s), reverse=True)
        for table in read_files(store, (entry.key for entry in found)):
            rows = within(table, None, before)
            if rows.num_rows:
                yield rows


def _as_sent(table: pa.Table, signature: Signature, reader: InputReader | None) -> pa.Table:
    """Return time and the inputs as requests have them; without those that cannot be known again."""
    hashed = {field.name for field in table.schema if (field.metadata or {}).get(MARK) is not None}
    known = reader.read(table) if reader and hashed else {}
    columns: dict[str, Any] = {"time": table["time"]}
    for column in signature.inputs:
        name = PREFIX + column.name
        if name in hashed:
            if column.name in known:
                columns[column.name] = known[column.name]
        elif name in table.column_names:
            boolean = column.type == ColumnType.BOOLEAN and pa.types.is_floating(table[name].type)
            columns[column.name] = pc.equal(table[name], 1.0) if boolean else table[name]
    return pa.table(columns)
