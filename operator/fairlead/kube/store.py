"""The operator's picture of the cluster: one in-memory cache, fed by watches, relists and our own writes' answers.

It never goes backwards: an object older than what it holds (a delayed event, a stale list) is refused, and so
is one that it knows to be deleted. It never writes to the API server. The watch, the relist and `execute.py`
feed it; controllers read it as a `View`; the loop listens for changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from sys import intern
from typing import Any, NamedTuple

from fairlead.api import names
from fairlead.api.names import Resource

from .objects import Obj, compact, is_older, owner_uids, pack, uid_of, unpack, version_of

JOB_NAME_LABEL = "batch.kubernetes.io/job-name"
INDEXED_LABELS = (names.LABEL_OWNER, names.LABEL_REVISION, JOB_NAME_LABEL)
TOMBSTONES = 4096  # deletions remembered; an evicted one is healed by the next relist

Place = tuple[str, str]  # namespace, name
Objs = list[Obj]  # Store has a method of the name `list`
OnChange = Callable[[Resource, Obj], None]


class _Shelf:
    """All objects of one resource, with its indexes.

    Children are many and large, and each reconcile looks at few of them: they are kept as JSON and parsed when asked
    for (a Job of 17 KB as 5 KB). Our own kinds are looked through whole, so they are kept parsed.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.spaces: dict[str, dict[str, _Kept]] = {}
        self.by_owner: dict[str, set[Place]] = {}
        self.by_label: dict[tuple[str, str, str], set[str]] = {}

    def find(self, place: Place) -> _Kept | None:
        return self.spaces.get(place[0], {}).get(place[1])

    def get(self, place: Place) -> Obj | None:
        kept = self.find(place)
        return None if kept is None else kept.obj()

    def put(self, place: Place, obj: Obj) -> None:
        self.pop(place)
        body = pack(obj) if self._as_json else compact(obj)
        labels = {intern(label): intern(value) for label, value in (obj["metadata"].get("labels") or {}).items()}
        kept = _Kept(uid_of(obj), version_of(obj), labels, tuple(owner_uids(obj)), body)
        self.spaces.setdefault(place[0], {})[place[1]] = kept
        for uid in kept.owners:
            self.by_owner.setdefault(uid, set()).add(place)
        for entry in _label_entries(place, kept):
            self.by_label.setdefault(entry, set()).add(place[1])

    def pop(self, place: Place) -> None:
        space = self.spaces.get(place[0])
        kept = space.pop(place[1], None) if space else None
        if kept is None:
            return
        if not space:
            del self.spaces[place[0]]
        for uid in kept.owners:
            _discard(self.by_owner, uid, place)
        for entry in _label_entries(place, kept):
            _discard(self.by_label, entry, place[1])

    def places(self) -> Iterable[Place]:
        return [(namespace, name) for namespace, space in self.spaces.items() for name in space]


class _Kept(NamedTuple):
    """One object, and what is asked of it without parsing."""

    uid: str
    version: str
    labels: Mapping[str, str]
    owners: tuple[str, ...]
    body: Obj | bytes

    def obj(self) -> Obj:
        return unpack(self.body) if isinstance(self.body, bytes) else self.body


def _label_entries(place: Place, kept: _Kept) -> list[tuple[str, str, str]]:
    return [(place[0], label, kept.labels[label]) for label in INDEXED_LABELS if label in kept.labels]


def _discard(index: dict[Any, set[Any]], entry: Any, member: Any) -> None:
    members = index.get(entry)
    if members is not None:
        members.discard(member)
        if not members:
            del index[entry]


