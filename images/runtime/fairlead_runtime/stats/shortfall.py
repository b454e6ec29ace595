"""How many rows a decision lacks: the floor under any interval, and what a narrower one would take.

Estimates for people, never part of a decision. Called by `evaluate.gates`.
"""

from __future__ import annotations

import math

from .intervals import Interval
from .metrics import PER_CLASS, Classified, Outcomes, class_counts

MIN_ROWS = 30
MIN_CLASS_ROWS = 10
_MOST = 10**9


def missing_for_floor(metric: str, outcomes: Outcomes) -> int:
    """Return how many more rows it takes to have 30, and 10 of each class that `metric` divides by; 0 if enough.

    Rows of a class are expected at the share seen so far (one row when none was seen).
    """
    rows = len(outcomes)
    missing = max(0, MIN_ROWS - rows)
    if isinstance(outcomes, Classified) and metric in PER_CLASS:
        for count in class_counts(outcomes).tolist():
            if count < MIN_CLASS_ROWS:
                missing = max(missing, math.ceil((MIN_CLASS_ROWS - count) * max(rows, 1) / max(count, 1)))
    return missing


def missing_for_decision(interval: Interval, limit: float) -> int | None:
    """Return roughly how many more rows would bring the nearer end of the interval to the limit.

    Normal approximation: a half-width shrinks with the square root of the rows, so n grows to n (half / margin)^2.
    None when the value lies on the limit: then no number of rows is expected to decide.
    """
    margin = abs(interval.value - limit)
    half = interval.value - interval.low if interval.value >= limit else interval.high - interval.value
    if margin == 0 or not math.isfinite(half) or not math.isfinite(margin):
        return None
    needed = interval.rows * (half / margin) ** 2
    return int(min(_MOST, max(1, math.ceil(needed - interval.rows))))
