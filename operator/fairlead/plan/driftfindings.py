"""Says what the newest window of a DriftMonitor found, one condition an aspect, each with its evidence.

DataDrift, PredictionDrift, LabelDrift, ConceptDrift, PerformanceDrop: True only with evidence, Unknown where
there were too few rows or labels. WindowCut: there only while a window cannot hold all its requests.
Must never decide what follows. Called by `plan/driftmonitor.py`.
"""

from __future__ import annotations

from fairlead.api.conditions import Condition, Truth
from fairlead.api.driftmonitor import DriftMonitorSpec, WindowResult
from fairlead.api.inferenceservice import InferenceService
from fairlead.contract.base import duration_s
from fairlead.contract.drift import FeatureDrift, PerformanceResult, PredictionDriftResult

DATA_DRIFT = "DataDrift"
PREDICTION_DRIFT = "PredictionDrift"
LABEL_DRIFT = "LabelDrift"
CONCEPT_DRIFT = "ConceptDrift"
PERFORMANCE_DROP = "PerformanceDrop"
WINDOW_CUT = "WindowCut"

FOUND = "Found"
NOT_FOUND = "NotFound"
TOO_FEW_ROWS = "TooFewRows"
NO_LABELS = "NoLabels"
NOT_CHECKED = "NotChecked"
NO_WINDOW = "NoWindowYet"
RETENTION_SHORTER = "RetentionShorterThanWindow"


def findings(spec: DriftMonitorSpec, window: WindowResult | None) -> tuple[Condition, ...]:
    """Return the five conditions of the newest window."""
    aspects = (DATA_DRIFT, PREDICTION_DRIFT, LABEL_DRIFT, CONCEPT_DRIFT, PERFORMANCE_DROP)
    if window is None:
        return tuple(Condition(aspect, "Unknown", NO_WINDOW, "No window was checked yet.") for aspect in aspects)
    return (
        _data(spec, window),
        _predictions(spec, window),
        _labels(window),
        _concept(window),
        _performance(spec, window.performance),
    )


def window_cut(spec: DriftMonitorSpec, service: InferenceService | None) -> tuple[Condition, ...]:
    """Say that captured requests are removed before the window is over; nothing when they are kept long enough."""
    retention = service.spec.capture.retention if service else spec.window
    if service is None or duration_s(retention) >= duration_s(spec.window):
        return ()
    message = (
        f"spec.window is {spec.window}, but InferenceService {service.name} keeps captured requests for {retention}:"
        f" older ones are missing from each window. Raise its spec.capture.retention to {spec.window} or shorten"
        " spec.window."
    )
    return (Condition(WINDOW_CUT, "True", RETENTION_SHORTER, message),)


def _found(type_: str, found: bool, message: str) -> Condition:
    truth: Truth = "True" if found else "False"
    return Condition(type_, truth, FOUND if found else NOT_FOUND, message)


def _too_few(type_: str, window: WindowResult, min_rows: int) -> Condition:
    message = f"{window.rows} requests in the window; a verdict needs {min_rows} (spec.minRows)."
    return Condition(type_, "Unknown", TOO_FEW_ROWS, message)


def _data(spec: DriftMonitorSpec, window: WindowResult) -> Condition:
    if spec.data is None:
        return Condition(DATA_DRIFT, "Unknown", NOT_CHECKED, "spec.data is not set.")
    if not window.enough_rows:
        return _too_few(DATA_DRIFT, window, spec.min_rows)
    left_out = f" Not compared: {window.not_compared}; the report says why." if window.not_compared else ""
    if left_out and not window.features:
        return Condition(DATA_DRIFT, "Unknown", NOT_CHECKED, f"No input could be compared.{left_out}")
    worst = ", ".join(_feature(feature) for feature in (window.worst or ())[:3] if feature.drifted)
    counted = f"{window.drifted_features} of {window.features} features drifted in {window.rows} requests"
    detail = f"{counted}: {worst}. Report: {window.report_key}" if worst else f"{counted}."
    return _found(DATA_DRIFT, window.data_drift, f"{detail}{left_out}")


def _feature(feature: FeatureDrift) -> str:
    p_value = "" if feature.p_value is None else f", p {feature.p_value:.2g}"
    return f"{feature.name} ({feature.test} {feature.effect:.3f}{p_value})"


def _predictions(spec: DriftMonitorSpec, window: WindowResult) -> Condition:
    if spec.predictions is None:
        return Condition(PREDICTION_DRIFT, "Unknown", NOT_CHECKED, "spec.predictions is not set.")
    if not window.enough_rows or window.predictions is None:
        return _too_few(PREDICTION_DRIFT, window, spec.min_rows)
    return _found(PREDICTION_DRIFT, window.predictions.drifted, _distance("predictions", window.predictions))


def _distance(what: str, result: PredictionDriftResult) -> str:
    return f"{result.test} of the {what} from training is {result.effect:.3f}; the limit is {result.threshold:g}."


def _labels(window: WindowResult) -> Condition:
    if window.label_drift is None:
        return Condition(LABEL_DRIFT, "Unknown", NO_LABELS, "Too few feedback labels arrived for this window.")
    return _found(LABEL_DRIFT, window.label_drift.drifted, _distance("labels", window.label_drift))


def _concept(window: WindowResult) -> Condition:
    """Say whether the same inputs mean something else now: performance fell while the inputs did not drift."""
    performance = window.performance
    if performance is None or performance.value is None or not window.enough_rows:
        message = "It takes feedback labels to tell."
        return Condition(CONCEPT_DRIFT, "Unknown", NO_LABELS, message)
    drifted = performance.dropped and not window.data_drift
    message = "Performance fell while the inputs look as in training." if drifted else "No sign of it."
    return _found(CONCEPT_DRIFT, drifted, message)


def _performance(spec: DriftMonitorSpec, result: PerformanceResult | None) -> Condition:
    if spec.performance is None:
        return Condition(PERFORMANCE_DROP, "Unknown", NOT_CHECKED, "spec.performance is not set.")
    if result is None or result.value is None:
        message = (result.message if result else "") or "Too few feedback labels arrived for this window."
        return Condition(PERFORMANCE_DROP, "Unknown", NO_LABELS, message)
    return _found(PERFORMANCE_DROP, result.dropped, _measured(result))


def _measured(result: PerformanceResult) -> str:
    interval = f" ({result.low:.3f} to {result.high:.3f})" if result.low is not None and result.high is not None else ""
    reference = f"; its evaluation had {result.reference:.3f}" if result.reference is not None else ""
    return f"{result.metric} is {result.value:.3f}{interval} on {result.labels} labels{reference}."
