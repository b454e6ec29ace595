"""A small API server in this process: discovery, list, watch and writes on a few resources, every request recorded.

It serves tests of what cannot be provoked on a real one at will: 410 with a deletion in the gap, broken streams,
error codes, lost answers. It does not do server-side apply's merging: tests of that use the real API server.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from fairlead.api.names import Resource
from fairlead.kube.connection import Connection

Obj = dict[str, Any]
Interfere = Callable[[web.Request], web.StreamResponse | None]


class FakeApi:
    """Objects by resource; `emit` sends an event to the watches, `requests` has all that was asked."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.resources = tuple(resources)
        self.objects: dict[str, dict[str, Obj]] = {resource.plural: {} for resource in self.resources}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[Any] = []
        self.watches: dict[str, list[asyncio.Queue[Obj | None]]] = {resource.plural: [] for resource in self.resources}
        self.version = 100
        self.interfere: Interfere | None = None
        self.url = ""

    # What tests do

    def put(self, resource: Resource, name: str, namespace: str = "ns", **rest: Any) -> Obj:
        """Store an object under the next version, without telling any watch."""
        self.version += 1
        metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}", **rest.pop("metadata", {})}
        metadata["resourceVersion"] = str(self.version)
        obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **rest}
        self.objects[resource.plural][f"{namespace}/{name}"] = obj
        return obj

    def remove(self, resource: Resource, name: str, namespace: str = "ns") -> Obj:
        """Remove an object, without telling any watch."""
        self.version += 1
        obj = self.objects[resource.plural].pop(f"{namespace}/{name}")
        return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}

    def emit(self, resource: Resource, type_: str, obj: Obj) -> None:
        """Send an event to all watches of a resource."""
        for watch in self.watches[resource.plural]:
            watch.put_nowait({"type": type_, "object": obj})

    def expire(self, resource: Resource) -> None:
        """Send 410 Gone into all watches of a resource."""
        self.fail(resource, 410, "Expired")

    def fail(self, resource: Resource, code: int, reason: str) -> None:
        """Send an ERROR event."""
        self.emit(resource, "ERROR", {"kind": "Status", "code": code, "reason": reason, "message": reason})

    def cut(self, resource: Resource) -> None:
        """End all watches of a resource, as a server time-out does."""
        for watch in self.watches[resource.plural]:
            watch.put_nowait(None)

    def asked(self, *methods: str) -> list[str]:
        """Return `METHOD path` of what was asked by these methods, or by any."""
        return [f"{method} {path}" for method, path, _ in self.requests if not methods or method in methods]

    def queries(self, resource: Resource, *, watch: bool) -> list[dict[str, str]]:
        """Return the query parameters of the lists or watches of a resource."""
        return [
            query
            for method, path, query in self.requests
            if method == "GET" and path.endswith(f"/{resource.plural}") and (query.get("watch") == "true") == watch
        ]

    def connection(self) -> Connection:
        """Return a connection to this server."""
        configuration = Configuration()
        configuration.host = self.url
        configuration.api_key = {"BearerToken": "bearer not-a-real-token"}
        return Connection(configuration)

    # What it serves

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.requests.append((request.method, request.path, dict(request.query)))
        self.bodies.append(json.loads(body) if body else None)
        answer = self.interfere(request) if self.interfere is not None else None
        if answer is not None:
            return answer
        discovered = self._discover(request.path)
        if discovered is not None:
            return web.json_response(discovered)
        return await self._serve(request)

    def _discover(self, path: str) -> Obj | None:
        versions = sorted({resource.api_version for resource in self.resources} | {"v1", "apiextensions.k8s.io/v1"})
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            groups = [version.split("/") for version in versions if "/" in version]
            return {"kind": "APIGroupList", "groups": [_group(*group) for group in groups]}
        for version in versions:
            if path == (f"/apis/{version}" if "/" in version else f"/api/{version}"):
                return {"kind": "APIResourceList", "groupVersion": version, "resources": self._resources(version)}
        return None

    def _resources(self, version: str) -> list[Obj]:
        here = [resource for resource in self.resources if resource.api_version == version]
        fixed = {
            "v1": [("Namespace", "namespaces", False), ("Event", "events", True)],
            "apiextensions.k8s.io/v1": [("CustomResourceDefinition", "customresourcedefinitions", False)],
        }
        entries = [(resource.kind, resource.plural, True) for resource in here] + fixed.get(version, [])
        verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
        return [
            {"kind": kind, "name": plural, "singularName": kind.lower(), "namespaced": namespaced, "verbs": verbs}
            for kind, plural, namespaced in entries
        ]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        for resource in self.resources:
            if request.path.endswith(f"/{resource.plural}") and request.method == "GET":
                if request.query.get("watch") == "true":
                    return await self._watch(request, resource)
                return web.json_response(self._list(resource))
        return self._write_or_get(request)

    def _list(self, resource: Resource) -> Obj:
        items = list(self.objects[resource.plural].values())
        return {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": {"resourceVersion": str(self.version)},
            "items": items,
        }

    async def _watch(self, request: web.Request, resource: Resource) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        queue: asyncio.Queue[Obj | None] = asyncio.Queue()
        self.watches[resource.plural].append(queue)
        try:
            while (event := await queue.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self.watches[resource.plural].remove(queue)
        return response

    def _write_or_get(self, request: web.Request) -> web.Response:
        for resource in self.resources:
            marker = f"/{resource.plural}/"
            if marker in request.path:
                place = "/".join((_namespace(request.path), request.path.split(marker)[1].split("/")[0]))
                obj = self.objects[resource.plural].get(place)
                if obj is not None and request.method == "GET":
                    return web.json_response(obj)
        return status(404, "NotFound", f"{request.path} not found")


def status(code: int, reason: str, message: str, **headers: str) -> web.Response:
    """Return an error as the API server gives it."""
    body = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return web.json_response(
        body, status=code, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


def _group(name: str, version: str) -> Obj:
    entry = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [entry], "preferredVersion": entry}


def _namespace(path: str) -> str:
    return path.split("/namespaces/")[1].split("/", maxsplit=1)[0] if "/namespaces/" in path else ""


@asynccontextmanager
async def fake_api(resources: Iterable[Resource]) -> AsyncIterator[FakeApi]:
    """Serve a FakeApi on 127.0.0.1."""
    api = FakeApi(resources)
    app = web.Application(client_max_size=2**22)
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield api
    finally:
        for resource in api.resources:
            api.cut(resource)
        await runner.cleanup()
