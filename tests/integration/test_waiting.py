"""`kubectl wait` and Helm 4's `--wait` on a real API server: each kind, as stories leave it: done, waiting, stalled."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.control_plane import ControlPlane
from tests.support.eventually import eventually
from tests.support.judges import find_judges
from tests.unit.plan.test_stories import KINDS
from tests.unit.plan.verdicts import TABLE, is_looked_at, word_of

from fairlead.api.conditions import READY, STALLED, find_condition
from fairlead.api.names import BY_KIND, Resource
from fairlead.kube.client import Client

from .told import Obj, told

DONE, WAITS, FAILED = "Current", "InProgress", "Failed"
WAITING_TIMEOUT = "3s"  # Helm's, for what never becomes ready
CASES = [(kind, kstatus) for kind in KINDS.values() for kstatus in (DONE, WAITS, FAILED)]


@dataclass(frozen=True)
class Said:
    """How a program ended, and its words."""

    code: int
    text: str


@dataclass(frozen=True)
class Tools:
    """The programs, pointed at a test's API server and namespace."""

    kubeconfig: Path
    namespace: str

    async def run(self, program: str, *arguments: str) -> Said:
        folder = find_judges()
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        home = {"HELM_CACHE_HOME": "helm", "HELM_CONFIG_HOME": "helm", "HELM_DATA_HOME": "helm"}
        told_home = {name: str(self.kubeconfig.parent / value) for name, value in home.items()}
        process = await asyncio.create_subprocess_exec(
            program, *arguments, "--namespace", self.namespace,
            env={**os.environ, **told_home, "PATH": path, "KUBECONFIG": str(self.kubeconfig)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        return Said(process.returncode or 0, out.decode())

    async def kubectl_wait(self, resource: Resource, name: str, condition: str) -> Said:
        """Ask once, without waiting."""
        subject = f"{resource.plural}.fairlead.dev/{name}"
        return await self.run("kubectl", "wait", subject, f"--for=condition={condition}", "--timeout=0")

    async def helm_install(self, chart: Path, at_most: str) -> Said:
        return await self.run("helm4", "install", chart.name, str(chart), "--wait", "--timeout", at_most)


@pytest.fixture
def tools(plane: ControlPlane, namespace: str) -> Tools:
    find_judges()
    return Tools(plane.kubeconfig(), namespace)


def states(kind: str, kstatus: str) -> Iterator[Obj]:
    """Yield the states of a kind that a person gives this verdict, the latest of each story first."""
    for _, obj in reversed(told()):
        looked_at = find_condition(obj, READY) is not None and is_looked_at(obj)
        if obj["kind"] == kind and looked_at and TABLE["words"][word_of(obj)][0] == kstatus:
            yield obj


def body_of(obj: Obj, name: str, namespace: str) -> dict[str, Any]:
    """Return a story's object as a person applies it."""
    head = {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}
    return {**head, "metadata": {"name": name, "namespace": namespace}, "spec": obj["spec"]}


async def say(api: Client, obj: Obj, name: str, namespace: str) -> None:
    """Write a story's status for the object of that name once it is there, about its present spec."""
    resource = BY_KIND[obj["kind"]]

    async def look() -> dict[str, Any] | None:
        return await api.find(resource, namespace, name)

    present: Any = await eventually(look, 30, what=f"{name} is there")
    generation = present["metadata"]["generation"]
    status = copy.deepcopy(dict(obj["status"])) | {"observedGeneration": generation}
    for condition in status["conditions"]:
        condition["observedGeneration"] = generation
    body = {**body_of(obj, name, namespace), "status": status}
    del body["spec"]
    await api.apply(resource, namespace, body, status=True)


@pytest.mark.parametrize("kind", KINDS.values())
async def test_kubectl_wait(kind: str, api: Client, namespace: str, tools: Tools) -> None:
    resource = BY_KIND[kind]
    for kstatus in (DONE, WAITS, FAILED):
        obj, name = next(states(kind, kstatus)), kstatus.lower()
        await api.create(resource, namespace, body_of(obj, name, namespace))
        if kstatus == DONE:
            assert (await tools.kubectl_wait(resource, name, "Ready")).code != 0, "nobody has looked at it yet"
        await say(api, obj, name, namespace)
        ready = await tools.kubectl_wait(resource, name, "Ready")
        assert (ready.code == 0) == (kstatus == DONE), ready.text
    assert (await tools.kubectl_wait(resource, FAILED.lower(), "Stalled")).code == 0


async def test_kubectl_wait_does_not_take_the_word_for_an_older_spec(api: Client, namespace: str, tools: Tools) -> None:
    resource = BY_KIND["Dataset"]
    obj = next(states("Dataset", DONE))
    await api.create(resource, namespace, body_of(obj, "flights", namespace))
    await say(api, obj, "flights", namespace)
    assert (await tools.kubectl_wait(resource, "flights", "Ready")).code == 0
    changed = body_of({**obj, "spec": {**obj["spec"], "timeout": "77m"}}, "flights", namespace)
    await api.apply(resource, namespace, changed)
    assert (await tools.kubectl_wait(resource, "flights", "Ready")).code != 0


def stalled_message(kind: str) -> str:
    condition = find_condition(next(states(kind, FAILED)), STALLED)
    assert condition is not None
    return str(condition["message"])


def chart_of(folder: Path, name: str, body: Mapping[str, Any]) -> Path:
    """Write a chart that holds one object."""
    chart = folder / name
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": name, "version": "0.1.0"}))
    (chart / "templates" / "object.yaml").write_text(yaml.safe_dump(body))
    return chart


@pytest.mark.parametrize("kind", KINDS.values())
async def test_helm_waits_for_ready_and_fails_on_stalled(
    kind: str, api: Client, namespace: str, tools: Tools, tmp_path: Path
) -> None:
    async def install(kstatus: str) -> Said:
        obj, name = next(states(kind, kstatus)), kstatus.lower()
        chart = chart_of(tmp_path, name, body_of(obj, name, namespace))
        at_most = WAITING_TIMEOUT if kstatus == WAITS else "60s"
        said, _ = await asyncio.gather(tools.helm_install(chart, at_most), say(api, obj, name, namespace))
        return said

    done, waits, failed = await asyncio.gather(*map(install, (DONE, WAITS, FAILED)))
    assert done.code == 0, done.text
    assert waits.code != 0, waits.text
    assert "InProgress" in waits.text, waits.text
    assert failed.code != 0, failed.text
    assert "Failed" in failed.text, failed.text
    assert stalled_message(kind) in failed.text, "Helm shows what Fairlead says"
