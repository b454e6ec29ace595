"""The evidence in each kind's status, as sections of plain lines.

Pure, and tolerant: a field that status does not have yet is a line less. Called by `why.py` and `lineage.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Obj = Mapping[str, Any]
RECENT = 5  # of lists that grow


@dataclass(frozen=True)
class Section:
    """A title and lines; without lines it is left out."""

    title: str
    lines: Sequence[str]


def dataset_evidence(dataset: Obj) -> Iterator[Section]:
    """Yield the current revision, what the newest read found, and earlier revisions."""
    status = dataset.get("status") or {}
    if status.get("revision"):
        rows = ", ".join(f"{part} {status.get(part + 'Rows', 0):,}" for part in ("train", "validation", "test"))
        size = f"{status.get('rows', 0):,} rows ({rows}), {status.get('columns', 0)} columns"
        yield Section("Current revision", [f"{status['revision']}: {size}"])
    check = status.get("lastCheck") or {}
    if check:
        found = "valid" if check.get("valid") else f"{check.get('reason')}: {check.get('message')}"
        lines = [f"At {check.get('at')}: {found}", *(_check(each) for each in check.get("failedChecks") or ())]
        due = [f"Next at {status['nextRefresh']}"] if status.get("nextRefresh") else []
        yield Section("Newest read", [*lines, *due])
    older = [
        f"{each['revision']}, {each.get('rows', 0):,} rows, {each['at']}" for each in status.get("revisions") or ()
    ]
    yield Section("Earlier revisions", older[1 : 1 + RECENT])


def _check(result: Obj) -> str:
    column = f" of {result['column']}" if result.get("column") else ""
    rows = f" (rows {', '.join(map(str, result['rows']))})" if result.get("rows") else ""
    return f"Failed {result['name']}{column}: {result.get('message') or result.get('count')}{rows}"


def trainingrun_evidence(run: Obj) -> Iterator[Section]:
    """Yield how far the run is, what failed, what it made, and what it was made from."""
    status = run.get("status") or {}
    progress, failure = status.get("progress") or {}, status.get("failure") or {}
    if not status.get("outcome") and progress:
        yield Section(
            "Progress", [str(progress.get("message") or f"{progress.get('done')} of {progress.get('total')}")]
        )
    if failure:
        code = f", exit code {failure['exitCode']}" if failure.get("exitCode") is not None else ""
        yield Section("Failure", [f"{failure['reason']}{code}: {failure.get('message')}", *(failure.get("tail") or ())])
    lost = [("of the program", "programFailures"), ("of cluster or store", "infrastructureFailures")]
    yield Section("Lost attempts", [f"{status[field]} {what}" for what, field in lost if status.get(field)])
    artifact = status.get("artifact") or {}
    if artifact:
        size = f"{artifact['digest']}: {artifact.get('format')}, {artifact.get('sizeBytes', 0):,} bytes"
        made = [size, *([f"Parity: {status['parity']}"] if status.get("parity") else [])]
        yield Section(
            "Artifact", [*made, *([f"ModelVersion {status['modelVersion']}"] if status.get("modelVersion") else [])]
        )
    yield from _training(status)


def _training(status: Obj) -> Iterator[Section]:
    if status.get("parameters"):
        yield Section("Parameters", [f"{status['parameters']} ({status.get('trials', 1)} trials)"])
    yield Section("Metrics", _numbers(status.get("metrics")))
    yield Section("Lineage", _pairs(status.get("lineage")))


def _numbers(metrics: Mapping[str, float] | None) -> list[str]:
    return [", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))] if metrics else []


def _pairs(values: Mapping[str, str] | None) -> list[str]:
    return [f"{name}: {value}" for name, value in sorted((values or {}).items())]


def modelversion_evidence(version: Obj) -> Iterator[Section]:
    """Yield gates, evaluation, who approved, who refused, and what the version was made from."""
    status, evaluation = version.get("status") or {}, (version.get("status") or {}).get("evaluation") or {}
    yield Section("Gates", [gate_line(gate) for gate in status.get("gates") or ()])
    if evaluation:
        champion = f", against {evaluation['champion']}" if evaluation.get("champion") else ""
        where = f"{evaluation.get('split')} split of {evaluation.get('dataset')} {evaluation.get('revision')}"
        lines = [f"{evaluation.get('rows', 0):,} rows of the {where}{champion}", *_numbers(evaluation.get("metrics"))]
        lines += [f"Model card: {evaluation['cardKey']}"] if evaluation.get("cardKey") else []
        yield Section("Evaluation", [*lines, f"Evaluation digest: {evaluation['inputDigest']}"])
    yield Section("Approval", list(approval_lines(version)))
    refused = [
        _refusal(f"InferenceService {each['inferenceService']}", each) for each in status.get("rejectedBy") or ()
    ]
    own = [_refusal("Refused", status["refusal"])] if status.get("refusal") else []
    yield Section("Refused", [*own, *refused])
    artifact = status.get("artifact") or {}
    made = [f"bytes: {artifact['digest']}"] if artifact else []
    yield Section("Lineage", [*made, *_pairs(status.get("lineage"))])


def gate_line(gate: Obj) -> str:
    """Return one gate's result as a line."""
    missing = f" About {gate['missingRows']:,} more rows would decide." if gate.get("missingRows") else ""
    return f"{gate['outcome']} {gate['name']}: {gate.get('message') or gate.get('reason')}{missing}"


