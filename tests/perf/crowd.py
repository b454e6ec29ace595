"""A user of many Datasets: applies them, changes them, and sees when the first child of each is there."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from tests.support.control_plane import ControlPlane
from tests.support.eventually import eventually

from fairlead.api import meta
from fairlead.api.dataset import DatasetSpec, DatasetStatus
from fairlead.api.names import DATASET, JOB, POD, Resource
from fairlead.kube.objects import resource_path
from fairlead.plan.children import Image, build_job
from fairlead.plan.datasetjobs import snapshot_order

Json = dict[str, Any]
AT_ONCE = 10
_IMAGE = Image("example.com/jobs@sha256:0")


def build_dataset(name: str, namespace: str) -> Json:
    return {
        "apiVersion": DATASET.api_version,
        "kind": DATASET.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"source": {"configMap": {"name": "rows", "key": "rows.csv"}}, "format": "CSV", "target": "y"},
    }


def build_children(dataset: Json) -> tuple[Json, Json]:
    """Return a Job as the operator makes it, and a pod of that Job as the Job controller does."""
    read = meta.read(dataset, DatasetSpec, DatasetStatus)
    job = build_job(snapshot_order(read, "there", _IMAGE, None))
    template = job["spec"]["template"]
    name = job["metadata"]["name"]
    labels = {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": name}
    metadata = {**template["metadata"], "name": f"{name}-x", "namespace": read.namespace, "labels": labels}
    return job, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


class Crowd:
    """Requests of a user, and a watch on Jobs of all namespaces. `seen` is when a Dataset's first Job was seen."""

    def __init__(self, plane: ControlPlane, session: aiohttp.ClientSession) -> None:
        self._server, self._session = plane.server, session
        self.seen: dict[tuple[str, str], float] = {}

    async def send(self, method: str, path: str, body: Json | None = None, content: str = "application/json") -> Json:
        raw = None if body is None else json.dumps(body)
        async with self._session.request(
            method, self._server + path, data=raw, headers={"Content-Type": content}
        ) as answer:
            answer.raise_for_status()
            return dict(await answer.json())

    async def create(self, resource: Resource, body: Json) -> Json:
        return await self.send("POST", resource_path(resource, body["metadata"].get("namespace")), body)

    async def merge(self, resource: Resource, namespace: str, name: str, body: Json) -> Json:
        return await self.send("PATCH", resource_path(resource, namespace, name), body, "application/merge-patch+json")

    async def watch_jobs(self) -> None:
        """Watch for ever; an API server ends the watch of a client that is too slow, and a new one tells all again."""
        url = f"{self._server}{resource_path(JOB, None)}?watch=true"
        while True:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=None)) as answer:
                async for line in answer.content:
                    now = time.monotonic()
                    metadata = json.loads(line)["object"]["metadata"]
                    for owner in metadata.get("ownerReferences") or ():
                        self.seen.setdefault((metadata["namespace"], owner["name"]), now)

    async def burst(self, namespace: str, names: Iterable[str], timeout_s: float = 300) -> float:
        """Apply Datasets, ten at a time; return the seconds until every one has its Job."""
        began, wanted = time.monotonic(), [(namespace, name) for name in names]
        await for_all(wanted, lambda place: self.create(DATASET, build_dataset(place[1], place[0])))
        await eventually(lambda: all(place in self.seen for place in wanted), timeout_s, every_s=0.1)
        return max(self.seen[place] for place in wanted) - began

    async def latency_ms(self, namespace: str, name: str) -> float:
        """Apply one Dataset; return the milliseconds until its Job was seen by a watch."""
        began = time.monotonic()
        await self.create(DATASET, build_dataset(name, namespace))
        await eventually(lambda: (namespace, name) in self.seen, 60, every_s=0.002)
        return (self.seen[namespace, name] - began) * 1000

    async def make_there(self, namespace: str, names: Iterable[str]) -> None:
        """Make Datasets, each with a Job and a pod that are there before any controller starts."""

        async def one(name: str) -> None:
            dataset = await self.create(DATASET, build_dataset(name, namespace))
            job, pod = build_children(dataset)
            made = await self.create(JOB, job)
            owner = {"apiVersion": "batch/v1", "kind": "Job", "name": made["metadata"]["name"], "controller": True}
            pod["metadata"]["ownerReferences"] = [owner | {"uid": made["metadata"]["uid"]}]
            await self.create(POD, pod)

        await for_all(names, one)


async def for_all(items: Iterable[Any], act: Callable[[Any], Awaitable[Any]]) -> None:
    """Do it for all, ten at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(item: Any) -> None:
        async with slots:
            await act(item)

    await asyncio.gather(*map(one, items))


@asynccontextmanager
async def crowd(plane: ControlPlane) -> AsyncIterator[Crowd]:
    """Speak to the API server as its administrator."""
    trust = ssl.create_default_context(cafile=str(plane.ca))
    headers = {"Authorization": f"Bearer admin-{plane.token}", "User-Agent": "crowd"}
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(connector=connector, headers=headers, read_bufsize=2**21) as session:
        user = Crowd(plane, session)
        watch = asyncio.create_task(user.watch_jobs())
        try:
            yield user
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
