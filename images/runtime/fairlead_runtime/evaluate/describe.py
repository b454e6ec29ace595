"""The model card's content: the artifact's own files, the measurements, and what the evaluation cannot know.

Called by `evaluate.job`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fairlead.contract import keys
from fairlead.contract.base import digest_of
from fairlead.contract.gates import LOWER_IS_BETTER, Gate, GateResult
from fairlead.contract.jobs import EvaluateInput
from fairlead_runtime.report.content import Card, MetricRow, SliceRow
from fairlead_runtime.report.numbers import finite
from fairlead_runtime.stats.metrics import Classified, class_counts
from fairlead_runtime.stats.shortfall import MIN_CLASS_ROWS

from .gates import Measured
from .pictures import pictures
from .predict import Version

MOST_SLICES = 40
# What a training is made again with; the rest of lineage.json stays in the store.
LINEAGE = (
    ("Training run", "trainingRun"), ("Attempt", "attempt"), ("Dataset", "dataset"), ("Data revision", "dataRevision"),
    ("Trainer", "trainer"), ("Parameters", "parameters"), ("Search", "search"), ("Trials", "trials"), ("Seed", "seed"),
    ("Code", "code"), ("Image", "image"), ("Architecture", "architecture"), ("Python", "python"),
    ("Packages digest", "packagesDigest"), ("Parity", "parity"),
)  # fmt: skip
PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "skl2onnx",
    "onnx",
    "onnxruntime",
    "lightgbm",
    "xgboost",
)


@dataclass(frozen=True)
class Evaluated:
    """One evaluation, done."""

    job: EvaluateInput
    version: Version
    measured: Measured
    results: list[GateResult]
    left_out: int = 0  # rows without a target, or of a class that training has not seen


def build_card(done: Evaluated) -> Card:
    """Return the card's content."""
    job, signature, measured = done.job, done.version.signature, done.measured
    profile = done.version.fetched.profile
    return Card(
        name=job.name,
        namespace=job.namespace,
        model=job.artifact.model,
        digest=job.artifact.digest,
        format=done.version.fetched.form,
        size_bytes=measured.artifact_bytes,
        task=signature.task.value,
        target=signature.target,
        classes=signature.classes,
        inputs=[(column.name, column.type.value) for column in signature.inputs],
        dataset=job.dataset.name,
        revision=job.dataset.revision,
        split=job.split,
        rows=len(measured.outcomes),
        input_digest=digest_of(job),
        champion=measured.champion_name,
        lineage=_lineage(done.version),
        metrics=[
            MetricRow(name=name, value=finite(i.value), low=finite(i.low), high=finite(i.high))
            for name, i in measured.metrics.items()
        ],
        gates=done.results,
        slices=_slices(job.gates, measured),
        importances=list(profile.importances.items()) if profile else [],
        pictures=pictures(measured.outcomes),
        limits=_limits(done),
    )


def _lineage(version: Version) -> list[tuple[str, str]]:
    try:
        known: dict[str, Any] = json.loads((version.folder / keys.LINEAGE).read_bytes())
    except (OSError, ValueError):
        return []
    shown = [(label, _text(known[name])) for label, name in LINEAGE if known.get(name) not in (None, "", {})]
    installed = known.get("packages")
    versions = installed if isinstance(installed, dict) else {}
    named = ", ".join(f"{name} {versions[name]}" for name in PACKAGES if name in versions)
    return [*shown, ("Packages", f"{named}; {len(versions)} in all")] if named else shown


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 400 else text[:399] + "…"


def _slices(gates: list[Gate], measured: Measured) -> list[SliceRow]:
    rows = []
    for gate in gates:
        for gap in measured.found.get(gate.name, []):
            name, whole = gate.metric or "", measured.metrics[gate.metric or ""].value
            sign = -1.0 if name in LOWER_IS_BETTER else 1.0
            ends = gap.interval
            rows.append(SliceRow(
                name=gap.name, metric=name, rows=gap.rows, value=finite(whole - sign * ends.value),
                gap=finite(ends.value), low=finite(ends.low), high=finite(ends.high),
            ))  # fmt: skip
    return sorted(rows, key=lambda row: -(row.gap if row.gap is not None else -1e9))[:MOST_SLICES]


def _limits(done: Evaluated) -> list[str]:
    """Return what a reader must not conclude."""
    outcomes, split = done.measured.outcomes, done.job.split.lower()
    said = [
        f"Every figure is of {len(outcomes):,} frozen rows ({split} part of {done.job.dataset.name}). "
        "It says nothing of requests unlike them; a DriftMonitor tells when those come.",
        "Bounds are one-sided at 95 % for each figure on its own: among many figures some truths lie outside.",
    ]
    if done.left_out:
        said.append(
            f"{done.left_out:,} rows without a target, or of a class that training has not seen, were left out."
        )
    if isinstance(outcomes, Classified):
        found = zip(outcomes.classes, class_counts(outcomes).tolist(), strict=True)
        said += [f"Class {name}: only {n} rows." for name, n in found if n < MIN_CLASS_ROWS]
    if done.version.fetched.profile is None:
        said.append("The artifact came without a training profile, so importances and drift are unknown.")
    if not any(gate.slices or gate.fairness for gate in done.job.gates):
        said.append("No gate looked at slices or groups: the figures may hide a part of the users it serves badly.")
    return said
