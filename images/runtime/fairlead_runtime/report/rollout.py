"""The rollout report: how a new version's share, failures and evidence went over time, and why it ended as it did.

Made from the record alone that status kept: counts and shares, never a request. Called by `report.job`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from fairlead.contract.rollouts import STATES, Look, RolloutRecord, TrailSignal

from .axes import Axes, legend, plot
from .content import Tone
from .markup import Child, Html, badge, code, facts, section, table, tag
from .numbers import number
from .page import page, tiles, verdict

WORDS: dict[str, tuple[Tone, str]] = {
    "Promoted": ("good", "was promoted"),
    "RolledBack": ("bad", "was rolled back"),
    "Inconclusive": ("unsure", "ended without a verdict"),
    "Superseded": ("quiet", "gave way to another version"),
}
SIGNALS = {"errors": "failed requests", "latency": "slow requests", "labels": "wrong answers"}
WIDE, TALL = 960.0, 260.0
HALF, LOW = 460.0, 240.0  # two beside each other: rates and evidence of one signal
PAIRS = "margin-top:18px;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr))"
EVIDENCE_LOW = -0.5  # far under 0 nothing more is told, and the lines near 1 would be flat
ROOM = 1.08  # over the highest point

Line = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Clock:
    """Seconds as the unit that fits the rollout's length."""

    unit: str
    seconds: float
    end: float

    def at(self, point: Look) -> float:
        """Return a look's time in the unit."""
        return point.at_s / self.seconds


def render_rollout(record: RolloutRecord, namespace: str) -> bytes:
    """Return the page as UTF-8 HTML."""
    subtitle = tag("span", f"{record.service} in {namespace} · {record.strategy} · ", code(record.digest))
    parts = [_shares, _signals, _steps, _rules]
    body = [_verdict(record), _tiles(record), *(part(record) for part in parts)]
    footer = f"Revision {record.revision} · counts and shares only · this file loads nothing from anywhere."
    return page("rollout report", record.model_version, subtitle, *body, footer=footer)


def _verdict(record: RolloutRecord) -> Html:
    tone, words = WORDS.get(record.outcome, ("quiet", f"ended: {record.outcome}"))
    when = f"{_time(record.started_at)} to {_time(record.ended_at)} UTC."
    reason = "" if record.reason in ("", record.outcome) else f" ({record.reason})"
    return verdict(tone, f"{record.model_version} {words}{reason}", f"{record.message} {when}".strip())


def _time(text: str) -> str:
    return text.replace("T", " ").removesuffix("Z")[:16]


def _tiles(record: RolloutRecord) -> Html:
    points = record.trail.looks
    shown = [("took", _span(_length_s(record)))]
    if points:
        new, old = points[-1].requests
        shown.append(("judged requests, new", f"{new:,}"))
        shown.append(("judged requests, beside it", f"{old:,}"))
        shown.append(("largest share asked for", f"{max(point.asked for point in points)} %"))
    return tiles(shown)


