"""The shell against a real kube-apiserver and etcd: one control plane a session, one namespace and operator a test."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from tests.support.control_plane import ControlPlane, control_plane
from tests.support.crds import CRD
from tests.support.eventually import eventually
from tests.support.longest_first import longest_first
from tests.support.status_laws import StatusLaws
from tests.support.status_watch import status_laws_are_kept, status_watches  # noqa: F401  after every test
from tests.support.toy import TOY_CRD, ToyController

from fairlead.api.names import Resource
from fairlead.app.main import Operator
from fairlead.app.settings import read_settings
from fairlead.kube.client import Client
from fairlead.kube.connection import connect

NAMESPACE = Resource("v1", "Namespace", "namespaces")
LEASE_NAMESPACE = "default"
CRDS = Path(__file__).resolve().parents[2] / "crds"
LONGEST = ("test_uninstall.py", "test_fields.py", "test_backup.py", "test_inferenceservice.py", "test_upgrade.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items, LONGEST)


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    with control_plane() as running:
        asyncio.run(_install_crds(running))
        yield running


async def _install_crds(plane: ControlPlane) -> None:
    client = Client(await connect(str(plane.kubeconfig())))
    documents = [TOY_CRD, *(yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml")))]
    for document in documents:
        await client.create(CRD, "", document)
    for document in documents:
        await eventually(lambda name=document["metadata"]["name"]: _is_established(client, name), 20)
    await client.close()


async def _is_established(client: Client, name: str) -> bool:
    crd = await client.get(CRD, "", name)
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(entry["type"] == "Established" and entry["status"] == "True" for entry in conditions)


@pytest_asyncio.fixture
async def api(plane: ControlPlane) -> AsyncIterator[Client]:
    """A client with an administrator's rights: the user's hands."""
    client = Client(await connect(str(plane.kubeconfig())), user_agent="user")
    yield client
    await client.close()


@pytest_asyncio.fixture
async def namespace(api: Client) -> str:
    name = f"test-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": name, "labels": labels}
    await api.create(NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return name


@dataclass
class Running:
    """An operator in this process, and its end."""

    operator: Operator
    task: asyncio.Task[None]

    async def stop(self) -> None:
        self.operator.stop()
        await asyncio.wait_for(self.task, 15)

    async def kill(self) -> None:
        """End it without its farewell: the Lease is not released."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


Start = Callable[..., Awaitable[Running]]


@pytest_asyncio.fixture
async def start(plane: ControlPlane, namespace: str) -> AsyncIterator[Start]:
    """Start operators with the toy kind (or other controllers) on this test's namespace; they end with the test."""
    laws = StatusLaws()
    running: list[Running] = []

    async def begin(controllers: Collection[Any] = (ToyController(),), user: str = "admin", **settings: str) -> Running:
        connection = await connect(str(plane.kubeconfig(user)))
        operator = Operator(read_settings(_arguments(namespace, settings), {}), connection, controllers)
        own = {controller.resource.kind for controller in controllers}
        operator.store.listen(lambda resource, obj: laws.see(obj) if resource.kind in own else None)
        running.append(Running(operator, asyncio.create_task(operator.run())))
        return running[-1]

    yield begin
    for one in running:
        if not one.task.done():
            await one.stop()
    laws.assert_kept()


def _arguments(namespace: str, settings: dict[str, str]) -> list[str]:
    given = {
        "server_image": "example.com/server@sha256:0",
        "jobs_image": "example.com/jobs@sha256:0",
        "namespaces": namespace,
        "lease_namespace": LEASE_NAMESPACE,
        "lease_name": f"lease-{namespace}",
        "bind_address": "127.0.0.1",
        "health_port": "0",
        "metrics_port": "0",
        "log_format": "text",
    } | settings
    return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]


@dataclass(frozen=True)
class Audit:
    """What the API server was asked, from its audit log."""

    path: Path
    namespace: str

    def entries(self, agent: str = "fairlead/") -> list[dict[str, Any]]:
        """Return the requests of a user agent about this test's namespace."""
        lines = self.path.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [
            entry
            for entry in found
            if entry.get("userAgent", "").startswith(agent)
            and (entry.get("objectRef") or {}).get("namespace") == self.namespace
        ]

    def writes(self, agent: str = "fairlead/") -> list[str]:
        """Return `verb resource/subresource name` of its writes, events left out."""
        return [
            f"{entry['verb']} {_subject(entry['objectRef'])}"
            for entry in self.entries(agent)
            if entry["verb"] not in ("get", "list", "watch") and entry["objectRef"]["resource"] != "events"
        ]


def _subject(reference: dict[str, Any]) -> str:
    parts = [reference["resource"], *([reference["subresource"]] if "subresource" in reference else [])]
    return f"{'/'.join(parts)} {reference.get('name', '')}"


@pytest.fixture
def audit(plane: ControlPlane, namespace: str) -> Audit:
    return Audit(plane.audit_log, namespace)
