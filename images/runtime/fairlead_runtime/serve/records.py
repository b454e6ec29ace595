"""Captured records as columns: what the hot path kept in whatever form it had, arranged for Arrow off it.

Numbers stay as they were sent, null is NaN in an array and None in a list. Called by `capture`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from math import isnan
from typing import Any

import numpy as np

from .columns import Row

# Id, Unix time in ns, what came in, what went out: of one row (a tuple and a pair), of the rows of one request (columns
# and a pair of lists), or of requests that were answered together (lists of ids, of rows, and a pair of lists).
Record = tuple[Any, int, Any, Any]
Piece = tuple[list[str], list[int], list[Any], list[Any], list[float]]  # ids, times, columns, labels, scores


def rows_of(record: Record) -> int:
    """Return how many rows a record holds."""
    return 1 if isinstance(record[2], tuple) else len(record[3][0])


def as_columns(records: list[Record], numbers: Sequence[bool]) -> Piece:
    """Return ids, times, input columns, labels and scores of all rows of the records.

    A column that `numbers` says to be of numbers alone may come as an array, NaN for null; any other is a list.
    """
    pieces: list[Piece] = []
    for batched, group in groupby(records, key=_is_batch):
        run = list(group)
        pieces += [_spread(record, numbers) for record in run] if batched else [_together(run, numbers)]
    if len(pieces) == 1:
        return pieces[0]
    columns = [_joined(parts) for parts in zip(*(piece[2] for piece in pieces), strict=True)]
    ids, times, labels, scores = (list(chain.from_iterable(piece[i] for piece in pieces)) for i in (0, 1, 3, 4))
    return ids, times, columns, labels, scores


def _is_batch(record: Record) -> bool:
    return isinstance(record[0], str) and not isinstance(record[2], tuple)


def _joined(parts: Sequence[Any]) -> Any:
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return list(chain.from_iterable(_values(part) for part in parts))


def _together(records: list[Record], numbers: Sequence[bool]) -> Piece:
    """Return rows that were requests of their own."""
    ids: list[str] = []
    times: list[int] = []
    rows: list[Row] = []
    labels: list[Any] = []
    scores: list[float] = []
    for own, now_ns, values, (label, score) in records:
        if isinstance(own, str):
            ids.append(own)
            times.append(now_ns)
            rows.append(values)
            labels.append(label)
            scores.append(score)
        else:
            ids += own
            times += [now_ns] * len(own)
            rows += values
            labels += label
            scores += score
    if all(numbers):  # one pass over the values for all columns, a sixth of the time of one for each
        return ids, times, list(np.ascontiguousarray(np.array(rows, dtype=np.float64).T)), labels, scores
    return ids, times, [list(column) for column in zip(*rows, strict=True)], labels, scores


def _spread(record: Record, numbers: Sequence[bool]) -> Piece:
    """Return the rows of one request, each with an id of its own."""
    response_id, now_ns, columns, (labels, scores) = record
    count = len(labels)
    ids = [response_id] if count == 1 else [f"{response_id}.{i}" for i in range(count)]
    found = [column if number else _values(column) for column, number in zip(columns, numbers, strict=True)]
    return ids, [now_ns] * count, found, labels, scores


def _values(column: Any) -> list[Any]:
    """Return a column as a list, None for null."""
    if not isinstance(column, np.ndarray):
        return list(column)
    values: list[Any] = column.tolist()
    return values if column.dtype == object else [None if isnan(value) else value for value in values]
