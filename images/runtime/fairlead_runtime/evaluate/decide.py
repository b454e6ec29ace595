"""From an interval and a limit to an outcome, and the sentence that says so.

A gate passes when the bound of its interval keeps the limit, fails when the other bound breaks it, and is
Inconclusive between: never on the point value. Called by `evaluate.gates`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fairlead.contract.gates import GateOutcome, GateResult
from fairlead_runtime.report.numbers import finite, number
from fairlead_runtime.stats.intervals import Interval
from fairlead_runtime.stats.shortfall import missing_for_decision

WITHIN, OUTSIDE, UNDECIDED, TOO_FEW = "WithinLimit", "OutsideLimit", "IntervalSpansLimit", "TooFewRows"


@dataclass(frozen=True)
class Limit:
    """One side of what a gate allows; `unit` follows numbers in messages."""

    value: float
    at_least: bool = False
    unit: str = ""

    @property
    def words(self) -> str:
        """Return `at least 0.85` or `at most 50 ms`."""
        return f"{'at least' if self.at_least else 'at most'} {number(self.value)}{self.unit}"


def decide(name: str, what: str, interval: Interval, limit: Limit) -> GateResult:
    """Return the result of one gate; `what` names the value in the message."""
    outcome = _outcome(interval, limit)
    missing = missing_for_decision(interval, limit.value) if outcome == GateOutcome.INCONCLUSIVE else None
    reason = {GateOutcome.PASSED: WITHIN, GateOutcome.FAILED: OUTSIDE, GateOutcome.INCONCLUSIVE: UNDECIDED}[outcome]
    return GateResult(
        name=name,
        outcome=outcome,
        reason=reason,
        value=finite(interval.value),
        limit=limit.value,
        low=finite(interval.low),
        high=finite(interval.high),
        rows=interval.rows,
        missing_rows=missing,
        message=_sentence(what, interval, limit, outcome, missing),
    )


def too_few(name: str, what: str, rows: int, missing: int, limit: float | None) -> GateResult:
    """Return Inconclusive for under 30 rows or 10 of a class."""
    return GateResult(
        name=name,
        outcome=GateOutcome.INCONCLUSIVE,
        reason=TOO_FEW,
        limit=limit,
        rows=rows,
        missing_rows=missing,
        message=f"{what}: {rows:,} rows are too few (30, and 10 of each class); about {missing:,} more are needed.",
    )


def worse_of(results: list[GateResult]) -> GateResult:
    """Return the result that stands for all: one that failed, else one undecided, else the nearest to its limit."""
    rank = {GateOutcome.FAILED: 0, GateOutcome.INCONCLUSIVE: 1, GateOutcome.PASSED: 2}
    return min(results, key=lambda r: (rank[r.outcome], _room(r)))


def _room(result: GateResult) -> float:
    return math.inf if result.value is None or result.limit is None else abs(result.value - result.limit)


def _outcome(interval: Interval, limit: Limit) -> GateOutcome:
    inside = interval.low >= limit.value if limit.at_least else interval.high <= limit.value
    outside = interval.high < limit.value if limit.at_least else interval.low > limit.value
    if math.isnan(interval.value):
        return GateOutcome.INCONCLUSIVE
    return GateOutcome.PASSED if inside else GateOutcome.FAILED if outside else GateOutcome.INCONCLUSIVE


def _sentence(what: str, interval: Interval, limit: Limit, outcome: GateOutcome, missing: int | None) -> str:
    low, high = number(interval.low), number(interval.high)
    span = "" if interval.low == interval.high else f" ({low} to {high})"
    found = f"{what} is {number(interval.value)}{limit.unit}{span}"
    if outcome == GateOutcome.PASSED:
        return f"{found}, {limit.words}."
    if outcome == GateOutcome.FAILED:
        return f"{found}, and must be {limit.words}."
    more = f"about {missing:,} more rows would decide" if missing else "no number of rows is expected to decide"
    return f"{found}; must be {limit.words}: not decided, {more}."
