"""The declared checks, and those that follow from schema and identifiers, each with a count and example rows.

A result names column, count and at most 5 row numbers (from 1, over all files), never a value. Called by `job`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fairlead.contract.base import duration_s
from fairlead.contract.data import Allowed, Between, Check, CheckResult, Freshness, Matches, NotNull, RowCount
from fairlead.contract.jobs import SnapshotInput
from fairlead_runtime.errors import BadInput

Mask = NDArray[np.bool_]
EXAMPLES = 5


@dataclass(frozen=True)
class Outcome:
    """A check's result, and the reason to show should it alone have failed."""

    result: CheckResult
    reason: str


def run_checks(table: pa.Table, job: SnapshotInput, now: datetime) -> list[Outcome]:
    """Return the outcome of every check: the identifiers', the schema's, then the declared ones in order."""
    outcomes = _check_identifiers(table, job.identifiers)
    for check in [*_schema_checks(job), *job.checks]:
        outcomes.append(_run(table, check, job.timestamp, now))
    return outcomes


def reason_of(failed: list[Outcome]) -> str:
    """Return the one reason that all failed checks share, else ChecksFailed."""
    reasons = {outcome.reason for outcome in failed}
    return reasons.pop() if len(reasons) == 1 else "ChecksFailed"


def _check_identifiers(table: pa.Table, identifiers: list[str]) -> list[Outcome]:
    """A row without any identifier cannot be told from another one."""
    if not identifiers:
        return []
    nulls = np.logical_and.reduce([_mask(pc.is_null(table[name])) for name in identifiers])
    return [_outcome("identifiers", ", ".join(identifiers), nulls, 0, ("NullsFound", "no identifier"))]


def _schema_checks(job: SnapshotInput) -> list[Check]:
    checks = []
    for column in job.table_schema.columns or []:
        if not column.nullable:
            checks.append(Check(name="schema-nullable", column=column.name, not_null=NotNull()))
        if column.min is not None or column.max is not None:
            between = Between(min=column.min, max=column.max)
            checks.append(Check(name="schema-range", column=column.name, between=between))
        if column.allowed:
            checks.append(Check(name="schema-allowed", column=column.name, allowed=Allowed(values=column.allowed)))
    return checks


def _run(table: pa.Table, check: Check, timestamp: str | None, now: datetime) -> Outcome:
    if check.row_count:
        return _row_count(check.name, check.row_count, table.num_rows)
    column = check.column or (timestamp if check.freshness else None)
    if not column or column not in table.column_names:
        raise BadInput(
            "ColumnMissing", f"checks: {check.name} looks at column {column or '(none)'}, which is not there"
        )
    values = table[column]
    if check.freshness:
        return _freshness(check.name, column, check.freshness, values, now)
    name, violates = _violation(check)
    mask = violates(values, check)
    limit = getattr(getattr(check, name), "max_percent", 0)
    return _outcome(check.name, column, mask, limit, _WORDS[name])


_WORDS = {
    "not_null": ("NullsFound", "null"),
    "unique": ("DuplicatesFound", "a repetition"),
    "between": ("OutOfRange", "out of range"),
    "allowed": ("NotAllowed", "not an allowed value"),
    "matches": ("PatternMismatch", "not of the pattern"),
}


def _violation(check: Check) -> tuple[str, Callable[[pa.ChunkedArray, Check], Mask]]:
    kinds: dict[str, Callable[[pa.ChunkedArray, Check], Mask]] = {
        "not_null": lambda values, _: _mask(pc.is_null(values)),
        "unique": lambda values, _: _repeated(values),
        "between": _outside,
        "allowed": _not_allowed,
        "matches": _not_matching,
    }
    for name, violates in kinds.items():
        if getattr(check, name) is not None:
            return name, violates
    raise BadInput("InputInvalid", f"checks: {check.name} says nothing to check; set exactly one type")


def _repeated(values: pa.ChunkedArray) -> Mask:
    """Second and later rows of each value; nulls are none."""
    indices = pc.dictionary_encode(values.combine_chunks()).indices
    codes = pc.fill_null(indices, -1).to_numpy(zero_copy_only=False)
    repeated = np.ones(len(codes), dtype=bool)
    repeated[np.unique(codes, return_index=True)[1]] = False
    return np.asarray(repeated & (codes >= 0))


def _outside(values: pa.ChunkedArray, check: Check) -> Mask:
    between = check.between or Between()
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise BadInput("CheckNotApplicable", f"checks: {check.name} compares numbers; column {check.column} has none")
    outside = pa.scalar(False)
    if between.min is not None:
        outside = pc.or_(outside, pc.less(values, between.min))
    if between.max is not None:
        outside = pc.or_(outside, pc.greater(values, between.max))
    return _mask(outside, len(values))


def _not_allowed(values: pa.ChunkedArray, check: Check) -> Mask:
    allowed = (check.allowed or Allowed(values=[""])).values
    texts = values.cast(pa.string())
    return _mask(pc.and_(pc.is_valid(texts), pc.invert(pc.is_in(texts, value_set=pa.array(allowed, pa.string())))))


def _not_matching(values: pa.ChunkedArray, check: Check) -> Mask:
    pattern = (check.matches or Matches(pattern=".*")).pattern
    try:
        return _mask(pc.invert(pc.match_substring_regex(values.cast(pa.string()), rf"\A(?:{pattern})\z")))
    except pa.ArrowInvalid:
        raise BadInput("InvalidPattern", f"checks: {check.name}: the pattern is no RE2 regular expression") from None


def _row_count(name: str, limits: RowCount, rows: int) -> Outcome:
    few = limits.min is not None and rows < limits.min
    many = limits.max is not None and rows > limits.max
    wanted = f"at least {limits.min}" if few else f"at most {limits.max}"
    message = f"{rows} rows, expected {wanted}" if few or many else ""
    result = CheckResult(name=name, passed=not few and not many, count=rows if few or many else 0, message=message)
    return Outcome(result, "TooFewRows" if few else "TooManyRows")


def _freshness(name: str, column: str, check: Freshness, values: pa.ChunkedArray, now: datetime) -> Outcome:
    if not pa.types.is_timestamp(values.type):
        raise BadInput("CheckNotApplicable", f"checks: {name} looks at times; column {column} has none")
    newest = pc.max(values).as_py()
    age_s = (now - newest).total_seconds() if newest else float("inf")
    passed = age_s <= duration_s(check.max_age)
    message = "" if passed else f"the newest row is {age_s / 3600:.1f} h old, allowed are {check.max_age}"
    return Outcome(CheckResult(name=name, column=column, passed=passed, message=message), "StaleData")


def _outcome(name: str, column: str, mask: Mask, max_percent: float, words: tuple[str, str]) -> Outcome:
    count = int(mask.sum())
    percent = 100 * count / max(1, len(mask))
    passed = percent <= max_percent
    message = (
        "" if passed else f"{words[1]} in {count} of {len(mask)} rows ({percent:.3g} %, allowed {max_percent:g} %)"
    )
    rows = [] if passed else [int(row) + 1 for row in np.flatnonzero(mask)[:EXAMPLES]]
    return Outcome(
        CheckResult(name=name, column=column, passed=passed, count=count, rows=rows, message=message), words[0]
    )


def _mask(values: pa.ChunkedArray | pa.Scalar, rows: int = 0) -> Mask:
    if isinstance(values, pa.Scalar):
        return np.zeros(rows, dtype=bool)
    return np.asarray(pc.fill_null(values, False).to_numpy(), dtype=bool)
