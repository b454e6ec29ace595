"""The operator with the rights of the rendered chart and no others, in both modes, held against the audit log.

The rights that only a mishap uses (`RARE`) are used here, for real. That all others are used is shown by the stories
(tests/unit/app/test_rbac_used.py) and by the audit log of the cluster (tests/rights).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from tests.support.chart_rights import install, token_of
from tests.support.control_plane import ControlPlane, control_plane
from tests.support.eventually import eventually
from tests.support.operator_process import begin_operator, end_operator
from tests.support.rights import RARE, refused, used
from tests.support.toy import deployment_of, job_of

from fairlead.api.conditions import find_condition
from fairlead.api.names import DATASET, JOB, Resource
from fairlead.controllers.execute import Executor
from fairlead.kube.client import Client
from fairlead.kube.connection import connect
from fairlead.kube.errors import ConflictError
from fairlead.kube.lease import Lease, LeaseSettings
from fairlead.kube.recorder import Recorder
from fairlead.kube.store import Store
from fairlead.plan.children import Owner, owner_reference
from fairlead.plan.types import Create

from .conftest import NAMESPACE, _install_crds
from .test_process import ONE_OF_EACH, own

ROOT = Path(__file__).resolve().parents[2]
MODES = ("namespaced", "cluster")


@dataclass(frozen=True)
class Installed:
    """The chart's rights for one service account in `system`, its kubeconfig, and what it asked for."""

    plane: ControlPlane
    mode: str

    @property
    def system(self) -> str:
        """The operator's namespace."""
        return f"system-{self.mode}"

    @property
    def team(self) -> str:
        """The namespace that it looks after."""
        return f"team-{self.mode}"

    @property
    def served(self) -> str:
        """The value `namespaces` of the chart and of the process."""
        return self.team if self.mode == "namespaced" else ""

    @property
    def kubeconfig(self) -> Path:
        """The operator's."""
        return self.plane.folder / f"kubeconfig-{self.mode}"

    def entries(self) -> list[dict[str, Any]]:
        """Return the requests of the operator's service account."""
        lines = self.plane.audit_log.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [e for e in found if e["user"]["username"] == f"system:serviceaccount:{self.system}:fairlead"]


@pytest.fixture(scope="module")
def own_plane() -> Iterator[ControlPlane]:
    """An API server of its own: an operator of the whole cluster would work on other tests' objects."""
    with control_plane() as plane:
        asyncio.run(_install_crds(plane))
        yield plane


@pytest.fixture(scope="module", params=MODES)
def installed(own_plane: ControlPlane, request: pytest.FixtureRequest) -> Installed:
    """The chart's rights in one mode."""
    here = Installed(own_plane, request.param)
    asyncio.run(_make_namespaces(own_plane, here.system, here.team, f"stranger-{here.mode}"))
    install(own_plane, here.system, *([f"namespaces={{{here.served}}}"] if here.served else []))
    document = yaml.safe_load(own_plane.kubeconfig().read_text())
    document["users"][0]["user"] = {"token": token_of(own_plane, here.system, "fairlead")}
    here.kubeconfig.write_text(yaml.safe_dump(document))
    return here


async def _make_namespaces(plane: ControlPlane, *names: str) -> None:
    client = Client(await connect(str(plane.kubeconfig())))
    for name in names:
        await client.create(NAMESPACE, "", {"metadata": {"name": name}})
    await client.close()


@pytest_asyncio.fixture
async def user(installed: Installed) -> AsyncIterator[Client]:
    client = Client(await connect(str(installed.plane.kubeconfig())))
    yield client
    await client.close()


@pytest_asyncio.fixture
async def hands(installed: Installed) -> AsyncIterator[Client]:
    """A client with the operator's own rights."""
    client = Client(await connect(str(installed.kubeconfig)))
    yield client
    await client.close()


Begin = Callable[[], Awaitable[asyncio.subprocess.Process]]


@pytest_asyncio.fixture
async def begin(installed: Installed) -> AsyncIterator[Begin]:
    given = (
        "--namespaces", installed.served, "--relist-period", "1s",
        "--lease-namespace", installed.system, "--lease-name", "fairlead",
    )  # fmt: skip
    processes: list[asyncio.subprocess.Process] = []

    async def start() -> asyncio.subprocess.Process:
        process = await begin_operator(installed.kubeconfig, *given, stderr=subprocess.DEVNULL)
        processes.append(process)
        return process

    yield start
    for process in processes:
        await end_operator(process)


