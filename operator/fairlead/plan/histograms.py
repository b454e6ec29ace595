"""Predictions of both arms by the same bins, turned into a yes/no signal: "the answer lies in the watched event".

Two distributions whose total variation is at most d differ by at most d in every event, so "more than d in this event"
refutes "at most d". The event of a block is chosen from the blocks before it alone: the bins in which the canary had
the larger share. So the e-values of `evidence.py` hold although the event changes from block to block.
Pure; it must never look at a block before its event is chosen. Used by `judge.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from .evalue import Block
from .evidence import MIN_BLOCK, SignalState

Counts = tuple[int, ...]


@dataclass(frozen=True)
class Histograms:
    """What both arms predicted, by bin: closed blocks, the last of them, and the open one. `bins` names the edges."""

    bins: str = ""
    closed: tuple[Counts, Counts] = ((), ())
    last: tuple[Counts, Counts] = ((), ())
    open: tuple[Counts, Counts] = ((), ())

    def observed(self, signal: SignalState, canary: Counts, baseline: Counts) -> tuple[Histograms, SignalState]:
        """With new answers, and the signal after them; the first block only teaches which event to watch."""
        now = replace(self, open=(_sum(self.open[0], canary), _sum(self.open[1], baseline)))
        return now.closing(signal) if min(sum(now.open[0]), sum(now.open[1])) >= MIN_BLOCK else (now, signal)

    def closing(self, signal: SignalState) -> tuple[Histograms, SignalState]:
        """With the open block as evidence."""
        event = watched(self.closed)
        if event:
            closed, last, opened = (_block(counts, event) for counts in (self.closed, self.last, self.open))
            signal = replace(signal, closed=closed, last=last, open=opened).closing()
        total = (_sum(self.closed[0], self.open[0]), _sum(self.closed[1], self.open[1]))
        return Histograms(self.bins, total, self.open), signal

    def in_new_step(self, signal: SignalState) -> tuple[Histograms, SignalState]:
        """As `SignalState.in_new_step`, by way of the bins."""
        following, closed = self.closing(signal) if any(map(sum, self.open)) else (self, signal)
        return following, closed.in_new_step()

    def single_bin(self) -> bool:
        """Whether all of the canary's answers fell into one bin, which the baseline's did not."""
        canary, baseline = (_sum(self.closed[arm], self.open[arm]) for arm in (0, 1))
        return sum(1 for count in canary if count) == 1 and sum(1 for count in baseline if count) > 1

    def to_dict(self) -> dict[str, Any]:
        """Compact JSON; `from_dict` gives back an equal state."""
        pairs = {name: list(map(list, getattr(self, name))) for name in ("closed", "last", "open")}
        return {"bins": self.bins, **pairs}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Histograms:
        """The inverse of `to_dict`."""
        pairs = ((tuple(data[name][0]), tuple(data[name][1])) for name in ("closed", "last", "open"))
        return cls(data["bins"], *pairs)


def watched(closed: tuple[Counts, Counts]) -> frozenset[int]:
    """Return the bins that had a larger share of the canary's answers than of the baseline's so far."""
    canary, baseline = map(sum, closed)
    both = enumerate(zip_longest(*closed, fillvalue=0))
    return frozenset(i for i, (c, b) in both if c * baseline > b * canary)


def _block(counts: tuple[Counts, Counts], event: frozenset[int]) -> Block:
    canary, baseline = counts
    inside = [sum(n for i, n in enumerate(arm) if i in event) for arm in (canary, baseline)]
    return Block(inside[0], sum(canary), inside[1], sum(baseline))


def _sum(a: Counts, b: Counts) -> Counts:
    return tuple(x + y for x, y in zip_longest(a, b, fillvalue=0))
