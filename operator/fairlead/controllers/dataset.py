"""Watches and gathers for Dataset: its Jobs and pods, and who refers to its revisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from fairlead.api import meta, names
from fairlead.api.dataset import Dataset, DatasetSpec, DatasetStatus
from fairlead.plan.children import Image
from fairlead.plan.dataset import DatasetSnapshot, plan_dataset
from fairlead.plan.types import Key, Obj, Plan

from .types import Controller, View, Watch, World, owner_key

KIND = names.DATASET


def _pinned(obj: Obj) -> Iterable[Mapping[str, Any]]:
    """Return the {name, revision} that a TrainingRun, ModelVersion or DriftMonitor refers to."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    said = (spec.get("dataset"), (spec.get("evaluation") or {}).get("dataset"), status.get("dataset"))
    return [*(reference for reference in said if reference), *_to_be_trained_on(spec, status)]


def _to_be_trained_on(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Return what a monitor's retrainings are of: its template's, and those on record whose run is yet to be made."""
    template = ((spec.get("retrain") or {}).get("template") or {}).get("spec") or {}
    dataset = template.get("dataset")
    begun = [record for record in status.get("retrainings") or () if not record.get("outcome")]
    return [dataset, *({**dataset, "revision": record.get("revision")} for record in begun)] if dataset else []


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
        Watch(names.DRIFT_MONITOR, _datasets_with_dropped),
    )

    async def gather(self, key: Key, world: World) -> DatasetSnapshot | None:
        """Return the Dataset with its Jobs and what refers to its revisions, or None when it is gone."""
        view = world.view
        raw = view.get(KIND, key.namespace, key.name)
        if raw is None:
            return None
        dataset = meta.read(raw, DatasetSpec, DatasetStatus)
        jobs = tuple(view.owned_by(names.JOB, dataset.uid))
        attempts = (dataset.status.attempt, dataset.status.cleanup)
        looked_at = {attempt.job for attempt in attempts if attempt} or {job["metadata"]["name"] for job in jobs}
        return DatasetSnapshot(
            dataset=dataset,
            image=Image(world.settings.jobs_image, world.settings.image_pull_policy),
            jobs=jobs,
            pods={job: tuple(view.pods_of_job(key.namespace, job)) for job in looked_at},
            referred=_referred(view, key) if _may_drop(dataset) else frozenset(),
        )

    def plan(self, snapshot: DatasetSnapshot, now: datetime) -> Plan:
        """Decide."""
        return plan_dataset(snapshot, now)


def _may_drop(dataset: Dataset) -> bool:
    """Say whether this look may drop a revision; all runs and versions are looked through only then."""
    kept = dataset.status.revisions or ()
    return bool(dataset.status.dropped) or len(kept) >= dataset.spec.keep_revisions


def _referred(view: View, key: Key) -> frozenset[str]:
    kinds = (names.TRAINING_RUN, names.MODEL_VERSION, names.DRIFT_MONITOR)
    referrers = [obj for kind in kinds for obj in view.list(kind, key.namespace)]
    pinned = [reference for obj in referrers for reference in _pinned(obj) if reference["name"] == key.name]
    return frozenset(reference["revision"] for reference in pinned if reference.get("revision"))


CONTROLLER = DatasetController()
