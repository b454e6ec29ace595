"""The steps of the story. Each applies a manifest as a person would, waits for what status says, and gives evidence."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .cluster import (
    ROOT,
    Cluster,
    Obj,
    StoryBrokenError,
    condition,
    is_ready,
    is_stalled,
    ready_of,
    restricted_namespace,
    run,
)
from .feedback import Feedback
from .lake import Lake
from .narrator import Narrator
from .traffic import Traffic

EXAMPLE = ROOT / "examples" / "flights"
SERVICE = "flights"
V1, V2, V3 = "flights-v1", "flights-v2", "flights-v3"


@dataclass
class Stage:
    """All that the steps share."""

    cluster: Cluster
    narrator: Narrator
    lake: Lake
    traffic: Traffic
    feedback: Feedback
    settings: tuple[str, ...] = ()  # further values of the chart

    def apply(self, name: str) -> None:
        """Apply a manifest of the example and say so."""
        path = next(EXAMPLE.glob(name))
        self.narrator.say(f"$ kubectl apply -f {path.relative_to(ROOT)}")
        self.cluster.apply(path)

    def until(
        self,
        kind: str,
        name: str,
        holds: Callable[[Obj], bool],
        timeout_s: float,
        fails: Callable[[Obj], bool] = lambda _obj: False,
    ) -> Obj:
        """Wait for an object and say what it says on the way."""
        return self.cluster.until((kind, name), holds, timeout_s, self.narrator.status, fails)


def install(stage: Stage) -> None:
    """Step: the operator, by the chart."""
    step = stage.narrator.step("Install Fairlead", "The chart brings the CRDs, the operator and the approval policy.")
    words = ("upgrade", "--install", "fairlead", str(ROOT / "charts" / "fairlead"), "--wait", "--timeout", "3m")
    where = ("--namespace", "fairlead-system", "--kube-context", "kind-fairlead")
    stage.apply("00-*.yaml")  # first: in namespaced mode the chart puts a Role there
    stage.cluster.apply_objects(restricted_namespace("fairlead-system"))
    stage.narrator.say("$ helm upgrade --install fairlead charts/fairlead -n fairlead-system --wait")
    stamp = f"podAnnotations.fairlead\\.dev/installed=t{int(time.time())}"
    run("helm", *words, *where, *(word for setting in (stamp, *stage.settings) for word in ("--set", setting)))
    stage.cluster.apply_objects(stage.lake.secret(stage.cluster.namespace))
    stage.narrator.done(step, "installed", "operator ready; namespace flights holds the Secret fairlead-store")


def data(stage: Stage) -> None:
    """Step: a Dataset of January to March."""
    why = "January to March 2013 lie in the bucket as CSV. A Dataset reads them, checks them, freezes a revision."
    step = stage.narrator.step("Data", why)
    stage.lake.put("2013-q1.csv", 1, 3)
    stage.apply("01-*.yaml")
    dataset = stage.until("Dataset", "flights", is_ready, 90, is_stalled)
    status = dataset["status"]
    evidence = (
        f"{status['rows']:,} rows, {status['columns']} columns; train {status['trainRows']:,}, "
        f"validation {status['validationRows']:,}, test {status['testRows']:,}; revision {status['revision'][:19]}"
    )
    stage.narrator.done(step, "frozen", evidence)


def first_version(stage: Stage) -> None:
    """Step: version 1 is trained, gated and serves."""
    why = "Version 1 knows the schedule only. Its gates ask for little; it is the first, so it serves at once."
    step = stage.narrator.step("Version 1 goes live", why)
    stage.apply("02-*.yaml")
    stage.apply("03-*.yaml")
    stage.until("TrainingRun", V1, _succeeded, 120, is_stalled)
    stage.apply("04-*.yaml")  # version 2 trains while version 1 passes its gates
    stage.until("ModelVersion", V1, is_ready, 90, is_stalled)
    stage.until("InferenceService", SERVICE, _serves(V1), 90, is_stalled)
    stage.traffic.fly(stage.lake.flights(1, 3))
    stage.traffic.start()
    stage.feedback.start()
    stage.narrator.done(step, "serving", f"{_gates(stage, V1)}; live traffic begins through the gateway on 127.0.0.1")


def better_version(stage: Stage) -> None:
    """Step: version 2 is approved, canaried and promoted."""
    why = "Version 2 also sees the departure delay. On the same frozen rows it must not lose; a person approves."
    step = stage.narrator.step("Version 2 is promoted", why)
    stage.until("TrainingRun", V2, _succeeded, 150, is_stalled)
    stage.until("ModelVersion", V2, _awaits_approval, 90, is_stalled)
    _approve(stage, V2, "better than version 1 on every gate")
    stage.apply("05-*.yaml")  # version 3 trains meanwhile; it will wait for approval
    stage.until("InferenceService", SERVICE, _in_rollout_of(V2), 60)
    service = stage.until("InferenceService", SERVICE, _serves(V2), 240, is_stalled)
    stage.narrator.done(step, "promoted", _promotion(stage, V2, service))


def bad_version(stage: Stage) -> None:
    """Step: version 3 passes its gates, fails under load, and is rolled back and rejected."""
    why = "Version 3 passes its gates: every test row has a delay. A fifth of live requests come before departure."
    step = stage.narrator.step("Version 3 is rolled back", why)
    stage.until("ModelVersion", V3, _awaits_approval, 120, is_stalled)
    _approve(stage, V3, "all gates passed")
    _december(stage)
    service = stage.until("InferenceService", SERVICE, _rejected(V3), 240)
    ledger = stage.traffic.ledger
    if V3 not in ledger.first_failure:
        raise StoryBrokenError("version 3 was rolled back, but no request of users failed by it")
    version = stage.until("ModelVersion", V3, lambda obj: bool(obj["status"].get("rejectedBy")), 30)
    took = ledger.last_failure[V3] - ledger.first_failure[V3]
    share = 100 * ledger.failed[V3] / max(1, ledger.answered[V3])
    said = service["status"]["rejected"][0]["message"]
    evidence = (
        f"{ledger.failed[V3]} of its {ledger.answered[V3]} requests failed ({share:.0f} %); the last failure came "
        f"{took:.0f} s after the first. {said} Rejected by {version['status']['rejectedBy'][0]['inferenceService']}"
    )
    stage.narrator.done(step, "rolled back", evidence)


def _december(stage: Stage) -> None:
    """Let the season shift: live requests of December, and October to December in the lake."""
    stage.narrator.say("Meanwhile it became December: live requests are December's, the lake gets October to December.")
    stage.lake.put("2013-q4.csv", 10, 12)
    stamp = {"metadata": {"annotations": {"fairlead.dev/refresh": str(int(time.time()))}}}
    stage.cluster.patch("Dataset", "flights", stamp)
    stage.traffic.fly(stage.lake.flights(12, 12))
    stage.apply("06-*.yaml")


def season_shift(stage: Stage) -> str:
    """Step: drift is found and starts a retraining on newer data. Return the run's name."""
    why = "Every minute the DriftMonitor holds what was asked, and what turned out true, against version 2's training."
    step = stage.narrator.step("Drift is found", why)
    monitor = stage.until("DriftMonitor", "flights", lambda obj: bool(_new_runs(obj)), 300)
    found = [
        c for c in ("DataDrift", "PredictionDrift", "PerformanceDrop") if condition(monitor, c)["status"] == "True"
    ]
    words = " ".join(condition(monitor, each)["message"] for each in found)
    name = _new_runs(monitor)[0]
    revision = monitor["status"]["retrainings"][0]["revision"]
    if revision != (stage.cluster.get("Dataset", "flights") or {})["status"]["revision"]:
        raise StoryBrokenError("the retraining does not use the newest revision of the data")
    stage.narrator.done(step, "retraining", f"{', '.join(found)}: {words} TrainingRun {name} starts")
    return name


