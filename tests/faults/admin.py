"""The API server as its administrator sees it: plain requests, and one watch of everything that feeds every scenario.

The actors and the harness speak through this, past every proxy, so that a fault hurts the operator alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from tests.support.control_plane import ControlPlane

from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.kube.objects import resource_path

from .proxy import lines_of

Json = dict[str, Any]
JSON, MERGE, APPLY = "application/json", "application/merge-patch+json", "application/apply-patch+yaml"
OnEvent = Callable[[str, Json], None]


class Refused(Exception):  # noqa: N818 - an answer, for the caller to judge
    """The API server answered 400 or more."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:400]}")
        self.status = status


class Admin:
    """Requests with every right."""

    def __init__(self, plane: ControlPlane) -> None:
        self._server, self._token = plane.server, f"admin-{plane.token}"
        self._context = ssl.create_default_context(cafile=str(plane.ca))
        self._session: aiohttp.ClientSession | None = None

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Admin]:
        """Speak until the block ends."""
        connector = aiohttp.TCPConnector(ssl=self._context, limit=0)
        headers = {"Authorization": f"Bearer {self._token}", "User-Agent": "actors"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as self._session:
            yield self

    async def send(self, method: str, path: str, body: Json | None = None, content: str = JSON) -> Json:
        """Return the answer; raise Refused."""
        assert self._session is not None
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content}
        async with self._session.request(method, self._server + path, data=data, headers=headers) as response:
            text = await response.text()
            if response.status >= 400:
                raise Refused(response.status, text)
            return dict(json.loads(text))

    async def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        """POST."""
        full = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        return await self.send("POST", resource_path(resource, namespace), full)

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """GET."""
        return await self.send("GET", resource_path(resource, namespace, name))

    async def list(self, resource: Resource, namespace: str) -> list[Json]:
        """GET the collection; kinds are filled in."""
        items = (await self.send("GET", resource_path(resource, namespace)))["items"]
        return [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in items]

    async def patch(self, resource: Resource, place: tuple[str, str], body: Json, subresource: str = "") -> Json:
        """Merge patch of (namespace, name)."""
        return await self.send("PATCH", resource_path(resource, *place, subresource), body, MERGE)

    async def delete(self, resource: Resource, place: tuple[str, str]) -> None:
        """Delete (namespace, name) in background; nothing is fine too."""
        with contextlib.suppress(Refused):
            body = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
            await self.send("DELETE", resource_path(resource, *place), body)

    async def watch_all(self, on_event: OnEvent) -> None:
        """Report every object of every watched resource as it is and as it changes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for resource in names.RESOURCES:
                group.create_task(self._watch(resource, on_event))

    async def _watch(self, resource: Resource, on_event: OnEvent) -> None:
        version = (await self.send("GET", resource_path(resource, None)))["metadata"]["resourceVersion"]
        while True:  # the API server ends each watch after half an hour or more
            version = await self._watch_from(version, resource, on_event)

    async def _watch_from(self, version: str, resource: Resource, on_event: OnEvent) -> str:
        """Report events after a version until the watch ends; return the version to go on from."""
        assert self._session is not None
        path = resource_path(resource, None)
        url = f"{self._server}{path}?watch=1&allowWatchBookmarks=true&resourceVersion={version}"
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(url, timeout=timeout) as response:
            async for line in lines_of(response):
                event = json.loads(line)
                obj = event["object"]
                if event["type"] == "ERROR":
                    raise RuntimeError(f"the actors' watch of {resource.plural} ended: {obj}")
                version = obj["metadata"]["resourceVersion"]
                obj["kind"], obj["apiVersion"] = resource.kind, resource.api_version
                if event["type"] != "BOOKMARK":
                    on_event(event["type"], obj)
        return str(version)
