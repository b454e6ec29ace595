"""Watches and gathers for ModelVersion: its run, its evaluation dataset and Jobs, and the services of its namespace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from fairlead.api import meta, names
from fairlead.api.dataset import Dataset, DatasetSpec, DatasetStatus
from fairlead.api.inferenceservice import Rejection
from fairlead.api.modelversion import ModelVersion, ModelVersionSpec, ModelVersionStatus, Stage, VersionArtifact
from fairlead.api.trainingrun import TrainingRun, TrainingRunSpec, TrainingRunStatus
from fairlead.plan.children import Image
from fairlead.plan.gates import Champion, ServiceFacts
from fairlead.plan.modelversion import ModelVersionSnapshot, plan_modelversion
from fairlead.plan.selection import Override
from fairlead.plan.types import Key, Obj, Plan

from .types import Controller, View, Watch, World, key_of, owner_key, referrer_keys

KIND = names.MODEL_VERSION


def _status(obj: Obj | None) -> Mapping[str, Any]:
    return (obj or {}).get("status") or {}


def _run_name(version: Obj) -> str:
    return str(((version["spec"].get("source") or {}).get("trainingRun") or {}).get("name", ""))


def _awaited_run(version: Obj) -> Iterable[str]:
    return () if _status(version).get("artifact") else (_run_name(version),)


def _awaited_dataset(version: Obj) -> Iterable[str]:
    evaluation = version["spec"].get("evaluation")
    return (evaluation["dataset"]["name"],) if evaluation and not _status(version).get("dataset") else ()


def _versions_of_service(service: Obj, view: View) -> Iterable[Key]:
    """The versions that a service speaks of, and those whose champion it may name."""
    metadata = service["metadata"]
    stable = _status(service).get("stable") or {}
    refused = {entry.get("digest") for entry in _status(service).get("rejected") or ()}
    refused.add((_status(service).get("handled") or {}).get("overrideDigest"))
    for version in view.list(KIND, metadata["namespace"]):
        status = _status(version)
        undecided = not status.get("approvedAt") and status.get("stage") != Stage.REJECTED
        serves = version["metadata"]["name"] == stable.get("version") or metadata["name"] in status.get(
            "productionIn", ()
        )
        if undecided or serves or _digest(status) in refused:
            yield key_of(KIND, version)


def _digest(status: Mapping[str, Any]) -> str:
    return str((status.get("artifact") or {}).get("digest", ""))


class ModelVersionController(Controller[ModelVersionSnapshot]):
    """ModelVersion."""

    resource = KIND
    watches = (
        Watch(names.TRAINING_RUN, referrer_keys(KIND, _awaited_run)),
        Watch(names.DATASET, referrer_keys(KIND, _awaited_dataset)),
        Watch(names.INFERENCE_SERVICE, _versions_of_service),
        Watch(names.JOB, owner_key(KIND)),
        Watch(names.POD, owner_key(KIND)),
    )

    async def gather(self, key: Key, world: World) -> ModelVersionSnapshot | None:
        """Return the version with its run, dataset, Jobs and services, or None when it is gone."""
        view = world.view
        raw = view.get(KIND, key.namespace, key.name)
        if raw is None:
            return None
        version = meta.read(raw, ModelVersionSpec, ModelVersionStatus)
        services = tuple(_facts(service, view) for service in view.list(names.INFERENCE_SERVICE, key.namespace))
        attempt = version.status.attempt
        return ModelVersionSnapshot(
            version=version,
            image=Image(world.settings.jobs_image, world.settings.image_pull_policy),
            run=_run(version, view),
            dataset=_dataset(version, view),
            services=services,
            champions=_champions(services, key.namespace, view),
            jobs=tuple(view.owned_by(names.JOB, version.uid)),
            pods=tuple(view.pods_of_job(key.namespace, attempt.job)) if attempt else (),
        )

    def plan(self, snapshot: ModelVersionSnapshot, now: datetime) -> Plan:
        """Decide."""
        return plan_modelversion(snapshot, now)

    def is_terminal(self, obj: Obj) -> bool:
        """Say whether the version is rejected."""
        return _status(obj).get("stage") == Stage.REJECTED


def _run(version: ModelVersion, view: View) -> TrainingRun | None:
    run = view.get(names.TRAINING_RUN, version.namespace, _run_name(version.raw))
    return meta.read(run, TrainingRunSpec, TrainingRunStatus) if run else None


def _dataset(version: ModelVersion, view: View) -> Dataset | None:
    if version.spec.evaluation is None:
        return None
    dataset = view.get(names.DATASET, version.namespace, version.spec.evaluation.dataset.name)
    return meta.read(dataset, DatasetSpec, DatasetStatus) if dataset else None


def _facts(service: Obj, view: View) -> ServiceFacts:
    metadata, status, model = service["metadata"], _status(service), service["spec"]["model"]
    named = view.get(KIND, metadata["namespace"], model["version"]) if model.get("version") else None
    stable, handled = status.get("stable") or {}, status.get("handled") or {}
    return ServiceFacts(
        name=metadata["name"],
        model=model.get("name") or (named["spec"]["model"] if named else ""),
        stable_version=stable.get("version", ""),
        stable_digest=stable.get("digest", ""),
        override=Override.of(handled.get("override", "")),
        lifted_at=handled.get("overrideAt", ""),
        rejected=tuple(Rejection.model_validate(entry) for entry in status.get("rejected") or ()),
    )


def _champions(services: Iterable[ServiceFacts], namespace: str, view: View) -> dict[str, Champion]:
    found = {}
    for name in {service.stable_version for service in services if service.stable_version}:
        version = view.get(KIND, namespace, name)
        artifact = _status(version).get("artifact")
        if version is not None and artifact:
            found[name] = Champion(name, version["spec"]["model"], VersionArtifact.model_validate(artifact))
    return found


CONTROLLER = ModelVersionController()
