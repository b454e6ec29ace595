"""Plots of how a model does: ROC, precision-recall, calibration, residuals, predicted against true.

Take points that were computed elsewhere (`evaluate.pictures`), never rows. Called by `card`.
"""

from __future__ import annotations

from collections.abc import Sequence

from .axes import Axes, legend, plot
from .content import Bin, Curve
from .markup import Html, tag
from .numbers import number

MOST_CURVES = 5


def roc(curves: Sequence[Curve]) -> Html:
    """Return the ROC curves, one per class with more than two."""
    diagonal = _line(Axes(), [(0, 0), (1, 1)], "dash")
    return _curves("ROC curve", ("false positive rate", "true positive rate"), curves, diagonal)


def precision_recall(curves: Sequence[Curve], base_rate: float | None) -> Html:
    """Return the precision-recall curves; dashed: the share of positives, which guessing reaches."""
    line = None if base_rate is None else _line(Axes(), [(0, base_rate), (1, base_rate)], "dash")
    return _curves("Precision and recall", ("recall", "precision"), curves, line)


def calibration(curve: Curve, histogram: Sequence[Bin]) -> Html:
    """Return observed against predicted shares; under it, how often each probability is given."""
    axes = Axes()
    top = max((bar.count for bar in histogram), default=0) or 1
    bars = [_bar(axes, bar.low, bar.high, 0.18 * bar.count / top, "soft") for bar in histogram]
    dots = [tag("circle", cx=axes.px(x), cy=axes.py(y), r=3.2, class_="f0") for x, y in curve.points]
    marks = [*bars, _line(axes, [(0, 0), (1, 1)], "dash"), _line(axes, curve.points, "curve s0"), *dots]
    return plot("Calibration", axes, ("predicted probability", "observed share"), *marks)


def residuals(histogram: Sequence[Bin]) -> Html:
    """Return the distribution of predicted minus true."""
    low, high = histogram[0].low, histogram[-1].high
    axes = Axes(x=(low, high), y=(0.0, 1.06 * max(bar.count for bar in histogram) or 1.0))
    bars = [_bar(axes, bar.low, bar.high, bar.count, "f0") for bar in histogram]
    zero = tag("line", x1=axes.px(0), x2=axes.px(0), y1=axes.py(0), y2=axes.py(axes.y[1]), class_="limit")
    inside = low < 0 < high
    return plot("Residuals", axes, ("predicted minus true", "rows"), *bars, zero if inside else None)


def predicted_against_true(cells: Sequence[Sequence[int]], low: float, high: float) -> Html:
    """Return a density map: cells[i][j] rows with the i-th true and the j-th predicted band of [low, high]."""
    axes = Axes(x=(low, high), y=(low, high))
    most, step = max(max(row) for row in cells) or 1, (high - low) / len(cells)
    marks = []
    for i, row in enumerate(cells):
        for j, count in enumerate(row):
            if count:
                x, y = axes.px(low + i * step), axes.py(low + (j + 1) * step)
                width, height = axes.px(low + step) - axes.px(low), axes.py(low) - axes.py(low + step)
                shade = f"{0.12 + 0.88 * (count / most) ** 0.5:.2f}"
                marks.append(tag("rect", x=x, y=y, width=width, height=height, class_="f0", opacity=shade))
    return plot(
        "Predicted against true", axes, ("true", "predicted"), *marks, _line(axes, [(low, low), (high, high)], "dash")
    )


def _curves(title: str, labels: tuple[str, str], curves: Sequence[Curve], under: Html | None) -> Html:
    axes, shown = Axes(), list(curves)[:MOST_CURVES]
    lines = [_line(axes, curve.points, f"curve s{i}") for i, curve in enumerate(shown)]
    note = f"area {number(shown[0].area)}" if len(shown) == 1 else ""
    figure = plot(title, axes, labels, under, *lines, note=note)
    if len(shown) < 2:
        return figure
    names = [(f"f{i}", f"{curve.name} {number(curve.area)}") for i, curve in enumerate(shown)]
    return tag("div", figure, legend(names))


def _line(axes: Axes, points: Sequence[tuple[float, float]], kind: str) -> Html | None:
    return tag("path", d=axes.path(points), class_=kind) if points else None


def _bar(axes: Axes, low: float, high: float, height: float, kind: str) -> Html:
    top = axes.py(height)
    width = max(0.5, axes.px(high) - axes.px(low) - 1)
    return tag("rect", x=axes.px(low) + 0.5, y=top, width=width, height=axes.py(axes.y[0]) - top, class_=kind)


def confusion(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> Html:
    """Return the confusion matrix as a table: rows are true, shares are of the row."""
    head = tag("tr", tag("th", "true \\ predicted"), *(tag("th", name) for name in classes))
    rows = []
    for i, name in enumerate(classes):
        total = sum(matrix[i]) or 1
        cells = [_confusion_cell(count, count / total, i == j) for j, count in enumerate(matrix[i])]
        rows.append(tag("tr", tag("th", name), *cells))
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="matrix")
    return tag("figure", tag("h3", "Confusion matrix"), tag("div", table, class_="scroll"))


def _confusion_cell(count: int, share: float, right: bool) -> Html:
    colour = "var(--accent)" if right else "var(--second)"
    style = f"background:color-mix(in srgb,{colour} {round(8 + 42 * share) if count else 0}%,transparent)"
    return tag("td", f"{count:,}", tag("small", f"{100 * share:.1f} %"), style=style)
