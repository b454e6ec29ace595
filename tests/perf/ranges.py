"""Holds measured figures against `ranges.yaml`: what is expected of each, and where that comes from.

A figure may be at most `measured * (1 + margin)` and never more than its bar. The file says when and on what machine
it was measured; a margin is wide where the clock of a shared machine is part of the figure, narrow where it is a count.
A figure by the clock that was never measured on a machine of its own has no measurement, and its bar alone holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("ranges.yaml")


@dataclass(frozen=True)
class Range:
    """What a figure may be."""

    figure: str
    what: str
    measured: float | None
    margin: float
    bar: float

    @property
    def most(self) -> float:
        """The largest value that passes."""
        return self.bar if self.measured is None else min(self.measured * (1 + self.margin), self.bar)


def read() -> list[Range]:
    """Return the ranges of the file."""
    document: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return [
        Range(name, entry["what"], entry.get("measured"), entry.get("margin", 0.0), entry.get("bar", math.inf))
        for name, entry in document["figures"].items()
    ]


def report(figures: Mapping[str, float]) -> int:
    """Print a table of all figures that have a range; return 1 when one is outside."""
    outside = 0
    print(f"\n{'figure':32} {'now':>10} {'at most':>10} {'bar':>10}")
    for one in read():
        if one.figure not in figures:
            continue
        now = figures[one.figure]
        is_outside = now > one.most
        outside += is_outside
        print(
            f"{one.figure:32} {now:10.2f} {one.most:10.2f} {one.bar:10g} {'OUTSIDE: ' + one.what if is_outside else ''}"
        )
    return int(outside > 0)
