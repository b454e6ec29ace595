"""Who a person is to the API server: a context of their kubeconfig, its namespace, and the name they are known by.

For the kubectl plugin. The operator itself uses `connection.connect`. It reads kubeconfig files and writes nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import kube_config
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME

from fairlead.api.names import Resource

from .client import Client
from .connection import Connection, NoConnectionError, connect

REVIEW = Resource("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews")
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


async def connect_person(kubeconfig: str | None = None, context: str | None = None) -> tuple[Connection, str]:
    """Return the connection of a kubeconfig's context (default: the current one) and its namespace.

    In a pod without a kubeconfig: those of the pod's service account. Raises NoConnectionError.
    """
    if not (kubeconfig or context or os.environ.get("KUBECONFIG")) and os.environ.get(SERVICE_HOST_ENV_NAME):
        return await connect(), _pod_namespace()
    configuration = Configuration()
    try:
        await kube_config.load_kube_config(config_file=kubeconfig, context=context, client_configuration=configuration)
        contexts, current = kube_config.list_kube_config_contexts(kubeconfig)
    except (ConfigException, OSError, yaml.YAMLError) as error:
        raise NoConnectionError(f"no cluster to talk to: {error}; check KUBECONFIG and --context") from error
    chosen = next((each for each in contexts if each["name"] == context), current)
    return Connection(configuration), str(chosen["context"].get("namespace") or "default")


def _pod_namespace() -> str:
    return _POD_NAMESPACE.read_text().strip()


async def ask_who(client: Client) -> str:
    """Return the name that the API server knows the caller by, as admission policies see it. Raises KubeError."""
    body: dict[str, Any] = {"apiVersion": REVIEW.api_version, "kind": REVIEW.kind, "metadata": {}}
    answer = await client.create(REVIEW, "", body)
    return str(answer["status"]["userInfo"]["username"])
