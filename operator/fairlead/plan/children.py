"""Builders of the objects that planners ask for: metadata, environment, pods and Jobs.

They only build bodies. They must never decide whether something is made: that is each planner's part.
Used by every `plan/<kind>.py`; the server's Deployment and the monitor's CronJob share the parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.api import meta, names
from fairlead.api.modelversion import VersionArtifact
from fairlead.contract import env
from fairlead.contract.base import Model, canonical_json, digest_of, quantity, short
from fairlead.contract.jobs import ArtifactRef

MAIN = "main"  # the container whose exit code and termination message count
UID = 65532  # "nonroot" of distroless images, and of ours
INPUT_FILE_NAME = "input.json"
WORK_MOUNT = "/work"
TMP_SIZE, WORK_SIZE = "1Gi", "20Gi"
DEFAULT_REQUESTS = {"cpu": "250m", "memory": "512Mi"}
DEFAULT_LIMITS = {"cpu": "1", "memory": "2Gi"}
CLEANUP_SCHEDULE = "23 3 * * *"  # once a day, away from full hours
LATE_START_S = 300  # a Job of a CronJob that cannot start for this long is left out; the next one does its work

Json = dict[str, Any]


@dataclass(frozen=True)
class Owner:
    """The object that a child belongs to, as far as a child says it."""

    resource: names.Resource
    namespace: str
    name: str
    uid: str


def owner_of(resource: names.Resource, obj: meta.Resource[Any, Any]) -> Owner:
    """Return one of our objects as an owner."""
    return Owner(resource, obj.namespace, obj.name, obj.uid)


@dataclass(frozen=True)
class Image:
    """An image and how it is pulled."""

    name: str
    pull_policy: str = "IfNotPresent"


@dataclass(frozen=True)
class JobOrder:
    """Everything that makes one Job; the same order is the same Job, by name.

    `timeout_s` bounds the Job with all its attempts. `attempt` makes a further Job of the same input (from 2 on
    it is part of the name). `env`, `volumes` and `mounts` are added to those that every Job has.
    """

    owner: Owner
    role: str  # at most 8 characters: snapshot, train, collect, evaluate, monitor, cleanup, captures
    document: Model
    image: Image
    overrides: meta.PodOverrides
    timeout_s: float
    retries: int = 0
    attempt: int = 1
    queue_name: str = ""
    labels: Mapping[str, str] | None = None
    env: tuple[Json, ...] = ()
    volumes: tuple[Json, ...] = ()
    mounts: tuple[Json, ...] = ()
    args: tuple[str, ...] = ()

    @property
    def input_digest(self) -> str:
        """The digest of the input document: the Job's identity."""
        return digest_of(self.document)

    @property
    def name(self) -> str:
        """The Job's name: `<owner>-<role>-<10 digits of the input digest>`, from attempt 2 on with its number."""
        suffix = f"{self.role}-{short(self.input_digest)}"
        return names.child_name(self.owner.name, suffix if self.attempt == 1 else f"{suffix}-{self.attempt}")


