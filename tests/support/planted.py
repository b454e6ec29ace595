"""A small world that generated objects may refer to: data that is read, a run that ended, a version, a service.

Everything here is suspended or final, so the operator leaves it as it was planted. Used by tests of generated input.
"""

from __future__ import annotations

from typing import Any

from fairlead.api.names import BY_KIND, DATASET, INFERENCE_SERVICE, MODEL_VERSION, TRAINING_RUN, Resource
from fairlead.kube.client import Client

Json = dict[str, Any]
_AT = "2026-01-01T00:00:00Z"
_DIGEST = "sha256:" + "1" * 64
_ARTIFACT = {"digest": _DIGEST, "format": "onnx", "sizeBytes": 10}
_SERVE = {
    "namespace": "planted",
    "service": "serving",
    "revision": _DIGEST,
    "artifact": {"namespace": "planted", "model": "m", "version": "trained", "digest": _DIGEST, "format": "onnx"},
}
_REVISION = {
    "revision": _DIGEST,
    "content": _DIGEST,
    "name": "serving-1",
    "version": "trained",
    "digest": _DIGEST,
    "image": "fairlead-server:planted",
    "serve": _SERVE,
}
_PLANTS: tuple[tuple[Resource, str, Json, Json], ...] = (
    (
        DATASET,
        "rows",
        {"source": {"configMap": {"name": "rows", "key": "rows.csv"}}, "format": "CSV", "target": "y", "suspend": True},
        {"revision": _DIGEST, "rows": 100},
    ),
    (
        TRAINING_RUN,
        "trained",
        {"dataset": {"name": "rows"}, "model": "m", "trainer": {"sklearn": {"estimator": "sklearn.svm.SVC"}}},
        {
            "dataset": {"name": "rows", "revision": _DIGEST},
            "artifact": _ARTIFACT,
            "outcome": "Succeeded",
            "modelVersion": "trained",
            "finishedAt": _AT,
        },
    ),
    (
        MODEL_VERSION,
        "trained",
        {"model": "m", "source": {"trainingRun": {"name": "trained"}}},
        {
            "artifact": _ARTIFACT,
            "dataset": {"name": "rows", "revision": _DIGEST},
            "stage": "Approved",
            "approvedAt": _AT,
        },
    ),
    (
        INFERENCE_SERVICE,
        "serving",
        {"model": {"version": "trained"}, "capture": {"percent": 10}, "suspend": True},
        {"stable": _REVISION, "promotedAt": _AT},
    ),
)
NAMES = tuple(dict.fromkeys(name for _, name, _, _ in _PLANTS))
KINDS = tuple(resource for resource, _, _, _ in _PLANTS)


def objects() -> list[Json]:
    """Return the world's objects, each with the status of something that is done."""
    return [
        {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name},
            "spec": spec,
            "status": status,
        }
        for resource, name, spec, status in _PLANTS
    ]


async def plant(api: Client, namespace: str) -> None:
    """Make the world's objects on an API server."""
    for body in objects():
        resource = BY_KIND[body["kind"]]
        whole = {**body, "metadata": {**body["metadata"], "namespace": namespace}}
        await api.create(resource, namespace, {key: value for key, value in whole.items() if key != "status"})
        await api.apply(resource, namespace, {key: value for key, value in whole.items() if key != "spec"}, status=True)
