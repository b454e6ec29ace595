"""How long one-row predictions take, measured through the same session that the server uses.

The bounds of the percentile are order statistics: no assumption about the distribution. Never part of a digest: a
clock is not an input. Called by `evaluate.run`, only when a gate asks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fairlead_runtime.stats.intervals import rows_for_quantile
from fairlead_runtime.stats.types import Floats

WARM_UP = 20
LEAST_RUNS = 300
MOST_RUNS = 2000
BUDGET_S = 10.0
LONGEST_S = 60.0  # a model this slow is judged on the calls it managed; bounds that need more are then open


def one_row_latencies(predict_row: Callable[[int], object], rows: int, percentile: float) -> Floats:
    """Return milliseconds per call, at least as many as bounds on `percentile` need.

    `predict_row` is called with a row number under `rows`. Goes on to 2,000 calls while 10 s are not used up; after
    60 s there may be fewer than needed, and the upper bound is then open.
    """
    with threadpool_limits(1):  # as the server has it: one process for each CPU, one thread each
        return _measure(predict_row, rows, percentile)


def _measure(predict_row: Callable[[int], object], rows: int, percentile: float) -> Floats:
    begun = time.perf_counter()
    for i in range(WARM_UP):
        predict_row(i % rows)
    least = max(LEAST_RUNS, math.ceil(1.05 * rows_for_quantile(percentile / 100)))
    taken: list[float] = []
    while not taken or _goes_on(len(taken), least, time.perf_counter() - begun):
        start = time.perf_counter()
        predict_row(len(taken) % rows)
        taken.append((time.perf_counter() - start) * 1000)
    return np.array(taken)


def _goes_on(calls: int, least: int, passed_s: float) -> bool:
    if calls < least:
        return passed_s < LONGEST_S
    return calls < MOST_RUNS and passed_s < BUDGET_S
