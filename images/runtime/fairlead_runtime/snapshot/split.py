"""Deals rows to train, validation and test so that appending or reordering rows moves none (but for Time).

A row's place in [0, 100) is a keyed BLAKE2b (a MAC; key: the seed) of what names the row, held against the percents:
- Random: its identifiers, or the whole row without any. Equal rows share a part, so none leaks into the test.
- Stratified: the same with the class before it. It promises that no row moves and that the shares of each class agree
  with the percents within sampling error (sqrt(p (1 - p) / n)), not exactly: exact shares would have to move rows.
- Group: the group's value alone; a group is never divided.
- Time: by cut-offs at the percents' quantiles of the timestamp; the oldest rows train. The cut-offs move with the data.
Called by `job`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fairlead.contract.data import Split, SplitMethod
from fairlead_runtime.revision import Roles

from .findings import BadSource, list_rows

_UNIT, _RECORD = "\x1f", "\x1e"  # between values; for null: neither occurs in ordinary text


@dataclass(frozen=True)
class Dealt:
    """Each row's part (rows,): 0 train, 1 validation, 2 test; and the cut-offs of a Time split, RFC 3339."""

    parts: NDArray[np.int8]
    cut_offs: tuple[str, ...] = ()


def deal_rows(table: pa.Table, split: Split, roles: Roles) -> Dealt:
    """Return the part of each row; the table has its logical types."""
    if split.method is SplitMethod.TIME:
        return _deal_by_time(table[roles.timestamp or ""], split)
    places = _places(_row_keys(table, split, roles), split.seed)
    edges = [split.train_percent, split.train_percent + split.validation_percent]
    return Dealt(np.searchsorted(edges, places, side="right").astype(np.int8))


def _row_keys(table: pa.Table, split: Split, roles: Roles) -> pa.ChunkedArray:
    if split.method is SplitMethod.GROUP:
        return _joined(table, [split.group_column or ""])
    names = roles.identifiers or sorted(table.column_names)
    if split.method is SplitMethod.STRATIFIED and roles.target:
        names = [roles.target, *names]
    return _joined(table, names)


def _joined(table: pa.Table, names: list[str]) -> pa.ChunkedArray:
    texts = [pc.fill_null(table[name].cast(pa.string()), _RECORD) for name in names]
    return pc.binary_join_element_wise(*texts, _UNIT)


def _places(keys: pa.ChunkedArray, seed: int) -> NDArray[np.float64]:
    """Return places (rows,) in [0, 100)."""
    keyed = hashlib.blake2b(key=str(seed).encode(), digest_size=8)
    digests = bytearray()
    for key in keys.cast(pa.binary()).to_pylist():
        state = keyed.copy()
        state.update(key)
        digests += state.digest()
    # 53 bits: what a float holds exactly
    return (np.frombuffer(bytes(digests), dtype=">u8") >> np.uint64(11)).astype(np.float64) * (100 / 2**53)


def _deal_by_time(times: pa.ChunkedArray, split: Split) -> Dealt:
    missing = np.flatnonzero(np.asarray(pc.is_null(times).to_numpy(), dtype=bool))
    if len(missing):
        rows = [int(row) + 1 for row in missing[:5]]
        raise BadSource(
            "NullsFound", f"split by time: the timestamp is null in {len(missing)} rows, among them {list_rows(rows)}"
        )
    moments = np.asarray(times.cast(pa.int64()).to_numpy())
    shares = np.array([split.train_percent, split.train_percent + split.validation_percent]) / 100
    ordered = np.sort(moments)
    # a share of 100 % ends beyond the newest row
    cuts = [int(ordered[int(share * len(ordered))]) if share < 1 else int(ordered[-1]) + 1 for share in shares]
    stamps = tuple(str(np.datetime64(cut, "us")) + "Z" for cut in cuts)
    return Dealt(np.searchsorted(cuts, moments, side="right").astype(np.int8), stamps)
