"""The scenario: all five kinds from apply to promoted, rolled back and retrained, as a user and a schedule bring it on.

Each step waits for what a user would see before the next. It asks the API server only what it has to: what is there
is read from the actors' mirror. The end is reached when `is_over` says so.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.eventually import eventually

from fairlead.api import names
from fairlead.api.conditions import find_condition

from .actors import Actors
from .admin import Refused
from .pods import BAD_SEED, DRIFT_FROM, Json

FAMILY, SERVICE, DATA, MONITOR = "fraud", "fraud", "claims", "watch"
STEP_S = 180.0  # patience with a machine that does other work too; a step of an undisturbed run takes about 3 s
GATEWAY = {
    "metadata": {"name": "public"},
    "spec": {"gatewayClassName": "x", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
}
Look = Callable[[], Any]


def dataset() -> Json:
    """Return the Dataset."""
    source = {"configMap": {"name": "rows", "key": "rows.csv"}}
    return {"metadata": {"name": DATA}, "spec": {"source": source, "format": "CSV", "target": "late"}}


def run_spec(seed: int, *, approval: bool) -> Json:
    """Return the spec of a TrainingRun; its seed decides what it makes."""
    template = {
        "gates": [
            {"name": "floor", "metric": "accuracy", "min": 0.5},
            {"name": "champion", "metric": "accuracy", "versusChampion": {"maxLoss": 0.1}},
        ],
        "approval": {"required": approval},
    }
    trainer = {"sklearn": {"estimator": "sklearn.linear_model.LogisticRegression"}}
    spec = {"dataset": {"name": DATA}, "model": FAMILY, "trainer": trainer, "seed": seed}
    return {**spec, "versionTemplate": template}


def training_run(number: int, *, approval: bool = False) -> Json:
    """Return the n-th TrainingRun."""
    return {"metadata": {"name": f"{FAMILY}-v{number}"}, "spec": run_spec(number, approval=approval)}


def service() -> Json:
    """Return the InferenceService: two steps, a judge that decides within seconds."""
    judge = {"errorRate": {"maxIncreasePoints": 10}, "latency": {"maxIncreasePoints": 50}}
    rollout = {
        "stepsPercent": [20, 50],
        "judge": judge,
        "step": {"minRequests": 10, "minDuration": "0s"},
        "bake": {"duration": "1s", "holdbackPercent": 10},
    }
    spec = {
        "model": {"name": FAMILY},
        "scaling": {"minReplicas": 2, "maxReplicas": 4},
        "rollout": rollout,
        "traffic": {"gateway": {"name": "public"}, "hostname": "fraud.example.com"},
        "capture": {"percent": 100},
    }
    return {"metadata": {"name": SERVICE}, "spec": spec}


def monitor() -> Json:
    """Return the DriftMonitor: one drifted window retrains."""
    retrain = {
        "triggers": {"drift": {"consecutive": 1}},
        "cooldown": "24h",
        "template": {"spec": run_spec(4, approval=False)},
    }
    spec = {"inferenceService": {"name": SERVICE}, "schedule": "0 4 1 1 *", "window": "1h", "retrain": retrain}
    return {"metadata": {"name": MONITOR}, "spec": spec}


class Story:
    """The user and the schedule of one namespace."""

    def __init__(self, actors: Actors) -> None:
        self._actors, self._admin, self._namespace = actors, actors.admin, actors.namespace
        self.step = ""
        self.times: dict[str, float] = {}

    async def play(self, until: str = "retrained") -> None:
        """Bring everything on, to the end or until a step is reached; a second call goes on from there."""
        for step, act in self._steps[len(self.times) :]:
            await act()
            self.step = step
            self.times[step] = time.monotonic()
            if step == until:
                return

    @property
    def _steps(self) -> tuple[tuple[str, Callable[[], Awaitable[None]]], ...]:
        return (
            ("serving", self._begin),
            ("approval", self._challenge),
            ("promoted", self._promote),
            ("rolled back", self._roll_back),
            ("retrained", self._drift),
        )

    async def _begin(self) -> None:
        for resource, body in (
            (names.GATEWAY, GATEWAY),
            (names.DATASET, dataset()),
            (names.TRAINING_RUN, training_run(1)),
            (names.INFERENCE_SERVICE, service()),
            (names.DRIFT_MONITOR, monitor()),
        ):
            await self._create(resource, body)
        await self._until(lambda: self.serves(f"{FAMILY}-v1"))

    async def _challenge(self) -> None:
        await self._create(names.TRAINING_RUN, training_run(2, approval=True))
        await self._until(lambda: self._awaits_approval(f"{FAMILY}-v2"))

    async def _promote(self) -> None:
        await self._approve(f"{FAMILY}-v2")
        await self._until(lambda: self.serves(f"{FAMILY}-v2"))

    async def _roll_back(self) -> None:
        await self._create(names.TRAINING_RUN, training_run(BAD_SEED))
        await self._until(self._is_rolled_back)

    async def _drift(self) -> None:
        await self._window(DRIFT_FROM - 1)
        await self._until(lambda: self._counted(DRIFT_FROM - 1))
        await self._window(DRIFT_FROM)
        await self._until(lambda: self.serves(MONITOR))
        await self._until(self.is_over)

    async def _until(self, look: Look) -> None:
        def seen() -> Any:
            found = look()
            assert found, f"after {self.step!r}:\n{self.tell()}"
            return found

        await eventually(seen, STEP_S)

    # --- what a user does; each may be done again ---

    async def _create(self, resource: names.Resource, body: Json) -> None:
        try:
            await self._admin.create(resource, self._namespace, body)
        except Refused as refused:
            if refused.status != 409:
                raise

    async def _approve(self, name: str) -> None:
        version = self._status(names.MODEL_VERSION, name)
        decision = {"decision": "Approved", "by": "ann", "reason": "good", "required": True}
        decision["evaluationDigest"] = version["evaluation"]["inputDigest"]
        await self._admin.patch(names.MODEL_VERSION, (self._namespace, name), {"spec": {"approval": decision}})

    async def _window(self, minute: int) -> None:
        """Be the CronJob controller at a scheduled minute."""
        name = f"{MONITOR}-monitor"
        await self._until(lambda: self._actors.find(names.CRON_JOB, name))
        cron_job = self._actors.find(names.CRON_JOB, name)
        assert cron_job is not None
        template = cron_job["spec"]["jobTemplate"]
        reference = {"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": cron_job["metadata"]["uid"]}
        metadata = {
            "name": f"{name}-{minute}",
            "labels": template["metadata"]["labels"],
            "ownerReferences": [{**reference, "controller": True}],
        }
        await self._create(names.JOB, {"metadata": metadata, "spec": template["spec"]})

    # --- what a user sees ---

    def _status(self, resource: names.Resource, name: str) -> Json:
        return dict((self._actors.find(resource, name) or {}).get("status") or {})

    def _ready(self, resource: names.Resource, name: str) -> tuple[str, str]:
        obj = self._actors.find(resource, name)
        condition = find_condition(obj, "Ready") if obj else None
        return (condition["status"], condition["reason"]) if condition else ("", "")

    def serves(self, version: str) -> bool:
        """Say whether the service is at rest with this version (or one whose name begins so)."""
        status = self._status(names.INFERENCE_SERVICE, SERVICE)
        serving = str((status.get("stable") or {}).get("version", "")).startswith(version)
        rests = self._ready(names.INFERENCE_SERVICE, SERVICE) == ("True", "Serving")
        return serving and rests and "rollout" not in status

    def _awaits_approval(self, name: str) -> bool:
        return bool(self._status(names.MODEL_VERSION, name).get("stage") == "PendingApproval")

    def _is_rolled_back(self) -> bool:
        status = self._status(names.INFERENCE_SERVICE, SERVICE)
        said = self._ready(names.INFERENCE_SERVICE, SERVICE)
        return said[1] == "RolledBack" and "rollout" not in status and bool(status.get("rejected"))

    def _counted(self, minute: int) -> bool:
        return str(self._status(names.DRIFT_MONITOR, MONITOR).get("lastJob", "")).endswith(str(minute))

    def tell(self) -> str:
        """Return one line for each object of ours: what it says of itself."""
        ours = [obj for resource in names.OWN_KINDS for obj in self._actors.all(resource)]
        said = [(obj, (obj.get("status") or {}).get("conditions") or []) for obj in ours]
        return "\n".join(f"{obj['kind']}/{obj['metadata']['name']}: {[*map(_gist, found)]}" for obj, found in said)

    def is_over(self) -> bool:
        """Say whether every object of ours says what it should at the end."""
        versions = self._actors.all(names.MODEL_VERSION)
        stages = sorted((version.get("status") or {}).get("stage", "") for version in versions)
        watches = self._ready(names.DRIFT_MONITOR, MONITOR) == ("True", "Monitoring")
        runs = [
            self._ready(names.TRAINING_RUN, run["metadata"]["name"])[0] for run in self._actors.all(names.TRAINING_RUN)
        ]
        over = self.serves(MONITOR) and watches and runs == ["True"] * 4
        return over and stages == ["Approved", "Archived", "Archived", "Production"]


def _gist(condition: Json) -> str:
    return f"{condition['type']}={condition['status']} {condition['reason']}"
