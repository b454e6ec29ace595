"""Logical types: what a column is, and its values as that type.

Text is given a type only when every value has it; a number with a leading zero (a postal code) stays text. Called by
`columns`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fairlead.contract.data import ColumnType
from fairlead_runtime.revision import ARROW_TYPES

_INTEGER = r"^-?(0|[1-9][0-9]*)$"
_NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$|^[-+]?(inf|Inf|Infinity)$"
_LEADING_ZERO = r"^-?0[0-9]"
_ZONE = r"(Z|[+-][0-9]{2}:?[0-9]{2})$"
MIN_CATEGORIES, MAX_CATEGORIES, CATEGORY_SHARE = 50, 1000, 0.1
SAMPLE = 200


def infer_type(values: pa.ChunkedArray, from_text: bool) -> ColumnType:
    """Return the logical type; with `from_text` (CSV) numbers and booleans are looked for in text too."""
    kind = values.type
    for matches, column_type in (
        (pa.types.is_boolean(kind), ColumnType.BOOLEAN),
        (pa.types.is_integer(kind), ColumnType.INTEGER),
        (pa.types.is_floating(kind), ColumnType.FLOAT),
        (pa.types.is_timestamp(kind), ColumnType.TIMESTAMP),
        (pa.types.is_null(kind) or values.null_count == len(values), ColumnType.STRING),
    ):
        if matches:
            return column_type
    return _infer_text(values, from_text)


def _infer_text(values: pa.ChunkedArray, from_text: bool) -> ColumnType:
    if from_text and _all_match(values, _NUMBER) and not _any_matches(values, _LEADING_ZERO):
        return ColumnType.INTEGER if _all_match(values, _INTEGER) and _casts(values, pa.int64()) else ColumnType.FLOAT
    if from_text and _casts(values, pa.bool_()):
        return ColumnType.BOOLEAN
    if _converts(values, ColumnType.TIMESTAMP):
        return ColumnType.TIMESTAMP
    distinct = len(pc.unique(values))
    limit = max(MIN_CATEGORIES, min(MAX_CATEGORIES, CATEGORY_SHARE * len(values)))
    return ColumnType.CATEGORY if distinct <= limit else ColumnType.STRING


def convert(values: pa.ChunkedArray, column_type: ColumnType) -> pa.ChunkedArray:
    """Return the values as a type that all of them have; raise ArrowInvalid otherwise."""
    target = ARROW_TYPES[column_type]
    if values.type == target:
        return values
    if column_type is ColumnType.TIMESTAMP and pa.types.is_string(values.type):
        return _times(values)
    if pa.types.is_timestamp(target) or (pa.types.is_timestamp(values.type) and not pa.types.is_string(target)):
        if pa.types.is_null(values.type):
            return values.cast(target)
        raise pa.ArrowInvalid("numbers are no times: the unit is not known")
    return values.cast(target)


def bad_rows(values: pa.ChunkedArray, column_type: ColumnType) -> NDArray[np.bool_]:
    """Return a mask (rows,) of the values that are not of the type; nulls are of every type."""
    try:
        convert(values, column_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _bad_one_by_one(values, column_type)
    return np.zeros(len(values), dtype=bool)


def _bad_one_by_one(values: pa.ChunkedArray, column_type: ColumnType) -> NDArray[np.bool_]:
    encoded = pc.dictionary_encode(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values)
    distinct = [encoded.dictionary[i : i + 1] for i in range(len(encoded.dictionary))]
    if any(_converts(value, column_type) for value in distinct[:SAMPLE]):
        wrong = np.array([not _converts(value, column_type) for value in distinct])
    else:
        wrong = np.ones(len(distinct), dtype=bool)  # the column is something else altogether
    indices = pc.fill_null(encoded.indices, len(wrong)).to_numpy(zero_copy_only=False)
    return np.asarray(np.append(wrong, False)[indices])


def _converts(values: pa.ChunkedArray | pa.Array, column_type: ColumnType) -> bool:
    try:
        convert(values, column_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def _times(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return ISO 8601 text as UTC times; without a zone UTC is meant."""
    zoned = pc.match_substring_regex(values, _ZONE)
    if not pc.any(zoned).as_py():
        return values.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
    with_zone = pc.if_else(zoned, values, pc.binary_join_element_wise(values, "Z", ""))
    return with_zone.cast(pa.timestamp("us", tz="UTC"))


def _all_match(values: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _any_matches(values: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(values, pattern)).as_py())


def _casts(values: pa.ChunkedArray, target: pa.DataType) -> bool:
    try:
        values.cast(target)
    except pa.ArrowInvalid:
        return False
    return True
