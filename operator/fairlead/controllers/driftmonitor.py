"""Watches and gathers for DriftMonitor: its service, the stable version, its CronJobs, Jobs and TrainingRuns."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from fairlead.api import meta, names
from fairlead.api.dataset import DatasetSpec, DatasetStatus
from fairlead.api.driftmonitor import DriftMonitor as Monitor
from fairlead.api.driftmonitor import DriftMonitorSpec, DriftMonitorStatus
from fairlead.api.inferenceservice import InferenceServiceSpec, InferenceServiceStatus
from fairlead.api.modelversion import ModelVersionSpec, ModelVersionStatus
from fairlead.api.trainingrun import TrainingRunSpec, TrainingRunStatus
from fairlead.plan.children import Image
from fairlead.plan.driftmonitor import DriftMonitorSnapshot, plan_driftmonitor, scheduled_minute
from fairlead.plan.types import Key, Obj, Plan

from .types import Controller, View, Watch, World, key_of, owner_key, referrer_keys

KIND = names.DRIFT_MONITOR


def _dataset_names(monitor: Obj) -> Iterable[str]:
    retrain = monitor["spec"].get("retrain")
    return [retrain["template"]["spec"]["dataset"]["name"]] if retrain else []


def _stable_version(service: Obj | None) -> str:
    return str((((service or {}).get("status") or {}).get("stable") or {}).get("version", ""))


def _monitors_of_version(version: Obj, view: View) -> Iterable[Key]:
    namespace, name = version["metadata"]["namespace"], version["metadata"]["name"]
    for monitor in view.list(KIND, namespace):
        service = view.get(names.INFERENCE_SERVICE, namespace, monitor["spec"]["inferenceService"]["name"])
        if _stable_version(service) == name:
            yield key_of(KIND, monitor)


class DriftMonitorController(Controller[DriftMonitorSnapshot]):
    """DriftMonitor."""

    resource = KIND
    watches = (
        Watch(names.INFERENCE_SERVICE, referrer_keys(KIND, lambda m: [m["spec"]["inferenceService"]["name"]])),
        Watch(names.MODEL_VERSION, _monitors_of_version),
        Watch(names.DATASET, referrer_keys(KIND, _dataset_names)),
        Watch(names.TRAINING_RUN, owner_key(KIND)),
        Watch(names.CRON_JOB, owner_key(KIND)),
        Watch(names.JOB, owner_key(KIND)),
        Watch(names.POD, owner_key(KIND)),
    )

    async def gather(self, key: Key, world: World) -> DriftMonitorSnapshot | None:
        """Return the monitor and everything that it looks at, or None when it is gone."""
        view = world.view
        raw = view.get(KIND, key.namespace, key.name)
        if raw is None:
            return None
        monitor = meta.read(raw, DriftMonitorSpec, DriftMonitorStatus)
        service = view.get(names.INFERENCE_SERVICE, key.namespace, monitor.spec.inference_service.name)
        version = view.get(names.MODEL_VERSION, key.namespace, _stable_version(service))
        settings = world.settings
        return DriftMonitorSnapshot(
            monitor=monitor,
            service=meta.read(service, InferenceServiceSpec, InferenceServiceStatus) if service else None,
            version=meta.read(version, ModelVersionSpec, ModelVersionStatus) if version else None,
            cron_jobs={job["metadata"]["name"]: job for job in view.owned_by(names.CRON_JOB, monitor.uid)},
            checks=_checks(view, key),
            runs=_runs(view, key),
            dataset_revision=_current_revision(view, monitor),
            image=Image(settings.jobs_image, settings.image_pull_policy),
        )

    def plan(self, snapshot: DriftMonitorSnapshot, now: datetime) -> Plan:
        """Decide."""
        return plan_driftmonitor(snapshot, now)


def _labels(key: Key, role: str) -> dict[str, str]:
    return {names.LABEL_OWNER: key.name, names.LABEL_OWNER_KIND: KIND.kind, names.LABEL_ROLE: role}


def _checks(view: View, key: Key) -> tuple[tuple[Obj, tuple[Obj, ...]], ...]:
    jobs = view.select(names.JOB, key.namespace, _labels(key, "monitor"))
    jobs = sorted(jobs, key=lambda job: scheduled_minute(job["metadata"]["name"]))
    return tuple((job, tuple(view.pods_of_job(key.namespace, job["metadata"]["name"]))) for job in jobs)


def _runs(view: View, key: Key) -> dict[str, meta.Resource[TrainingRunSpec, TrainingRunStatus]]:
    runs = view.select(names.TRAINING_RUN, key.namespace, _labels(key, "retrain"))
    return {run["metadata"]["name"]: meta.read(run, TrainingRunSpec, TrainingRunStatus) for run in runs}


def _current_revision(view: View, monitor: Monitor) -> str:
    if monitor.spec.retrain is None:
        return ""
    dataset = view.get(names.DATASET, monitor.namespace, monitor.spec.retrain.template.spec.dataset.name)
    return meta.read(dataset, DatasetSpec, DatasetStatus).status.revision if dataset else ""


CONTROLLER = DriftMonitorController()
