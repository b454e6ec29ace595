"""The end of every training: the artifact's folder, then the run's result, each with its marker last.

Called by `job` and by `container` (publish); `collect` reads what it wrote.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fairlead.contract import keys
from fairlead.contract.jobs import TrainInput, TrainSummary
from fairlead.contract.redaction import redact_tree
from fairlead_runtime.artifact import describe_artifact, write_artifact
from fairlead_runtime.errors import ObjectNotFound, clip
from fairlead_runtime.signature import Signature
from fairlead_runtime.store import Store, get_json, put_json

from .describe import lineage_summary, to_bytes


@dataclass(frozen=True)
class Finished:
    """A model and all that is to be told of it."""

    form: str
    file_name: str
    data: bytes
    signature: Signature
    profile: bytes | None
    lineage: dict[str, Any]
    metrics: dict[str, float]
    parity: str = ""
    parameters: dict[str, Any] | None = None
    trials: int = 1
    train_rows: int = 0
    duration_s: float = 0.0


def result_key(job: TrainInput) -> str:
    """Return where this attempt's result lies."""
    return keys.run(job.namespace, job.name, job.uid) + keys.RESULT


def find_result(store: Store, job: TrainInput) -> TrainSummary | None:
    """Return the summary of this attempt if it has ended before."""
    try:
        return TrainSummary.model_validate(get_json(store, result_key(job)))
    except ObjectNotFound:
        return None


def finish(store: Store, job: TrainInput, finished: Finished) -> TrainSummary:
    """Write artifact and result, and return the summary."""
    serving: dict[str, Any] = {
        finished.file_name: finished.data,
        keys.SIGNATURE: to_bytes(finished.signature.to_json_object()),
    }
    beside: dict[str, Any] = {keys.LINEAGE: to_bytes(finished.lineage)}
    if finished.profile:
        beside[keys.PROFILE] = finished.profile
    manifest = describe_artifact(finished.form, serving, beside)
    write_artifact(store, keys.model(job.namespace, job.model, manifest.digest), manifest, {**serving, **beside})
    summary = TrainSummary(
        digest=manifest.digest,
        format=finished.form,
        size_bytes=manifest.size_bytes,
        metrics=finished.metrics,
        trials=finished.trials,
        parameters=clip(json.dumps(redact_tree(finished.parameters or {}), sort_keys=True, default=str), 512),
        parity=finished.parity,
        lineage=lineage_summary(finished.lineage),
        train_rows=finished.train_rows,
        duration_s=round(finished.duration_s, 1),
    )
    put_json(store, result_key(job), summary)
    return summary
