"""Runs a scikit-learn training: read the rows, search or fit, measure, export, describe, write.

The same input on the same number of CPUs gives the same bytes, hence the same digest (sums in threads depend on how
many there are; lineage names the number). An attempt that has a result says it again. The entry of kind Train in
`__main__`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fairlead.contract import env
from fairlead.contract.jobs import TrainInput, TrainSummary
from fairlead_runtime.errors import BadInput
from fairlead_runtime.progress import report
from fairlead_runtime.revision import read_manifest
from fairlead_runtime.store import Store

from .describe import Trained, lineage, profile_model
from .export import Exported, export_model
from .finish import Finished, find_result, finish
from .pipeline import build_pipeline, fit_pipeline
from .rows import TrainingRows, read_rows
from .score import outcomes_of, score
from .search import Trial, run_search


def run(job: TrainInput, store: Store) -> TrainSummary:
    """Return the summary of this attempt, trained now or found in the store."""
    found = find_result(store, job)
    if found:
        return found
    if not job.trainer.sklearn:
        raise BadInput("InputInvalid", "trainer.container runs as fetch, the user's image and publish")
    started = time.monotonic()
    cpus = cpu_limit()
    with tempfile.TemporaryDirectory(dir=os.environ.get(env.WORK_DIR)) as work, threadpool_limits(cpus):
        manifest = read_manifest(store, job.namespace, job.dataset)
        rows = read_rows(store, job, manifest, Path(work))
        report(0, 1, f"{len(rows.train.target)} rows, {len(rows.features)} features")
        trial, trials = _train(job, rows, cpus)
        exported = export_model(trial.model, rows, job.task)
        finished = _finished(job, rows, trial, trials, exported)
    return finish(store, job, _timed(finished, time.monotonic() - started))


def cpu_limit() -> int:
    """Return the CPUs of this pod, at least 1."""
    text = os.environ.get(env.CPU_LIMIT, "")
    return max(1, math.ceil(float(text))) if text.replace(".", "", 1).isdigit() else 1


def _train(job: TrainInput, rows: TrainingRows, cpus: int) -> tuple[Trial, int]:
    def fit(tried: dict[str, Any]) -> Trial:
        parameters = {**_fixed(job), **tried}
        pipeline = build_pipeline(_path(job), parameters, job.task, rows, job.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("once")
            model = fit_pipeline(pipeline, rows, cpus)
        return Trial(parameters, model, score(outcomes_of(model, rows, rows.judged[1])))

    if job.search:
        return run_search(job.search, job.seed, fit)
    trial = fit({})
    report(1, 1, "trained", trial.metrics)
    return trial, 1


def _path(job: TrainInput) -> str:
    return job.trainer.sklearn.estimator if job.trainer.sklearn else ""


def _fixed(job: TrainInput) -> dict[str, Any]:
    return job.trainer.sklearn.parameters if job.trainer.sklearn else {}


def _finished(job: TrainInput, rows: TrainingRows, trial: Trial, trials: int, exported: Exported) -> Finished:
    more = {
        "features": [feature.name for feature in rows.features],
        "notFeatures": rows.dropped,
        "metricsOf": rows.judged[0],
        "cpus": cpu_limit(),
        "parity": exported.parity,
    }
    return Finished(
        form=exported.form,
        file_name=exported.file_name,
        data=exported.data,
        signature=exported.signature,
        profile=profile_model(trial.model, rows, job.seed).to_json(),
        lineage=lineage(job, Trained(trial.parameters, trials, trial.metrics), more),
        metrics=trial.metrics,
        parity=exported.parity,
        parameters=trial.parameters,
        trials=trials,
        train_rows=len(rows.train.target),
    )


def _timed(finished: Finished, duration_s: float) -> Finished:
    return dataclasses.replace(finished, duration_s=duration_s)
