"""A namespace as it would be: objects in memory that planners look at and whose plans are carried out in them.

It behaves as the API server does where planners can tell, and starts no pod: what would run stays to be run. It never
touches a cluster. Called by `planning.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from fairlead.api import names
from fairlead.api.conditions import format_time
from fairlead.api.names import Resource
from fairlead.contract.jobs import ArmReport
from fairlead.controllers.compare import is_within, with_applied_digest, without_nulls, would_change
from fairlead.controllers.types import ArmFailure, Objs, OperatorSettings, World
from fairlead.plan.types import Action, Apply, Create, Delete, Key, Obj, Plan, Scale

JOB_LABEL = "batch.kubernetes.io/job-name"
Lines = list[str]  # Imagined has a method of the name `list`
Place = tuple[str, str, str]


class Imagined:
    """Objects by kind, namespace and name; is itself the `View`, the `Arms` and the `Logs` of a World."""

    def __init__(self, objects: Iterable[Obj], settings: OperatorSettings, now: datetime) -> None:
        self._settings, self._now = settings, now
        self._objects: dict[Place, Obj] = {}
        self._made = 0
        for obj in objects:
            self._objects[place_of(obj)] = _whole(obj)

    @property
    def world(self) -> World:
        """What `gather` gets."""
        return World(self, self, self, self._settings)

    # what gather reads

    def get(self, resource: Resource, namespace: str, name: str) -> Obj | None:
        """Return the object, or None."""
        return self._objects.get((resource.kind, namespace, name))

    def list(self, resource: Resource, namespace: str | None = None) -> Objs:
        """Return all objects of a resource."""
        found = sorted(place for place in self._objects if place[0] == resource.kind and namespace in (None, place[1]))
        return [self._objects[place] for place in found]

    def owned_by(self, resource: Resource, uid: str) -> Objs:
        """Return the objects of an owner."""
        return [obj for obj in self.list(resource) if uid in _owners(obj)]

    def select(self, resource: Resource, namespace: str, labels: Mapping[str, str]) -> Objs:
        """Return the objects with all these labels."""
        found = self.list(resource, namespace)
        return [obj for obj in found if labels.items() <= (obj["metadata"].get("labels") or {}).items()]

    def pods_of_job(self, namespace: str, job_name: str) -> Objs:
        """Return the pods of a Job."""
        return self.select(names.POD, namespace, {JOB_LABEL: job_name})

    async def tail(self, namespace: str, pod: str, container: str, lines: int) -> Lines:
        """Return nothing: no log is read."""
        return []

    async def poll(self, pods: Sequence[Obj]) -> Mapping[str, ArmReport | ArmFailure]:
        """Return nothing: no pod is asked, so the evidence stays what status says."""
        return {}

    # what is done to it

    def put(self, obj: Obj) -> Obj:
        """Store a new or changed object, with what the API server would add."""
        place = place_of(obj)
        before = self._objects.get(place)
        self._made += 1
        known: dict[str, Any] = {
            "uid": f"imagined-{self._made}", "generation": 1, "creationTimestamp": format_time(self._now),
        }  # fmt: skip
        old = dict(before["metadata"]) if before else {}
        kept = {key: old[key] for key in known if key in old}
        metadata = {**known, **kept, **obj["metadata"], **kept, "resourceVersion": f"{10**9 + self._made}"}
        if before is not None and (before.get("spec") or {}) != (obj.get("spec") or {}):
            metadata["generation"] = int(old.get("generation") or 1) + 1
        made = {**obj, "metadata": metadata}
        self._objects[place] = made
        return made

    def carry_out(self, key: Key, plan: Plan) -> Iterator[tuple[str, Obj]]:
        """Do what a plan says; yield each change in words, with the object it was made to. No change, no words."""
        for action in plan.actions:
            yield from self._act(action)
        resource = names.BY_KIND[key.kind]
        obj = self.get(resource, key.namespace, key.name)
        status = without_nulls(plan.status) if plan.status is not None else None
        if obj is not None and status is not None and status != (obj.get("status") or {}):
            yield "", self.put({**obj, "status": status})

    def _act(self, action: Action) -> Iterator[tuple[str, Obj]]:
        if isinstance(action, Create):
            if place_of(action.body) not in self._objects:
                yield f"create {_called(action.body)}", self.put(_whole(without_nulls(action.body)))
        elif isinstance(action, Apply):
            yield from self._apply(action)
        elif isinstance(action, Delete):
            gone = self._objects.pop(place_of(action.observed), None)
            if gone is not None:
                yield f"delete {_called(gone)}", gone
        elif isinstance(action, Scale):
            yield from self._scale(action)

    def _apply(self, action: Apply) -> Iterator[tuple[str, Obj]]:
        stamped = with_applied_digest(without_nulls(action.body))
        observed = self._objects.get(place_of(stamped))
        if observed is None:
            yield f"create {_called(stamped)}", self.put(_whole(stamped))
        elif _differs(stamped, observed):
            metadata = {**observed["metadata"], **stamped["metadata"]}
            yield f"change {_called(stamped)}", self.put({**observed, **stamped, "metadata": metadata})

    def _scale(self, action: Scale) -> Iterator[tuple[str, Obj]]:
        observed = self._objects.get(place_of(action.observed))
        if observed is None or observed["spec"].get("replicas") == action.replicas:
            return
        words = f"scale {_called(observed)} from {observed['spec'].get('replicas', 1)} to {action.replicas}"
        yield words, self.put({**observed, "spec": {**observed["spec"], "replicas": action.replicas}})


def place_of(obj: Obj) -> Place:
    """Return where an object lies."""
    metadata = obj["metadata"]
    return str(obj["kind"]), str(metadata.get("namespace", "")), str(metadata["name"])


def _whole(obj: Obj) -> Obj:
    """Return the object with what reading it needs, also when it comes from a file that was cut down."""
    metadata = {"uid": f"saved-{'-'.join(place_of(obj))}", "resourceVersion": "1", "generation": 1, **obj["metadata"]}
    metadata.setdefault("creationTimestamp", "2000-01-01T00:00:00Z")
    return {**obj, "metadata": metadata}


def _differs(stamped: Obj, observed: Obj) -> bool:
    """Say whether an apply would change the object; a saved one may have lost the annotation that tells at once."""
    if names.ANNOTATION_APPLIED in (observed["metadata"].get("annotations") or {}):
        return would_change(stamped, observed)
    annotations = {name: value for name, value in stamped["metadata"]["annotations"].items()
                   if name != names.ANNOTATION_APPLIED}  # fmt: skip
    return not is_within({**stamped, "metadata": {**stamped["metadata"], "annotations": annotations}}, observed)


def _owners(obj: Obj) -> Lines:
    return [str(reference["uid"]) for reference in obj["metadata"].get("ownerReferences") or ()]


def _called(obj: Obj) -> str:
    """Return an object in words: what a Job is for, what a route sends where."""
    kind, name = obj["kind"], obj["metadata"]["name"]
    role = (obj["metadata"].get("labels") or {}).get(names.LABEL_ROLE, "")
    more = {"Job": f" ({role})", "HTTPRoute": _weights(obj)}.get(kind, "")
    return f"{kind} {name}{more}"


def _weights(route: Obj) -> str:
    rules = (route.get("spec") or {}).get("rules") or ()
    backends = [ref for rule in rules[:1] for ref in rule.get("backendRefs") or ()]
    shares = ", ".join(f"{ref['name']} {ref.get('weight', 1)}" for ref in backends)
    return f" ({shares})" if shares else ""
