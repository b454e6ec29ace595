"""The frame of a plot: scales, grid, ticks and labels as inline SVG, coloured by the page's variables.

Called by `curves` and `bars`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .markup import Child, Html, tag
from .numbers import number

LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 8.0, 36.0


@dataclass(frozen=True)
class Axes:
    """Maps data to pixels; y grows upwards in data."""

    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)
    width: float = 320.0
    height: float = 240.0
    x_ticks: bool = True

    def px(self, value: float) -> float:
        """Return the horizontal pixel of a value."""
        low, high = self.x
        return LEFT + (value - low) / (high - low) * (self.width - LEFT - RIGHT)

    def py(self, value: float) -> float:
        """Return the vertical pixel of a value."""
        low, high = self.y
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """Return the SVG path through the points."""
        return "M" + "L".join(f"{self.px(x):.1f} {self.py(y):.1f}" for x, y in points)


def plot(title: str, axes: Axes, labels: tuple[str, str], *marks: Child, note: str = "") -> Html:
    """Return a figure: title, grid, ticks, the marks, and the names of both axes."""
    svg = tag(
        "svg",
        *_grid(axes),
        *marks,
        tag("text", labels[0], x=(LEFT + axes.width - RIGHT) / 2, y=axes.height - 4, text_anchor="middle"),
        tag("text", labels[1], transform=f"translate(11 {(TOP + axes.height - BOTTOM) / 2:.0f}) rotate(-90)",
            text_anchor="middle"),
        viewBox=f"0 0 {axes.width:.0f} {axes.height:.0f}",
        role="img",
        aria_label=title,
    )  # fmt: skip
    heading = tag("h3", title, tag("small", f" {note}") if note else None)
    return tag("figure", heading, svg)


def _grid(axes: Axes) -> list[Html]:
    bottom, right = axes.height - BOTTOM, axes.width - RIGHT
    marks = []
    for value in ticks(*axes.y):
        y = axes.py(value)
        marks.append(tag("line", x1=LEFT, x2=right, y1=y, y2=y, class_="grid"))
        marks.append(tag("text", number(value), x=LEFT - 6, y=y + 3.5, text_anchor="end"))
    for value in ticks(*axes.x) if axes.x_ticks else []:
        x = axes.px(value)
        marks.append(tag("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis"))
        marks.append(tag("text", number(value), x=x, y=bottom + 16, text_anchor="middle"))
    marks.append(tag("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="axis"))
    return marks


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers (1, 2 or 5 times a power of ten apart) inside [low, high]."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def legend(entries: Sequence[tuple[str, str]]) -> Html:
    """Return (class, name) entries under a plot."""
    return tag("div", *(tag("span", tag("i", "", class_=kind), name) for kind, name in entries), class_="legend")
