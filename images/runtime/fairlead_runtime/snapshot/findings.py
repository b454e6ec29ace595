"""What can be wrong with a source; each is a result of the Job (`valid: false`), not a failure of it.

Reasons, shown in the Dataset's condition:
- reading: MalformedSource, UnsupportedColumn, EmptySource
- schema: SchemaMismatch, TargetMissing, ColumnMissing (a timestamp, identifier, sensitive or group column)
- checks: NullsFound, DuplicatesFound, OutOfRange, NotAllowed, PatternMismatch, TooFewRows, TooManyRows, StaleData, and
  ChecksFailed where several of these fail together
Messages hold names, counts and row numbers, never a value out of the data.
"""

from __future__ import annotations

from fairlead.contract.data import CheckResult


class BadSource(Exception):  # noqa: N818 - a finding, not an error of the program
    """The source cannot become a revision; `failed` holds the checks that say so."""

    def __init__(self, reason: str, message: str, failed: tuple[CheckResult, ...] = ()) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.failed = failed


def list_rows(rows: list[int]) -> str:
    """Return `row 7` or `rows 7, 9, 12`."""
    return ("row " if len(rows) == 1 else "rows ") + ", ".join(str(row) for row in rows)
