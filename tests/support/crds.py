"""CRDs of other projects, without their schemas: what a test needs for their objects to be stored.

Used by fault and integration tests, on API servers that have none.
"""

from __future__ import annotations

from typing import Any

from fairlead.api.names import Resource
from fairlead.kube.client import Client

CRD = Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")


def bare_crd(resource: Resource) -> dict[str, Any]:
    """Return a CRD that takes anything in spec and status."""
    group, version = resource.api_version.split("/")
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": CRD.api_version,
        "kind": CRD.kind,
        "metadata": {
            "name": f"{resource.plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test's own"},
        },
        "spec": {
            "group": group,
            "names": {"kind": resource.kind, "plural": resource.plural},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {**anything, "properties": {"status": anything}}},
                    "subresources": {"status": {}},
                },
            ],
        },
    }


async def is_known(api: Client, resource: Resource) -> bool:
    """Say whether this API server serves a kind that some tests install and others not."""
    group = resource.api_version.split("/")[0]
    return await api.find(CRD, "", f"{resource.plural}.{group}") is not None
