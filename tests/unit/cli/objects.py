"""Objects as the API server gives them, in the state of a service that refused its third version."""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]
R1, R2 = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def ready(reason: str, message: str = "", status: str = "True", **others: str) -> list[Obj]:
    """Return conditions: Ready, and further types with their status."""
    at = "2026-11-21T11:50:00Z"
    said = {"observedGeneration": 1, "lastTransitionTime": at, "reason": reason, "message": message}
    return [{"type": "Ready", "status": status, **said}, *({"type": t, "status": s, **said} for t, s in others.items())]


def thing(kind: str, name: str, spec: Obj, status: Obj | None = None, **metadata: Any) -> Obj:
    """Return one object of namespace fraud."""
    known = {"name": name, "namespace": "fraud", "generation": 1, "creationTimestamp": "2026-11-21T11:00:00Z"}
    obj: Obj = {"kind": kind, "metadata": {**known, **metadata}, "spec": spec}
    return obj if status is None else {**obj, "status": status}


def dataset(**status: Any) -> Obj:
    known = {"conditions": ready("Valid"), "revision": R1, "rows": 77911, "trainRows": 54554, "validationRows": 7813}
    read = {"at": "2026-11-21T11:50:00Z", "tick": "a//", "valid": True, "reason": "Valid"}
    return thing("Dataset", "tx", {}, {**known, "testRows": 15544, "columns": 10, "lastCheck": read, **status})


def run(name: str, data: str = "tx", **status: Any) -> Obj:
    known = {"conditions": ready("Succeeded"), "dataset": {"name": data, "revision": R1}, "outcome": "Succeeded"}
    return thing("TrainingRun", name, {"dataset": {"name": data}}, {**known, **status})


def version(name: str, letter: str, approval: Obj | None = None, **status: Any) -> Obj:
    known = {"conditions": ready("Approved"), "artifact": {"digest": digest(letter)}, "gatesSummary": "2/2 passed"}
    spec = {"model": "fraud", "source": {"trainingRun": {"name": name}}, "approval": approval or {"required": True}}
    return thing("ModelVersion", name, spec, {**known, **status})


def refusal(name: str, letter: str) -> Obj:
    message = "Canary failed 19.4 % of 278 requests, baseline 0.0 % of 279: more than 3 points worse."
    return {"digest": digest(letter), "version": name, "reason": "ErrorRate", "message": message, "at": "12:09:30Z"}


def service(**status: Any) -> Obj:
    stable = {"version": "fraud-2", "digest": digest("b"), "name": "fraud-bbbb", "readyReplicas": 2}
    said = "Version fraud-3 was refused; fraud-2 serves."
    conditions = ready("RolledBack", said, "False", Stalled="True")
    known = {"conditions": conditions, "stable": stable, "rejected": [refusal("fraud-3", "c")]}
    return thing("InferenceService", "fraud", {"model": {"name": "fraud"}}, {**known, **status})


def monitor(name: str = "fraud", watched: str = "fraud", **status: Any) -> Obj:
    record = {"run": "fraud-2611", "at": "2026-11-21T11:56:00Z", "reason": "Drift", "outcome": ""}
    conditions = ready("Monitoring", "The newest window has 6,837 requests.")
    drifted = {**conditions[0], "type": "DataDrift", "reason": "Drifted", "message": "2 of 6 features drifted."}
    known = {"conditions": [*conditions, drifted], "retrainings": [record]}
    return thing("DriftMonitor", name, {"inferenceService": {"name": watched}}, {**known, **status})


def world() -> dict[str, list[Obj]]:
    third = {"inferenceService": "fraud", "reason": "ErrorRate", "message": "m", "at": "12:09:30Z"}
    waiting = ready("DatasetMissing", "Dataset gone does not exist.", "False", Reconciling="True")
    return {
        "Dataset": [dataset()],
        "TrainingRun": [
            run("fraud-2"),
            run("fraud-3"),
            run(
                "fraud-2611",
                conditions=ready("Training", "", "False"),
                outcome="",
                progress={"message": "trial 3 of 20"},
            ),
            run("lonely", "gone", conditions=waiting, dataset=None, outcome=""),
        ],
        "ModelVersion": [
            version("fraud-2", "b", conditions=ready("InProduction")),
            version(
                "fraud-3", "c", conditions=ready("RejectedByService", "", "False", Stalled="True"), rejectedBy=[third]
            ),
            version("imported", "d"),
        ],
        "InferenceService": [service()],
        "DriftMonitor": [monitor(), monitor("blind", "absent", retrainings=None)],
    }
