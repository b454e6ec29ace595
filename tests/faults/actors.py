"""Everybody in a namespace but the operator: controllers, kubelet, gateway, garbage collector.

Each looks at what is and brings it one step forward, as the real ones do; none of them knows a kind of Fairlead.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.kube.objects import controller_uid, uid_of
from fairlead.plan.jobs import is_finished
from fairlead.plan.revision import LABEL_ARM

from .admin import Admin, Refused
from .pods import Json, ResultStore, Servers, input_of

JOB_LABELS = ("batch.kubernetes.io/job-name", "batch.kubernetes.io/controller-uid")
REQUESTS_A_TICK = 200  # few, so that a tick at the old weights is soon lost in what a step's share may be off by
TICK_S = 0.12
NAMESPACE = Resource("v1", "Namespace", "namespaces")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Actors:
    """The controllers of one namespace, fed by the harness's watch; `objects` is what is there by (kind, name)."""

    def __init__(self, admin: Admin, namespace: str, servers: Servers) -> None:
        self.admin, self.namespace, self._servers = admin, namespace, servers
        self.objects: dict[tuple[str, str], Json] = {}
        self.born: list[tuple[str, str, str]] = []  # kind, name, uid of everything that ever was
        self.log: deque[str] = deque(maxlen=4000)
        self.problems: list[str] = []
        self.is_terminating = False
        self._dead: set[str] = set()
        self._results = ResultStore()
        self._changed = asyncio.Event()
        self._asked: dict[str, str] = {}

    # --- what is ---

    def on_event(self, type_: str, obj: Json) -> None:
        """Take an event of this namespace."""
        place, uid = (obj["kind"], obj["metadata"]["name"]), uid_of(obj)
        if type_ == "DELETED":
            self.objects.pop(place, None)
            self._dead.add(uid)
        else:
            if type_ == "ADDED":
                self.born.append((*place, uid))
            self.objects[place] = obj
        self.log.append(f"{_now()} {type_} {place[0]}/{place[1]} {obj['metadata']['resourceVersion']}")
        self._changed.set()

    def find(self, resource: Resource, name: str) -> Json | None:
        """Return an object or None."""
        return self.objects.get((resource.kind, name))

    def all(self, resource: Resource) -> list[Json]:
        """Return all objects of a resource."""
        return [obj for (kind, _), obj in sorted(self.objects.items()) if kind == resource.kind]

    # --- life ---

    async def run(self) -> None:
        """Act for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._react())
            group.create_task(self._send_requests())

    async def _react(self) -> None:
        while True:
            self._changed.clear()
            for act in (self._jobs, self._deployments, self._routes, self._garbage):
                await act()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):  # wait_for may swallow a cancellation
                    await self._changed.wait()

    async def _try(self, what: str, version: str, act: Callable[[], Awaitable[Any]]) -> None:
        """Do something to an object once for each version of it: the events tell whether it worked."""
        if self._asked.get(what) == version:
            return
        self._asked[what] = version
        try:
            await act()
        except Refused as refused:
            if refused.status not in (404, 409, 403):
                self.problems.append(f"{what}: {refused}")

    # --- Job controller and kubelet ---

    async def _jobs(self) -> None:
        for job in self.all(names.JOB):
            if is_finished(job) or job["metadata"].get("deletionTimestamp") or job["spec"].get("suspend"):
                continue
            name = f"{job['metadata']['name']}-{uid_of(job)[:5]}"
            pod = self.find(names.POD, name)
            if pod is None:
                await self._try(f"pod {name}", "", functools.partial(self._make_job_pod, job, name))
            elif (pod.get("status") or {}).get("phase") != "Succeeded":
                version = pod["metadata"]["resourceVersion"]
                await self._try(f"run {name}", version, functools.partial(self._finish_pod, pod, job))
            else:
                version = job["metadata"]["resourceVersion"]
                await self._try(f"end {uid_of(job)}", version, functools.partial(self._finish_job, job))

    async def _make_job_pod(self, job: Json, name: str) -> None:
        labels = dict(zip(JOB_LABELS, (job["metadata"]["name"], uid_of(job)), strict=True))
        await self._make_pod(job, name, labels)

    async def _make_pod(self, owner: Json, name: str, labels: dict[str, str]) -> Json:
        template = owner["spec"]["template"]
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"]}
        metadata = {
            "name": name,
            "labels": {**(template["metadata"].get("labels") or {}), **labels},
            "annotations": template["metadata"].get("annotations") or {},
            "ownerReferences": [{**reference, "uid": uid_of(owner), "controller": True}],
        }
        return await self.admin.create(names.POD, self.namespace, {"metadata": metadata, "spec": template["spec"]})

    async def _finish_pod(self, pod: Json, job: Json) -> None:
        message = self._results.result(
            input_of(pod), pod["metadata"]["annotations"][names.ANNOTATION_INPUT_DIGEST], job["metadata"]["name"]
        )
        ended = {"exitCode": 0, "reason": "Completed", "message": message, "startedAt": _now(), "finishedAt": _now()}
        state = {"name": "main", "image": "i", "imageID": "i@sha256:0", "ready": False, "restartCount": 0}
        status = {"phase": "Succeeded", "containerStatuses": [{**state, "state": {"terminated": ended}}]}
        await self.admin.patch(names.POD, (self.namespace, pod["metadata"]["name"]), {"status": status}, "status")

    async def _finish_job(self, job: Json) -> None:
        stamp = _now()
        said = [
            {"type": type_, "status": "True", "lastTransitionTime": stamp, "lastProbeTime": stamp, "reason": "Done"}
            for type_ in ("SuccessCriteriaMet", "Complete")
        ]
        status = {"startTime": stamp, "completionTime": stamp, "succeeded": 1, "conditions": said}
        await self.admin.patch(names.JOB, (self.namespace, job["metadata"]["name"]), {"status": status}, "status")

    # --- Deployment controller and kubelet ---

    async def _deployments(self) -> None:
        for deployment in self.all(names.DEPLOYMENT):
            if not deployment["metadata"].get("deletionTimestamp"):
                await self._fit(deployment)

    async def _fit(self, deployment: Json) -> None:
        mine = [pod for pod in self.all(names.POD) if controller_uid(pod) == uid_of(deployment)]
        wanted = [
            f"{deployment['metadata']['name']}-{uid_of(deployment)[:4]}-{n}" for n in range(_replicas(deployment))
        ]
        there = {pod["metadata"]["name"] for pod in mine}
        for name in wanted:
            if name not in there:
                await self._try(
                    f"pod {name}", str(len(self._dead)), functools.partial(self._make_pod, deployment, name, {})
                )
        for pod in mine:
            if pod["metadata"]["name"] not in wanted:
                await self._remove_pod(pod)
            elif not (pod.get("status") or {}).get("podIP"):
                version = pod["metadata"]["resourceVersion"]
                await self._try(f"run {uid_of(pod)}", version, functools.partial(self._run_server, pod))

    async def _run_server(self, pod: Json) -> None:
        address = await self._servers.open(pod)
        state = {"name": "main", "image": "i", "imageID": "i", "ready": True, "restartCount": 0}
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{**state, "state": {"running": {"startedAt": _now()}}}],
        }
        await self.admin.patch(names.POD, (self.namespace, pod["metadata"]["name"]), {"status": status}, "status")

    async def _remove_pod(self, pod: Json) -> None:
        await self.admin.delete(names.POD, (self.namespace, pod["metadata"]["name"]))
        await self._servers.close((pod.get("status") or {}).get("podIP") or "")

    # --- gateway and the people behind it ---

    async def _routes(self) -> None:
        for route in self.all(names.HTTP_ROUTE):
            generation = route["metadata"]["generation"]
            if not _is_accepted(route, generation):
                version = route["metadata"]["resourceVersion"]
                await self._try(f"route {uid_of(route)}", version, functools.partial(self._accept, route))

    async def _accept(self, route: Json) -> None:
        said = {"observedGeneration": route["metadata"]["generation"], "reason": "Accepted", "message": ""}
        condition = {"type": "Accepted", "status": "True", "lastTransitionTime": _now(), **said}
        parent = {"parentRef": route["spec"]["parentRefs"][0], "controllerName": "x/y", "conditions": [condition]}
        place = (self.namespace, route["metadata"]["name"])
        await self.admin.patch(names.HTTP_ROUTE, place, {"status": {"parents": [parent]}}, "status")

    async def _send_requests(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for route in self.all(names.HTTP_ROUTE):
                for backend in _backends(route):
                    self._serve(backend["name"], REQUESTS_A_TICK * int(backend.get("weight", 1)) // 100)

    def _serve(self, service: str, requests: int) -> None:
        found = self.find(names.SERVICE, service)
        selector = ((found or {}).get("spec") or {}).get("selector") or {LABEL_ARM: service}
        pods = [pod for pod in self.all(names.POD) if _has(pod, selector) and (pod.get("status") or {}).get("podIP")]
        for pod in pods:
            self._servers.serve(pod["status"]["podIP"], requests // len(pods))

    # --- garbage collector and namespace controller ---

    async def _garbage(self) -> None:
        for (kind, name), obj in list(self.objects.items()):
            owner = controller_uid(obj)
            if (owner is not None and owner in self._dead) or self.is_terminating:
                await self._collect(names.BY_KIND[kind], name, obj)

    async def _collect(self, resource: Resource, name: str, obj: Json) -> None:
        if obj["metadata"].get("deletionTimestamp"):
            return
        await self.admin.delete(resource, (self.namespace, name))
        if resource is names.POD:
            await self._servers.close((obj.get("status") or {}).get("podIP") or "")

    async def finalize(self) -> None:
        """Be the namespace controller at the end: all contents are gone, so the namespace may go."""
        await self.admin.send("PUT", f"/api/v1/namespaces/{self.namespace}/finalize", {
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}, "spec": {"finalizers": []},
        })  # fmt: skip

    def leave(self) -> Iterable[str]:
        """Return the addresses of this namespace's servers, to be closed."""
        return [(pod.get("status") or {}).get("podIP") or "" for pod in self.all(names.POD)]


def _replicas(deployment: Json) -> int:
    return int(deployment["spec"].get("replicas", 1))


def _backends(route: Json) -> list[Json]:
    return [backend for rule in route["spec"].get("rules") or () for backend in rule.get("backendRefs") or ()]


def _has(pod: Json, selector: Json) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in selector.items())


def _is_accepted(route: Json, generation: int) -> bool:
    parents = (route.get("status") or {}).get("parents") or ()
    return any(c.get("observedGeneration") == generation for parent in parents for c in parent.get("conditions") or ())
