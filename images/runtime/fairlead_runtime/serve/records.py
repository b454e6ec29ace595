"""Captured records as columns: what the hot path kept in whatever form it had, arranged for Arrow off it.

Numbers stay as they were sent, null is NaN in an array and None in a list. Called by `capture`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, groupby
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Row

# Id, Unix time in ns, what came in, what went out: of one row (a tuple and a pair), of the rows of one request (columns
# and a pair of lists), or of requests that were answered together (a list of ids, a list of rows or a matrix, and a
# pair of lists). A matrix keeps 30 numbers in 240 bytes that nobody looks at again before they are copied; as a tuple
# they are 30 objects, whose memory is cold when it is read and freed: 3 us a row.
Record = tuple[Any, int, Any, Any]
Times = NDArray[np.int64]
Piece = tuple[list[str], Times, Any, list[Any], list[float]]  # ids, times, columns, labels, scores


def rows_of(record: Record) -> int:
    """Return how many rows a record holds."""
    return 1 if isinstance(record[2], tuple) else len(record[3][0])


def as_columns(records: list[Record], numbers: Sequence[bool]) -> Piece:
    """Return ids, times, input columns, labels and scores of all rows of the records.

    A column that `numbers` says to be of numbers alone may come as an array, NaN for null; any other is a list. Where
    all are of numbers and come from matrices, the columns are one matrix of them, [columns, rows].
    """
    pieces: list[Piece] = []
    for of_form, group in groupby(records, key=_form):
        pieces += of_form(list(group), numbers)
    if len(pieces) == 1:
        return pieces[0]
    columns = [_joined(parts) for parts in zip(*(piece[2] for piece in pieces), strict=True)]
    ids, times, _, labels, scores = zip(*pieces, strict=True)
    return _chained(ids), np.concatenate(times), columns, _chained(labels), _chained(scores)


def _form(record: Record) -> Callable[[list[Record], Sequence[bool]], list[Piece]]:
    """Return what makes pieces of a run of such records."""
    if isinstance(record[2], np.ndarray):
        return _matrices
    return _batches if isinstance(record[0], str) and not isinstance(record[2], tuple) else _rows


def _chained(lists: Iterable[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(lists))


def _joined(parts: Sequence[Any]) -> Any:
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return list(chain.from_iterable(_values(part) for part in parts))


def _matrices(records: list[Record], numbers: Sequence[bool]) -> list[Piece]:
    """Return rows of numbers that were requests of their own: copied twice as a whole, looked at one by one never."""
    matrix = np.concatenate([record[2] for record in records])
    times = np.repeat(_times(record[1] for record in records), [len(record[0]) for record in records])
    columns: Any = np.ascontiguousarray(matrix.T)
    if not all(numbers):
        columns = [column if number else _values(column) for column, number in zip(columns, numbers, strict=True)]
    labels, scores = (_chained(record[3][i] for record in records) for i in (0, 1))
    return [(_chained(record[0] for record in records), times, columns, labels, scores)]


def _times(found: Iterable[int]) -> Times:
    return np.fromiter(found, np.int64)


def _rows(records: list[Record], numbers: Sequence[bool]) -> list[Piece]:
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
        columns: list[Any] = list(np.ascontiguousarray(np.array(rows, dtype=np.float64).T))
    else:
        columns = [list(column) for column in zip(*rows, strict=True)]
    return [(ids, _times(times), columns, labels, scores)]


def _batches(records: list[Record], numbers: Sequence[bool]) -> list[Piece]:
    return [_spread(record, numbers) for record in records]


def _spread(record: Record, numbers: Sequence[bool]) -> Piece:
    """Return the rows of one request, each with an id of its own."""
    response_id, now_ns, columns, (labels, scores) = record
    count = len(labels)
    ids = [response_id] if count == 1 else [f"{response_id}.{i}" for i in range(count)]
    found = [column if number else _values(column) for column, number in zip(columns, numbers, strict=True)]
    return ids, np.full(count, now_ns), found, labels, scores


def _values(column: Any) -> list[Any]:
    """Return a column as a list, None for null."""
    if not isinstance(column, np.ndarray):
        return list(column)
    values: list[Any] = column.tolist()
    return values if column.dtype == object else [None if isnan(value) else value for value in values]
