"""A bounded search: trials drawn or enumerated from the space, each fitted and measured on the validation part.

The same seed gives the same trials in the same order; the budget of time only decides how many of them run. Called by
`job`.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fairlead.contract.base import duration_s
from fairlead.contract.training import Dimension, Search, SearchMethod
from fairlead_runtime.errors import BadInput
from fairlead_runtime.progress import report

from .score import better_key


@dataclass(frozen=True)
class Trial:
    """Parameters that were tried, the fitted model and its metrics."""

    parameters: dict[str, Any]
    model: Any
    metrics: dict[str, float]


def run_search(
    search: Search,
    seed: int,
    fit: Callable[[dict[str, Any]], Trial],
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Trial, int]:
    """Return the best trial (the earliest of equals) and how many ran; at least one does."""
    chosen = list(itertools.islice(candidates(search, seed), search.trials))
    if not chosen:
        raise BadInput("InvalidSearch", "search.space: name at least one parameter with int, float or choice")
    until = clock() + duration_s(search.max_duration) if search.max_duration else math.inf
    best: Trial | None = None
    ran = 0
    for parameters in chosen:
        if best and clock() >= until:
            break
        trial = fit(parameters)
        ran += 1
        value = better_key(search.metric, trial.metrics)
        if best is None or value > better_key(search.metric, best.metrics):
            best = trial
        message = f"trial {ran}: {search.metric} {trial.metrics[search.metric]:.4f}"
        report(ran, len(chosen), message, {search.metric: best.metrics[search.metric]})
    assert best is not None
    return best, ran


def candidates(search: Search, seed: int) -> Iterator[dict[str, Any]]:
    """Yield parameter sets: Random without end, Grid row by row."""
    names = sorted(search.space)
    for name in names:
        _check(name, search.space[name])
    if search.method is SearchMethod.GRID:
        for values in itertools.product(*(_points(search.space[name]) for name in names)) if names else ():
            yield dict(zip(names, values, strict=True))
        return
    generator = random.Random(seed)
    while names:
        yield {name: _draw(search.space[name], generator) for name in names}


def _check(name: str, dimension: Dimension) -> None:
    bounds = dimension.int_ or dimension.float_
    if bounds and (bounds[0] > bounds[1] or (dimension.log and bounds[0] <= 0)):
        raise BadInput(
            "InvalidSearch", f"search.space.{name}: write [low, high] with low <= high, and low > 0 where log is true"
        )
    if not bounds and not dimension.choice:
        raise BadInput("InvalidSearch", f"search.space.{name}: set exactly one of int, float, choice")


def _draw(dimension: Dimension, generator: random.Random) -> Any:
    if dimension.choice:
        return generator.choice(dimension.choices())
    return _between(dimension, generator.random())


def _points(dimension: Dimension) -> list[Any]:
    if dimension.choice:
        return dimension.choices()
    steps = dimension.grid_points - 1
    return list(dict.fromkeys(_between(dimension, i / steps) for i in range(dimension.grid_points)))


def _between(dimension: Dimension, share: float) -> int | float:
    """Return the value at a share in [0, 1] of the range, on a log scale where asked."""
    low, high = dimension.int_ or dimension.float_ or (0.0, 0.0)
    value = math.exp(math.log(low) + share * math.log(high / low)) if dimension.log else low + share * (high - low)
    if dimension.int_:
        # each whole number of a draw is as likely as the others: floor over a range one longer
        value = value if dimension.log else low + share * (high - low + 1 - 1e-9)
        return int(min(high, round(value) if dimension.log else math.floor(value)))
    return float(min(high, max(low, value)))
