"""Every shared string: group, labels, annotations, field managers, finalizer, and the resources we touch."""

from __future__ import annotations

import re
from dataclasses import dataclass

GROUP = "fairlead.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "fairlead"

FIELD_MANAGER = "fairlead"  # children
STATUS_MANAGER = "fairlead-status"  # status of our own kinds

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "fairlead"
LABEL_OWNER_KIND = f"{GROUP}/owner-kind"
LABEL_OWNER = f"{GROUP}/owner"
LABEL_ROLE = f"{GROUP}/role"  # what a child is for: snapshot, train, evaluate, monitor, server, ...
LABEL_MODEL = f"{GROUP}/model"
LABEL_REVISION = f"{GROUP}/revision"

ANNOTATION_INPUT = f"{GROUP}/input"  # the pod's input document, JSON
ANNOTATION_INPUT_DIGEST = f"{GROUP}/input-digest"
ANNOTATION_APPLIED = f"{GROUP}/applied"  # digest of what we last applied
ANNOTATION_REFRESH = f"{GROUP}/refresh"  # on a Dataset: any new value asks for a refresh now
ANNOTATION_RETRY = f"{GROUP}/retry"  # on an InferenceService: any new value tries an inconclusive rollout again
ANNOTATION_ROLLBACK = f"{GROUP}/rollback"  # on an InferenceService: return to the last good revision
ANNOTATION_PROMOTE = f"{GROUP}/promote"  # on an InferenceService: the version, or its revision's name, to promote
ANNOTATION_OVERRIDE = f"{GROUP}/override"  # on an InferenceService: "<model digest> by <who>: <why>"
ANNOTATION_RESTORING = f"{GROUP}/restoring"  # the operator leaves the object alone until its status is restored
ANNOTATION_RETRAIN = f"{GROUP}/retrain"  # on a DriftMonitor: any new value retrains now

MAX_NAME = 40


@dataclass(frozen=True)
class Resource:
    """A Kubernetes resource as the API server addresses it; all are namespaced."""

    api_version: str
    kind: str
    plural: str
    label_selected: bool = False  # watch only objects with our managed-by label


DATASET = Resource(API_VERSION, "Dataset", "datasets")
TRAINING_RUN = Resource(API_VERSION, "TrainingRun", "trainingruns")
MODEL_VERSION = Resource(API_VERSION, "ModelVersion", "modelversions")
INFERENCE_SERVICE = Resource(API_VERSION, "InferenceService", "inferenceservices")
DRIFT_MONITOR = Resource(API_VERSION, "DriftMonitor", "driftmonitors")
OWN_KINDS = (DATASET, TRAINING_RUN, MODEL_VERSION, INFERENCE_SERVICE, DRIFT_MONITOR)

JOB = Resource("batch/v1", "Job", "jobs", label_selected=True)
CRON_JOB = Resource("batch/v1", "CronJob", "cronjobs", label_selected=True)
POD = Resource("v1", "Pod", "pods", label_selected=True)
SERVICE = Resource("v1", "Service", "services", label_selected=True)
DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments", label_selected=True)
AUTOSCALER = Resource("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", label_selected=True)
DISRUPTION_BUDGET = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", label_selected=True)
HTTP_ROUTE = Resource("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")  # all: hostname conflicts
GATEWAY = Resource("gateway.networking.k8s.io/v1", "Gateway", "gateways")
RESOURCES = (*OWN_KINDS, JOB, CRON_JOB, POD, SERVICE, DEPLOYMENT, AUTOSCALER, DISRUPTION_BUDGET, HTTP_ROUTE, GATEWAY)
BY_KIND: dict[str, Resource] = {resource.kind: resource for resource in RESOURCES}


def child_name(owner: str, suffix: str) -> str:
    """Return `<owner>-<suffix>`, at most 63 characters and a valid DNS label; owners are at most 40 long."""
    name = re.sub(r"[^a-z0-9-]+", "-", f"{owner}-{suffix}".lower()).strip("-")
    if len(name) > 63:
        raise ValueError(f"child name {name!r} is over 63 characters; shorten the suffix")
    return name