async def test_nothing_is_refused_and_no_secret_is_asked_for(begin: Begin, user: Client, installed: Installed) -> None:
    process = await begin()
    stranger = f"stranger-{installed.mode}"
    for kind, spec in ONE_OF_EACH:
        for namespace in (installed.team, stranger):
            await user.create(kind, namespace, own(kind, "one", namespace, spec))
    for kind, _ in ONE_OF_EACH:

        async def said(kind: Any = kind) -> Any:
            return find_condition(await user.get(kind, installed.team, "one"), "Ready")

        assert (await eventually(said, 20, what=f"{kind.kind} says something"))["reason"] != "Forbidden"

    def relisted() -> bool:
        lists = [e for e in installed.entries() if e["verb"] == "list" and e["objectRef"]["resource"] == "datasets"]
        return len(lists) >= 3

    await eventually(relisted, 20, what="everything was listed again")
    process.terminate()
    assert await process.wait() == 0  # which ends the watches, so that the audit log has them
    entries = installed.entries()
    assert refused(entries) == []
    asked = {entry["objectRef"]["resource"] for entry in entries if entry.get("objectRef")}
    assert not asked & {"secrets", "configmaps", "serviceaccounts", "nodes", "namespaces"}
    if installed.served:
        where = {entry["objectRef"].get("namespace", "") for entry in entries if entry.get("objectRef")}
        assert where == {installed.team, installed.system}
        assert find_condition(await user.get(DATASET, stranger, "one"), "Ready") is None


async def test_what_only_a_mishap_asks_for_is_granted_and_used(
    hands: Client, user: Client, installed: Installed
) -> None:
    store, team = Store(), installed.team
    for kind, spec in ONE_OF_EACH:  # a status that comes late
        old = await user.create(kind, team, own(kind, "two", team, spec))
        await user.patch(kind, team, "two", {"metadata": {"annotations": {"theirs": "x"}}})
        with pytest.raises(ConflictError):
            await Executor(hands, store).write_status(kind, old, {"observedGeneration": 1})
        assert store.get(kind, team, "two") is not None
    dataset, spec = ONE_OF_EACH[0]
    owner = await user.create(dataset, team, own(dataset, "three", team, spec))
    for build in (job_of, deployment_of):  # a birth whose answer was lost: done again
        for _ in range(2):
            await Executor(hands, Store()).act(Create(owned(build(owner), dataset, owner)))
    recorder = Recorder(hands, "test", lambda: datetime.now(UTC))
    sending = asyncio.create_task(recorder.run())
    for _ in range(2):
        recorder.record(owner, "Normal", "AsAsked", "the same words")
        await recorder.flush()
    sending.cancel()
    assert recorder.dropped == 0
    lease = Lease(hands, LeaseSettings(installed.system, "deleted-by-somebody", "me"), lambda: datetime.now(UTC))
    await asyncio.wait_for(lease.acquire(), 10)
    missing = RARE.keys() - used(installed.entries())
    assert not missing, f"excused as rare, and used by no test: {sorted(missing)}"
    assert refused(installed.entries()) == []


async def test_a_child_of_each_kind_is_taken_where_finalizers_are_guarded(
    hands: Client, user: Client, installed: Installed
) -> None:
    """The API server has the admission plugin OwnerReferencesPermissionEnforcement, as on OpenShift."""
    for kind, spec in ONE_OF_EACH:
        name = f"owner-{kind.plural}"
        raw = await user.create(kind, installed.team, own(kind, name, installed.team, spec))
        made = await hands.create(JOB, installed.team, owned(job_of(raw), kind, raw))
        (reference,) = made["metadata"]["ownerReferences"]
        assert (reference["kind"], reference["blockOwnerDeletion"]) == (kind.kind, True), "else the plugin asks nothing"


def owned(child: dict[str, Any], kind: Resource, owner: dict[str, Any]) -> dict[str, Any]:
    """Return the child with the reference to its owner that planners write."""
    metadata = owner["metadata"]
    child["metadata"]["ownerReferences"] = [
        owner_reference(Owner(kind, metadata["namespace"], metadata["name"], metadata["uid"]))
    ]
    return child