def retrained_version(stage: Stage, name: str) -> None:
    """Step: the retrained version goes through gates and canary like any other."""
    why = "The retrained version gets no favour: the same gates, the same canary."
    step = stage.narrator.step("The retrained one is promoted", why)
    stage.until("TrainingRun", name, _succeeded, 180, is_stalled)
    stage.until("ModelVersion", name, lambda obj: obj["status"]["stage"] in ("Approved", "Production"), 120, is_stalled)
    service = stage.until("InferenceService", SERVICE, _serves(name), 300, _gave_up_on(name))
    stage.narrator.done(step, "promoted", _promotion(stage, name, service))


def nobody_noticed(stage: Stage) -> None:
    """Step: no request failed but by version 3."""
    step = stage.narrator.step(
        "What users saw", "Every answer names the version that made it: failures can be told apart."
    )
    stage.traffic.stop()
    stage.feedback.stop()
    ledger = stage.traffic.ledger
    others = ledger.failures_but_of(V3)
    counts = ", ".join(f"{count:,} by {name}" for name, count in ledger.answered.most_common())
    if others:
        raise StoryBrokenError(f"{others} requests failed that version 3 did not make fail: {ledger.examples[:3]}")
    total = sum(ledger.answered.values())
    failed = f"Failed: {ledger.failed[V3]}, all by {V3}"
    evidence = f"{total:,} requests: {counts}. {failed}; {stage.feedback.sent:,} labels came back"
    stage.narrator.done(step, "unharmed", evidence)