def object_meta(
    owner: Owner,
    name: str,
    role: str,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Json:
    """Return the metadata of a child: namespace, our labels and the owner as its controller."""
    body: Json = {
        "name": name,
        "namespace": owner.namespace,
        "labels": child_labels(owner, role, labels),
        "ownerReferences": [owner_reference(owner)],
    }
    return {**body, "annotations": dict(annotations)} if annotations else body


def child_labels(owner: Owner, role: str, labels: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the labels by which watches and people find a child; also of objects without ownerReferences."""
    return {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_OWNER_KIND: owner.resource.kind,
        names.LABEL_OWNER: owner.name,
        names.LABEL_ROLE: role,
        **(labels or {}),
    }


def owner_reference(owner: Owner) -> Json:
    """Return the controller reference; it blocks foreground deletion of the owner until the child is gone."""
    return {
        "apiVersion": owner.resource.api_version,
        "kind": owner.resource.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def secret_env(secret: str, table: Mapping[str, tuple[str, bool]]) -> list[Json]:
    """Return environment variables from a Secret's keys; keys that are not required may be absent."""
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": _secret_key(secret, key, required)}}
        for variable, (key, required) in table.items()
    ]


def _secret_key(secret: str, key: str, required: bool) -> Json:
    reference: Json = {"name": secret, "key": key}
    return reference if required else {**reference, "optional": True}


def store_env() -> list[Json]:
    """Return the environment that reaches the object store: the namespace's Secret `fairlead-store`."""
    return secret_env(env.STORE_SECRET, env.STORE_ENV)


def identity_env(image: str) -> list[Json]:
    """Return what every pod of ours is told of itself: its input, uid, name, image, CPUs and work folder."""
    return [
        {"name": env.INPUT_FILE, "value": env.INPUT_PATH},
        _field(env.POD_UID, "metadata.uid"),
        _field(env.POD_NAME, "metadata.name"),
        {"name": env.IMAGE, "value": image},
        {"name": env.CPU_LIMIT, "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1"}}},
        {"name": env.WORK_DIR, "value": WORK_MOUNT},
    ]


def serving_env(image: str) -> list[Json]:
    """Return the environment of a server's container: identity and store."""
    return [*identity_env(image), *store_env()]


def job_env(image: str) -> list[Json]:
    """Return the environment of a Job's container: as a server's, and the Job's name."""
    return [*serving_env(image), _field(env.JOB_NAME, "metadata.labels['batch.kubernetes.io/job-name']")]


def _field(name: str, path: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def input_annotations(document: Model) -> dict[str, str]:
    """Return the pod annotations that carry the input document and its digest."""
    return {
        names.ANNOTATION_INPUT: canonical_json(document.to_json_object()).decode(),
        names.ANNOTATION_INPUT_DIGEST: digest_of(document),
    }


def base_volumes() -> list[Json]:
    """Return the volumes of every pod of ours: the input document, /tmp and the work folder."""
    reference = {"fieldPath": f"metadata.annotations['{names.ANNOTATION_INPUT}']"}
    return [
        {"name": "input", "downwardAPI": {"items": [{"path": INPUT_FILE_NAME, "fieldRef": reference}]}},
        {"name": "tmp", "emptyDir": {"sizeLimit": TMP_SIZE}},
        {"name": "work", "emptyDir": {"sizeLimit": WORK_SIZE}},
    ]


def base_mounts() -> list[Json]:
    """Return the mounts of `base_volumes`."""
    return [
        {"name": "input", "mountPath": env.INPUT_MOUNT, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "work", "mountPath": WORK_MOUNT},
    ]


def container_security(*, read_only_root: bool = True) -> Json:
    """Return the container part of restricted pod security."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": read_only_root,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def pod_security() -> Json:
    """Return the pod part of restricted pod security; volumes belong to our group."""
    return {
        "runAsNonRoot": True,
        "runAsUser": UID,
        "runAsGroup": UID,
        "fsGroup": UID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_resources(overrides: meta.PodOverrides) -> Json:
    """Return requests and limits: what the spec says, and defaults that never contradict it."""
    said = overrides.resources
    requests = {name: str(value) for name, value in ((said and said.requests) or {}).items()}
    limits = {name: str(value) for name, value in ((said and said.limits) or {}).items()}
    for name in ("cpu", "memory"):
        if name not in limits:
            limits[name] = _outer(max, DEFAULT_LIMITS[name], requests.get(name))
        if name not in requests:
            requests[name] = _outer(min, DEFAULT_REQUESTS[name], limits[name])
    return {"requests": requests, "limits": limits}


def _outer(choose: Any, default: str, said: str | None) -> str:
    try:
        return str(choose(default, said, key=quantity)) if said is not None else default
    except (ValueError, KeyError):  # a form that only Kubernetes reads, such as 1e9: it decides alone
        return str(said)


def pod_overrides(overrides: meta.PodOverrides) -> Json:
    """Return the pod fields of the usual overrides; fields that are not set are left out."""
    said = overrides.to_json_object()
    fields = ("nodeSelector", "tolerations", "serviceAccountName", "imagePullSecrets", "priorityClassName")
    return {field: said[field] for field in fields if said.get(field)}


def pod_base(overrides: meta.PodOverrides) -> Json:
    """Return a pod spec without containers and volumes: restricted, without a token, with the overrides."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        **pod_overrides(overrides),
    }


