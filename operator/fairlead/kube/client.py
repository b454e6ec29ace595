"""The one way to the API server: typed verbs over the `kubernetes.aio` client.

Discovery of paths is ours (`names.RESOURCES` says them all), bodies go as they are: the dynamic client's copies of
each body and its discovery cache on disk buy nothing here. Every write first asks `guard` whether this process still
leads. It never retries (the queue does) and never logs a body.

Used by relist, lease, recorder, `controllers/execute.py` and `controllers/world.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client.api_client import ApiClient

from fairlead import __version__
from fairlead.api.names import FIELD_MANAGER, STATUS_MANAGER, Resource

from .connection import Connection
from .errors import KubeError, NotFoundError, UnreachableError, error_of
from .objects import Obj, describe, resource_path

JSON_TYPE = "application/json"
APPLY_TYPE = "application/apply-patch+yaml"
MERGE_TYPE = "application/merge-patch+json"
CHUNK = 25  # a page of 100 Jobs is 3 MB, raw and parsed, and the peak of a list stays in memory when it is over
LOG_LIMIT_BYTES = 64 * 1024

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Timeouts:
    """Seconds. A write must be over before a Lease that was fresh when it began can go to someone else."""

    connect_s: float = 5.0
    read_s: float = 30.0
    write_s: float = 5.0
    list_s: float = 60.0


@dataclass(frozen=True)
class Page:
    """A chunk of a list, the resourceVersion that the whole list was made at, and what to ask the next chunk with."""

    items: list[dict[str, Any]]
    version: str
    token: str = ""


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    what: str
    timeout_s: float
    query: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    content_type: str = JSON_TYPE


_ESCAPE = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|\\.")


def yaml_text(body: Body) -> str:
    """Return JSON that is YAML too: YAML knows no pairs of escapes for one character, as JSON has for an emoji."""

    def plain(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        return str(json.loads(f'"{found[0]}"'))

    return _ESCAPE.sub(plain, json.dumps(body))


def _uncounted(_method: str, _code: str) -> None:
    """Count nothing; the default metrics hook."""


class Client:
    """Verbs on objects. Errors are those of `errors.py`."""

    def __init__(
        self,
        connection: Connection,
        *,
        timeouts: Timeouts = Timeouts(),
        guard: Callable[[], None] | None = None,
        on_request: Callable[[str, str], None] = _uncounted,
        user_agent: str = f"fairlead/{__version__}",
        field_manager: str = FIELD_MANAGER,
    ) -> None:
        self._connection = connection
        self._api = ApiClient(connection.configuration)
        self._timeouts = timeouts
        self._guard = guard
        self._on_request = on_request
        self._user_agent = user_agent
        self._field_manager = field_manager

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    # Reading

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        """Return the object; NotFoundError when there is none."""
        what = f"get {describe(resource, namespace, name)}"
        return await self._send(_Request("GET", resource_path(resource, namespace, name), what, self._timeouts.read_s))

    async def find(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """Return the object or None."""
        try:
            return await self.get(resource, namespace, name)
        except NotFoundError:
            return None

    async def pages(self, resource: Resource, namespace: str | None = None, selector: str = "") -> AsyncIterator[Page]:
        """Yield all objects of one moment, chunk by chunk; ExpiredError when that moment is gone meanwhile."""
        after = ""
        while True:
            page = await self.page(resource, namespace, selector, after)
            yield page
            after = page.token
            if not after:
                return

    async def page(self, resource: Resource, namespace: str | None, selector: str = "", after: str = "") -> Page:
        """Return the first chunk of a list, or the one that follows a page's token."""
        query = {"limit": str(CHUNK)} | ({"labelSelector": selector} if selector else {})
        query |= {"continue": after} if after else {}
        path = resource_path(resource, namespace)
        answer = await self._send(_Request("GET", path, f"list {resource.plural}", self._timeouts.list_s, query))
        items = answer.get("items") or []
        for item in items:
            item["apiVersion"], item["kind"] = resource.api_version, resource.kind
        return Page(items, answer["metadata"]["resourceVersion"], answer["metadata"].get("continue") or "")

    async def served(self, api_version: str) -> frozenset[str]:
        """Return the plurals that the API server serves in a group version; none when it has no such group."""
        path = ("/apis/" if "/" in api_version else "/api/") + api_version
        try:
            answer = await self._send(_Request("GET", path, f"discover {api_version}", self._timeouts.read_s))
        except NotFoundError:
            return frozenset()
        return frozenset(entry["name"] for entry in answer.get("resources") or ())

    async def read_log(self, namespace: str, pod: str, container: str, lines: int, *, previous: bool = False) -> str:
        """Return the last lines of a container (or of the one before its last restart), at most 64 KiB."""
        path = f"/api/v1/namespaces/{namespace}/pods/{quote(pod)}/log"
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(LOG_LIMIT_BYTES)}
        query |= {"previous": "true"} if previous else {}
        request = _Request("GET", path, f"log of Pod {namespace}/{pod}", self._timeouts.read_s, query)
        _, raw = await self._exchange(request)
        return raw.decode("utf-8", "replace")

    async def read_text(self, path: str) -> str:
        """Return what the API server answers at a path, as text: its version, or what it forwards of a pod."""
        _, raw = await self._exchange(_Request("GET", path, f"get {path}", self._timeouts.read_s))
        return raw.decode("utf-8", "replace")

    # Writing

    async def create(self, resource: Resource, namespace: str, body: Body) -> dict[str, Any]:
        """POST; AlreadyExistsError when the name is in use."""
        what = f"create {describe(resource, namespace, body['metadata'].get('name', '?'))}"
        query = {"fieldManager": self._field_manager}
        return await self._write("POST", resource_path(resource, namespace), what, query=query, body=body)

    async def apply(
        self, resource: Resource, namespace: str, body: Body, *, status: bool = False, force: bool = True
    ) -> dict[str, Any]:
        """Server-side apply. `metadata.uid` and `resourceVersion` in the body are preconditions (ConflictError)."""
        name = body["metadata"]["name"]
        path = resource_path(resource, namespace, name, "status" if status else "")
        what = f"apply {'status of ' if status else ''}{describe(resource, namespace, name)}"
        query = {
            "fieldManager": STATUS_MANAGER if status else self._field_manager,
            "force": "true" if force else "false",
        }
        return await self._write("PATCH", path, what, query=query, body=body, content_type=APPLY_TYPE)

    async def replace(self, resource: Resource, namespace: str, body: Body) -> dict[str, Any]:
        """PUT, guarded by the resourceVersion in the body."""
        name = body["metadata"]["name"]
        what = f"update {describe(resource, namespace, name)}"
        return await self._write("PUT", resource_path(resource, namespace, name), what, body=body)

    async def patch(self, resource: Resource, namespace: str, name: str, body: Body) -> dict[str, Any]:
        """JSON merge patch."""
        what = f"patch {describe(resource, namespace, name)}"
        path = resource_path(resource, namespace, name)
        return await self._write("PATCH", path, what, body=body, content_type=MERGE_TYPE)

    async def scale(self, resource: Resource, observed: Obj, replicas: int) -> dict[str, Any]:
        """Set replicas through /scale, if the object is still the observed one; return the Scale."""
        metadata = observed["metadata"]
        path = resource_path(resource, metadata["namespace"], metadata["name"], "scale")
        what = f"scale {describe(resource, metadata['namespace'], metadata['name'])} to {replicas}"
        body = {
            "metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
            "spec": {"replicas": replicas},
        }
        query = {"fieldManager": FIELD_MANAGER}
        return await self._write("PATCH", path, what, query=query, body=body, content_type=MERGE_TYPE)

    async def delete(self, resource: Resource, observed: Obj) -> dict[str, Any] | None:
        """Delete exactly the observed object, in background; return what is left while finalizers hold it."""
        metadata = observed["metadata"]
        body = {
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
        }
        what = f"delete {describe(resource, metadata['namespace'], metadata['name'])}"
        path = resource_path(resource, metadata["namespace"], metadata["name"])
        answer = await self._write("DELETE", path, what, body=body)
        return answer if answer.get("kind") == resource.kind else None

    async def _write(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: Body,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON_TYPE,
    ) -> dict[str, Any]:
        if self._guard is not None:
            self._guard()
        request = _Request(method, path, what, self._timeouts.write_s, query or {}, body, content_type)
        return await self._send(request)

    async def _send(self, request: _Request) -> dict[str, Any]:
        _, raw = await self._exchange(request)
        try:
            answer: dict[str, Any] = json.loads(raw)
        except ValueError as error:
            raise UnreachableError(f"{request.what}: the answer is cut short or not JSON") from error
        return answer

    async def _exchange(self, request: _Request) -> tuple[int, bytes]:
        try:
            status, raw, retry_after = await self._transfer(request)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._on_request(request.method, "<error>")
            detail = "timed out" if isinstance(error, TimeoutError) else type(error).__name__
            raise UnreachableError(f"{request.what}: the API server gave no whole answer ({detail})") from error
        self._on_request(request.method, str(status))
        if status >= 400:
            raise self._error(request, status, raw, retry_after)
        return status, raw

    async def _transfer(self, request: _Request) -> tuple[int, bytes, str]:
        headers = {"Accept": JSON_TYPE, "Content-Type": request.content_type, "User-Agent": self._user_agent}
        headers.update(await self._connection.headers())
        url = self._connection.configuration.host + request.path
        if request.query:
            url += "?" + urlencode(request.query)
        timeout = aiohttp.ClientTimeout(total=request.timeout_s, sock_connect=self._timeouts.connect_s)
        body: Body | str | None = request.body
        if request.content_type == APPLY_TYPE and request.body is not None:
            # By the plain type the client library would write the body itself, in a way that YAML cannot read.
            headers["Content-Type"], body = f"{APPLY_TYPE}; charset=utf-8", yaml_text(request.body)
        response = await self._api.call_api(
            request.method, url, header_params=headers, body=body, _request_timeout=timeout
        )
        raw: bytes = await response.read()
        return response.status, raw, str(response.headers.get("Retry-After", ""))

    @staticmethod
    def _error(request: _Request, status: int, raw: bytes, retry_after: str) -> KubeError:
        try:
            body = json.loads(raw)
        except ValueError:
            body = {}
        seconds = float(retry_after) if retry_after.isdecimal() else 0.0
        return error_of(status, body if isinstance(body, dict) else {}, request.what, seconds)
