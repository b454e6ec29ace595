"""What a rollout showed over time: kept small in status while it goes on, handed to the report Job when it is over.

Times are seconds since the rollout began. Used by `plan/trail.py`, `plan/rollout_report.py` and the report in the pod.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from .base import Model, Text

MAX_POINTS = 32
STATES = ("Preparing", "Step", "Promoting", "Baking", "Held", "RollingBack", "Replaying")


class TrailSignal(Model):
    """One signal's limit in points, and the log evidence at which it is decided."""

    name: str
    limit_points: float
    fail_at: float
    pass_at: float


@dataclass(frozen=True)
class Look:
    """One look: seconds since the rollout began, its state by its place in STATES, the new version's share in percent.

    `requests` are those judged so far, of new and old. `rates` (percent) are of new and old; `evidence` (logs) that new
    is worse and that it is not. Both by signal in the trail's order; one that came later is missing in earlier looks.
    """

    at_s: int
    state: int = 0
    asked: int = 0
    measured: float | None = None
    requests: tuple[int, int] = (0, 0)
    rates: tuple[tuple[float, float], ...] = ()
    evidence: tuple[tuple[float, float], ...] = ()

    def to_text(self) -> str:
        """Return the look as figures with spaces between: status holds many of them."""
        measured = "-" if self.measured is None else f"{self.measured:g}"
        signals = (
            f"{value:g}"
            for rates, evidence in zip(self.rates, self.evidence, strict=True)
            for value in (*rates, *evidence)
        )
        head = (self.at_s, self.state, self.asked, measured, *self.requests)
        return " ".join((*map(str, head), *signals))

    @classmethod
    def from_text(cls, text: str) -> Look:
        """Return the look that a text of `to_text` stands for."""
        at_s, state, asked, measured, new, old, *figures = text.split()
        values = [float(figure) for figure in figures]
        groups = [values[i : i + 4] for i in range(0, len(values), 4)]
        return cls(
            int(at_s),
            int(state),
            int(asked),
            None if measured == "-" else float(measured),
            (int(new), int(old)),
            tuple((group[0], group[1]) for group in groups),
            tuple((group[2], group[3]) for group in groups),
        )


class Trail(Model):
    """A bounded list of looks: once it is full every second one goes, and looks are kept half as often."""

    signals: list[TrailSignal] = Field(default_factory=list)
    points: Annotated[list[str], Field(max_length=MAX_POINTS)] = Field(default_factory=list)
    every_s: int = 4

    @property
    def looks(self) -> list[Look]:
        """The looks, read."""
        return [Look.from_text(text) for text in self.points]


class RolloutRecord(Model):
    """A rollout that is over, as its report shows it."""

    service: str
    model_version: str
    digest: str
    revision: str
    previous_version: str = ""
    strategy: str
    outcome: str
    reason: str
    message: Text = ""
    started_at: str
    ended_at: str
    steps_percent: list[int] = Field(default_factory=list)
    rules: list[tuple[str, str]] = Field(default_factory=list, description="What it had to keep to: name, value.")
    trail: Trail = Trail()
