"""Bars and ranges: importances, drift by feature, an interval against its limit, two distributions.

Called by `card` and `drift`.
"""

from __future__ import annotations

from collections.abc import Sequence

from .axes import LEFT, Axes, legend, plot
from .content import Distribution, Tone
from .markup import Html, tag
from .numbers import number

ROW, NAME = 24.0, 170.0
NAME_CHARS = 26


def ranked(rows: Sequence[tuple[str, float, str]], label: str, limit: float | None = None) -> Html:
    """Return horizontal bars of (name, value, class), in the given order, with a line at `limit`."""
    width, height = 640.0, ROW * len(rows) + 26
    top = max([value for _, value, _ in rows] + [limit or 0.0]) or 1.0
    scale = (width - NAME - 70) / top
    marks: list[Html] = []
    for i, (name, value, kind) in enumerate(rows):
        y = i * ROW
        marks.append(tag("text", cut(name), x=NAME - 10, y=y + 15, text_anchor="end", class_="strong"))
        marks.append(tag("rect", x=NAME, y=y + 4, width=max(1.0, value * scale), height=ROW - 9, rx=2, class_=kind))
        marks.append(tag("text", number(value), x=NAME + max(1.0, value * scale) + 6, y=y + 15))
    if limit is not None:
        x = NAME + limit * scale
        marks.append(tag("line", x1=x, x2=x, y1=0, y2=ROW * len(rows), class_="dash"))
        marks.append(tag("text", f"limit {number(limit)}", x=x, y=height - 12, text_anchor="middle"))
    return tag(
        "svg", *marks, viewBox=f"0 0 {width:.0f} {height:.0f}", style="max-width:680px", role="img", aria_label=label
    )


def cut(name: str, most: int = NAME_CHARS) -> str:
    """Return a name that fits its place; the middle goes, as ends tell columns apart."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def span(
    value: float | None,
    ends: tuple[float | None, float | None],
    limit: float | None,
    tone: Tone,
    scale: tuple[float, float] | None = None,
) -> Html:
    """Return an interval as a bar with its value as a dot and the limit as a line; ends of None run off.

    Rows of one table that are to be compared share a `scale`; without one it is fitted to what is shown.
    """
    known = [v for v in (value, *ends, limit) if v is not None]
    if value is None or len(known) < 2:
        return tag("span")
    low, high = scale or (min(known), max(known))
    pad = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    width, per_unit = 150.0, 150.0 / (high - low + 2 * pad)

    def at(v: float | None, otherwise: float) -> float:
        return otherwise if v is None else (v - low + pad) * per_unit

    left, right = at(ends[0], 0.0), at(ends[1], width)
    marks = [
        tag("line", x1=0, x2=width, y1=9, y2=9, class_="grid"),
        tag("rect", x=left, y=6, width=max(2.0, right - left), height=6, rx=3, class_=f"f{tone}", opacity="0.4"),
        tag("circle", cx=at(value, 0), cy=9, r=3.6, class_=f"f{tone}"),
    ]
    if limit is not None:
        marks.append(tag("line", x1=at(limit, 0), x2=at(limit, 0), y1=1, y2=17, class_="limit"))
    return tag("svg", *marks, viewBox=f"0 0 {width:.0f} 18", style="width:150px", role="img",
               aria_label=f"{number(value)}, from {number(ends[0])} to {number(ends[1])}")  # fmt: skip


def distributions(title: str, both: Distribution, note: str = "") -> Html:
    """Return the training shares (grey) and the window's shares (coloured) per bin."""
    k = len(both.labels)
    top = max([*both.reference, *both.current, 0.01]) * 1.08
    axes = Axes(x=(0.0, float(k)), y=(0.0, top), width=320.0, height=190.0)
    marks, slot = [], axes.px(1) - axes.px(0)
    for i, (before, now) in enumerate(zip(both.reference, both.current, strict=True)):
        for share, shift, kind in ((before, 0.08, "soft"), (now, 0.5, "f0")):
            y = axes.py(share)
            marks.append(tag("rect", x=axes.px(i) + shift * slot, y=y, width=max(0.8, 0.4 * slot),
                             height=axes.py(0) - y, class_=kind))  # fmt: skip
    figure = plot(title, _without_ticks(axes), ("", "share"), *marks, *_labels(axes, both.labels), note=note)
    return tag("div", figure, legend([("soft", "training"), ("f0", "this window")]))


def _without_ticks(axes: Axes) -> Axes:
    return Axes(axes.x, axes.y, axes.width, axes.height, x_ticks=False)


def _labels(axes: Axes, labels: Sequence[str]) -> list[Html]:
    """Return as many bin names as have room, from the first to the last."""
    room = (axes.width - LEFT) / (6.2 * max((len(cut(text, 12)) for text in labels), default=1) + 14)
    every = max(1, -(-len(labels) // max(1, int(room))))
    y = axes.py(0) + 15
    return [
        tag("text", cut(text, 12), x=axes.px(i + 0.5), y=y, text_anchor="middle")
        for i, text in enumerate(labels)
        if i % every == 0
    ]