def _approve(stage: Stage, name: str, reason: str) -> None:
    version = stage.cluster.get("ModelVersion", name) or {}
    digest = version["status"]["evaluation"]["inputDigest"]
    who = "kubernetes-admin"
    stage.narrator.say(f"$ kubectl patch modelversions.fairlead.dev {name}   # approved by {who}: {reason}")
    decision: dict[str, Any] = {"decision": "Approved", "by": who, "reason": reason, "evaluationDigest": digest}
    stage.cluster.patch("ModelVersion", name, {"spec": {"approval": decision}})


def _promotion(stage: Stage, name: str, service: Obj) -> str:
    """Return the evidence of a promotion: the version's gates, and what the service says of its newest rollout."""
    newest = (service["status"].get("history") or [{}])[0]
    return f"{_gates(stage, name)}; {newest.get('message') or ready_of(service)['message']}"


def _gates(stage: Stage, name: str) -> str:
    results = ((stage.cluster.get("ModelVersion", name) or {}).get("status") or {}).get("gates") or ()
    words = [f"{gate['name']} {_number(gate, 'value')} (limit {_number(gate, 'limit')})" for gate in results]
    return f"gates passed: {', '.join(words)}" if words else "no gates"


def _number(gate: Obj, name: str) -> str:
    value = float(gate.get(name, 0))
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _new_runs(monitor: Obj) -> list[str]:
    return [record["run"] for record in monitor["status"].get("retrainings") or ()]


def _succeeded(run_: Obj) -> bool:
    return bool((run_.get("status") or {}).get("outcome") == "Succeeded")


def _awaits_approval(version: Obj) -> bool:
    return bool((version.get("status") or {}).get("stage") == "PendingApproval")


def _serves(version: str) -> Callable[[Obj], bool]:
    def holds(service: Obj) -> bool:
        stable = (service.get("status") or {}).get("stable") or {}
        return stable.get("version") == version and is_ready(service)

    return holds


def _in_rollout_of(version: str) -> Callable[[Obj], bool]:
    def holds(service: Obj) -> bool:
        status = service.get("status") or {}
        return any((status.get(role) or {}).get("version") == version for role in ("canary", "stable"))

    return holds


def _rejected(version: str) -> Callable[[Obj], bool]:
    def holds(service: Obj) -> bool:
        return any(entry.get("version") == version for entry in (service.get("status") or {}).get("rejected") or ())

    return holds


def _gave_up_on(version: str) -> Callable[[Obj], bool]:
    rejected = _rejected(version)
    return lambda service: rejected(service) or ready_of(service)["reason"] == "Inconclusive"