def place_of(obj: Obj) -> Place:
    """Return an object's namespace and name."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


class Store:
    """Objects by resource, namespace and name; satisfies `controllers.types.View`."""

    def __init__(self) -> None:
        self._shelves: dict[str, _Shelf] = {}
        self._tombstones: OrderedDict[tuple[str, Place], str] = OrderedDict()
        self._expected: dict[tuple[str, Place], str] = {}
        self._listeners: list[OnChange] = []

    def listen(self, on_change: OnChange) -> None:
        """Call `on_change(resource, object)` after each change; a deleted object is given as last seen."""
        self._listeners.append(on_change)

    # Feeding

    def observe(self, resource: Resource, obj: Obj) -> bool:
        """Take an object from a watch, a list or an answer; return False when it is old news."""
        place, version = place_of(obj), version_of(obj)
        shelf = self._shelf(resource)
        held = shelf.find(place)
        if self._is_buried(resource, place, obj) or (held is not None and not _is_news(version, held.version)):
            return False
        shelf.put(place, obj)
        self._settle(resource, place, version)
        self._tell(resource, obj)
        return True

    def forget(self, resource: Resource, obj: Obj) -> bool:
        """Take a deletion: `obj` as the DELETED event gives it (its version is that of the deletion)."""
        place, version = place_of(obj), version_of(obj)
        self._bury(resource, place, version)
        shelf = self._shelf(resource)
        held = shelf.find(place)
        if held is None or (held.uid != uid_of(obj) and is_older(version, held.version)):
            return False
        shelf.pop(place)
        self._settle(resource, place, version)
        self._tell(resource, obj)
        return True

    def prune(
        self, resource: Resource, present: Collection[Place], version: str, namespaces: Collection[str] = ()
    ) -> int:
        """Remove what a list made at `version` (of these namespaces, or all) did not have; return how many.

        What is younger than the list stays.
        """
        removed = 0
        shelf = self._shelf(resource)
        for place in shelf.places():
            held = shelf.find(place)
            if place in present or held is None or (namespaces and place[0] not in namespaces):
                continue
            if not is_older(version, held.version):
                removed += self._remove_unlisted(resource, place, held.obj(), version)
        return removed

    def _remove_unlisted(self, resource: Resource, place: Place, held: Obj, version: str) -> bool:
        self._bury(resource, place, version)
        self._shelf(resource).pop(place)
        self._settle(resource, place, version)
        self._tell(resource, held)
        return True

    # Reading our own writes

    def expect(self, resource: Resource, namespace: str, name: str, version: str) -> None:
        """Remember that we wrote this version, when the answer did not hold the object itself (scale)."""
        held = self._shelf(resource).find((namespace, name))
        if held is None or is_older(held.version, version):
            self._expected[(resource.kind, (namespace, name))] = version

    def is_behind(self, resource: Resource, namespace: str, name: str) -> bool:
        """Say whether the object held here is older than our own last write to it."""
        return (resource.kind, (namespace, name)) in self._expected

    # Reading

    def get(self, resource: Resource, namespace: str, name: str) -> Obj | None:
        """Return the object as last seen, or None. Never change it."""
        return self._shelf(resource).get((namespace, name))

    def list(self, resource: Resource, namespace: str | None = None) -> Objs:
        """Return all objects of a resource, sorted by (namespace, name)."""
        spaces = self._shelf(resource).spaces
        wanted = sorted(spaces) if namespace is None else [namespace]
        return [kept.obj() for space in wanted for _, kept in sorted(spaces.get(space, {}).items())]

    def owned_by(self, resource: Resource, uid: str) -> Objs:
        """Return the objects whose ownerReferences hold this uid, sorted by name."""
        shelf = self._shelf(resource)
        return [obj for place in sorted(shelf.by_owner.get(uid, ())) if (obj := shelf.get(place)) is not None]

    def select(self, resource: Resource, namespace: str, labels: Mapping[str, str]) -> Objs:
        """Return the objects with all these labels, sorted by name; one of them should be in INDEXED_LABELS."""
        shelf = self._shelf(resource)
        space = shelf.spaces.get(namespace, {})
        indexed = next((label for label in INDEXED_LABELS if label in labels), None)
        found = space.keys() if indexed is None else shelf.by_label.get((namespace, indexed, labels[indexed]), ())
        return [space[name].obj() for name in sorted(found) if labels.items() <= space[name].labels.items()]

    def pods_of_job(self, namespace: str, job_name: str) -> Objs:
        """Return the pods that the Job controller made for this Job, sorted by name."""
        return self.select(names.POD, namespace, {JOB_NAME_LABEL: job_name})

    def count(self, resource: Resource) -> int:
        """Return how many objects of a resource are held."""
        return sum(len(space) for space in self._shelf(resource).spaces.values())

    # Inside

    def _shelf(self, resource: Resource) -> _Shelf:
        shelf = self._shelves.get(resource.kind)
        if shelf is None:
            shelf = self._shelves[resource.kind] = _Shelf(as_json=resource.label_selected)
        return shelf

    def _is_buried(self, resource: Resource, place: Place, obj: Obj) -> bool:
        """Say whether an object is from before a deletion of that name.

        The uid says nothing: an object that loses our label and gets it back is deleted and added for the watch.
        """
        tombstone = self._tombstones.get((resource.kind, place))
        return tombstone is not None and not _is_news(version_of(obj), tombstone)

    def _bury(self, resource: Resource, place: Place, version: str) -> None:
        before = self._tombstones.get((resource.kind, place))
        if before is not None and is_older(version, before):
            return
        self._tombstones[(resource.kind, place)] = version
        self._tombstones.move_to_end((resource.kind, place))
        if len(self._tombstones) > TOMBSTONES:
            self._tombstones.popitem(last=False)

    def _settle(self, resource: Resource, place: Place, version: str) -> None:
        expected = self._expected.get((resource.kind, place))
        if expected is not None and not is_older(version, expected):
            del self._expected[(resource.kind, place)]

    def _tell(self, resource: Resource, obj: Obj) -> None:
        for on_change in self._listeners:
            on_change(resource, obj)


def _is_news(version: str, held: str) -> bool:
    return version != held and not is_older(version, held)
