"""What lies beside a model: its lineage and its profile, with how much each feature matters. Called by `job`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fairlead.contract import env
from fairlead.contract.base import canonical_json, digest_of
from fairlead.contract.jobs import TrainInput
from fairlead.contract.redaction import HIDDEN, redact_tree
from fairlead_runtime.profile import PREDICTION, SCORE, ModelProfile, Profile, build_profile
from fairlead_runtime.stats.metrics import Classified, Outcomes, value

from .rows import Part, TrainingRows
from .score import outcomes_of

IMPORTANCE_ROWS = 2_000  # enough to rank features, and a second at most for most models


@dataclass(frozen=True)
class Trained:
    """How a model came about."""

    parameters: dict[str, Any]
    trials: int
    metrics: dict[str, float]


def packages() -> dict[str, str]:
    """Return name -> version of everything installed in this image, sorted."""
    found = {
        dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions() if dist.metadata["Name"]
    }
    return dict(sorted(found.items()))


def lineage(job: TrainInput, trained: Trained | None, more: dict[str, Any]) -> dict[str, Any]:
    """Return everything that made this artifact; `more` holds what only one kind of trainer knows.

    Without what looks like a credential, and without the values of a container's environment, which often are some:
    lineage goes into cards and status. The TrainingRun's spec still says them.
    """
    found: dict[str, Any] = {
        "dataset": job.dataset.name,
        "dataRevision": job.dataset.revision,
        "namespace": job.namespace,
        "trainingRun": job.name,
        "attempt": job.uid,
        "model": job.model,
        "task": job.task,
        "trainer": job.trainer.to_json_object(),
        "search": job.search.to_json_object() if job.search else None,
        "parameters": trained.parameters if trained else None,
        "metrics": trained.metrics if trained else None,
        "trials": trained.trials if trained else None,
        "seed": job.seed,
        "code": job.code.to_json_object() if job.code else None,
        "image": os.environ.get(env.IMAGE, ""),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "packages": packages(),
        "packagesDigest": packages_digest(),
        **more,
    }
    for entry in (found["trainer"].get("container") or {}).get("env") or ():
        entry["value"] = HIDDEN
    redacted: dict[str, Any] = redact_tree(found)
    return redacted


def lineage_summary(full: dict[str, Any]) -> dict[str, str]:
    """Return the at most 12 short entries that go into status."""
    code = full["code"] or {}
    entries = {
        "dataset": full["dataset"],
        "dataRevision": full["dataRevision"],
        "attempt": full["attempt"],
        "repository": code.get("repository", ""),
        "commit": code.get("commit", ""),
        "image": full["image"],
        "packagesDigest": full.get("packagesDigest", ""),
        "seed": str(full["seed"]),
        "architecture": full["architecture"],
        "python": full["python"],
    }
    return {name: str(text)[:200] for name, text in entries.items() if text}


def profile_model(model: Any, rows: TrainingRows, seed: int) -> ModelProfile:
    """Return the profile of the training features, of the answers on the validation part, and of the target."""
    split, part = rows.judged
    features = rows.train.table.select([feature.name for feature in rows.features])
    return ModelProfile(
        features=build_profile(features),
        predictions=profile_answers(outcomes_of(model, rows, part)),
        predictions_of=split,
        target=build_profile(_target(rows)),
        importances=_importances(model, rows, part, seed),
    )


def _target(rows: TrainingRows) -> pa.Table:
    """The target as `prediction` has it, so that labels can be held against it: class names, or numbers."""
    values = rows.train.table[rows.target.name]
    return pa.table({rows.target.name: values.cast(pa.string()) if rows.classes else values})


def profile_answers(outcomes: Outcomes) -> Profile:
    """Return the profile of predictions: columns `prediction` and, with probabilities, `score`."""
    if not isinstance(outcomes, Classified):
        return build_profile({PREDICTION: outcomes.value})
    columns: dict[str, Any] = {
        PREDICTION: pa.array(np.array(outcomes.classes, dtype=object)[outcomes.label], pa.string())
    }
    if outcomes.probability is not None:
        columns[SCORE] = outcomes.probability[:, 1] if outcomes.binary else outcomes.probability.max(axis=1)
    return build_profile(columns)


def _importances(model: Any, rows: TrainingRows, part: Part, seed: int) -> dict[str, float]:
    """Permutation importance (Breiman 2001) on a sample, as shares of their sum; a loss under 0 counts as 0."""
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(len(part.target))[:IMPORTANCE_ROWS])
    frame, target = part.frame.iloc[chosen].reset_index(drop=True), part.target[chosen]
    base = _quality(model, rows, Part(part.table, frame, target))
    losses = {}
    for name in frame.columns:
        mixed = frame.assign(**{name: frame[name].to_numpy()[random.permutation(len(frame))]})
        losses[str(name)] = max(0.0, base - _quality(model, rows, Part(part.table, mixed, target)))
    total = sum(losses.values())
    return {name: round(loss / total, 6) if total > 0 else 0.0 for name, loss in losses.items()}


def _quality(model: Any, rows: TrainingRows, part: Part) -> float:
    """Higher is better: AUC with two classes and probabilities, accuracy otherwise, R squared of a regression."""
    outcomes = outcomes_of(model, rows, part)
    if not isinstance(outcomes, Classified):
        return value("r2", outcomes)
    ranked = outcomes.binary and outcomes.probability is not None
    quality = value("roc_auc" if ranked else "accuracy", outcomes)
    return quality if np.isfinite(quality) else 0.0


def packages_digest() -> str:
    """Return a digest over the package list, short enough for status."""
    return digest_of(packages())


def to_bytes(value_: dict[str, Any]) -> bytes:
    """Return canonical JSON; what JSON cannot say is written as text."""
    return canonical_json(_plain(value_))


def _plain(value_: Any) -> Any:
    if isinstance(value_, dict):
        return {str(key): _plain(item) for key, item in value_.items() if item is not None}
    if isinstance(value_, list | tuple):
        return [_plain(item) for item in value_]
    finite = not isinstance(value_, float) or np.isfinite(value_)
    return value_ if isinstance(value_, str | int | float | bool) and finite else str(value_)
