"""A small API world for stories and properties: it applies what planners ask for, and lets a test say what pods did.

It behaves as the API server and the Job controller do where planners can tell: uids, generations, resourceVersions,
AlreadyExists, garbage collection, Jobs with pods. It must never know anything of a kind.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fairlead.api import names
from fairlead.api.conditions import format_time
from fairlead.contract.jobs import ArmReport
from fairlead.controllers.types import ArmFailure, Objs, OperatorSettings, World
from fairlead.plan.types import Action, Apply, Create, Delete, Key, Obj, Plan

NAMESPACE = "demo"
START = datetime(2026, 1, 1, tzinfo=UTC)
JOB_LABEL = "batch.kubernetes.io/job-name"
Json = dict[str, Any]
Lines = list[str]  # Simulation has a method of the name `list`
Address = tuple[str, str, str]  # kind, namespace, name


def run_now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never really waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a gather waited for something that the simulation does not have")


def copied(value: Any) -> Any:
    """Return a copy of JSON that shares no mapping and no list; several times faster than copy.deepcopy."""
    if isinstance(value, dict):
        return {key: copied(item) if isinstance(item, dict | list) else item for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def merged(base: Any, change: Any) -> Any:
    """Return `base` with `change` merged into it: mappings deeply, null removes, everything else replaces."""
    if not isinstance(base, Mapping) or not isinstance(change, Mapping):
        return copied(change)
    result = dict(base)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def covers(observed: Any, wanted: Any) -> bool:
    """Say whether everything in `wanted` stands in `observed`: mappings as subsets, lists item by item."""
    if isinstance(wanted, Mapping):
        return isinstance(observed, Mapping) and all(covers(observed.get(key), wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        same_length = isinstance(observed, list) and len(observed) == len(wanted)
        return same_length and all(covers(o, w) for o, w in zip(observed, wanted, strict=True))
    return bool(observed == wanted)


def without_dropped(observed: Any, before: Any, now: Any) -> Any:
    """Return an object without the fields that were applied before and are not any more."""
    if not all(isinstance(each, Mapping) for each in (observed, before, now)):
        return observed
    kept = {key: value for key, value in observed.items() if key in now or key not in before}
    return {key: without_dropped(value, before.get(key), now.get(key)) for key, value in kept.items()}


@dataclass
class Simulation:
    """The world: objects, a clock, log lines and arm counters; also the `View`, `Logs` and `Arms` of a World."""

    now: datetime = START
    objects: dict[Address, Json] = field(default_factory=dict)
    log_lines: dict[str, list[str]] = field(default_factory=dict)
    arms: dict[str, ArmReport | ArmFailure] = field(default_factory=dict)
    settings: OperatorSettings = field(
        default_factory=lambda: OperatorSettings(
            server_image="fairlead-server:test", jobs_image="fairlead-jobs:test", gateway_api_present=True
        )
    )
    _counter: int = 0
    _applied: dict[Address, Obj] = field(default_factory=dict)

    def copy(self) -> Simulation:
        """Return a world that goes its own way from here."""
        lists = {"log_lines": copied(self.log_lines), "arms": dict(self.arms), "_applied": dict(self._applied)}
        return dataclasses.replace(self, objects=copied(self.objects), **lists)

    # --- the read-only side that gather sees ---

    @property
    def world(self) -> World:
        """What `gather` gets."""
        return World(self, self, self, self.settings)

    def get(self, resource: names.Resource, namespace: str, name: str) -> Obj | None:
        return self.objects.get((resource.kind, namespace, name))

    def list(self, resource: names.Resource, namespace: str | None = None) -> Objs:
        return [
            obj
            for (kind, space, _), obj in sorted(self.objects.items())
            if kind == resource.kind and namespace in (None, space)
        ]

    def owned_by(self, resource: names.Resource, uid: str) -> Objs:
        return [obj for obj in self.list(resource) if uid in owner_uids(obj)]

    def select(self, resource: names.Resource, namespace: str, labels: Mapping[str, str]) -> Objs:
        return [obj for obj in self.list(resource, namespace) if covers(obj["metadata"].get("labels") or {}, labels)]

    def pods_of_job(self, namespace: str, job_name: str) -> Objs:
        return self.select(names.POD, namespace, {JOB_LABEL: job_name})

    async def tail(self, namespace: str, pod: str, container: str, lines: int) -> Lines:
        return self.log_lines.get(pod, [])[-lines:]

    async def poll(self, pods: Sequence[Obj]) -> Mapping[str, ArmReport | ArmFailure]:
        absent = ArmFailure("connection refused")
        return {pod["metadata"]["uid"]: self.arms.get(pod["metadata"]["name"], absent) for pod in pods}

    # --- what a person or a controller other than ours does ---

    def _next(self) -> int:
        self._counter += 1
        return self._counter

    def create(self, body: Obj) -> Json:
        """Add an object as the API server would; an existing one of that name is an error of the test."""
        obj = copied(dict(body))
        resource = names.BY_KIND.get(obj["kind"])
        obj.setdefault("apiVersion", resource.api_version if resource else "v1")
        metadata = obj.setdefault("metadata", {})
        if "name" in obj:
            metadata["name"] = obj.pop("name")
        metadata.setdefault("namespace", NAMESPACE)
        address = (obj["kind"], metadata["namespace"], metadata["name"])
        assert address not in self.objects, f"{address} exists already"
        number = self._next()
        metadata.setdefault("uid", f"uid-{number}")
        metadata.setdefault("creationTimestamp", format_time(self.now))
        metadata |= {"generation": 1, "resourceVersion": str(number)}
        if resource in names.OWN_KINDS:
            obj.setdefault("status", {"observedGeneration": -1})
        self.objects[address] = obj
        return obj

    def update(self, address: Address, change: Mapping[str, Any]) -> None:
        """Merge a change into an object; a changed spec raises its generation."""
        old = self.objects[address]
        new = merged(old, change)
        if new == old:
            return
        new["metadata"] = {**new["metadata"], "resourceVersion": str(self._next())}
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self.objects[address] = new

    def remove(self, address: Address) -> None:
        """Delete an object and, as the garbage collector does, all that it owns."""
        gone = self.objects.pop(address)
        for child in [a for a, obj in self.objects.items() if gone["metadata"]["uid"] in owner_uids(obj)]:
            if child in self.objects:
                self.remove(child)

    def find(self, reference: str) -> Address:
        """Return the one address that `Kind/pattern` names."""
        kind, _, pattern = reference.partition("/")
        found = [
            address for address in sorted(self.objects) if address[0] == kind and fnmatch.fnmatch(address[2], pattern)
        ]
        assert len(found) == 1, f"{reference} names {found or 'nothing'} among {sorted(self.objects)}"
        return found[0]

    # --- what the Job controller and the kubelet do ---

    def add_pod(self, job: Address, status: Mapping[str, Any]) -> Json:
        """Add a pod of a Job with this status."""
        body = self.objects[job]
        template = body["spec"]["template"]
        owner = {
            "kind": "Job",
            "apiVersion": "batch/v1",
            "name": job[2],
            "uid": body["metadata"]["uid"],
            "controller": True,
        }
        metadata = {
            "name": f"{job[2]}-{self._next():05d}",
            "namespace": job[1],
            "labels": {**template["metadata"]["labels"], JOB_LABEL: job[2]},
            "ownerReferences": [owner],
        }
        running = {"startTime": format_time(self.now), **status}
        return self.create({"kind": "Pod", "metadata": metadata, "spec": template["spec"], "status": running})

    def end_pods(self, job: Address) -> None:
        """Remove pods of a Job that have not ended."""
        for pod in list(self.pods_of_job(job[1], job[2])):
            if pod["status"].get("phase") not in ("Succeeded", "Failed"):
                self.remove(("Pod", job[1], pod["metadata"]["name"]))

    def end_job(self, job: Address, condition: str, reason: str = "") -> None:
        """Give a Job its last condition."""
        ended = {"type": condition, "status": "True", "reason": reason, "lastTransitionTime": format_time(self.now)}
        self.update(job, {"status": {"conditions": [ended]}})

    # --- carrying out plans ---

    def execute(self, key: Key, plan: Plan, *, writes: int | None = None) -> Iterable[str]:
        """Carry out a plan and return what was done, as `Create Job/name`; stop after `writes` writes (a crash)."""
        done: list[str] = []
        steps: list[Action | None] = list(plan.actions)
        steps = [None, *steps] if plan.status_first else [*steps, None]
        for step in steps:
            if writes is not None and len(done) >= writes:
                return done
            said = self._write_status(key, plan.status) if step is None else self._act(step)
            if said:
                done.append(said)
        return done

    def _write_status(self, key: Key, status: Obj | None) -> str:
        address = (key.kind, key.namespace, key.name)
        if status is None or self.objects[address].get("status") == status:
            return ""
        json.dumps(status)  # a status is plain JSON
        old = self.objects[address]
        metadata = {**old["metadata"], "resourceVersion": str(self._next())}
        self.objects[address] = {**old, "metadata": metadata, "status": copied(dict(status))}
        return f"Status {key.kind}/{key.name}"

    def _act(self, action: Action) -> str:
        if isinstance(action, Create):
            return self._create(action.body)
        if isinstance(action, Apply):
            return self._apply(action.body)
        address = address_of(action.observed)
        same = (
            address in self.objects and self.objects[address]["metadata"]["uid"] == action.observed["metadata"]["uid"]
        )
        assert same, f"{action} is about an object that is not there"
        if isinstance(action, Delete):
            self.remove(address)
            return f"Delete {address[0]}/{address[2]}"
        self.update(address, {"spec": {"replicas": action.replicas}})
        return f"Scale {address[0]}/{address[2]} {action.replicas}"

    def _create(self, body: Obj) -> str:
        address = address_of(body)
        if address in self.objects:
            existing = self.objects[address]
            ours = owner_uids(existing) == owner_uids(body)
            assert ours, f"the plan creates {address}, which belongs to another owner"
            return ""
        self.create(body)
        return f"Create {address[0]}/{address[2]}"

    def _apply(self, body: Obj) -> str:
        address = address_of(body)
        before = self._applied.get(address, body)
        self._applied[address] = copied(dict(body))
        if address not in self.objects:
            self.create(body)
        elif covers(self.objects[address], body) and before == body:
            return ""
        else:
            self.objects[address] = without_dropped(self.objects[address], before, body)
            self.update(address, body)
        return f"Apply {address[0]}/{address[2]}"


def owner_uids(obj: Obj) -> Lines:
    """Return the uids of an object's owners."""
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]


def address_of(obj: Obj) -> Address:
    """Return where an object lies."""
    return obj["kind"], obj["metadata"].get("namespace", NAMESPACE), obj["metadata"]["name"]


def seconds(count: float) -> timedelta:
    """Return a span of seconds."""
    return timedelta(seconds=count)
