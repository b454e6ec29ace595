"""What a kind's controller is, and the read-only world it may look at; every controller plugs into `loop.py` by this.

A controller says which objects it watches, gathers a frozen snapshot (the only part with IO) and calls its
planner. It must never write anything: actions and status go into the Plan, and `execute.py` carries them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.contract.jobs import ArmReport
from fairlead.plan.types import Key, Obj, Plan

S = TypeVar("S")
Objs = list[Obj]  # View has a method of the name `list`


class View(Protocol):
    """The store, read-only. Objects are shared and must never be changed; `metadata.managedFields` is not kept."""

    def get(self, resource: Resource, namespace: str, name: str) -> Obj | None:
        """Return the object as last seen, or None."""
        ...

    def list(self, resource: Resource, namespace: str | None = None) -> Objs:
        """Return all objects of a resource, in one namespace or in all, sorted by (namespace, name)."""
        ...

    def owned_by(self, resource: Resource, uid: str) -> Objs:
        """Return the objects whose ownerReferences hold this uid (indexed), sorted by name."""
        ...

    def select(self, resource: Resource, namespace: str, labels: Mapping[str, str]) -> Objs:
        """Return the objects with all these labels, sorted by name.

        Indexed by `names.LABEL_OWNER`, `names.LABEL_REVISION` and `batch.kubernetes.io/job-name`: give one of these.
        """
        ...

    def pods_of_job(self, namespace: str, job_name: str) -> Objs:
        """Return the pods that the Job controller made for this Job, sorted by name."""
        ...


@dataclass(frozen=True)
class ArmFailure:
    """Why a pod's counters could not be read."""

    message: str


class Arms(Protocol):
    """The counters of serving pods: GET http://<podIP>:<control>/arm."""

    async def poll(self, pods: Sequence[Obj]) -> Mapping[str, ArmReport | ArmFailure]:
        """Return pod uid -> report or failure; in parallel, 2 s at most, the first 20 pods by name. Never raises."""
        ...


class Logs(Protocol):
    """The last lines of a container, for progress and failure tails."""

    async def tail(self, namespace: str, pod: str, container: str, lines: int) -> list[str]:
        """Return the last lines; a pod is read at most every 10 s (else the same answer again). Absent pod: []."""
        ...


@dataclass(frozen=True)
class OperatorSettings:
    """What planners need to know of this installation."""

    server_image: str
    jobs_image: str
    image_pull_policy: str = "IfNotPresent"
    gateway_api_present: bool = False  # HTTPRoute and Gateway are served; watched at run time
    namespaces: tuple[str, ...] = ()  # the ones that are watched; none: all


@dataclass(frozen=True)
class World:
    """Everything that `gather` may look at."""

    view: View
    arms: Arms
    logs: Logs
    settings: OperatorSettings


ToKeys = Callable[[Obj, View], Iterable[Key]]


@dataclass(frozen=True)
class Watch:
    """A resource whose changes concern objects of the controller's kind.

    `to_keys` gets the changed (or deleted) object and says which keys to look at again. It must not raise.
    """

    resource: Resource
    to_keys: ToKeys


class Controller(Protocol[S]):
    """One kind. Inherit from this explicitly, so that the defaults hold.

    The loop watches `resource` itself: `watches` names the others only. Objects that are being deleted
    (deletionTimestamp) are never handed to `gather`.
    """

    resource: Resource
    watches: tuple[Watch, ...]

    async def gather(self, key: Key, world: World) -> S | None:
        """Return the frozen snapshot that the planner needs, or None when the object is gone."""
        ...

    def plan(self, snapshot: S, now: datetime) -> Plan:
        """Decide; pure."""
        ...

    def is_terminal(self, obj: Obj) -> bool:
        """Say whether this object's state is final, so that the loop never writes an error over it."""
        return False


def key_of(resource: Resource, obj: Obj) -> Key:
    """Return the key of an object."""
    metadata = obj["metadata"]
    return Key(resource.kind, metadata.get("namespace", ""), metadata["name"])


def owner_key(resource: Resource) -> ToKeys:
    """Return a `to_keys` that finds the owner of this kind: by ownerReferences, else by our owner labels."""

    def to_keys(obj: Obj, _view: View) -> Iterable[Key]:
        metadata = obj["metadata"]
        labels = metadata.get("labels") or {}
        owners = [ref["name"] for ref in metadata.get("ownerReferences") or () if _refers_to(ref, resource)]
        if not owners and labels.get(names.LABEL_OWNER_KIND) == resource.kind and names.LABEL_OWNER in labels:
            owners = [labels[names.LABEL_OWNER]]
        return [Key(resource.kind, metadata.get("namespace", ""), owner) for owner in owners]

    return to_keys


def _refers_to(reference: Mapping[str, Any], resource: Resource) -> bool:
    group = str(reference.get("apiVersion", "")).partition("/")[0]
    return reference.get("kind") == resource.kind and group == resource.api_version.partition("/")[0]


def referrer_keys(resource: Resource, names_in: Callable[[Obj], Iterable[str]]) -> ToKeys:
    """Return a `to_keys` that finds the objects of this kind, in the same namespace, that name the changed object.

    `names_in` gets an object of `resource` and returns the names it refers to, for instance
    `lambda run: [run["spec"]["dataset"]["name"]]`.
    """

    def to_keys(obj: Obj, view: View) -> Iterable[Key]:
        metadata = obj["metadata"]
        candidates = view.list(resource, metadata.get("namespace", ""))
        return [key_of(resource, candidate) for candidate in candidates if metadata["name"] in names_in(candidate)]

    return to_keys
