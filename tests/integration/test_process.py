"""The operator as a process of its own, with the rights of the role table and no others, and all five kinds."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.control_plane import ControlPlane
from tests.support.eventually import eventually
from tests.support.operator_process import begin_operator
from tests.support.status_laws import breaches

from fairlead.api.conditions import find_condition
from fairlead.api.names import DATASET, DRIFT_MONITOR, INFERENCE_SERVICE, MODEL_VERSION, TRAINING_RUN, Resource
from fairlead.app.rbac import RULES
from fairlead.kube.client import Client
from fairlead.kube.lease import LEASE
from fairlead.kube.store import Store

from .conftest import LEASE_NAMESPACE, Audit

ROOT = Path(__file__).resolve().parents[2]
RBAC = "rbac.authorization.k8s.io"
CLUSTER_ROLE = Resource(f"{RBAC}/v1", "ClusterRole", "clusterroles")
CLUSTER_BINDING = Resource(f"{RBAC}/v1", "ClusterRoleBinding", "clusterrolebindings")
JOB = Resource("batch/v1", "Job", "jobs")

Begin = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest_asyncio.fixture
async def rights(api: Client) -> None:
    """Give the user `operator` what the table says, everywhere."""
    if await api.find(CLUSTER_ROLE, "", "operator") is not None:
        return
    rules = [
        {"apiGroups": [rule.api_group], "resources": list(rule.resources), "verbs": list(rule.verbs)} for rule in RULES
    ]
    await api.create(CLUSTER_ROLE, "", {"metadata": {"name": "operator"}, "rules": rules})
    binding = {
        "metadata": {"name": "operator"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "operator"},
        "subjects": [{"kind": "User", "apiGroup": RBAC, "name": "operator"}],
    }
    await api.create(CLUSTER_BINDING, "", binding)


@pytest_asyncio.fixture
async def begin(plane: ControlPlane, namespace: str, rights: None) -> AsyncIterator[Begin]:
    """Start operator processes on this test's namespace."""
    processes: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str) -> asyncio.subprocess.Process:
        given = (
            "--namespaces", namespace, "--lease-namespace", LEASE_NAMESPACE, "--lease-name", f"lease-{namespace}",
        )  # fmt: skip
        config, pipe = plane.kubeconfig("operator"), asyncio.subprocess.PIPE
        process = await begin_operator(config, *given, *arguments, stderr=pipe)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


def own(kind: Resource, name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


DATASET_SPEC = {"source": {"configMap": {"name": "rows", "key": "rows.csv"}}, "format": "CSV", "target": "y"}
ONE_OF_EACH: tuple[tuple[Resource, dict[str, Any]], ...] = (
    (DATASET, DATASET_SPEC),
    (
        TRAINING_RUN,
        {
            "dataset": {"name": "absent"},
            "model": "m",
            "task": "Classification",
            "trainer": {"sklearn": {"estimator": "sklearn.linear_model.LogisticRegression"}},
        },
    ),
    (
        MODEL_VERSION,
        {
            "model": "m",
            "source": {"trainingRun": {"name": "absent"}},
            "evaluation": {"dataset": {"name": "absent"}},
        },
    ),
    (INFERENCE_SERVICE, {"model": {"name": "absent"}}),
    (DRIFT_MONITOR, {"inferenceService": {"name": "absent"}, "schedule": "*/15 * * * *", "window": "24h"}),
)


async def test_every_kind_says_what_it_does_or_waits_for_within_its_rights(
    begin: Begin, api: Client, namespace: str, audit: Audit
) -> None:
    await begin()
    for kind, spec in ONE_OF_EACH:
        await api.create(kind, namespace, own(kind, "one", namespace, spec))
    for kind, _ in ONE_OF_EACH:

        async def said(kind: Resource = kind) -> Any:
            obj = await api.get(kind, namespace, "one")
            assert breaches(obj) == []
            return find_condition(obj, "Ready")

        condition = await eventually(said, 20, what=f"{kind.kind} says something")
        assert condition["reason"] not in ("InternalError", "Forbidden"), condition
        assert condition["message"]

    async def job() -> Any:
        store = Store()
        async for page in api.pages(JOB, namespace):
            for obj in page.items:
                store.observe(JOB, obj)
        return store.list(JOB, namespace)

    assert len(await eventually(job)) == 1
    refused = [entry for entry in audit.entries("") if entry.get("responseStatus", {}).get("code") == 403]
    assert [(entry["verb"], entry["objectRef"]["resource"]) for entry in refused] == []


async def test_sigterm_ends_it_in_order_and_frees_the_lease(begin: Begin, api: Client, namespace: str) -> None:
    process = await begin()
    lease = await held(api, namespace)
    assert lease["spec"]["leaseDurationSeconds"] == 15
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert time.monotonic() - began < 3
    assert (await api.get(LEASE, LEASE_NAMESPACE, f"lease-{namespace}"))["spec"]["holderIdentity"] == ""


async def held(api: Client, namespace: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        lease = await api.find(LEASE, LEASE_NAMESPACE, f"lease-{namespace}")
        return lease if lease is not None and lease["spec"].get("holderIdentity") else None

    return await eventually(look, 20, what="the Lease is held")  # type: ignore[return-value]


async def test_a_killed_leader_is_replaced_and_its_work_goes_on(begin: Begin, api: Client, namespace: str) -> None:
    times = ("--lease-duration", "2s", "--lease-renew-deadline", "1s", "--lease-retry-period", "200ms")
    first = await begin("--identity", "first", *times)
    assert (await held(api, namespace))["spec"]["holderIdentity"] == "first"
    await begin("--identity", "second", *times)
    first.kill()
    await first.wait()
    await api.create(DATASET, namespace, own(DATASET, "one", namespace, DATASET_SPEC))

    async def said() -> Any:
        return find_condition(await api.get(DATASET, namespace, "one"), "Ready")

    await eventually(said, 20)
    assert (await held(api, namespace))["spec"]["holderIdentity"] == "second"


async def test_a_leader_whose_lease_is_taken_ends(begin: Begin, api: Client, namespace: str) -> None:
    process = await begin("--lease-retry-period", "100ms")
    lease = await held(api, namespace)
    lease["spec"]["holderIdentity"] = "thief"
    await api.patch(LEASE, LEASE_NAMESPACE, lease["metadata"]["name"], {"spec": {"holderIdentity": "thief"}})
    assert await asyncio.wait_for(process.wait(), 20) == 1
    assert process.stderr is not None
    lines = (await process.stderr.read()).decode().splitlines()
    assert any("leadership is lost" in json.loads(line)["message"] for line in lines)


@pytest.mark.parametrize(("arguments", "words"), [(("--workers", "0"), "FAIRLEAD_WORKERS")])
async def test_wrong_settings_are_told_at_once(begin: Begin, arguments: tuple[str, ...], words: str) -> None:
    process = await begin(*arguments)
    assert await asyncio.wait_for(process.wait(), 20) == 2
    assert process.stderr is not None
    assert words in (await process.stderr.read()).decode()
