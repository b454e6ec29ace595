"""Revisions: what identifies one, and the objects that each is made of.

A revision is born once: its Deployment is POSTed and never applied again, so an operator upgrade or a changed
default restarts nothing. Services, autoscalers and the budget are applied and stay true. It must never decide
which revision serves: that is `rollout.py`. Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from fairlead.api import names
from fairlead.api.inferenceservice import InferenceService, Predictor, RevisionStatus, Scaling
from fairlead.api.modelversion import ModelVersion
from fairlead.contract import env
from fairlead.contract.base import digest_of, short
from fairlead.contract.jobs import Capture, ServeInput

from . import children
from .children import Json, Owner, artifact_ref
from .container_pods import container_pod_parts, upstream_of

ROLE = "server"
LABEL_ARM = "app.kubernetes.io/instance"  # one value per Deployment: a revision may have two (stable, baseline)
DRAIN_S = 15  # a pod leaves all endpoints well within this; then in-flight requests finish
GRACE_S = 60
PROGRESS_DEADLINE_S = 600  # Kubernetes' own default
_H2C = "kubernetes.io/h2c"  # HTTP/2 without TLS, for gateways and meshes that would take it for HTTP/1.1
_SERVE_COMMAND = ["python", "-m", "fairlead_runtime.serve"]  # the jobs image's entry point is another one


@dataclass(frozen=True)
class ServingImages:
    """The images that new revisions are born with."""

    server: str
    jobs: str  # serves what needs its own library: scikit-learn, XGBoost, LightGBM
    pull_policy: str = "IfNotPresent"

    def for_format(self, format_: str) -> str:
        """Return the image that serves artifacts of this format."""
        return self.server if format_ in ("onnx", "") else self.jobs


def rank_of(version: ModelVersion) -> str:
    """Return the version's place among others: by approval, then creation, then name; RFC 3339 sorts as text."""
    return f"{version.status.approved_at}|{version.raw['metadata']['creationTimestamp']}|{version.name}"


def content_of(service: InferenceService, digest: str) -> str:
    """Return the digest of what a user asked for: model bytes, predictor, capture share; not the image."""
    asked = {
        "model": digest,
        "predictor": service.spec.predictor.to_json_object(),
        "capturePercent": service.spec.capture.percent,
    }
    return digest_of(asked)


def describe_revision(
    service: InferenceService,
    version: ModelVersion,
    images: ServingImages,
    known: Iterable[RevisionStatus],
    columns: tuple[list[str], list[str]],
) -> RevisionStatus:
    """Return the revision that serves this version as the spec asks.

    A known revision of the same content is returned as it is, with the image it was born with, also when another
    version has the same bytes. `columns` are the identifiers and sensitive columns of the training data: captures
    drop the first and hash the second.
    """
    artifact = version.status.artifact
    assert artifact is not None, "only versions with bytes are chosen"
    content = content_of(service, artifact.digest)
    for revision in known:
        if revision.content == content:
            return revision.model_copy(update={"rank": rank_of(version)})
    proxied = service.spec.predictor.container is not None
    image = images.server if proxied else images.for_format(artifact.format)
    digest = digest_of({"content": content, "image": image})
    return RevisionStatus(
        revision=digest,
        content=content,
        name=names.child_name(service.name, short(digest)),
        version=version.name,
        rank=rank_of(version),
        digest=artifact.digest,
        image=image,
        predictor=service.spec.predictor.to_json_object(),
        serve=_serve_input(service, version, digest, columns).to_json_object(),
    )


