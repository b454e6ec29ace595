"""Bytes to one table: CSV, JSON Lines and Parquet, gzipped or not, any number of files.

CSV comes out as text, `infer` finds its types: a type found in the first block and refused in the last would be an
error that depends on a block's size. A file that is broken is a finding with the file and row, never a guess at what
was meant. Called by `job`.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from fairlead.contract.data import Format

from .findings import BadSource, list_rows
from .source import SourceFile

MAX_COLUMNS = 500
BLOCK_BYTES = 16 << 20  # a row must fit
EXAMPLES = 5


def read_table(files: list[SourceFile], form: Format, work: Path) -> pa.Table:
    """Return all rows of all files in the files' order; files are unpacked in `work`.

    Raise BadSource with MalformedSource, UnsupportedColumn, EmptySource or SchemaMismatch.
    """
    readers = {Format.CSV: _read_csv, Format.JSON_LINES: _read_json_lines, Format.PARQUET: _read_parquet}
    paths = [_unzipped(file, work / f"plain-{i}") for i, file in enumerate(files)]
    tables = [readers[form](file.name, path) for file, path in zip(files, paths, strict=True)]
    table = _concatenate([file.name for file in files], [table for table in tables if table is not None])
    if table is None or not table.num_rows:
        raise BadSource("EmptySource", f"{', '.join(file.name for file in files[:5])}: no rows")
    if table.num_columns > MAX_COLUMNS:
        raise BadSource("MalformedSource", f"{table.num_columns} columns; at most {MAX_COLUMNS} are supported")
    return table


def _unzipped(file: SourceFile, target: Path) -> Path:
    with file.path.open("rb") as raw:
        if raw.read(2) != b"\x1f\x8b":
            return file.path
    try:
        with gzip.open(file.path) as packed, target.open("wb") as plain:
            while chunk := packed.read(1 << 20):
                plain.write(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise BadSource("MalformedSource", f"{file.name}: the gzip stream is broken or cut short") from None
    return target


def _read_csv(name: str, path: Path) -> pa.Table | None:
    header = _csv_header(name, path)
    if header is None:
        return None
    broken: list[arrow_csv.InvalidRow] = []

    def note(row: arrow_csv.InvalidRow) -> str:
        broken.append(row)
        return "skip"

    try:
        table = arrow_csv.read_csv(
            path,
            # one thread: only then does a broken row know its number
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise BadSource("MalformedSource", f"{name}: {_csv_problem(str(error))}") from None
    if broken:
        raise BadSource("MalformedSource", _wrong_fields(name, broken))
    return pa.table({column: _empty_as_null(table[column]) for column in header})


def _csv_header(name: str, path: Path) -> list[str] | None:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next((row for row in csv.reader(file) if row), None)
    except UnicodeDecodeError:
        raise BadSource("MalformedSource", f"{name}: the header is not UTF-8 text") from None
    except csv.Error as error:
        raise BadSource("MalformedSource", f"{name}: the header cannot be read: {error}") from None
    if header is None:
        return None
    if not all(header) or len(set(header)) < len(header):
        raise BadSource("MalformedSource", f"{name}: each column needs a name of its own in the header")
    return header


def _csv_problem(text: str) -> str:
    if "UTF8" in text or "utf-8" in text.lower():
        return "it is not UTF-8 text"
    if "straddl" in text:
        return "a row is longer than 16 MiB; a quote may never be closed"
    return "it cannot be read as CSV"  # Arrow's own words may quote a value


def _wrong_fields(name: str, broken: list[Any]) -> str:
    first = broken[0]
    rows = [row.number - 1 for row in broken[:EXAMPLES] if row.number]  # the header is row 1 of the file
    return (
        f"{name}, {list_rows(rows)}: {first.actual_columns} fields, expected {first.expected_columns}; "
        f"{len(broken)} such row{'s' if len(broken) > 1 else ''} in all (row 1 is the first below the header)"
    )


def _empty_as_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def _read_json_lines(name: str, path: Path) -> pa.Table | None:
    rows: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                rows.append(_json_row(name, number, line))
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if not columns:
        return None
    return pa.table({column: _json_column(name, column, [row.get(column) for row in rows]) for column in columns})


def _json_row(name: str, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BadSource("MalformedSource", f"{name}, line {number}: not JSON ({error.msg})") from None
    if not isinstance(row, dict):
        raise BadSource("MalformedSource", f"{name}, line {number}: a JSON object was expected, one per line")
    return row


def _json_column(name: str, column: str, values: list[Any]) -> pa.Array:
    nested = [number for number, value in enumerate(values, 1) if isinstance(value, dict | list)]
    if nested:
        raise BadSource(
            "UnsupportedColumn",
            f"{name}: column {column} holds a list or object in {list_rows(nested[:EXAMPLES])}; flatten it",
        )
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return _normalised(pa.array(values, pa.float64() if float in kinds or _too_large(values) else pa.int64()))
    if len(kinds) == 1:
        return _normalised(pa.array(values))
    texts = [value if isinstance(value, str | None) else orjson.dumps(value).decode() for value in values]
    return _normalised(pa.array(texts, pa.string()))


def _too_large(values: list[Any]) -> bool:
    return any(value is not None and not -(2**63) <= value < 2**63 for value in values)


def _read_parquet(name: str, path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
        raise BadSource("MalformedSource", f"{name}: not a whole Parquet file; it may be cut short") from None
    if len(set(table.column_names)) < table.num_columns:
        raise BadSource("MalformedSource", f"{name}: each column needs a name of its own")
    columns = {}
    for column in table.column_names:
        values = _normalised(table[column])
        if values is None:
            raise BadSource("UnsupportedColumn", f"{name}: column {column} is {table[column].type}; drop or convert it")
        columns[column] = values
    return pa.table(columns)


def _normalised(values: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array | None:
    """Return int64, float64, bool, text or UTC times, with NaN and empty text as null; None if the type is another."""
    kind, is_a = values.type, pa.types
    if is_a.is_dictionary(kind):
        return _normalised(values.cast(kind.value_type))
    if is_a.is_integer(kind) and (kind != pa.uint64() or _fits(values)):
        return values.cast(pa.int64())
    if is_a.is_integer(kind) or is_a.is_floating(kind) or is_a.is_decimal(kind):
        floats = values.cast(pa.float64(), safe=False)
        return pc.if_else(pc.is_nan(floats), pa.scalar(None, pa.float64()), floats)
    if is_a.is_string(kind) or is_a.is_large_string(kind) or is_a.is_string_view(kind):
        return _empty_as_null(values.cast(pa.string()))
    if is_a.is_date(kind) or is_a.is_timestamp(kind):
        return values.cast(pa.timestamp("us", tz="UTC"), safe=False)
    return values if is_a.is_boolean(kind) or is_a.is_null(kind) else None


def _fits(values: pa.ChunkedArray | pa.Array) -> bool:
    largest = pc.max(values).as_py()
    return largest is None or largest < 2**63


def _concatenate(names: list[str], tables: list[pa.Table]) -> pa.Table | None:
    if not tables:
        return None
    expected = set(tables[0].column_names)
    for name, table in zip(names, tables, strict=False):
        if set(table.column_names) != expected:
            odd = sorted(expected ^ set(table.column_names))
            raise BadSource(
                "SchemaMismatch", f"{name}: its columns differ from those of {names[0]} in {', '.join(odd[:10])}"
            )
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        odd = sorted(n for n in expected if len({table.schema.field(n).type for table in tables}) > 1)
        raise BadSource("SchemaMismatch", f"columns {', '.join(odd)} have other types in other files") from None
