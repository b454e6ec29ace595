"""Runs a drift check: the window's requests and labels against the training profile, a report, a summary.

Finding drift is a result and ends well. A window of a check has one report: one that is in the store is said again.
The entry of kind Monitor in `__main__`.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from fairlead.contract import env, keys
from fairlead.contract.base import canonical_json, digest_of
from fairlead.contract.drift import Correction, PerformanceResult, PredictionDrift, PredictionDriftResult
from fairlead.contract.jobs import MonitorInput, MonitorSummary
from fairlead_runtime.errors import BadInput, ObjectNotFound, clip
from fairlead_runtime.profile import PREDICTION, SCORE, ModelProfile, Profile, build_profile
from fairlead_runtime.report.content import Distribution, FeatureReport, Report
from fairlead_runtime.report.drift import render_report
from fairlead_runtime.serve.loading import fetch
from fairlead_runtime.signature import Signature
from fairlead_runtime.stats.bootstrap import seed_of
from fairlead_runtime.stats.shortfall import MIN_ROWS
from fairlead_runtime.store import Store, get_json, put_folder

from .captured import Requests, read_labelled, read_requests
from .features import compare_features, compare_output, distribution
from .performance import judge_performance, limit_of, outcomes_of
from .window import Window, rfc3339, window_of

WORST = 20
MOST_NAMED = 5
MOST_SAID = 20
CORRECTIONS = {Correction.BENJAMINI_HOCHBERG: "Benjamini-Hochberg", Correction.BONFERRONI: "Bonferroni"}


@dataclass(frozen=True)
class _Output:
    """The comparison of predictions or labels, and what it looks like."""

    result: PredictionDriftResult
    distribution: Distribution


@dataclass(frozen=True)
class _Found:
    """What one window showed; None where nothing was asked for or nothing could be said."""

    features: list[FeatureReport]
    predictions: _Output | None = None
    labels: _Output | None = None
    performance: PerformanceResult | None = None


def run(job: MonitorInput, store: Store) -> MonitorSummary:
    """Return the summary of this window, made now or found in the store."""
    window = window_of(os.environ.get(env.JOB_NAME, ""), datetime.now(UTC), job.window_s, job.not_before)
    folder = keys.report(job.namespace, job.name, window.key)
    found = _made_before(store, folder, job)
    if found is not None:
        return found
    with tempfile.TemporaryDirectory(dir=os.environ.get(env.WORK_DIR)) as work:
        fetched = fetch(store, job.artifact, Path(work) / "version")
    profile = _profile(fetched.profile, job)
    requests = read_requests(store, job, window, profile, fetched.signature)
    enough = requests.rows >= max(1, job.min_rows)
    seen = _look(job, store, window, profile, fetched.signature, requests) if enough else _Found([])
    summary = _summary(job, window, requests.rows, enough, seen, folder + keys.REPORT_HTML)
    summary = summary.model_copy(update={"not_compared": _not_compared(job, requests, profile)})
    report = _report(job, window, requests, profile, seen, summary)
    document = {**report.to_json_object(), "inputDigest": digest_of(job), "summary": summary.to_json_object()}
    put_folder(store, folder, {keys.REPORT_HTML: render_report(report)}, (keys.REPORT_JSON, canonical_json(document)))
    return summary


def _made_before(store: Store, folder: str, job: MonitorInput) -> MonitorSummary | None:
    try:
        document = get_json(store, folder + keys.REPORT_JSON)
    except ObjectNotFound:
        return None
    return MonitorSummary.model_validate(document["summary"]) if document.get("inputDigest") == digest_of(job) else None


def _profile(profile: ModelProfile | None, job: MonitorInput) -> ModelProfile:
    if profile is None:
        message = (
            f"{job.artifact.version} has no {keys.PROFILE} beside it, so there is nothing to compare requests with; "
            "train it with a TrainingRun, or put a profile beside the artifact"
        )
        raise BadInput("NoProfile", message)
    return profile


def _look(
    job: MonitorInput, store: Store, window: Window, profile: ModelProfile, signature: Signature, requests: Requests
) -> _Found:
    features: list[FeatureReport] = []
    if job.data is not None and requests.features is not None:
        captured = requests.captured
        features = compare_features(job.data, profile.features, requests.features, captured, profile.importances)
    joined = read_labelled(store, job, window)
    performance = None
    if job.performance is not None:
        outcomes = outcomes_of(signature, joined)
        seed = seed_of(digest_of([digest_of(job), window.key]))
        performance = judge_performance(job.performance, outcomes, job.reference_metric, seed)
    return _Found(
        features=features,
        predictions=_predictions(job, profile, requests),
        labels=_labels(job, profile, joined),
        performance=performance,
    )


def _predictions(job: MonitorInput, profile: ModelProfile, requests: Requests) -> _Output | None:
    """Compare the score where both sides have it: it moves before the predicted class does."""
    if job.predictions is None or requests.predictions is None:
        return None
    for name in (SCORE, PREDICTION):
        before, now = profile.predictions.columns.get(name), requests.predictions.columns.get(name)
        if before is not None and now is not None and now.nulls < now.rows:
            return _Output(compare_output(job.predictions, before, now), distribution(before, now))
    return None


def _labels(job: MonitorInput, profile: ModelProfile, joined: pa.Table) -> _Output | None:
    """Compare what turned out to be true with the training's target, by the measure asked for predictions."""
    if joined.num_rows < MIN_ROWS or not profile.target.columns:
        return None
    name, before = next(iter(profile.target.columns.items()))
    now: Profile = build_profile({name: joined["label"]}, edges_from=profile.target)
    spec = job.predictions or PredictionDrift()
    return _Output(compare_output(spec, before, now.columns[name]), distribution(before, now.columns[name]))


