"""The Jobs of a Dataset: the one that reads its source, the one that removes old revisions.

It builds orders and decides nothing. Used by `plan/dataset.py` alone.
"""

from __future__ import annotations

from collections.abc import Collection

from fairlead.api import names
from fairlead.api.dataset import Dataset
from fairlead.api.meta import PodOverrides
from fairlead.contract import env, keys
from fairlead.contract.base import duration_s
from fairlead.contract.data import Source
from fairlead.contract.jobs import CleanupInput, SnapshotInput, TrainedOn

from .children import Image, JobOrder, Json, owner_of, secret_env

SNAPSHOT_RETRIES = 2
CLEANUP_TIMEOUT_S = 600.0
ATTEMPTS_FOLDER = "attempts"  # keys.snapshot_attempt: lies beside the revisions and is none


def snapshot_order(dataset: Dataset, tick: str, image: Image, previous_revision: str | None) -> JobOrder:
    """Return the order of the Job that reads the source for one tick."""
    spec = dataset.spec
    document = SnapshotInput(
        namespace=dataset.namespace,
        name=dataset.name,
        tick=tick,
        source=spec.source,
        format=spec.format,
        target=spec.target,
        timestamp=spec.timestamp,
        identifiers=spec.identifiers or [],
        sensitive=spec.sensitive or [],
        table_schema=spec.table_schema,
        checks=spec.checks or [],
        split=spec.split,
        previous_revision=previous_revision,
    )
    volumes, mounts = _source_volumes(spec.source)
    return JobOrder(
        owner=owner_of(names.DATASET, dataset),
        role="snapshot",
        document=document,
        image=image,
        overrides=spec,
        timeout_s=duration_s(spec.timeout),
        retries=SNAPSHOT_RETRIES,
        env=tuple(_source_env(spec.source)),
        volumes=volumes,
        mounts=mounts,
    )


def _source_env(source: Source) -> list[Json]:
    if source.s3 is None or source.s3.secret_ref is None:
        return []
    return secret_env(source.s3.secret_ref.name, env.SOURCE_ENV)


def _source_volumes(source: Source) -> tuple[tuple[Json, ...], tuple[Json, ...]]:
    """Return the volume and mount of a source inside the cluster; the pod waits while it does not exist."""
    if source.config_map is not None:
        items = [{"key": source.config_map.key, "path": source.config_map.key}]
        volume: Json = {"name": "source", "configMap": {"name": source.config_map.name, "items": items}}
        return (volume,), ({"name": "source", "mountPath": env.SOURCE_CONFIG_MAP_DIR, "readOnly": True},)
    if source.persistent_volume_claim is not None:
        claim = {"claimName": source.persistent_volume_claim.name, "readOnly": True}
        volume = {"name": "source", "persistentVolumeClaim": claim}
        return (volume,), ({"name": "source", "mountPath": env.SOURCE_VOLUME_DIR, "readOnly": True},)
    return (), ()


def cleanup_order(dataset: Dataset, keep: Collection[str], image: Image) -> JobOrder:
    """Return the order of the Job that removes the Dataset's revisions but for `keep` and what models refer to."""
    prefix = keys.dataset_revision(dataset.namespace, dataset.name, "").rstrip("/") + "/"
    folders = [revision.removeprefix("sha256:") for revision in keep]
    return JobOrder(
        owner=owner_of(names.DATASET, dataset),
        role="cleanup",
        document=CleanupInput(
            prefix=prefix,
            keep=[ATTEMPTS_FOLDER, *sorted(folders)],
            keep_trained_on=TrainedOn(models=keys.models(dataset.namespace), dataset=dataset.name),
        ),
        image=image,
        overrides=PodOverrides.model_validate(dataset.spec.to_json_object() | {"resources": None}),
        timeout_s=CLEANUP_TIMEOUT_S,
        retries=SNAPSHOT_RETRIES,
    )
