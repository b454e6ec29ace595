"""Runs an evaluation: verify and load, predict the frozen split, measure, judge the gates, write card and result.

The same input has the same evaluation: one that is in the store is said again, and nothing is measured twice. The
entry of kind Evaluate in `__main__`.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fairlead.contract import env, keys
from fairlead.contract.base import canonical_json, digest_of
from fairlead.contract.gates import GateOutcome, GateResult
from fairlead.contract.jobs import EvaluateInput, EvaluateSummary
from fairlead.contract.training import Task
from fairlead_runtime.errors import BadInput, ObjectNotFound
from fairlead_runtime.progress import report
from fairlead_runtime.report.card import render_card
from fairlead_runtime.report.numbers import finite
from fairlead_runtime.revision import read_manifest, read_split
from fairlead_runtime.stats.bootstrap import seed_of
from fairlead_runtime.stats.metrics import Outcomes, Regressed
from fairlead_runtime.stats.types import Bools, Floats
from fairlead_runtime.store import Store, get_json, put_folder
from fairlead_runtime.summary import encode_summary

from .describe import Evaluated, build_card
from .gates import Measured, check_gates, judge, table
from .latency import one_row_latencies
from .predict import Version, alike, answer, feature_frame, load_version, outcomes_of, row_caller, truth_of


@dataclass(frozen=True)
class _Rows:
    """The split's usable rows: those with a target of a class that the version knows."""

    table: pa.Table
    truth: Any
    left_out: int


def run(job: EvaluateInput, store: Store) -> EvaluateSummary:
    """Return the summary of this evaluation, made now or found in the store."""
    folder = keys.evaluation(job.namespace, job.name, digest_of(job))
    try:
        return EvaluateSummary.model_validate(get_json(store, folder + keys.RESULT))
    except ObjectNotFound:
        pass
    with tempfile.TemporaryDirectory(dir=os.environ.get(env.WORK_DIR)) as work:
        done = _evaluate(job, store, Path(work))
        card = build_card(done)
    summary = _summary(done, folder + keys.CARD)
    files = {keys.CARD: render_card(card), keys.CARD_JSON: canonical_json(card.to_json_object())}
    put_folder(store, folder, files, (keys.RESULT, canonical_json(summary.to_json_object())))
    return summary


def _evaluate(job: EvaluateInput, store: Store, work: Path) -> Evaluated:
    report(0, 3, "fetching the version and the frozen rows")
    version = load_version(store, job.artifact, work / "version")
    rows = _rows(job, store, version, work)
    report(1, 3, f"predicting {rows.table.num_rows} rows")
    frame = feature_frame(version, rows.table)
    outcomes = outcomes_of(version.signature, rows.truth, answer(version, frame))
    check_gates(job.gates, outcomes, rows.table.column_names)
    report(2, 3, f"measuring, {len(job.gates)} gates")
    measured = _measured(job, version, outcomes, rows, frame)
    if job.champion is not None and any(gate.versus_champion for gate in job.gates):
        measured = _with_champion(job, store, measured, rows, work)
    results = [judge(gate, measured) for gate in job.gates]
    report(3, 3, "measured", {name: interval.value for name, interval in measured.metrics.items()})
    return Evaluated(job, version, measured, results, rows.left_out)


def _rows(job: EvaluateInput, store: Store, version: Version, work: Path) -> _Rows:
    (work / "rows").mkdir()
    manifest = read_manifest(store, job.namespace, job.dataset)
    whole = read_split(store, job.namespace, job.dataset, job.split, work / "rows", manifest)
    target = version.signature.target or manifest.roles.target or ""
    if target not in whole.column_names:
        raise BadInput("TargetMissing", f"{job.dataset.name} has no column {target!r}, which {version.name} predicts")
    some = whole.filter(pc.is_valid(whole[target]))
    truth = truth_of(version.signature, some[target])
    known: Bools = truth >= 0 if truth.dtype.kind == "i" else np.isfinite(truth)
    if not known.any():
        raise BadInput("NoRows", f"the {job.split} part of {job.dataset.name} has no row with a known {target}")
    kept = some.filter(pa.array(known))
    return _Rows(kept, truth[known], whole.num_rows - kept.num_rows)


def _measured(job: EvaluateInput, version: Version, outcomes: Outcomes, rows: _Rows, frame: pd.DataFrame) -> Measured:
    seed = seed_of(digest_of(job))
    wanted = {column for gate in job.gates for column in gate.slices or []}
    wanted |= {gate.fairness.attribute for gate in job.gates if gate.fairness}
    call, count = row_caller(version, frame), min(500, len(frame))

    def latencies_ms(percentile: float) -> Floats:
        return one_row_latencies(call, count, percentile)

    return Measured(
        outcomes=outcomes,
        metrics=table(outcomes, seed),
        frame=rows.table.select(sorted(wanted)).to_pandas(),
        artifact_bytes=version.size_bytes,
        seed=seed,
        latencies_ms=latencies_ms,
    )


def _with_champion(job: EvaluateInput, store: Store, measured: Measured, rows: _Rows, work: Path) -> Measured:
    """Return the measurements with the champion's answers to the very same rows."""
    assert job.champion is not None
    champion = load_version(store, job.champion, work / "champion")
    answers = answer(champion, feature_frame(champion, rows.table))
    if isinstance(measured.outcomes, Regressed) != (champion.signature.task == Task.REGRESSION):
        raise BadInput("ChampionDiffers", f"the champion {champion.name} solves another task; compare with another one")
    outcomes = alike(measured.outcomes, answers, champion.signature.classes)
    return dataclasses.replace(measured, champion=outcomes, champion_name=champion.name)


def _summary(done: Evaluated, card_key: str) -> EvaluateSummary:
    """Return the summary; what does not fit its 3 KiB is in the card."""
    metrics = {name: value for name, i in done.measured.metrics.items() if (value := finite(i.value)) is not None}
    summary = EvaluateSummary(
        input_digest=digest_of(done.job),
        rows=len(done.measured.outcomes),
        metrics=metrics,
        gates=done.results,
        card_key=card_key,
    )
    return _fitted(summary)


def _fitted(summary: EvaluateSummary) -> EvaluateSummary:
    """Return a summary that fits: fifteen gates with the longest names leave no room for all of their evidence.

    What goes first is what the card repeats and no decision needs; names, outcomes, values and limits stay.
    """
    for level in range(4):
        shorter = summary.model_copy(update={"gates": [_terse(gate, level) for gate in summary.gates]})
        try:
            encode_summary(shorter)
        except ValueError:
            continue
        return shorter
    return summary


def _terse(gate: GateResult, level: int) -> GateResult:
    """Return the result as it is (0), with four digits and bounds where they matter (1), without them (2, 3)."""
    if level == 0:
        return gate
    gone: dict[str, object] = {name: _four(getattr(gate, name)) for name in ("value", "limit", "low", "high")}
    if level > 1 or gate.outcome == GateOutcome.PASSED:
        gone |= {"low": None, "high": None}
    if level > 2:
        gone |= {"missing_rows": None, "reason": ""}
    return gate.model_copy(update={**gone, "message": ""})


def _four(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
