"""`kubectl fairlead gather`: everything that support asks for, in one archive, within a minute.

It reads and writes nothing in the cluster, and never asks for a Secret or a ConfigMap. What the caller may not read,
or what does not come in time, is named on the index page; the rest is there. Called by `main.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fairlead import __version__
from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.kube.client import Client
from fairlead.kube.errors import KubeError
from fairlead.kube.lease import LEASE
from fairlead.kube.recorder import EVENT

from .bundle import Bundle, Obj, clean, event_line, object_text

COLLECT_S = 45.0  # of the promised 60: what is left is for packing
AT_ONCE = 8
OPERATOR_LINES, POD_LINES = 5000, 300
MAX_PODS = 200  # whose logs are read; those that are not ready come first
METRICS_PORT = 8080
OURS = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
OPERATOR = "app.kubernetes.io/name=fairlead,app.kubernetes.io/component=operator"
CRD = Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
OPERATOR_POD = Resource("v1", "Pod", "pods")
OPERATOR_DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
See = Callable[[Obj], None]
CHILDREN = tuple(r for r in names.RESOURCES if r not in names.OWN_KINDS)


@dataclass(frozen=True)
class Scope:
    """What to look at: one namespace or (None) all, and where the operator is; None: wherever it is found."""

    namespace: str | None
    operator_namespace: str | None = None

    def __str__(self) -> str:
        """Return the scope in words."""
        return f"namespace {self.namespace}" if self.namespace else "all namespaces"


def _look_away(_: Obj) -> None:
    """See nothing in an object."""


class Gathering:
    """One collection under way."""

    def __init__(self, client: Client, bundle: Bundle) -> None:
        self._client, self.bundle = client, bundle
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def part(self, path: str, collect: Callable[[], Awaitable[None]]) -> None:
        """Collect one part; what fails is noted under its path."""
        self.bundle.missing[path] = "time was up"
        async with self._slots:
            try:
                await collect()
            except KubeError as error:
                self.bundle.missing[path] = error.message
                return
        del self.bundle.missing[path]

    async def objects(
        self, path: str, resource: Resource, namespace: str | None, selector: str = "", see: See = _look_away
    ) -> None:
        """Collect the objects of a resource, as many as come in time; none that may be seen is no file.

        Of each the text alone is kept: a thousand objects with their children would take more memory than the rest.
        """
        texts: list[str] = []

        async def collect() -> None:
            async for page in self._client.pages(resource, namespace, selector):
                for obj in page.items:
                    cleaned = clean(obj)
                    texts.append(object_text(cleaned))
                    see(cleaned)

        try:
            await self.part(path, collect)
        finally:
            if texts:
                self.bundle.add_objects(path, texts)

    async def text(self, path: str, read: Callable[[], Awaitable[str]]) -> None:
        """Collect one text."""

        async def collect() -> None:
            self.bundle.add_text(path, await read())

        await self.part(path, collect)

    async def logs(self, folder: str, pods: Iterable[Obj], lines: int) -> None:
        """Collect the last lines of each container, and of those before their last restart."""
        async with asyncio.TaskGroup() as group:
            for pod in sorted(pods, key=_is_fine)[:MAX_PODS]:
                for container, restarted in _containers(pod):
                    for previous in (False, True) if restarted else (False,):
                        group.create_task(self._log(folder, pod, container, lines, previous=previous))

    async def _log(self, folder: str, pod: Obj, container: str, lines: int, *, previous: bool) -> None:
        metadata = pod["metadata"]
        path = f"{folder}/{metadata['namespace']}/{metadata['name']}/{container}{'.previous' if previous else ''}.log"
        namespace, name = str(metadata["namespace"]), str(metadata["name"])
        await self.text(path, lambda: self._client.read_log(namespace, name, container, lines, previous=previous))

    async def versions(self) -> None:
        """Collect the versions of plugin, API server and CRDs."""
        self.bundle.versions["kubectl fairlead"] = __version__

        async def server() -> None:
            said = json.loads(await self._client.read_text("/version"))
            self.bundle.versions["API server"] = str(said.get("gitVersion", ""))

        async def crds() -> None:
            for resource in names.OWN_KINDS:
                crd = await self._client.get(CRD, "", f"{resource.plural}.{names.GROUP}")
                served = [version["name"] for version in crd["spec"]["versions"] if version.get("served")]
                self.bundle.versions[f"CRD {resource.plural}"] = ", ".join(served)

        await asyncio.gather(self.part("versions/server", server), self.part("versions/crds", crds))

    async def operator(self, namespace: str | None) -> None:
        """Collect the operator: Deployment, Lease, pods, logs, metrics, events."""
        homes: set[str] = set()

        def see(deployment: Obj) -> None:
            images = [c["image"] for c in deployment["spec"]["template"]["spec"]["containers"]]
            self.bundle.versions[f"operator {deployment['metadata']['name']}"] = ", ".join(images)
            homes.add(str(deployment["metadata"]["namespace"]))

        await self.objects("operator/deployments.json", OPERATOR_DEPLOYMENT, namespace, OPERATOR, see)
        if not homes:
            self.bundle.missing["operator"] = "no operator was found; name its namespace with --operator-namespace"
        async with asyncio.TaskGroup() as group:
            for home in sorted(homes):
                group.create_task(self._operator_pods(home))
                group.create_task(self.objects(f"operator/{home}/leases.json", LEASE, home))
                group.create_task(self.events(f"operator/{home}/events.txt", home))

    async def _operator_pods(self, home: str) -> None:
        pods: list[Obj] = []
        await self.objects(f"operator/{home}/pods.json", OPERATOR_POD, home, OPERATOR, pods.append)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.logs("operator/logs", pods, OPERATOR_LINES))
            for pod in pods:
                name = pod["metadata"]["name"]
                path = f"/api/v1/namespaces/{home}/pods/{name}:{METRICS_PORT}/proxy/metrics"
                read = lambda path=path: self._client.read_text(path)  # noqa: E731
                group.create_task(self.text(f"operator/metrics/{name}.txt", read))

    async def events(self, path: str, namespace: str | None) -> None:
        """Collect events as lines, as many as come in time."""
        lines: list[str] = []

        async def collect() -> None:
            async for page in self._client.pages(EVENT, namespace):
                lines.extend(map(event_line, page.items))

        try:
            await self.part(path, collect)
        finally:
            if lines:
                self.bundle.add_events(path, lines)

    async def own(self, resource: Resource, namespace: str | None) -> None:
        """Collect our objects of one kind."""
        await self.objects(f"objects/{resource.plural}.json", resource, namespace, see=self.bundle.look_at)

    async def children(self, resource: Resource, namespace: str | None) -> None:
        """Collect what the operator made, and Gateways; of pods also the logs."""
        selector, pods = OURS if resource.label_selected else "", list[Obj]()
        keep = (lambda pod: pods.append(_for_logs(pod))) if resource == names.POD else _look_away
        await self.objects(f"objects/{resource.plural}.json", resource, namespace, selector, keep)
        await self.logs("logs", pods, POD_LINES)


def _for_logs(pod: Obj) -> Obj:
    """Return of a pod what its logs are asked for with."""
    metadata = pod["metadata"]
    where = {"name": metadata["name"], "namespace": metadata["namespace"]}
    return {"metadata": where, "status": pod.get("status")}


def _is_fine(pod: Obj) -> tuple[bool, str]:
    status = pod.get("status") or {}
    conditions = status.get("conditions") or ()
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return ready or status.get("phase") == "Succeeded", str(pod["metadata"]["name"])


def _containers(pod: Obj) -> list[tuple[str, bool]]:
    """Return the containers that began, and whether they were restarted."""
    status: dict[str, Any] = dict(pod.get("status") or {})
    said = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    begun = (c for c in said if not (c.get("state") or {}).get("waiting") or c.get("restartCount"))
    return [(str(c["name"]), bool(c.get("restartCount"))) for c in begun]


async def gather(client: Client, scope: Scope, at: datetime, limit_s: float = COLLECT_S) -> Bundle:
    """Return the bundle of a scope; raise the KubeError when the API server cannot be asked at all."""
    await client.read_text("/version")
    gathering = Gathering(client, Bundle(at, str(scope)))
    try:
        async with asyncio.timeout(limit_s), asyncio.TaskGroup() as group:
            group.create_task(gathering.versions())
            group.create_task(gathering.operator(scope.operator_namespace))
            group.create_task(gathering.events("events.txt", scope.namespace))
            for resource in names.OWN_KINDS:
                group.create_task(gathering.own(resource, scope.namespace))
            for resource in CHILDREN:
                group.create_task(gathering.children(resource, scope.namespace))
    except TimeoutError:
        gathering.bundle.missing["the rest"] = f"was not read within {limit_s:g} s"
    return gathering.bundle