def _serve_input(
    service: InferenceService, version: ModelVersion, revision: str, columns: tuple[list[str], list[str]]
) -> ServeInput:
    artifact = version.status.artifact
    assert artifact is not None
    reference = artifact_ref(version.namespace, version.spec.model, version.name, artifact)
    latency = service.spec.rollout.judge.latency
    container = service.spec.predictor.container
    return ServeInput(
        namespace=service.namespace,
        service=service.name,
        revision=revision,
        artifact=reference,
        workers=service.spec.predictor.runtime.workers,
        latency_threshold_ms=latency.threshold_ms if latency else None,
        capture=Capture(percent=service.spec.capture.percent, drop=columns[0], hash=columns[1]),
        labels=service.spec.rollout.judge.labels is not None,
        upstream=upstream_of(container) if container else None,
    )


def baseline_of(stable: RevisionStatus, canary: RevisionStatus, started_at: str) -> RevisionStatus:
    """Return the stable revision's content as a further Deployment, named for this rollout.

    Both arms count slow requests by the canary's threshold, or their counts could not be compared.
    """
    rollout = short(digest_of([canary.revision, started_at]), 5)
    serve = {**(stable.serve or {})}
    threshold = (canary.serve or {}).get("latencyThresholdMs")
    serve.pop("latencyThresholdMs", None)
    if threshold is not None:
        serve["latencyThresholdMs"] = threshold
    serve["labels"] = (canary.serve or {}).get("labels", False)
    name = names.child_name(stable.name, f"b{rollout}")
    return stable.model_copy(update={"name": name, "serve": serve, "ready_replicas": 0})


def compared_with(canary: RevisionStatus, stable: RevisionStatus | None) -> RevisionStatus:
    """Return the canary as it counts its predictions by the stable version's bins too."""
    before = ((stable and stable.serve) or {}).get("artifact")
    return canary.model_copy(update={"serve": {**(canary.serve or {}), "comparedWith": before}}) if before else canary


def model_of(revision: RevisionStatus | None) -> str:
    """Return the model family of a revision, or an empty string."""
    return str((((revision and revision.serve) or {}).get("artifact") or {}).get("model", ""))


def threshold_of(revision: RevisionStatus | None) -> float | None:
    """Return the latency threshold that a revision's servers count by."""
    value = ((revision and revision.serve) or {}).get("latencyThresholdMs")
    return None if value is None else float(value)


def is_told(revision: RevisionStatus) -> bool:
    """Say whether a status tells all that a Deployment of the revision is made of."""
    try:
        Predictor.model_validate(revision.predictor or {})
        ServeInput.model_validate(revision.serve)
    except ValidationError:
        return False
    return bool(revision.name and revision.image)


def arm_labels(owner: Owner, revision: RevisionStatus) -> dict[str, str]:
    """Return the labels of one Deployment's pods."""
    return children.child_labels(
        owner, ROLE, {LABEL_ARM: revision.name, names.LABEL_REVISION: short(revision.revision)}
    )


def build_deployment(owner: Owner, revision: RevisionStatus, replicas: int, pull_policy: str) -> Json:
    """Return the Deployment of a revision, as it is POSTed once."""
    labels = arm_labels(owner, revision)
    return {
        "apiVersion": names.DEPLOYMENT.api_version,
        "kind": names.DEPLOYMENT.kind,
        "metadata": {**children.object_meta(owner, revision.name, ROLE), "labels": labels},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": PROGRESS_DEADLINE_S,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": {LABEL_ARM: revision.name}},
            "template": _pod_template(owner, revision, pull_policy),
        },
    }


def _pod_template(owner: Owner, revision: RevisionStatus, pull_policy: str) -> Json:
    predictor = Predictor.model_validate(revision.predictor or {})
    document = ServeInput.model_validate(revision.serve)
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {LABEL_ARM: revision.name}},
    }
    return {
        "metadata": {"labels": arm_labels(owner, revision), "annotations": children.input_annotations(document)},
        "spec": {
            **children.pod_base(predictor),
            "terminationGracePeriodSeconds": GRACE_S,
            "topologySpreadConstraints": [spread],
            **(
                container_pod_parts(owner, revision, predictor, pull_policy, DRAIN_S)
                if predictor.container is not None
                else {
                    "containers": [_container(revision, predictor, document, pull_policy)],
                    "volumes": children.base_volumes(),
                }
            ),
        },
    }


