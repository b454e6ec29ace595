"""From JSON values to columns that fit a signature, or a refusal that names the input, what it should be and what came.

Never converts one type into another (text "1.5" is not a number) and never lets a value through that the model would
see as something else (a number beyond 32 bits as infinity). Called by `predict` and `oip`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead.contract.data import ColumnType
from fairlead_runtime.signature import Input, Signature

Column = NDArray[Any]  # float64 with NaN for null, or object: str, None for null
Row = tuple[Any, ...]  # one row's values in the signature's order: int, float, bool, str, None
Rows = Sequence[Row] | NDArray[np.float64]  # a matrix where all columns are numbers, NaN for null

LARGEST = float(np.finfo(np.float32).max)
_NONE = type(None)
_JSON_NAMES = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
_MAX_REMEMBERED = 1024  # combinations of types; more can only come from an attacker or from very gappy rows


class RequestError(Exception):
    """What came does not fit; becomes an answer with this status and message."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def kind_of(value: Any) -> str:
    """Return what a JSON value is, in the words of an error message."""
    return "null" if value is None else _JSON_NAMES.get(type(value), type(value).__name__)


def wanted_by(column: Input) -> str:
    """Return what a column takes, in the words of an error message."""
    name = "text" if not column.numeric else "a number"
    name = "a boolean" if column.type == ColumnType.BOOLEAN else name
    return f"{name} or null" if column.nullable else name


def accepted_types(column: Input) -> frozenset[type]:
    """Return the Python types, as JSON gives them, of the values that a column takes."""
    types: set[type] = {int, float} if column.numeric else {str}
    if column.type == ColumnType.BOOLEAN:
        types.add(bool)
    return frozenset(types | {_NONE} if column.nullable else types)