def _summary(
    job: MonitorInput, window: Window, rows: int, enough: bool, seen: _Found, report_key: str
) -> MonitorSummary:
    drifted = sum(feature.drift.drifted for feature in seen.features)
    return MonitorSummary(
        window_start=rfc3339(window.start),
        window_end=rfc3339(window.end),
        rows=rows,
        enough_rows=enough,
        features=len(seen.features),
        drifted_features=drifted,
        worst=[feature.drift for feature in seen.features[:WORST]],
        data_drift=job.data is not None and drifted >= job.data.min_features,
        label_drift=seen.labels.result if seen.labels else None,
        predictions=seen.predictions.result if seen.predictions else None,
        performance=seen.performance,
        report_key=report_key,
    )


def _not_compared(job: MonitorInput, requests: Requests, profile: ModelProfile) -> str:
    """Name the inputs that the window says nothing about, the first of many."""
    if job.data is None or not requests.rows:
        return ""
    names = sorted(set(profile.features.columns) - requests.captured)
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return clip(", ".join(names[:MOST_NAMED]) + more, 256)


def _report(
    job: MonitorInput, window: Window, requests: Requests, profile: ModelProfile, seen: _Found, summary: MonitorSummary
) -> Report:
    return Report(
        name=job.name,
        namespace=job.namespace,
        inference_service=job.inference_service,
        model_version=job.artifact.version,
        digest=job.artifact.digest,
        window_start=summary.window_start,
        window_end=summary.window_end,
        rows=requests.rows,
        min_rows=job.min_rows,
        enough_rows=summary.enough_rows,
        correction=CORRECTIONS[job.data.correction] if job.data is not None and seen.features else "",
        drifted_features=summary.drifted_features,
        data_drift=summary.data_drift,
        features=seen.features,
        predictions=summary.predictions,
        prediction_distribution=seen.predictions.distribution if seen.predictions else None,
        labels=summary.label_drift,
        label_distribution=seen.labels.distribution if seen.labels else None,
        performance=seen.performance,
        performance_limit=limit_of(job.performance, job.reference_metric) if job.performance else None,
        notes=_notes(job, window, requests, profile),
    )


def _notes(job: MonitorInput, window: Window, requests: Requests, profile: ModelProfile) -> list[str]:
    said = [
        f"Inputs are compared with the {profile.features.rows:,} rows that the version was trained on, in the bins of "
        "its training profile; missing values are a bin of their own.",
        f"Predictions are compared with the version's answers to {profile.predictions.rows:,} rows of its "
        f"{profile.predictions_of.lower()} part.",
        "A label counts in the window in which it came, wherever its request lies.",
    ]
    absent = sorted(set(profile.features.columns) - requests.captured - requests.left_out.keys())
    if absent and requests.rows:
        said.append(f"Not captured, so not compared: {', '.join(absent[:20])}{'…' if len(absent) > 20 else ''}.")
    said += [f"Not compared: {name}, because {why}." for name, why in sorted(requests.left_out.items())[:MOST_SAID]]
    if job.not_before and rfc3339(window.start) == job.not_before:
        said.append("The window begins with the last promotion of the service.")
    return said
