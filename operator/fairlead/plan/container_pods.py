"""The containers of a pod that runs a user's own server: theirs, and our proxy beside it as a native sidecar.

The proxy starts first, fetches the model's files for both, and gets every request; the user's container gets no key of
the store, and shares nothing with ours but these files, which it can only read. At the pod's end the hook keeps its
SIGTERM back until the proxy has no request for it any more. It only builds bodies; used by `revision.py` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.api.inferenceservice import ContainerPredictor, Predictor, RevisionStatus
from fairlead.contract import env
from fairlead.contract.base import digest_of, duration_s, short
from fairlead.contract.jobs import Upstream

from . import children
from .children import Json, Owner

PROXY = "proxy"
TMP = "server-tmp"  # the user's own: what lies in ours may be read, or run, with the keys of the store
_COMMAND = ["python", "-m", "fairlead_runtime.proxy"]
_RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}
_MODELS = {"name": "models", "mountPath": env.MODELS_DIR}


def upstream_of(container: ContainerPredictor) -> Upstream:
    """Return what the proxy has to know of the user's server."""
    path = container.readiness_path
    return Upstream(port=container.port, readiness_path=path, timeout_s=duration_s(container.timeout))


def is_proxied(pod: Mapping[str, Any]) -> bool:
    """Say whether a pod's main container is a user's own."""
    containers = (pod.get("spec") or {}).get("initContainers") or ()
    return any(container.get("name") == PROXY for container in containers)


def container_pod_parts(
    owner: Owner, revision: RevisionStatus, predictor: Predictor, pull_policy: str, drain_s: int
) -> Json:
    """Return the parts of a pod spec that hold containers and volumes."""
    container = predictor.container
    assert container is not None, "our own server needs no proxy"
    hook = _drain_path(owner, revision)
    return {
        "initContainers": [_proxy(revision, pull_policy, hook, drain_s)],
        "containers": [_main(container, predictor, hook)],
        "volumes": [
            *children.base_volumes(),
            {"name": _MODELS["name"], "emptyDir": {"sizeLimit": children.WORK_SIZE}},
            {"name": TMP, "emptyDir": {"sizeLimit": children.TMP_SIZE}},
        ],
    }


def _drain_path(owner: Owner, revision: RevisionStatus) -> str:
    """Return the hook's path: known to who may read the pod, not to who may only send it requests."""
    return f"/drain/{short(digest_of([owner.uid, revision.name, revision.revision]), 32)}"


def _proxy(revision: RevisionStatus, pull_policy: str, hook: str, drain_s: int) -> Json:
    settings = {"FAIRLEAD_DRAIN_S": str(drain_s), env.DRAIN_PATH: hook}
    return {
        "name": PROXY,
        "image": revision.image,
        "imagePullPolicy": pull_policy,
        "restartPolicy": "Always",  # a native sidecar: it starts before the user's container and ends after it
        "command": _COMMAND,
        "env": [
            *children.serving_env(revision.image),
            *({"name": name, "value": value} for name, value in settings.items()),
        ],
        "resources": _RESOURCES,
        "securityContext": children.container_security(),
        "terminationMessagePath": env.TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*children.base_mounts(), dict(_MODELS)],
        "readinessProbe": _probe("/readyz", period_s=2, failures=2),
        "livenessProbe": _probe("/healthz", period_s=10, failures=6),
        "startupProbe": _probe("/healthz", period_s=1, failures=600),  # while it fetches the model
    }


def _probe(path: str, *, period_s: int, failures: int) -> Json:
    return {
        "httpGet": {"path": path, "port": env.PROXY_PORT_CONTROL},
        "periodSeconds": period_s,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _main(container: ContainerPredictor, predictor: Predictor, hook: str) -> Json:
    said = container.to_json_object()
    security = children.container_security(read_only_root=False)
    if container.run_as_user is not None:
        security["runAsUser"] = container.run_as_user
    body: Json = {
        "name": children.MAIN,
        "image": container.image,
        "env": said.get("env") or [],
        # Ports of the pod, which Services know by name; here, since not every Kubernetes looks at a sidecar's.
        "ports": [
            {"name": "http", "containerPort": env.PROXY_PORT_HTTP},
            {"name": "control", "containerPort": env.PROXY_PORT_CONTROL},
            {"name": "metrics", "containerPort": env.PROXY_PORT_METRICS},
        ],
        "resources": children.container_resources(predictor),
        "securityContext": security,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{**_MODELS, "readOnly": True}, {"name": TMP, "mountPath": "/tmp"}],
        "lifecycle": {"preStop": {"httpGet": {"path": hook, "port": env.PROXY_PORT_DRAIN}}},
    }
    return body | {field: said[field] for field in ("command", "args") if said.get(field)}
