"""Watches and gathers for Dataset: its Jobs and pods, and who refers to its revisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from fairlead.api import meta, names
from fairlead.api.dataset import DatasetSpec, DatasetStatus
from fairlead.plan.children import Image
from fairlead.plan.dataset import DatasetSnapshot, plan_dataset
from fairlead.plan.types import Key, Obj, Plan

from .types import Controller, View, Watch, World, owner_key

KIND = names.DATASET


def _pinned(obj: Obj) -> Iterable[Mapping[str, Any]]:
    """Return the {name, revision} that a TrainingRun or ModelVersion refers to."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    said = (spec.get("dataset"), (spec.get("evaluation") or {}).get("dataset"), status.get("dataset"))
    return [reference for reference in said if reference]


def _datasets_with_dropped(referrer: Obj, view: View) -> Iterable[Key]:
    """A deleted run or version may have been the last to refer to a dropped revision."""
    namespace = referrer["metadata"]["namespace"]
    for name in {reference["name"] for reference in _pinned(referrer)}:
        dataset = view.get(KIND, namespace, name)
        if dataset is not None and (dataset.get("status") or {}).get("dropped"):
            yield Key(KIND.kind, namespace, name)


class DatasetController(Controller[DatasetSnapshot]):
    """Dataset."""

    resource = KIND
    watches = (
        Watch(names.JOB, owner_key(KIND)),
        Watch(names.POD, owner_key(KIND)),
        Watch(names.TRAINING_RUN, _datasets_with_dropped),
        Watch(names.MODEL_VERSION, _datasets_with_dropped),
    )

    async def gather(self, key: Key, world: World) -> DatasetSnapshot | None:
        """Return the Dataset with its Jobs and what refers to its revisions, or None when it is gone."""
        view = world.view
        raw = view.get(KIND, key.namespace, key.name)
        if raw is None:
            return None
        dataset = meta.read(raw, DatasetSpec, DatasetStatus)
        attempts = [attempt for attempt in (dataset.status.attempt, dataset.status.cleanup) if attempt]
        return DatasetSnapshot(
            dataset=dataset,
            image=Image(world.settings.jobs_image, world.settings.image_pull_policy),
            jobs=tuple(view.owned_by(names.JOB, dataset.uid)),
            pods={a.job: tuple(view.pods_of_job(key.namespace, a.job)) for a in attempts},
            referred=_referred(view, key),
        )

    def plan(self, snapshot: DatasetSnapshot, now: datetime) -> Plan:
        """Decide."""
        return plan_dataset(snapshot, now)


def _referred(view: View, key: Key) -> frozenset[str]:
    referrers = [*view.list(names.TRAINING_RUN, key.namespace), *view.list(names.MODEL_VERSION, key.namespace)]
    pinned = [reference for obj in referrers for reference in _pinned(obj) if reference["name"] == key.name]
    return frozenset(reference["revision"] for reference in pinned if reference.get("revision"))


CONTROLLER = DatasetController()