class Columns:
    """The inputs of one signature, ready to check and arrange values."""

    def __init__(self, signature: Signature) -> None:
        self.inputs = signature.inputs
        self.names = tuple(column.name for column in signature.inputs)
        self.all_numbers = all(column.numeric for column in signature.inputs)
        self._get = _getter(self.names)
        self._accepted = tuple(accepted_types(column) for column in signature.inputs)
        self._numbers = tuple(i for i, column in enumerate(signature.inputs) if column.numeric)
        self._remembered: dict[tuple[type, ...], bool] = {}

    def matrix(self, rows: Sequence[Row]) -> Rows:
        """Return checked rows as a new matrix where all columns are numbers, else as they are."""
        return np.array(rows, dtype=np.float64) if self.all_numbers else rows  # numpy takes None for NaN

    def row(self, values: Any) -> Row:
        """Return the row of one JSON object; raise RequestError. More columns than the model takes are ignored.

        Two versions of a model may take different columns of the same request while one replaces the other.
        """
        try:
            row = self._get(values)
        except (KeyError, TypeError, IndexError):
            raise self._absent(values) from None
        return self.checked(row)

    def checked(self, row: Row) -> Row:
        """Return a row of values in the signature's order if they fit; raise RequestError."""
        types = tuple(map(type, row))
        clean = self._remembered.get(types)
        if clean is None:
            clean = self._learn(types, row)
        if clean:
            if max(row) <= LARGEST and min(row) >= -LARGEST:
                return row
            raise self._too_large(row)
        for index in self._numbers:
            value = row[index]
            if value is not None and not -LARGEST <= value <= LARGEST:
                raise self._too_large(row)
        return row

    def _learn(self, types: tuple[type, ...], row: Row) -> bool:
        """Check a combination of types; return whether it is numbers only, without a null."""
        for index, (kind, accepted) in enumerate(zip(types, self._accepted, strict=True)):
            if kind not in accepted:
                raise RequestError(self._unfit(index, row[index]))
        clean = self.all_numbers and _NONE not in types
        if len(self._remembered) < _MAX_REMEMBERED:
            self._remembered[types] = clean
        return clean

    def rows(self, values: Sequence[Any]) -> list[Column]:
        """Return the columns of several JSON objects; raise RequestError naming the row, counted from 0."""
        try:
            picked = list(map(self._get, values))
        except (KeyError, TypeError, IndexError):
            raise self._first_absent(values) from None
        return [self._column(index, column) for index, column in enumerate(zip(*picked, strict=True))]

    def _column(self, index: int, values: Sequence[Any]) -> Column:
        types = set(map(type, values))
        if not types <= self._accepted[index]:
            row = next(i for i, value in enumerate(values) if type(value) not in self._accepted[index])
            raise RequestError(f"rows[{row}]: {self._unfit(index, values[row])}")
        return self.column(index, values, types, "rows")

    def column(self, index: int, values: Sequence[Any], types: set[type], what: str) -> Column:
        """Return one column of values whose types were checked; raise RequestError on a number that is too large."""
        if not self.inputs[index].numeric:
            texts = np.empty(len(values), dtype=object)
            texts[:] = values
            return texts
        numbers = np.array([np.nan if v is None else v for v in values] if _NONE in types else values, dtype=np.float64)
        self.check_range(index, numbers, what)
        return numbers

    def check_range(self, index: int, numbers: Column, what: str) -> None:
        """Raise RequestError if a number is infinite or would become infinite in 32 bits."""
        beyond = np.abs(numbers) > LARGEST
        if beyond.any():
            raise RequestError(f"{what}[{int(beyond.argmax())}]: {_beyond(self.names[index])}")

    def _unfit(self, index: int, value: Any) -> str:
        column = self.inputs[index]
        return f"column {column.name!r}: expected {wanted_by(column)}, got {kind_of(value)}"

    def _absent(self, values: Any) -> RequestError:
        if not isinstance(values, dict):
            return RequestError(f"a row is an object of column names and values, got {kind_of(values)}")
        absent = [name for name in self.names if name not in values]
        unknown = [name for name in values if name not in self.names]
        message = f"missing columns: {_list(absent)}" if len(absent) > 1 else f"missing column: {_list(absent)}"
        also = f"; not columns of this model: {_list(unknown)}" if unknown else ""
        return RequestError(f"{message}{also}; send null for a value that is not known")

    def _first_absent(self, values: Sequence[Any]) -> RequestError:
        for number, row in enumerate(values):
            if not isinstance(row, dict) or not row.keys() >= set(self.names):
                return RequestError(f"rows[{number}]: {self._absent(row)}")
        return RequestError("rows: each is an object of column names and values")

    def _too_large(self, row: Row) -> RequestError:
        name = next(self.names[i] for i in self._numbers if row[i] is not None and not -LARGEST <= row[i] <= LARGEST)
        return RequestError(_beyond(name))


def flatten(data: Any, shape: Sequence[int], what: str) -> list[Any]:
    """Return the values of a tensor given flat or nested, at most two levels; raise RequestError if they do not fit."""
    size = 1
    for edge in shape:
        size *= edge
    if not isinstance(data, list):
        raise RequestError(f"{what}: data: expected a list, got {kind_of(data)}")
    if data and isinstance(data[0], list):
        if len(data) != shape[0] or not all(
            isinstance(inner, list) and len(inner) * shape[0] == size for inner in data
        ):
            raise RequestError(f"{what}: data: nested lists do not have the shape {list(shape)}")
        data = list(chain.from_iterable(data))
    if len(data) != size:
        raise RequestError(f"{what}: data: shape {list(shape)} needs {size} values, got {len(data)}")
    return list(data)


def _getter(names: tuple[str, ...]) -> Callable[[Any], Row]:
    if len(names) == 1:
        only = names[0]
        return lambda row: (row[only],)
    return itemgetter(*names)


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:64]) for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown


def _beyond(name: str) -> str:
    return f"column {name!r}: expected a number of at most 3.4e38 (32 bits), got a larger one"
