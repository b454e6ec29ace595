"""Keeps what a rollout shows over time, for its report: a bounded list of looks in `status.rollout.trail`.

It must never decide anything, and never adds a look that shows nothing new: a write that would change nothing is not
sent. Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from fairlead.api.conditions import parse_time
from fairlead.api.inferenceservice import InferenceServiceStatus, RolloutStatus
from fairlead.contract.rollouts import MAX_POINTS, STATES, Look, Trail, TrailSignal

from .analysis import Finding
from .judge import SignalVerdict
from .sizes import BAKING, active_state
from .traffic import CANARY, STABLE


def with_look(status: InferenceServiceStatus, finding: Finding | None, now: datetime) -> InferenceServiceStatus:
    """Return the status with this look in the rollout's trail, where it shows something new and is due."""
    rollout = status.rollout
    if rollout is None or finding is None:
        return status
    trail = Trail.model_validate(rollout.trail or {})
    signals = _known(trail.signals, finding.verdict.signals)
    look = _look(status, rollout, finding, signals, now)
    if not _is_due(trail, look):
        return status
    kept = rollout.model_copy(update={"trail": _with(trail, signals, look).to_json_object()})
    return status.model_copy(update={"rollout": kept})


def _known(known: Sequence[TrailSignal], found: Sequence[SignalVerdict]) -> list[TrailSignal]:
    """Return the trail's signals and, behind them, those that came since."""
    names = {signal.name for signal in known}
    new = [
        TrailSignal(
            name=signal.name,
            limit_points=round(signal.limit_points, 3),
            fail_at=round(signal.fail_log_threshold, 2),
            pass_at=round(signal.pass_log_threshold, 2),
        )
        for signal in found
        if signal.name not in names
    ]
    return [*known, *new]


def _look(
    status: InferenceServiceStatus,
    rollout: RolloutStatus,
    finding: Finding,
    signals: Sequence[TrailSignal],
    now: datetime,
) -> Look:
    role = STABLE if active_state(rollout) == BAKING else CANARY
    measured = finding.shares.get(role)
    by_name = {signal.name: signal for signal in finding.verdict.signals}
    shown = [by_name.get(signal.name) for signal in signals]
    first = next((signal for signal in shown if signal is not None), None)
    return Look(
        at_s=max(0, int((now - parse_time(rollout.started_at)).total_seconds())),
        state=STATES.index(rollout.state) if rollout.state in STATES else 0,
        asked=next((share.requested for share in status.traffic or () if share.role == role), 0),
        measured=round(measured, 1) if measured is not None else None,
        requests=(first.canary_requests, first.baseline_requests) if first else (0, 0),
        rates=tuple(map(_rates, shown)),
        evidence=tuple(map(_evidence, shown)),
    )


def _rates(signal: SignalVerdict | None) -> tuple[float, float]:
    return (round(100 * signal.canary_rate, 2), round(100 * signal.baseline_rate, 2)) if signal else (0.0, 0.0)


def _evidence(signal: SignalVerdict | None) -> tuple[float, float]:
    return (round(signal.fail_log_e, 1), round(signal.pass_log_e, 1)) if signal else (0.0, 0.0)


def _is_due(trail: Trail, look: Look) -> bool:
    """Say whether a look is kept: another state or share at once, else new requests after the trail's interval."""
    if not trail.points:
        return True
    last = Look.from_text(trail.points[-1])
    if (last.state, last.asked) != (look.state, look.asked):
        return True
    return last.requests != look.requests and look.at_s - last.at_s >= trail.every_s


def _with(trail: Trail, signals: list[TrailSignal], look: Look) -> Trail:
    """Return a trail of at most MAX_POINTS: looks between two changes go first, every second one."""
    points, every_s = [*trail.points, look.to_text()], trail.every_s
    if len(points) > MAX_POINTS:
        gone = _superfluous([*trail.looks, look])
        points = [text for i, text in enumerate(points) if i not in gone]
        every_s *= 2
    return trail.model_copy(update={"signals": signals, "points": points, "every_s": every_s})


def _superfluous(looks: Sequence[Look]) -> set[int]:
    inner = range(1, len(looks) - 1)
    plain = [i for i in inner if (looks[i].state, looks[i].asked) == (looks[i - 1].state, looks[i - 1].asked)]
    return set(plain[::2] or inner[::2])
