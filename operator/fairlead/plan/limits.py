"""What is judged: the limits that a user sets, and the proportions of each arm that they are held against.

Pure. It must never see counts. Used by `judge.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

REFUSALS = "refusals"
FOR_REFUSALS = 0.05  # of alpha
PREDICTIONS, LABELS = "predictions", "labels"


@dataclass(frozen=True)
class Limits:
    """How much worse the canary may be, in percentage points; None: not judged. ValueError for what has no meaning."""

    confidence_percent: float = 95.0
    error_points: float | None = None
    latency_points: float | None = None
    predictions_points: float | None = None
    labels_points: float | None = None
    refusals_points: float | None = None
    incident_max_error_percent: float | None = None
    shares: int = 1  # how many signals share alpha, at least: one that is not judged for a while keeps its share

    def __post_init__(self) -> None:
        plain = (self.error_points, self.latency_points, self.refusals_points)
        for points in (*plain, self.predictions_points, self.labels_points):
            if points is not None and not 0 < points < 100:
                raise ValueError(f"a limit of {points} points is not between 0 and 100")
        if not 50 <= self.confidence_percent < 100:
            raise ValueError(f"a confidence of {self.confidence_percent} % is not between 50 and 100")

    @property
    def alpha(self) -> float:
        """The promised bound on each kind of wrong decision, per rollout."""
        return 1.0 - self.confidence_percent / 100.0

    def share_of_alpha(self, name: str) -> float:
        """Which part of alpha one signal may use to FAIL; the parts sum to at most 1.

        Refusals get little: a version that does not take what clients send refuses very many, and the other signals
        are to keep what they had.
        """
        if name == REFUSALS:
            return FOR_REFUSALS
        others = sum(signal.name != REFUSALS for signal in signals(self))
        return (1 - FOR_REFUSALS if self.refusals_points else 1) / max(self.shares, others)


class Signal(NamedTuple):
    """One proportion that is judged: `hits` of `total`, fields of `ArmCounts`; the limit; whether PASS needs it."""

    name: str
    hits: str
    total: str
    difference: float
    required: bool


def signals(limits: Limits) -> tuple[Signal, ...]:
    """The signals that the limits ask for. Predictions, labels and refusals can FAIL; no PASS waits for them."""
    known = (
        ("errors", "failed", "requests", limits.error_points, True),
        ("latency", "slow", "requests", limits.latency_points, True),
        (PREDICTIONS, "", "", limits.predictions_points, False),
        (LABELS, "wrong", "labelled", limits.labels_points, False),
        (REFUSALS, "refused", "requests", limits.refusals_points, False),
    )
    return tuple(Signal(name, hits, total, points / 100, need) for name, hits, total, points, need in known if points)
