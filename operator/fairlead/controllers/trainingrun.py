"""Watches and gathers for TrainingRun: its dataset, its Jobs and pods, its program's lines, its ModelVersion."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from fairlead.api import meta, names
from fairlead.api.dataset import DatasetSpec, DatasetStatus
from fairlead.api.trainingrun import TrainingRun, TrainingRunSpec, TrainingRunStatus
from fairlead.plan.children import Image
from fairlead.plan.trainingrun import OUTCOME_FAILED, TrainingRunSnapshot, plan_trainingrun
from fairlead.plan.trainjobs import program_container
from fairlead.plan.types import Key, Obj, Plan

from .types import Controller, View, Watch, World, owner_key, referrer_keys

KIND = names.TRAINING_RUN
LOG_LINES = 60


def _awaited_dataset(run: Obj) -> Iterable[str]:
    """A run that has pinned its revision does not look at the dataset again."""
    return () if (run.get("status") or {}).get("dataset") else (run["spec"]["dataset"]["name"],)


def _run_of_same_name(version: Obj, view: View) -> Iterable[Key]:
    metadata = version["metadata"]
    if view.get(KIND, metadata["namespace"], metadata["name"]) is not None:
        yield Key(KIND.kind, metadata["namespace"], metadata["name"])


class TrainingRunController(Controller[TrainingRunSnapshot]):
    """TrainingRun."""

    resource = KIND
    watches = (
        Watch(names.DATASET, referrer_keys(KIND, _awaited_dataset)),
        Watch(names.MODEL_VERSION, _run_of_same_name),
        Watch(names.JOB, owner_key(KIND)),
        Watch(names.POD, owner_key(KIND)),
    )

    async def gather(self, key: Key, world: World) -> TrainingRunSnapshot | None:
        """Return the run with its dataset, Jobs and the program's last lines, or None when it is gone."""
        view = world.view
        raw = view.get(KIND, key.namespace, key.name)
        if raw is None:
            return None
        run = meta.read(raw, TrainingRunSpec, TrainingRunStatus)
        dataset = view.get(names.DATASET, key.namespace, run.spec.dataset.name)
        attempt = run.status.attempt
        pods = tuple(view.pods_of_job(key.namespace, attempt.job)) if attempt else ()
        return TrainingRunSnapshot(
            run=run,
            image=Image(world.settings.jobs_image, world.settings.image_pull_policy),
            dataset=meta.read(dataset, DatasetSpec, DatasetStatus) if dataset else None,
            version=view.get(names.MODEL_VERSION, key.namespace, key.name),
            jobs=tuple(view.owned_by(names.JOB, run.uid)),
            pods=pods,
            log=await _log(run, pods, world),
        )

    def plan(self, snapshot: TrainingRunSnapshot, now: datetime) -> Plan:
        """Decide."""
        return plan_trainingrun(snapshot, now)

    def is_terminal(self, obj: Obj) -> bool:
        """Say whether the run failed, or succeeded and made its ModelVersion."""
        status = obj.get("status") or {}
        return status.get("outcome") == OUTCOME_FAILED or bool(status.get("modelVersion"))


async def _log(run: TrainingRun, pods: tuple[Obj, ...], world: World) -> tuple[str, ...]:
    """Return the last lines of the newest pod: progress while it runs, the tail when it failed."""
    if run.status.outcome or not pods or (run.status.attempt and run.status.attempt.collect):
        return ()
    newest = max(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]))
    if (newest.get("status") or {}).get("phase") == "Succeeded":
        return ()
    lines = await world.logs.tail(run.namespace, newest["metadata"]["name"], program_container(run), LOG_LINES)
    return tuple(lines)


CONTROLLER = TrainingRunController()