def _length_s(record: RolloutRecord) -> float:
    return max(0.0, (_moment(record.ended_at) - _moment(record.started_at)).total_seconds())


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _clock(points: Sequence[Look]) -> Clock:
    end = float(points[-1].at_s) or 1.0
    unit, seconds = next(
        (unit, size) for unit, size, most in (("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, float("inf")))
        if end <= most
    )  # fmt: skip
    return Clock(unit, seconds, end / seconds)


def _shares(record: RolloutRecord) -> Html | None:
    points = record.trail.looks
    if len(points) < 2:
        text = "It ended before requests were counted over time, so there is nothing to draw."
        return section("Over time", tag("p", text))
    clock = _clock(points)
    axes = Axes(x=(0.0, clock.end), y=(0.0, 100.0), width=WIDE, height=TALL)
    asked = tag("path", d=axes.path(_stairs([(clock.at(p), float(p.asked)) for p in points])), class_="curve s4")
    seen = [(clock.at(p), p.measured) for p in points if p.measured is not None]
    measured = tag("path", d=axes.path(seen), class_="curve s0") if len(seen) > 1 else None
    dots = [tag("circle", cx=axes.px(x), cy=axes.py(y), r=2.4, class_="f0") for x, y in seen]
    figure = plot("Share of the new version", axes, (clock.unit, "percent"), *_holds(points, clock, axes), asked,
                  measured, *dots)  # fmt: skip
    names = [("f4", "asked for"), ("f0", "measured")]
    held = [("soft", "held")] if any(STATES[p.state] == "Held" for p in points) else []
    lead = "A step is left when nothing failed and it had its requests; measured is what the pods counted."
    wide = tag("div", tag("div", figure, style="min-width:560px"), class_="scroll")  # a phone scrolls
    return section("Over time", wide, legend([*names, *held]), lead=lead)


def _stairs(points: Line) -> list[tuple[float, float]]:
    """Return the corners of a line that jumps at each point."""
    corners = [points[0]]
    for (_, before), (x, y) in pairwise(points):
        corners += [(x, before), (x, y)]
    return corners


def _holds(points: Sequence[Look], clock: Clock, axes: Axes) -> list[Html]:
    """Return a grey band wherever the rollout was held."""
    bands = []
    for point, after in pairwise(points):
        if STATES[point.state] == "Held":
            left, right = axes.px(clock.at(point)), axes.px(clock.at(after))
            top, height = axes.py(axes.y[1]), axes.py(axes.y[0]) - axes.py(axes.y[1])
            bands.append(tag("rect", x=left, y=top, width=max(1.0, right - left), height=height, class_="soft"))
    return bands


def _signals(record: RolloutRecord) -> Html | None:
    points, signals = record.trail.looks, record.trail.signals
    if len(points) < 2 or not signals:
        return None
    rows = [_signal_row(signal, i, points) for i, signal in enumerate(signals) if i < len(points[-1].rates)]
    headings: list[Child] = ["Signal", "", "New", "Beside it", "Limit", "Most evidence: worse", "not worse"]
    figures = [figure for i, signal in enumerate(signals) for figure in _figures(points, signal, i)]
    lead = "Evidence is the log of an e-value as a part of what decides: at 1 it is enough, whenever one looks " \
           "(anytime-valid). That it is not worse has to be shown anew in the last step."  # fmt: skip
    return section("What was judged", table(headings, rows, frozenset(range(2, 7))),
                   tag("div", *figures, class_="plots", style=PAIRS), lead=lead)  # fmt: skip


def _signal_row(signal: TrailSignal, i: int, points: Sequence[Look]) -> list[Child]:
    """Return the last rates and the most evidence there was: what a step had shown is not shown anew in the bake."""
    new, old = points[-1].rates[i]
    worse, fine = (max(p.evidence[i][side] for p in points if i < len(p.evidence)) for side in (0, 1))
    tone, word = ("bad", "Worse") if worse >= signal.fail_at else ("quiet", "Open")
    if tone == "quiet" and fine >= signal.pass_at:
        tone, word = "good", "Not worse"
    return [
        SIGNALS.get(signal.name, signal.name), badge(word, tone), f"{number(new)} %", f"{number(old)} %",
        f"+{number(signal.limit_points)} points", f"{_part(worse, signal.fail_at):.0%}",
        f"{_part(fine, signal.pass_at):.0%}",
    ]  # fmt: skip


def _part(evidence: float, enough: float) -> float:
    return max(0.0, evidence / enough) if enough > 0 else 0.0


def _figures(points: Sequence[Look], signal: TrailSignal, i: int) -> list[Html]:
    shown = [point for point in points if i < len(point.rates)]
    if len(shown) < 2:
        return []
    clock, name = _clock(points), SIGNALS.get(signal.name, signal.name)
    return [_rates(name, shown, signal, i, clock), _evidence(name, shown, signal, i, clock)]


def _rates(name: str, points: Sequence[Look], signal: TrailSignal, i: int, clock: Clock) -> Html:
    limit = [point.rates[i][1] + signal.limit_points for point in points]
    top = max([*limit, *(rate for point in points for rate in point.rates[i])]) * ROOM or 1.0
    axes = Axes(x=(0.0, clock.end), y=(0.0, top), width=HALF, height=LOW)
    lines = [
        _line(axes, points, clock, lambda p: p.rates[i][1] + signal.limit_points, "dash"),
        _line(axes, points, clock, lambda p: p.rates[i][1], "curve s4"),
        _line(axes, points, clock, lambda p: p.rates[i][0], "curve s0"),
    ]
    figure = plot(name[0].upper() + name[1:], axes, (clock.unit, "percent, so far"), *lines)
    return tag("div", figure, legend([("f0", "new"), ("f4", "beside it (dashed: with the limit)")]))


def _evidence(name: str, points: Sequence[Look], signal: TrailSignal, i: int, clock: Clock) -> Html:
    def worse(point: Look) -> float:
        return max(EVIDENCE_LOW, point.evidence[i][0] / signal.fail_at if signal.fail_at else 0.0)

    def fine(point: Look) -> float:
        return max(EVIDENCE_LOW, point.evidence[i][1] / signal.pass_at if signal.pass_at else 0.0)

    top = max(1.0, *(max(worse(point), fine(point)) for point in points)) * ROOM
    axes = Axes(x=(0.0, clock.end), y=(EVIDENCE_LOW, top), width=HALF, height=LOW)
    enough = tag("path", d=axes.path([(0.0, 1.0), (clock.end, 1.0)]), class_="dash")
    lines = [_line(axes, points, clock, worse, "curve s1"), _line(axes, points, clock, fine, "curve s2")]
    figure = plot(f"Evidence, {name}", axes, (clock.unit, "part of what decides"), enough, *lines)
    return tag("div", figure, legend([("f1", "worse"), ("f2", "not worse")]))


def _line(axes: Axes, points: Sequence[Look], clock: Clock, value: Callable[[Look], float], kind: str) -> Html:
    return tag("path", d=axes.path([(clock.at(point), value(point)) for point in points]), class_=kind)


def _steps(record: RolloutRecord) -> Html | None:
    """Return each change of state or share, with what had been counted by then."""
    points = record.trail.looks
    changes = [
        point
        for i, point in enumerate(points)
        if i == 0 or (point.state, point.asked) != (points[i - 1].state, points[i - 1].asked)
    ]
    if not changes:
        return None
    rows: list[list[Child]] = [
        [STATES[look.state], f"{look.asked} %", _span(look.at_s), f"{look.requests[0]:,}", f"{look.requests[1]:,}"]
        for look in changes
    ]
    headings: list[Child] = ["State", "Share", "After", "Judged requests, new", "beside it"]
    return section("Steps", table(headings, rows, frozenset({1, 2, 3, 4})))


def _rules(record: RolloutRecord) -> Html:
    others: list[tuple[str, Child]] = [
        ("new version", record.model_version),
        ("beside it", record.previous_version),
        ("steps", ", ".join(f"{step} %" for step in record.steps_percent)),
        *record.rules,
    ]
    return section("What it had to keep to", facts(others))