def job_container(order: JobOrder, name: str = MAIN, args: Sequence[str] = ()) -> Json:
    """Return a container that runs the jobs image on the order's input document."""
    container: Json = {
        "name": name,
        "image": order.image.name,
        "imagePullPolicy": order.image.pull_policy,
        "env": [*job_env(order.image.name), *order.env],
        "resources": container_resources(order.overrides),
        "securityContext": container_security(),
        "terminationMessagePath": env.TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*base_mounts(), *order.mounts],
    }
    return {**container, "args": list(args)} if args else container


def failure_policy(containers: Sequence[str] = (MAIN,)) -> Json:
    """Return the podFailurePolicy; exit codes 10 and 20 mean something only in containers of ours.

    Order: a disruption uses up no retry, bad input ends the Job, a store or network failure uses up no retry.
    """
    rules: list[Json] = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
    for action, code in (("FailJob", env.EXIT_BAD_INPUT), ("Ignore", env.EXIT_STORE)):
        for name in containers:
            rules.append({"action": action, "onExitCodes": {"containerName": name, "operator": "In", "values": [code]}})
    return {"rules": rules}


def job_spec(order: JobOrder) -> Json:
    """Return the spec of a Job, for a Job itself or a CronJob's template: no TTL, always a deadline."""
    labels = child_labels(order.owner, order.role, order.labels)
    spec: Json = {
        "backoffLimit": order.retries,
        "activeDeadlineSeconds": max(1, math.ceil(order.timeout_s)),
        "podFailurePolicy": failure_policy(),
        "template": {
            "metadata": {"labels": labels, "annotations": input_annotations(order.document)},
            "spec": {
                **pod_base(order.overrides),
                "restartPolicy": "Never",
                "containers": [job_container(order, args=order.args)],
                "volumes": [*base_volumes(), *order.volumes],
            },
        },
    }
    return {**spec, "suspend": True} if order.queue_name else spec  # Kueue lets it run


def build_job(order: JobOrder) -> Json:
    """Return the body of the Job that the order describes; POSTed once."""
    labels = dict(order.labels or {})
    if order.queue_name:
        labels["kueue.x-k8s.io/queue-name"] = order.queue_name
    annotations = {names.ANNOTATION_INPUT_DIGEST: order.input_digest}
    return {
        "apiVersion": names.JOB.api_version,
        "kind": names.JOB.kind,
        "metadata": object_meta(order.owner, order.name, order.role, labels, annotations),
        "spec": job_spec(order),
    }


def artifact_ref(namespace: str, model: str, version: str, artifact: VersionArtifact) -> ArtifactRef:
    """Return a ModelVersion's bytes as Jobs and servers are told of them."""
    return ArtifactRef(
        namespace=namespace,
        model=model,
        version=version,
        digest=artifact.digest,
        uri=artifact.uri,
        format=artifact.format or None,
        trust_pickle=artifact.trust_pickle,
    )


def build_cron_job(order: JobOrder, schedule: str, *, suspend: bool) -> Json:
    """Return a CronJob `<owner>-<role>` of the order: one at a time, in UTC, the last three Jobs stay."""
    return {
        "apiVersion": names.CRON_JOB.api_version,
        "kind": names.CRON_JOB.kind,
        "metadata": object_meta(order.owner, names.child_name(order.owner.name, order.role), order.role),
        "spec": {
            "schedule": schedule,
            "timeZone": "Etc/UTC",
            "suspend": suspend,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": LATE_START_S,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "metadata": {"labels": child_labels(order.owner, order.role)},
                "spec": job_spec(order),
            },
        },
    }