def approval_lines(version: Obj) -> Iterator[str]:
    """Yield who approved or refused a version, and since when it is approved."""
    approval, status = (version.get("spec") or {}).get("approval") or {}, version.get("status") or {}
    if approval.get("decision"):
        yield f"{approval['decision']} by {approval.get('by')}: {approval.get('reason')}"
    elif not approval.get("required", True):
        yield "No person's approval is required."
    if status.get("approvedAt"):
        yield f"Approved since {status['approvedAt']}; stage {status.get('stage')}"


def _refusal(who: str, refusal: Obj) -> str:
    what = f", revision {refusal['revision']} only" if refusal.get("revision") else ""
    return f"{who} at {refusal.get('at')}{what}: {refusal.get('reason')}. {refusal.get('message')}"


def inferenceservice_evidence(service: Obj) -> Iterator[Section]:
    """Yield who serves, the rollout with the judge's signals, traffic, what was refused, and the last rollouts."""
    status = service.get("status") or {}
    roles = [(role, status.get(role) or {}) for role in ("stable", "canary", "baseline", "previous")]
    yield Section("Revisions", [_revision(role, revision) for role, revision in roles if revision])
    rollout = status.get("rollout") or {}
    if rollout:
        step = f", step {rollout['step']}" if rollout.get("step") else ""
        lines = [f"{rollout['state']}{step}, {rollout.get('weight', 0)} % since {rollout.get('stateSince')}"]
        held = [f"Held for {rollout['heldFor']}"] if rollout.get("heldFor") else []
        yield Section("Rollout", [*lines, *held, *(_signal(each) for each in rollout.get("signals") or ())])
    yield Section("Traffic", [_share(each) for each in status.get("traffic") or ()])
    if status.get("url"):
        yield Section("Address", [status["url"]])
    yield Section(
        "Refused",
        [_refusal(f"{each.get('version')} {each.get('digest')}", each) for each in status.get("rejected") or ()],
    )
    if status.get("inconclusive"):
        ended = status["inconclusive"]
        yield Section("Without a verdict", [_refusal(str(ended.get("version")), ended)])
    yield Section("Last rollouts", [_summary(each) for each in (status.get("history") or ())[:RECENT]])


def _revision(role: str, revision: Obj) -> str:
    ready = f", {revision['readyReplicas']} ready" if "readyReplicas" in revision else ""
    return f"{role}: {revision.get('version')}, revision {revision.get('name')}{ready}, bytes {revision.get('digest')}"


def _signal(signal: Obj) -> str:
    if "notJudged" in signal:
        return f"{signal['name']}: not judged: {signal['notJudged']}"
    needed = signal.get("requestsNeeded")
    more = f"; about {needed:,} more canary requests if both are equal" if needed else ""
    return (
        f"{signal['name']}: canary {signal['canaryPercent']:g} % of {signal['canaryRequests']:,} requests, "
        f"baseline {signal['baselinePercent']:g} % of {signal['baselineRequests']:,}, "
        f"limit +{signal['limitPoints']:g} points; "
        f"evidence that it is worse {signal['failLogE']:g} of {signal['failAt']:g}, "
        f"that it is not {signal['passLogE']:g} of {signal['passAt']:g}{more}"
    )


def _share(share: Obj) -> str:
    seen = [(what, share[what]) for what in ("requested", "programmed", "measured") if share.get(what) is not None]
    return f"{share['role']} {share['revision']}: " + ", ".join(f"{what} {value:g} %" for what, value in seen)


def _summary(summary: Obj) -> str:
    said = f"{summary.get('reason')}. {summary.get('message') or ''}".strip()
    report = f" Report: {summary['report']}" if summary.get("report") else ""
    return f"{summary.get('endedAt')} {summary['version']} {summary['outcome']}: {said}{report}"


def driftmonitor_evidence(monitor: Obj) -> Iterator[Section]:
    """Yield the newest window, its features, performance, and the retrainings."""
    status = monitor.get("status") or {}
    window = status.get("lastWindow") or {}
    if window:
        drifted = f"{window.get('driftedFeatures', 0)} of {window.get('features', 0)} features drifted"
        span = f"{window.get('rows', 0):,} requests from {window.get('start')} to {window.get('end')}"
        lines = [f"{span}, answered by {window.get('version')}: {drifted}", *_findings(window)]
        report = [f"Report: {window['reportKey']}"] if window.get("reportKey") else []
        yield Section("Newest window", [*lines, *report])
    runs = [
        f"{each['at']} {each['run']}: {each.get('reason')}, {each.get('outcome') or 'not ended'}"
        for each in status.get("retrainings") or ()
    ]
    blocked = [f"A wanted retraining waits: {status['retrainBlocked']}"] if status.get("retrainBlocked") else []
    yield Section("Retrainings", [*blocked, *runs[:RECENT]])


def _findings(window: Obj) -> Iterator[str]:
    for feature in (window.get("worst") or ())[:RECENT]:
        chance = f", p {feature['pValue']:.2g}" if feature.get("pValue") is not None else ""
        verdict = "drifted" if feature.get("drifted") else "not drifted"
        yield f"{feature['name']}: {feature['test']} {feature['effect']:.3f}{chance}, {verdict}"
    for what, field in (("Predictions", "predictions"), ("Labels", "labelDrift")):
        if window.get(field):
            found = window[field]
            yield f"{what}: {found['test']} {found['effect']:.3f}, limit {found['threshold']:g}"
    performance = window.get("performance") or {}
    if performance.get("value") is not None:
        interval = f"({performance.get('low', 0):.3f} to {performance.get('high', 0):.3f})"
        against = (
            f"; its evaluation had {performance['reference']:.3f}" if performance.get("reference") is not None else ""
        )
        labels = f"on {performance.get('labels', 0):,} labels"
        yield f"{performance['metric']}: {performance['value']:.3f} {interval} {labels}{against}"
