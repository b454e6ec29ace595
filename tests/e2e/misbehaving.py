"""Versions for rollouts on the real cluster, good and bad, made by hand: they pass every gate and misbehave in serving.

Each is an artifact from elsewhere (`source.artifact`) in the team's lake. The bad ones are joblib files whose class is
written here as text; they know serving from an evaluation by the server's environment. Test-only: nothing trains such.
"""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import joblib
from tests.e2e.team import Obj, Team, manifest
from tests.support.graphs import SIGNATURE, linear

from fairlead.contract import keys
from fairlead.contract.data import ColumnType
from fairlead_runtime.artifact import MODEL_FILES, describe_artifact
from fairlead_runtime.signature import Input, Signature

MODEST = {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
POISON = 13  # an age: what both arms depend on fails for it, in an incident
WRITTEN = SIGNATURE.model_copy(
    update={"inputs": [c.model_copy(update={"nullable": True}) for c in SIGNATURE.inputs], "probability_output": ""}
)
_BASE = f"""
import os, random, threading, time
import numpy as np

SERVING = "FAIRLEAD_DRAIN_S" in os.environ


class Base:
    def predict(self, frame):
        age = frame["age"].to_numpy(dtype=float)
        self.before(age)
        return (age > 10).astype(int)

    def before(self, age):
        if SERVING and (age == {POISON}).any():
            raise ConnectionError("the feature store does not answer")
"""
BODIES = {
    "good": "class Model(Base):\n    mark = 1",
    "better": "class Model(Base):\n    mark = 2",
    "errors": """
class Model(Base):
    def before(self, age):
        if SERVING and random.random() < 0.05:
            raise ValueError("a value that training never saw")
""",
    "fails": """
class Model(Base):
    def before(self, age):
        if SERVING and random.random() < 0.2:
            raise ValueError("a value that training never saw")
""",
    "steady": """
class Model(Base):
    def before(self, age):
        time.sleep(0.01 if SERVING else 0)
""",
    "slow": """
class Model(Base):
    def before(self, age):
        time.sleep(0.03 if SERVING else 0)
""",
    "constant": """
class Model(Base):
    def predict(self, frame):
        answer = super().predict(frame)
        return np.ones_like(answer) if SERVING else answer
""",
    "swapped": """
class Model(Base):
    def predict(self, frame):
        column = "mean radius" if SERVING else "age"
        return (frame[column].to_numpy(dtype=float) > 10).astype(int)
""",
    "crashes": """
class Model(Base):
    def __init__(self):
        if SERVING:
            print("no such file: weights.bin", flush=True)
            os._exit(3)
""",
    "leaks": """
class Model(Base):
    def __init__(self):
        if SERVING:
            threading.Thread(target=self.leak, daemon=True).start()

    def leak(self):
        time.sleep(60)
        kept = []
        while True:
            kept.append(np.ones(1 << 21))
            time.sleep(0.05)
""",
    "hangs": """
class Model(Base):
    def __init__(self):
        while SERVING:
            time.sleep(1)
""",
    "tires": """
class Model(Base):
    def __init__(self):
        self.times = []

    def before(self, age):
        now = time.monotonic()
        self.times = [t for t in self.times if now - t < 2.0] + [now]
        if SERVING and len(self.times) > 2 * 24:
            raise RuntimeError("the pool has no connection left")
""",
}


class _Written:
    """An object that unpickles as the class that a text defines."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, (f"(lambda space: (exec({self._text!r}, space), space['Model']())[1])({{}})",)


def put_version(team: Team, name: str, body: str = "good", *, wider: bool = False, broken: bool = False) -> Obj:
    """Put an artifact into the lake and return the manifest of its ModelVersion.

    `wider`: its signature asks for one more column; `broken`: its signature is that of another graph.
    """
    if body == "onnx":
        files = {MODEL_FILES["onnx"]: linear(), keys.SIGNATURE: _json(_wider() if broken else SIGNATURE)}
        return version_of(team, name, "onnx", files)
    with TemporaryDirectory() as folder:
        path = Path(folder) / MODEL_FILES["joblib"]
        joblib.dump(_Written(_BASE + BODIES[body]), path)
        files = {path.name: path.read_bytes(), keys.SIGNATURE: _json(_wider() if wider else WRITTEN)}
    return version_of(team, name, "joblib", files)


def _wider() -> Signature:
    more = Input(name="worst radius", type=ColumnType.FLOAT, datatype="FP32", nullable=False)
    return WRITTEN.model_copy(update={"inputs": [*WRITTEN.inputs, more]})


def _json(signature: Signature) -> bytes:
    return json.dumps(signature.to_json_object()).encode()


def version_of(team: Team, name: str, form: str, files: dict[str, bytes]) -> Obj:
    """Put an artifact's files into the lake and return the manifest of its ModelVersion."""
    uris = [team.put(f"{name}/{file}", body) for file, body in files.items()]
    uri = uris[0].rpartition("/")[0] + "/"
    artifact = {"uri": uri, "digest": describe_artifact(form, files, {}).digest, "format": form}
    spec = {
        "model": "tumor",
        "source": {"artifact": artifact | ({"trustPickle": True} if form == "joblib" else {})},
        "evaluation": {"dataset": {"name": "patients"}},
        "approval": {"required": False},
        "resources": MODEST,
    }
    return manifest("ModelVersion", name, spec)


def rows(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Return requests; none is poison."""
    chance = random.Random(seed)
    ages = [age for age in range(21) if age != POISON]
    return [{"age": chance.choice(ages), "mean radius": round(chance.uniform(0, 20), 2)} for _ in range(count)]


def given_patients(team: Team) -> None:
    """Put a Dataset `patients` there that every version here can be evaluated on."""
    team.apply(patients(team))


def patients(team: Team) -> Obj:
    """Put its file into the lake, and return the manifest."""
    text = io.StringIO()
    text.write("age,mean radius,worst radius,kind\n")
    for row in rows(200, seed=2):
        kind = "malign" if row["age"] > 10 else "benign"
        text.write(f"{row['age']},{row['mean radius']},{row['mean radius']},{kind}\n")
    spec = {
        "source": {"s3": {"uri": team.put("patients.csv", text.getvalue().encode())}},
        "format": "CSV",
        "target": "kind",
        "resources": MODEST,
    }
    return manifest("Dataset", "patients", spec)


def given_versions(team: Team, **bodies: str) -> None:
    """Make the versions of these names and bodies, and wait until all are approved."""
    given_patients(team)
    team.apply(*(put_version(team, name, body) for name, body in bodies.items()))
    for name in bodies:
        team.until_ready("ModelVersion", name, 300)


def service(version: str, hostname: str | None = None, **changes: Any) -> Obj:
    """Return an InferenceService `tumor` that serves one version by name, its pods small.

    With less CPU a busy node may let a pod wait for 0.25 s; what then waits in it is answered 503, as it should be.
    """
    name, cpu = changes.pop("name", "tumor"), changes.pop("cpu", "50m")
    spec: dict[str, Any] = {
        "model": {"version": version},
        "predictor": {"resources": {"requests": {"cpu": cpu, "memory": "128Mi"}, "limits": {"memory": "512Mi"}}},
        "scaling": {"minReplicas": 1, "maxReplicas": 2, "targetCPUPercent": 500},
        "rollout": QUICK,
    }
    if hostname:
        spec["traffic"] = {"gateway": {"name": "public", "namespace": "gateways"}, "hostname": hostname}
    return manifest("InferenceService", name, {**spec, **changes})


QUICK: dict[str, Any] = {  # little evidence is enough, and a busy machine is no reason
    "stepsPercent": [50],
    "judge": {"errorRate": {"maxIncreasePoints": 20}, "latency": {"thresholdMs": 10_000, "maxIncreasePoints": 50}},
    "step": {"minRequests": 20, "minDuration": "2s"},
    "bake": {"duration": "3s"},
}


def quick(**changes: Any) -> dict[str, Any]:
    """Return `QUICK` with changes."""
    return {**QUICK, **changes}
