"""Hold one evaluation's measurements against the gates: each Passed, Failed or Inconclusive with its evidence.

Pure but for the latency that the caller hands in as a function; never reads the store. Gates that ask for something
that does not exist are refused before anything is measured (`check_gates`). Called by `evaluate.run`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import pandas as pd

from fairlead.contract.base import quantity
from fairlead.contract.gates import Fairness, Gate, GateOutcome, GateResult, Latency
from fairlead_runtime.errors import BadInput
from fairlead_runtime.stats.intervals import Interval, quantile
from fairlead_runtime.stats.metrics import NEED_PROBABILITIES, Classified, Outcomes
from fairlead_runtime.stats.shortfall import MIN_ROWS, missing_for_floor
from fairlead_runtime.stats.types import Floats

from .decide import TOO_FEW, Limit, decide, too_few, worse_of
from .groups import groups_of
from .measure import intervals, loss_against, metric_names
from .slices import Gap, deciding, fairness_gaps, slice_gaps

NO_CHAMPION, NO_GROUPS = "NoChampion", "TooFewGroups"


@dataclass(frozen=True)
class Measured:
    """Everything that gates look at; `frame` has the split's columns, `metrics` the version's own intervals."""

    outcomes: Outcomes
    metrics: dict[str, Interval]
    frame: pd.DataFrame
    artifact_bytes: int
    seed: int
    latencies_ms: Callable[[float], Floats]
    champion: Outcomes | None = None
    champion_name: str = ""
    found: dict[str, list[Gap]] = field(default_factory=dict, compare=False)  # a gate's slices, kept for the card


def check_gates(gates: Sequence[Gate], outcomes: Outcomes, columns: Collection[str]) -> None:
    """Raise BadInput for a metric, column or comparison that cannot exist here; the message lists what can."""
    for gate in gates:
        if gate.metric is not None:
            _check_metric(gate.name, gate.metric, outcomes)
        for column in [*(gate.slices or []), *([gate.fairness.attribute] if gate.fairness else [])]:
            if column not in columns:
                known = ", ".join(sorted(columns)[:40])
                raise BadInput("UnknownColumn", f"gate {gate.name}: no column {column!r} in the split; it has {known}")
        if gate.fairness and not (isinstance(outcomes, Classified) and outcomes.binary):
            raise BadInput("FairnessNeedsTwoClasses", f"gate {gate.name}: fairness is defined for two classes only")


def _check_metric(gate: str, name: str, outcomes: Outcomes) -> None:
    known = metric_names(outcomes)
    if name in known:
        return
    if name in NEED_PROBABILITIES and isinstance(outcomes, Classified):
        raise BadInput("MetricNeedsProbabilities", f"gate {gate}: {name} needs probabilities; this model gives labels")
    task = "classification" if isinstance(outcomes, Classified) else "regression"
    raise BadInput("UnknownMetric", f"gate {gate}: no {task} metric {name!r}; choose one of {', '.join(known)}")


def judge(gate: Gate, measured: Measured) -> GateResult:
    """Return what one gate found."""
    if gate.latency is not None:
        return _latency(gate.name, gate.latency, measured)
    if gate.artifact_size is not None:
        size = float(measured.artifact_bytes)
        exact = Interval(size, size, size, 0)
        return decide(gate.name, "The artifact's size", exact, Limit(quantity(gate.artifact_size.max), unit=" bytes"))
    if gate.fairness is not None:
        return _fairness(gate.name, gate.fairness, measured)
    assert gate.metric is not None
    if gate.versus_champion is not None:
        return _versus_champion(gate.name, gate.metric, gate.versus_champion.max_loss, measured)
    parts = [_absolute(gate, measured)] if gate.min is not None or gate.max is not None else []
    if gate.slices is not None:
        parts.append(_slices(gate, measured))
    return worse_of(parts)


def _absolute(gate: Gate, measured: Measured) -> GateResult:
    name = gate.metric or ""
    limits = [Limit(gate.min, at_least=True)] if gate.min is not None else []
    limits += [Limit(gate.max)] if gate.max is not None else []
    missing = missing_for_floor(name, measured.outcomes)
    if missing:
        return too_few(gate.name, name, len(measured.outcomes), missing, limits[0].value)
    return worse_of([decide(gate.name, name, measured.metrics[name], limit) for limit in limits])


def _versus_champion(gate: str, name: str, max_loss: float, measured: Measured) -> GateResult:
    outcomes, champion = measured.outcomes, measured.champion
    if champion is None:
        message = "There is no champion yet, so nothing to compare with."
        return GateResult(name=gate, outcome=GateOutcome.PASSED, reason=NO_CHAMPION, limit=max_loss, message=message)
    if name in NEED_PROBABILITIES and isinstance(champion, Classified) and champion.probability is None:
        message = f"gate {gate}: {name} needs probabilities, and the champion {measured.champion_name} gives labels"
        raise BadInput("MetricNeedsProbabilities", message)
    missing = missing_for_floor(name, outcomes)
    if missing:
        return too_few(gate, name, len(outcomes), missing, max_loss)
    loss = loss_against(champion, outcomes, name, measured.seed)
    what = f"The loss of {name} against {measured.champion_name}"
    return decide(gate, what, loss, Limit(max_loss))


def _slices(gate: Gate, measured: Measured) -> GateResult:
    name, limit = gate.metric or "", Limit(gate.max_gap or 0.0)
    groups = [group for column in gate.slices or [] for group in groups_of(measured.frame, column)]
    gaps = measured.found.setdefault(gate.name, slice_gaps(name, measured.outcomes, groups, measured.seed))
    small = len(groups) - len(gaps)
    if not gaps:
        return too_few(gate.name, f"{name} per slice", len(measured.outcomes), MIN_ROWS, limit.value)
    unclear = next((gap for gap in gaps if gap.missing), None)
    clear = [gap for gap in gaps if not gap.missing]
    results = [_worst_gap(gate.name, f"The gap of {name} for", clear, limit, small)] if clear else []
    if unclear is not None:
        results.append(too_few(gate.name, f"{name} for {unclear.name}", unclear.rows, unclear.missing, limit.value))
    return worse_of(results)


def _worst_gap(gate: str, what: str, gaps: list[Gap], limit: Limit, small: int) -> GateResult:
    gap = deciding(gaps, limit.value)
    result = decide(gate, f"{what} {gap.name}", gap.interval, limit)
    note = f" {small} with under {MIN_ROWS} rows left out." if small else ""
    return result.model_copy(update={"message": f"{result.message}{note}"[:1024]})


def _fairness(gate: str, fairness: Fairness, measured: Measured) -> GateResult:
    assert isinstance(measured.outcomes, Classified)
    groups = groups_of(measured.frame, fairness.attribute)
    gaps = fairness_gaps(fairness.metric, measured.outcomes, groups)
    if gaps:
        return _worst_gap(gate, f"{fairness.metric.value} of", gaps, Limit(fairness.max), 0)
    message = f"{fairness.attribute} has fewer than two groups with enough rows to compare."
    return GateResult(
        name=gate,
        outcome=GateOutcome.INCONCLUSIVE,
        reason=TOO_FEW if len(groups) > 1 else NO_GROUPS,
        limit=fairness.max,
        rows=len(measured.outcomes),
        message=message,
    )


def _latency(gate: str, latency: Latency, measured: Measured) -> GateResult:
    found = quantile(measured.latencies_ms(latency.percentile), latency.percentile / 100)
    return decide(gate, f"The p{latency.percentile:g} of one-row predictions", found, Limit(latency.max_ms, unit=" ms"))


def table(outcomes: Outcomes, seed: int) -> dict[str, Interval]:
    """Return every metric of the task with its interval."""
    return intervals(metric_names(outcomes), outcomes, seed)
