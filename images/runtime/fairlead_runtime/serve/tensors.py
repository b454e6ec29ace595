"""Tensors of the Open Inference Protocol, whichever way they came: checked, turned into rows or columns, and back.

Datatypes and raw bytes are as the protocol and its binary extension have them: little-endian, row by row, no padding;
text as a length of four bytes and UTF-8. Never rounds silently: what does not fit its datatype is refused.
Called by `oip` (REST) and `grpc`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_runtime.signature import Input

from .columns import LARGEST, Column, Columns, RequestError, Row, accepted_types, flatten, kind_of, wanted_by
from .predict import MAX_ROWS

FLOATS = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "BF16": "<u2"}
INTEGERS = {f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)}
INTEGERS |= {f"U{name}": code.replace("i", "u") for name, code in INTEGERS.items()}
_DTYPES = {name: np.dtype(code) for name, code in {**FLOATS, **INTEGERS, "BOOL": "|u1"}.items()}
_RANGES = {name: (int(np.iinfo(code).min), int(np.iinfo(code).max)) for name, code in INTEGERS.items()}
_NUMBERS = frozenset((*FLOATS, *INTEGERS))
_NUMBERS_OR_NULL: frozenset[type] = frozenset((int, float, type(None)))
_LENGTH = struct.Struct("<I")
_MAX_WIDTH = 1_000_000


class Tensor:
    """One decoded input: its values flat, row by row, as Python values or (from raw bytes) an array of numbers."""

    __slots__ = ("datatype", "name", "shape", "values")

    def __init__(self, name: str, datatype: str, shape: Sequence[int], values: list[Any] | NDArray[Any]) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = tuple(shape)
        self.values = values


def check_head(name: Any, datatype: Any, shape: Any, position: int) -> str:
    """Return what to call the input in a message; raise RequestError if its name, datatype or shape are none."""
    if not isinstance(name, str):
        raise RequestError(f"inputs[{position}]: name: expected text, got {kind_of(name)}")
    where = f"input {name[:64]!r}"
    if not isinstance(datatype, str) or (datatype not in _DTYPES and datatype != "BYTES"):
        got = repr(datatype[:32]) if isinstance(datatype, str) else kind_of(datatype)
        raise RequestError(f"{where}: datatype: expected one of {', '.join(_DTYPES)}, BYTES, got {got}")
    good = isinstance(shape, list) and len(shape) in (1, 2) and all(type(e) is int and e > 0 for e in shape)
    if not good or shape[0] > MAX_ROWS or shape[-1] > _MAX_WIDTH:
        wants = f"expected [rows] or [rows, columns], at most {MAX_ROWS} rows"
        raise RequestError(f"{where}: shape: {wants}, got {shape!r:.64}")
    return where


def from_values(name: str, datatype: str, shape: list[int], data: Any) -> Tensor:
    """Return a tensor of JSON values, flat or nested; raise RequestError if they are not as many as the shape says."""
    return Tensor(name, datatype, shape, flatten(data, shape, f"input {name[:64]!r}"))


def from_raw(name: str, datatype: str, shape: list[int], raw: bytes | memoryview) -> Tensor:
    """Return a tensor of raw bytes; raise RequestError if they are not as many as shape and datatype say."""
    where, size = f"input {name[:64]!r}", int(np.prod(shape, dtype=np.int64))
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, _texts(raw, size, where))
    dtype = _DTYPES[datatype]
    if len(raw) != size * dtype.itemsize:
        raise RequestError(
            f"{where}: shape {list(shape)} of {datatype} needs {size * dtype.itemsize} bytes, got {len(raw)}"
        )
    values = np.frombuffer(raw, dtype=dtype)
    if datatype == "BF16":  # the upper half of a 32-bit float
        values = (values.astype(np.uint32) << 16).view(np.float32)
    if datatype == "BOOL" and values.max() > 1:
        raise RequestError(f"{where}: a BOOL is one byte, 0 or 1; got {int(values.max())}")
    return Tensor(name, datatype, shape, values)


def _texts(raw: bytes | memoryview, count: int, where: str) -> list[Any]:
    texts: list[Any] = []
    data, at = bytes(raw), 0
    while at + 4 <= len(data) and len(texts) < count:
        end = at + 4 + _LENGTH.unpack_from(data, at)[0]
        if end > len(data):
            break
        texts.append(_text(data[at + 4 : end], where, len(texts)))
        at = end
    if len(texts) != count or at != len(data):
        raise RequestError(
            f"{where}: expected {count} texts, each its length in four bytes and its UTF-8; "
            f"read {len(texts)}, {len(data) - at} bytes are left"
        )
    return texts


def _text(data: bytes, where: str, position: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RequestError(f"{where}: data[{position}]: not UTF-8") from None


def texts_of(values: Sequence[bytes], name: str) -> list[Any]:
    """Return the text of BYTES values that came one by one; raise RequestError at the first that is no UTF-8."""
    return [_text(value, f"input {name[:64]!r}", position) for position, value in enumerate(values)]


def to_raw(values: Any, datatype: str) -> bytes:
    """Return the raw bytes of an output's values."""
    if datatype == "BYTES":
        texts = list(map(str, values))
        packed = {text: _packed(text.encode()) for text in set(texts)}  # a few classes, named often
        return b"".join(map(packed.__getitem__, texts))
    return np.ascontiguousarray(values, dtype=_DTYPES[datatype]).tobytes()


def _packed(text: bytes) -> bytes:
    return _LENGTH.pack(len(text)) + text


