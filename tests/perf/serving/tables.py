"""What a bench of servers measured, as Markdown: medians, spreads, ratios of a round's own figures, and bars.

Called by `bench_serve`; it must never compare figures of different rounds.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.perf.serving.process_tree import cpu_s
from tests.perf.serving.servers import Running


@dataclass
class Measured:
    """The rounds of one server."""

    name: str
    rates: list[float] = field(default_factory=list)
    cpu_rates: list[float] = field(default_factory=list)

    def median(self) -> float:
        """Return the median of units a second."""
        return statistics.median(self.rates)

    def add(self, running: Running, rate: Callable[[], float]) -> None:
        """Record one round: units a second by the clock and by the server's CPU."""
        before, began = cpu_s(running.pid), time.perf_counter()
        found = rate()
        used = max(0.01, cpu_s(running.pid) - before)
        self.rates.append(found)
        self.cpu_rates.append(found * (time.perf_counter() - began) / used)

    def extend(self, other: Measured) -> None:
        """Add the rounds of another start of the same server."""
        self.rates += other.rates
        self.cpu_rates += other.cpu_rates


def spread(values: Sequence[float], form: str) -> str:
    """Return the median with the lowest and the highest."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def ratio(ours: Sequence[float], theirs: Sequence[Sequence[float]]) -> float:
    """Return the median over the rounds of ours to the better peer of the same round."""
    return statistics.median(own / max(other) for own, *other in zip(ours, *theirs, strict=True))


def verdict(what: str, bar: str, found: str, met: bool) -> None:
    """Print one bar."""
    print(f"\n**{what}**: bar {bar}; measured {found}: {'met' if met else 'NOT met'}", flush=True)


def table(title: str, unit: str, measured: Sequence[Measured], better: Sequence[Measured]) -> None:
    """Print medians, spreads and ratios to the better peer of each round."""
    print(f"\n### {title}\n")
    print(f"| server | {unit}, median (lowest to highest) | times the better peer | per CPU second | times |")
    print("|---|---|---|---|---|")
    for one in measured:
        clock = ratio(one.rates, [peer.rates for peer in better])
        cpu = ratio(one.cpu_rates, [peer.cpu_rates for peer in better])
        print(
            f"| {one.name} | {spread(one.rates, ',.0f')} | {clock:.1f} | {spread(one.cpu_rates, ',.0f')} | {cpu:.1f} |"
        )
    sys.stdout.flush()


def both(measured: Measured, better: Sequence[Measured]) -> tuple[float, str]:
    """Return the ratio by the clock, and both ratios in words."""
    clock = ratio(measured.rates, [peer.rates for peer in better])
    cpu = ratio(measured.cpu_rates, [peer.cpu_rates for peer in better])
    return clock, f"{clock:.1f} times by the clock, {cpu:.1f} per CPU second"