def _container(revision: RevisionStatus, predictor: Predictor, document: ServeInput, pull_policy: str) -> Json:
    container: Json = {
        "name": children.MAIN,
        "image": revision.image,
        "imagePullPolicy": pull_policy,
        "env": [*children.serving_env(revision.image), {"name": "FAIRLEAD_DRAIN_S", "value": str(DRAIN_S)}],
        "ports": [
            {"name": "http", "containerPort": env.PORT_HTTP},
            {"name": "grpc", "containerPort": env.PORT_GRPC},
            {"name": "control", "containerPort": env.PORT_CONTROL},
            {"name": "metrics", "containerPort": env.PORT_METRICS},
        ],
        "resources": children.container_resources(predictor),
        "securityContext": children.container_security(),
        "terminationMessagePath": env.TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": children.base_mounts(),
        "readinessProbe": _probe("/readyz", period_s=2, failures=2),
        "livenessProbe": _probe("/healthz", period_s=10, failures=6),
        # Loading may take long; liveness starts only after it: 1 s x 600 = 10 min, as PROGRESS_DEADLINE_S.
        "startupProbe": _probe("/healthz", period_s=1, failures=600),
    }
    needs_command = document.artifact.format not in (None, "onnx")
    return {**container, "command": _SERVE_COMMAND} if needs_command else container


def _probe(path: str, *, period_s: int, failures: int) -> Json:
    return {
        "httpGet": {"path": path, "port": "control"},
        "periodSeconds": period_s,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def build_service(owner: Owner, name: str, selector: Mapping[str, str], *, control: bool = False) -> Json:
    """Return a ClusterIP Service: predictions (REST 80, gRPC 9000), or with `control` feedback and counters (8081)."""
    ports = (
        [{"name": "control", "port": env.PORT_CONTROL, "targetPort": "control", "protocol": "TCP"}]
        if control
        else [
            {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"},
            {"name": "grpc", "port": env.PORT_GRPC, "targetPort": "grpc", "protocol": "TCP", "appProtocol": _H2C},
        ]
    )
    return {
        "apiVersion": names.SERVICE.api_version,
        "kind": names.SERVICE.kind,
        "metadata": children.object_meta(owner, name, ROLE),
        "spec": {"type": "ClusterIP", "selector": dict(selector), "ports": ports},
    }


def build_autoscaler(owner: Owner, revision: RevisionStatus, scaling: Scaling, minimum: int) -> Json:
    """Return the HorizontalPodAutoscaler of a revision; `minimum` is at least the spec's."""
    target = {"type": "Utilization", "averageUtilization": scaling.target_cpu_percent}
    return {
        "apiVersion": names.AUTOSCALER.api_version,
        "kind": names.AUTOSCALER.kind,
        "metadata": children.object_meta(owner, revision.name, ROLE),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": names.DEPLOYMENT.api_version,
                "kind": names.DEPLOYMENT.kind,
                "name": revision.name,
            },
            "minReplicas": minimum,
            "maxReplicas": max(scaling.max_replicas, minimum),
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def build_budget(owner: Owner) -> Json:
    """Return the PodDisruptionBudget of all the service's pods: one at a time."""
    return {
        "apiVersion": names.DISRUPTION_BUDGET.api_version,
        "kind": names.DISRUPTION_BUDGET.kind,
        "metadata": children.object_meta(owner, owner.name, ROLE),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": service_selector(owner)}},
    }


def service_selector(owner: Owner) -> dict[str, str]:
    """Return the labels that all serving pods of a service share, and no other pod has."""
    labels = children.child_labels(owner, ROLE)
    return {label: labels[label] for label in (names.LABEL_OWNER_KIND, names.LABEL_OWNER, names.LABEL_ROLE)}
