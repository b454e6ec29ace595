"""A table's columns against what is declared or was there before: the types, and what is missing, new or changed.

Under Infer the previous revision's types hold; a column that vanished while another like it appeared is called a
rename. Never guesses which of two differing schemas is right. Called by `job`.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher

import numpy as np
import pyarrow as pa

from fairlead.contract.data import ColumnType, SchemaPolicy
from fairlead.contract.jobs import SnapshotInput
from fairlead_runtime.revision import Roles, TypedColumn

from .findings import BadSource, list_rows
from .infer import bad_rows, convert, infer_type

TEXT = (ColumnType.CATEGORY, ColumnType.STRING)
ALIKE = 0.6  # share of matching characters from which two names are taken for one that was renamed


def resolve_columns(
    table: pa.Table, job: SnapshotInput, previous: list[TypedColumn] | None, from_text: bool
) -> tuple[pa.Table, list[TypedColumn]]:
    """Return the table with logical types, and these; raise SchemaMismatch, TargetMissing or ColumnMissing."""
    declared = {column.name: column.type for column in job.table_schema.columns or []}
    frozen = job.table_schema.policy is SchemaPolicy.FROZEN
    expected = declared if frozen else {column.name: column.type for column in previous or []}
    inferred = {name: infer_type(table[name], from_text) for name in table.column_names}
    if expected:
        _check_names(expected, inferred, "declared" if frozen else "in the last valid revision")
    _check_roles(job, inferred)
    _check_declared(declared, inferred)
    before = {} if frozen else expected
    _check_retyped(before, inferred, declared)
    types = _types(inferred, {**before, **_by_role(job), **declared})
    order = list(expected) or table.column_names
    columns = [TypedColumn(name=name, type=types[name]) for name in order]
    return pa.table({c.name: _converted(table[c.name], c) for c in columns}), columns


def roles_of(job: SnapshotInput) -> Roles:
    """Return what the spec says the columns are for."""
    return Roles(
        target=job.target,
        timestamp=job.timestamp,
        identifiers=sorted(job.identifiers),
        sensitive=sorted(job.sensitive),
    )


def _types(inferred: Mapping[str, ColumnType], wanted: Mapping[str, ColumnType]) -> dict[str, ColumnType]:
    return {name: wanted.get(name, column_type) for name, column_type in inferred.items()}


def _by_role(job: SnapshotInput) -> dict[str, ColumnType]:
    return {job.timestamp: ColumnType.TIMESTAMP} if job.timestamp else {}


def _check_names(expected: Mapping[str, ColumnType], found: Mapping[str, ColumnType], where: str) -> None:
    missing = [name for name in expected if name not in found]
    new = [name for name in found if name not in expected]
    if not missing and not new:
        return
    parts = []
    for name in missing:
        likely = _rename_of(name, expected[name], {n: found[n] for n in new}, len(missing) == len(new) == 1)
        hint = f" (new column {likely} looks like a rename of it)" if likely else ""
        parts.append(f"column {name} is missing{hint}")
    parts += [f"column {name} is new" for name in new if not any(f"new column {name} looks" in part for part in parts)]
    raise BadSource(
        "SchemaMismatch",
        f"{'; '.join(parts[:10])}{'; ...' if len(parts) > 10 else ''}. The others are as {where}. "
        "Undo the change upstream, or change schema.columns (under Infer: make a new Dataset) if it is meant",
    )


def _rename_of(name: str, column_type: ColumnType, new: Mapping[str, ColumnType], only: bool) -> str | None:
    """Return the new column of a like type that `name` probably became: the only one, or one with a like name."""
    fitting = [candidate for candidate, kind in new.items() if _alike(kind, column_type)]
    scored = sorted(((SequenceMatcher(None, name.lower(), c.lower()).ratio(), c) for c in fitting), reverse=True)
    return scored[0][1] if scored and (only or scored[0][0] >= ALIKE) else None


def _alike(first: ColumnType, second: ColumnType) -> bool:
    numbers = (ColumnType.INTEGER, ColumnType.FLOAT)
    return first == second or (first in numbers and second in numbers) or (first in TEXT and second in TEXT)


def _check_roles(job: SnapshotInput, found: Mapping[str, ColumnType]) -> None:
    if job.target and job.target not in found:
        raise BadSource(
            "TargetMissing", f"there is no column {job.target}, which spec.target names; columns: {_names(found)}"
        )
    group = job.split.group_column if job.split.method == "Group" else None
    named: dict[str, list[str | None]] = {
        "timestamp": [job.timestamp],
        "identifiers": [*job.identifiers],
        "sensitive": [*job.sensitive],
        "split.groupColumn": [group],
    }
    for field, columns in named.items():
        for column in columns:
            if column and column not in found:
                raise BadSource(
                    "ColumnMissing", f"there is no column {column}, which spec.{field} names; columns: {_names(found)}"
                )


def _check_declared(declared: Mapping[str, ColumnType], found: Mapping[str, ColumnType]) -> None:
    missing = [name for name in declared if name not in found]
    if missing:
        raise BadSource("SchemaMismatch", f"declared but not in the source: {', '.join(missing[:10])}")


def _check_retyped(
    before: Mapping[str, ColumnType], inferred: Mapping[str, ColumnType], declared: Mapping[str, ColumnType]
) -> None:
    """Text that became numbers converts to text without loss, and is a change all the same."""
    retyped = [
        f"column {name} was {before[name]} and is {inferred[name]} now"
        for name in before
        if name not in declared
        and (before[name] in TEXT) != (inferred[name] in TEXT)
        and not (inferred[name] is ColumnType.STRING and before[name] not in TEXT)
    ]
    if retyped:
        raise BadSource("SchemaMismatch", "; ".join(retyped[:10]))


def _converted(values: pa.ChunkedArray, column: TypedColumn) -> pa.ChunkedArray:
    wrong = np.flatnonzero(bad_rows(values, column.type))
    if len(wrong):
        rows = [int(row) + 1 for row in wrong[:5]]
        raise BadSource(
            "SchemaMismatch",
            f"column {column.name} is to be {column.type} and holds something else in {len(wrong)} of {len(values)} "
            f"rows: {list_rows(rows)}",
        )
    return convert(values, column.type)


def _names(found: Mapping[str, ColumnType]) -> str:
    return ", ".join(list(found)[:20]) + (", ..." if len(found) > 20 else "")