def decode(columns: Columns, tensors: list[Tensor]) -> Row | list[Column]:
    """Return one checked row, or the checked columns of several; raise RequestError.

    Inputs are one tensor per column, or a single [rows, columns] tensor where all columns are numbers.
    """
    if len(tensors) == 1 and len(tensors[0].shape) == 2 and columns.all_numbers:
        only = tensors[0]
        if only.name not in columns.names or only.shape[1] != 1:
            return _matrix(columns, only)
    by_name = {tensor.name: tensor for tensor in tensors}
    _check_names(columns, by_name, len(tensors))
    rows = tensors[0].shape[0]
    ordered = [by_name[name] for name in columns.names]
    for tensor, column in zip(ordered, columns.inputs, strict=True):
        _check_column(tensor, column, rows)
    if rows == 1:
        return columns.checked(tuple(_single(tensor.values) for tensor in ordered))
    return [_column(columns, index, tensor) for index, tensor in enumerate(ordered)]


def _single(values: list[Any] | NDArray[Any]) -> Any:
    value = values[0]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value  # NaN is how raw numbers say null


def _check_names(columns: Columns, by_name: dict[str, Tensor], count: int) -> None:
    names = set(columns.names)
    absent, unknown = sorted(names - by_name.keys()), sorted(by_name.keys() - names)
    if absent or unknown or count != len(by_name):
        parts = [f"missing {few(absent)}"] if absent else []
        parts += [f"unknown {few(unknown)}"] if unknown else []
        parts += ["a name occurs twice"] if count != len(by_name) else []
        raise RequestError(f"inputs: {'; '.join(parts)}; expected one tensor for each of {len(names)} columns")


def _check_column(tensor: Tensor, column: Input, rows: int) -> None:
    if tensor.shape not in ((rows,), (rows, 1)):
        raise RequestError(f"input {tensor.name!r}: expected shape [{rows}] or [{rows}, 1], got {list(tensor.shape)}")
    numbers = column.numeric
    if numbers != (tensor.datatype != "BYTES"):
        wanted = "FP32, FP64 or an integer type" if numbers else "BYTES"
        raise RequestError(f"input {tensor.name!r}: expected datatype {wanted}, got {tensor.datatype}")
    if isinstance(tensor.values, list):
        if tensor.datatype == "BOOL":
            tensor.values = _as_numbers(tensor.values)
        check_types(tensor, accepted_types(column), wanted_by(column))


def _as_numbers(values: list[Any]) -> list[Any]:
    """Return the numbers that stand for booleans; anything else stays, to be refused."""
    return [int(value) if isinstance(value, bool) else value for value in values]


def check_types(tensor: Tensor, accepted: frozenset[type], wanted: str) -> None:
    """Raise RequestError unless every value is of an accepted type and fits the tensor's datatype."""
    values, datatype = tensor.values, tensor.datatype
    if not set(map(type, values)) <= accepted:
        place, value = next((i, value) for i, value in enumerate(values) if type(value) not in accepted)
        raise RequestError(f"input {tensor.name!r}: data[{place}]: expected {wanted}, got {kind_of(value)}")
    if datatype in FLOATS or datatype == "BYTES":
        return
    low, high = _RANGES.get(datatype, (0, 1))
    for place, value in enumerate(values):
        if value is not None and (type(value) is float or not low <= value <= high):
            raise RequestError(f"input {tensor.name!r}: data[{place}]: {value!r:.40} is no {datatype}")


def _column(columns: Columns, index: int, tensor: Tensor) -> Column:
    what = f"input {tensor.name!r}: data"
    if isinstance(tensor.values, list):
        return columns.column(index, tensor.values, set(map(type, tensor.values)), what)
    return _numbers(columns, index, tensor.values.astype(np.float64), what)


def _numbers(columns: Columns, index: int, numbers: Column, what: str) -> Column:
    columns.check_range(index, numbers, what)
    if not columns.inputs[index].nullable and np.isnan(numbers).any():
        place = int(np.isnan(numbers).argmax())
        raise RequestError(f"{what}[{place}]: column {columns.names[index]!r}: expected a number, got NaN (null)")
    return numbers


def _matrix(columns: Columns, tensor: Tensor) -> Row | list[Column]:
    count = len(columns.names)
    if tensor.shape[1] != count:
        message = f"input {tensor.name!r}: expected shape [rows, {count}], got {list(tensor.shape)}"
        raise RequestError(f"{message}; the columns are {few(columns.names)}")
    if tensor.datatype not in _NUMBERS:
        raise RequestError(f"input {tensor.name!r}: expected datatype FP32 or FP64, got {tensor.datatype}")
    values = tensor.values
    if isinstance(values, list):
        check_types(tensor, _NUMBERS_OR_NULL, "a number")  # which columns may be null is checked below
        if tensor.shape[0] == 1:
            return columns.checked(tuple(values))
        matrix = np.array(values, dtype=np.float64).reshape(tensor.shape)
    elif tensor.shape[0] == 1:
        row = values.tolist()
        return columns.checked(tuple(row) if not np.isnan(values).any() else tuple(_single([v]) for v in row))
    else:
        matrix = values.astype(np.float64).reshape(tensor.shape)
    if np.abs(matrix).max() <= LARGEST:  # neither NaN nor too large, as most are: one look at all of it
        return list(matrix.T)
    return [_numbers(columns, i, matrix[:, i], f"input {tensor.name!r}: rows") for i in range(count)]


def few(names: Sequence[str]) -> str:
    """Return names for a message, eight at most."""
    shown = ", ".join(name[:64] for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
