"""The rights that the chart installs, on a real API server: its roles and policies, rendered, and people who hold them.

Aggregation is the controller manager's work, which is not there: `bind` gives a person the built-in role and every
role that says it belongs to it, which is the same set of rules. Used by integration tests.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml
from tests.support.control_plane import ControlPlane

from fairlead.api.names import Resource
from fairlead.kube.client import Client
from fairlead.kube.connection import Connection, connect

CHART = Path(__file__).resolve().parents[2] / "charts" / "fairlead"
RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io"
CLUSTER_ROLE = Resource(f"{RBAC}/v1", "ClusterRole", "clusterroles")
CLUSTER_BINDING = Resource(f"{RBAC}/v1", "ClusterRoleBinding", "clusterrolebindings")
ROLE = Resource(f"{RBAC}/v1", "Role", "roles")
BINDING = Resource(f"{RBAC}/v1", "RoleBinding", "rolebindings")
POLICY = Resource(f"{ADMISSION}/v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
POLICY_BINDING = Resource(f"{ADMISSION}/v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
REVIEW = Resource("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews")
_INSTALLED = {resource.kind: resource for resource in (CLUSTER_ROLE, POLICY, POLICY_BINDING)}
GUARDED = "fairlead.dev/guarded"  # on a test's namespace: the policies hold there, and in nobody else's


def _tool(name: str) -> str:
    cache = os.environ.get("FAIRLEAD_CACHE") or str(Path.home() / ".cache" / "fairlead")
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), f"{cache}/bin")))
    if found is None:
        raise RuntimeError(f"there is no {name}; `make tools` makes it")
    return found


def render(*settings: str, release: str = "fairlead", namespace: str = "fairlead-system") -> list[dict[str, Any]]:
    """Return the chart's objects with these values."""
    flags = [word for setting in settings for word in ("--set", setting)]
    where = ("--kube-version", "1.34.0", "--namespace", namespace)
    text = _run(_tool("helm"), "template", release, str(CHART), *where, *flags)
    return [obj for obj in yaml.safe_load_all(text) if obj]


def _run(*command: str, given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(plane: ControlPlane, namespace: str, *settings: str) -> None:
    """Install the operator's service account, roles and bindings as the chart renders them with these values."""
    kinds = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    objects = [obj for obj in render(*settings, namespace=namespace) if obj["kind"] in kinds]
    for obj in objects:
        if not obj["kind"].startswith("Cluster"):
            obj["metadata"].setdefault("namespace", namespace)  # as helm does where the chart says none
    _kubectl(plane, "apply", "-f", "-", given=yaml.safe_dump_all(objects))


def token_of(plane: ControlPlane, namespace: str, account: str) -> str:
    """Return a token of a service account."""
    return _kubectl(plane, "create", "token", account, "--namespace", namespace).strip()


def _kubectl(plane: ControlPlane, *words: str, given: str | None = None) -> str:
    return _run(_tool("kubectl"), "--kubeconfig", str(plane.kubeconfig()), *words, given=given)


async def install_rights(api: Client) -> None:
    """Install the chart's ClusterRoles and admission policies, once; the policies guard labelled namespaces only."""
    for obj in render("crds.enabled=false"):
        resource = _INSTALLED.get(obj["kind"])
        if resource is None or await api.find(resource, "", obj["metadata"]["name"]) is not None:
            continue
        if resource is POLICY_BINDING:
            obj["spec"]["matchResources"] = {"namespaceSelector": {"matchLabels": {GUARDED: "true"}}}
        await api.create(resource, "", obj)


async def bind(api: Client, namespace: str, user: str, *roles: str) -> None:
    """Bind a person to ClusterRoles in a namespace; view, edit and admin with all that aggregates to them."""
    names = [name for role in roles for name in [role, *[n async for n in _aggregated(api, role)]]]
    for name in dict.fromkeys(names):
        await api.create(BINDING, namespace, _binding(namespace, user, name))


def _binding(namespace: str, user: str, role: str) -> dict[str, Any]:
    name = re.sub(r"[^a-z0-9.-]", "-", f"{user}-{role}")
    return {
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "apiGroup": RBAC, "name": user}],
    }


async def _aggregated(api: Client, role: str) -> Any:
    selector = f"{RBAC}/aggregate-to-{role}=true"
    async for page in api.pages(CLUSTER_ROLE, None, selector):
        for obj in page.items:
            yield obj["metadata"]["name"]


class _As(Connection):
    """An administrator's connection that speaks as somebody else."""

    def __init__(self, configuration: Any, user: str) -> None:
        super().__init__(configuration)
        self._user = user

    async def headers(self) -> dict[str, str]:
        """Return the administrator's authorization and the other's name."""
        return {**await super().headers(), "Impersonate-User": self._user}


async def client_as(plane: ControlPlane, user: str) -> Client:
    """Return a client that the API server takes for this person."""
    return Client(_As((await connect(str(plane.kubeconfig()))).configuration, user), user_agent=user)


async def can_i(api: Client, user: str, verb: str, plural: str, namespace: str, group: str = "fairlead.dev") -> bool:
    """Ask the API server whether a person may."""
    plural, _, subresource = plural.partition("/")
    attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": plural, "subresource": subresource}
    body = {"metadata": {}, "spec": {"user": user, "resourceAttributes": attributes}}
    return bool((await api.create(REVIEW, "", body))["status"]["allowed"])
