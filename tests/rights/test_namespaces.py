"""No pod of ours runs where restricted pod security is not enforced."""

from __future__ import annotations

import json

import pytest
from hack.demo.cluster import CONTEXT, run

OURS = ("app.kubernetes.io/managed-by=fairlead", "app.kubernetes.io/part-of=fairlead", "app=object-store")


@pytest.mark.parametrize("selector", OURS)
def test_every_namespace_with_pods_of_ours_enforces_restricted(selector: str) -> None:
    words = ("kubectl", "--context", CONTEXT, "get", "-o", "json")
    pods = json.loads(run(*words, "pods", "-A", "-l", selector))["items"]
    spaces = {pod["metadata"]["namespace"] for pod in pods}
    assert spaces, f"no pod has {selector}"
    for name in spaces:
        labels = json.loads(run(*words, "namespace", name))["metadata"]["labels"]
        assert labels.get("pod-security.kubernetes.io/enforce") == "restricted", f"namespace {name}"
