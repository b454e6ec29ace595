"""What `helm uninstall` leaves: with `crds.keep` the CRDs and every object, without it nothing at all.

A control plane of its own with a real garbage collector, the real chart, and the operator as a process with the rights
of the chart's service account, running until after the uninstallation, as its pod does. There is no kubelet.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.conftest import NAMESPACE
from tests.integration.test_inferenceservice import NAME, READY, approve, deployment_of, wait_for
from tests.integration.test_process import ONE_OF_EACH, own
from tests.support.control_plane import ControlPlane, control_plane
from tests.support.controllers import controller_manager
from tests.support.eventually import eventually
from tests.support.operator_process import operator_process

from fairlead.api import names
from fairlead.api.names import INFERENCE_SERVICE, OWN_KINDS, Resource
from fairlead.kube.client import Client
from fairlead.kube.connection import connect
from fairlead.kube.errors import KubeError, NotFoundError
from fairlead.kube.lease import LEASE

ROOT = Path(__file__).resolve().parents[2]
SYSTEM, TEAM = "fairlead-system", "team"
CHART = str(ROOT / "charts/fairlead")
ACCOUNT = Resource("v1", "ServiceAccount", "serviceaccounts")
DEFINITIONS = {"customresourcedefinitions.apiextensions.k8s.io", "apiservices.apiregistration.k8s.io"}
CONFIG_MAP = Resource("v1", "ConfigMap", "configmaps")
PASSING = ("events", "ipaddresses")  # the API server's own, which end by themselves: by age, and with their Service
Place = tuple[str, str, str]  # resource.group, namespace, name


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with control_plane() as plane, controller_manager(plane):
        yield plane


def kubectl(plane: ControlPlane, *words: str) -> str:
    done = subprocess.run(
        ["kubectl", "--kubeconfig", str(plane.kubeconfig()), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def helm(plane: ControlPlane, *words: str) -> str:
    done = subprocess.run(
        ["helm", "--kubeconfig", str(plane.kubeconfig()), "-n", SYSTEM, *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


async def everything(api: Client) -> set[Place]:
    """Return every object of the cluster, whatever its kind, by discovery; without what ends by itself."""
    groups = json.loads(await api.read_text("/apis"))["groups"]
    found: set[Place] = set()
    for version in ["v1", *(group["preferredVersion"]["groupVersion"] for group in groups)]:
        with contextlib.suppress(NotFoundError):  # a group that goes at this moment
            found |= await _all_of(api, version)
    return {place for place in found if not (place[0].startswith("leases") and place[1] == "kube-system")}


async def _all_of(api: Client, version: str) -> set[Place]:
    root, group = ("/api/v1" if version == "v1" else f"/apis/{version}"), version.rpartition("/")[0]
    found: set[Place] = set()
    for resource in json.loads(await api.read_text(root))["resources"]:
        if "/" in resource["name"] or "list" not in resource["verbs"] or resource["name"] in PASSING:
            continue
        with contextlib.suppress(NotFoundError):  # a kind that goes at this moment
            items = json.loads(await api.read_text(f"{root}/{resource['name']}"))["items"]
            places = ((item["metadata"].get("namespace", ""), item["metadata"]["name"]) for item in items)
            found |= {(f"{resource['name']}.{group}", *place) for place in places}
    return found


@contextlib.asynccontextmanager
async def operator(plane: ControlPlane) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the operator with the token of the chart's service account."""
    token = kubectl(plane, "create", "token", "fairlead", "-n", SYSTEM).strip()
    config = yaml.safe_load(plane.kubeconfig().read_text())
    config["users"][0]["user"] = {"token": token}
    path = plane.folder / "kubeconfig-account"
    path.write_text(yaml.safe_dump(config))
    lease = ("--lease-namespace", SYSTEM, "--lease-name", "fairlead")
    with (plane.folder / "operator.log").open("ab") as log:
        async with operator_process(path, *lease, stderr=log) as process:
            yield process


async def ready_pods(api: Client, deployment: dict[str, Any]) -> None:
    """Be the kubelet: say that the pods of a Deployment are ready, once its controller has made them."""
    owner = deployment["metadata"]["name"]

    async def made() -> list[dict[str, Any]]:
        pods = [item async for page in api.pages(names.POD, TEAM) for item in page.items]
        return [pod for pod in pods if pod["metadata"]["name"].startswith(owner)]

    for pod in await eventually(made, 30, what=f"{owner} has pods"):
        head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod["metadata"]["name"], "namespace": TEAM}}
        await api.apply(names.POD, TEAM, {**head, "status": READY}, status=True)


async def given_work(api: Client) -> None:
    """One object of each kind, a Job, and a service that serves with all its children."""
    for kind, spec in ONE_OF_EACH:
        await api.create(kind, TEAM, own(kind, "one", TEAM, spec))
    spec = {"model": {"name": NAME}, "scaling": {"minReplicas": 1, "maxReplicas": 2}, "capture": {"percent": 100}}
    await api.create(INFERENCE_SERVICE, TEAM, own(INFERENCE_SERVICE, NAME, TEAM, spec))
    await approve(api, TEAM, 1)
    await ready_pods(api, await deployment_of(api, TEAM, "canary"))
    await wait_for(api, TEAM, "Serving")
    await eventually(lambda: jobs_of(api), 30, what="the Dataset's Job")


async def jobs_of(api: Client) -> list[Any]:
    return [item async for page in api.pages(names.JOB, TEAM) for item in page.items]


async def collector_knows(api: Client, kind: Resource) -> None:
    """Wait until the garbage collector has taken notice of a CRD; it looks for new kinds every 30 s."""
    spec = next(spec for each, spec in ONE_OF_EACH if each == kind)
    owner = await api.create(kind, TEAM, own(kind, "probe", TEAM, spec))
    reference = {"apiVersion": kind.api_version, "kind": kind.kind, "name": "probe", "uid": owner["metadata"]["uid"]}
    await api.create(
        CONFIG_MAP, TEAM, {"metadata": {"name": f"probe-{kind.plural}", "ownerReferences": [reference]}, "data": {}}
    )
    owner = await api.get(kind, TEAM, "probe")

    async def gone() -> bool:
        with contextlib.suppress(KubeError):
            await api.delete(kind, await api.get(kind, TEAM, "probe"))
        return await api.find(CONFIG_MAP, TEAM, f"probe-{kind.plural}") is None

    await eventually(gone, 90, every_s=0.3, what=f"the garbage collector knows {kind.plural}")


async def test_uninstalling_leaves_what_it_says_and_nothing_else(cluster: ControlPlane) -> None:
    api = Client(await connect(str(cluster.kubeconfig())), user_agent="user")
    try:
        for name in (SYSTEM, TEAM):
            await api.create(NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for name in (SYSTEM, TEAM):
            await eventually(lambda name=name: api.find(ACCOUNT, name, "default"), 30)
        before = await everything(api)
        helm(cluster, "install", "fairlead", CHART)
        async with operator(cluster):
            await given_work(api)
            await asyncio.gather(*(collector_knows(api, kind) for kind in OWN_KINDS))
            made = await everything(api) - before
            helm(cluster, "uninstall", "fairlead")
            kept = {place for place in made if place[1] == TEAM or place[0] in DEFINITIONS}
            assert len([place for place in kept if place[0] == "customresourcedefinitions.apiextensions.k8s.io"]) == 5
            await eventually(lambda: are_left(api, before, kept), 30, every_s=0.5)
        assert await are_left(api, before, kept), "also once the operator has ended"
        await comes_back(cluster, api)
        await eventually(lambda: are_left(api, before, set()), 10, every_s=0.5)
    finally:
        await api.close()


async def are_left(api: Client, before: set[Place], expected: set[Place]) -> bool:
    left = await everything(api) - before
    assert left == expected, f"too much: {sorted(left - expected)}, too little: {sorted(expected - left)}"
    return True


async def comes_back(cluster: ControlPlane, api: Client) -> None:
    """Installed again, it goes on with what was kept; uninstalled without `keep`, everything goes."""
    kept, jobs = await api.get(INFERENCE_SERVICE, TEAM, NAME), await jobs_of(api)
    helm(cluster, "install", "fairlead", CHART, "--set", "crds.keep=false")
    async with operator(cluster):

        async def leads() -> bool:
            lease = await api.get(LEASE, SYSTEM, "fairlead")
            assert lease["metadata"]["labels"]["app.kubernetes.io/part-of"] == "fairlead"
            return bool((lease.get("spec") or {}).get("holderIdentity"))

        await eventually(leads, 30, what="the operator leads")
        service = await wait_for(api, TEAM, "Serving")
        assert service["metadata"]["uid"] == kept["metadata"]["uid"]
        assert [job["metadata"]["uid"] for job in await jobs_of(api)] == [job["metadata"]["uid"] for job in jobs]
        helm(cluster, "uninstall", "fairlead")
        await eventually(lambda: no_objects(api), 60, every_s=0.5)


async def no_objects(api: Client) -> bool:
    left = [place for place in await everything(api) if place[1] == TEAM and "fairlead" in place[0] + place[2]]
    assert left == []
    return True
