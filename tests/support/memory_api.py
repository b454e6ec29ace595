"""The verbs of `kube.client.Client` on objects in memory: preconditions and versions are real, merging is shallow.

For tests of what the shell does with answers; how the API server itself merges is tested against a real one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from fairlead.api.names import Resource
from fairlead.kube.errors import AlreadyExistsError, ConflictError, KubeError, NotFoundError

Obj = dict[str, Any]


class MemoryApi:
    """Objects by (plural, namespace, name); `calls` has every request, `failures` what the next ones raise."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Obj] = {}
        self.calls: list[str] = []
        self.failures: dict[str, list[KubeError]] = {}
        self.version = 0
        self.finalizers = False

    @property
    def writes(self) -> list[str]:
        return [call for call in self.calls if not call.startswith("get")]

    def fail(self, verb: str, *errors: KubeError) -> None:
        """Let the next requests of a verb fail."""
        self.failures.setdefault(verb, []).extend(errors)

    def put(self, resource: Resource, obj: Mapping[str, Any]) -> Obj:
        """Store an object as a user would, under the next version."""
        metadata = obj["metadata"]
        place = (resource.plural, metadata["namespace"], metadata["name"])
        self.version += 1
        before = self.objects.get(place)
        made: Obj = copy.deepcopy({"apiVersion": resource.api_version, "kind": resource.kind, **obj})
        made["metadata"].setdefault("uid", before["metadata"]["uid"] if before else f"uid-{self.version}")
        changed = before is None or before.get("spec") != made.get("spec")
        made["metadata"]["generation"] = (before["metadata"]["generation"] if before else 0) + int(changed)
        made["metadata"]["resourceVersion"] = str(self.version)
        self.objects[place] = made
        return copy.deepcopy(made)

    async def find(self, resource: Resource, namespace: str, name: str) -> Obj | None:
        self._call("get", resource, name)
        return copy.deepcopy(self.objects.get((resource.plural, namespace, name)))

    async def create(self, resource: Resource, namespace: str, body: Mapping[str, Any]) -> Obj:
        name = body["metadata"]["name"]
        self._call("create", resource, name)
        if (resource.plural, namespace, name) in self.objects:
            raise AlreadyExistsError(f"{name} exists")
        return self.put(resource, body)

    async def apply(
        self, resource: Resource, namespace: str, body: Mapping[str, Any], *, status: bool = False, force: bool = True
    ) -> Obj:
        name = body["metadata"]["name"]
        self._call("status" if status else "apply", resource, name)
        held = self.objects.get((resource.plural, namespace, name))
        self._require(held, body["metadata"])
        if status:
            assert held is not None
            return self._merge(resource, held, {**held, "status": body["status"]})
        if held is None:
            return self.put(resource, body)
        metadata = {**held["metadata"], **body["metadata"]}
        return self._merge(resource, held, {**held, **body, "metadata": metadata})

    async def delete(self, resource: Resource, observed: Mapping[str, Any]) -> Obj | None:
        metadata = observed["metadata"]
        self._call("delete", resource, metadata["name"])
        place = (resource.plural, metadata["namespace"], metadata["name"])
        held = self.objects.get(place)
        if held is None:
            raise NotFoundError(f"{metadata['name']} not found")
        self._require(held, metadata)
        if self.finalizers:
            deleted = {**held["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]}
            return self.put(resource, {**held, "metadata": deleted})
        del self.objects[place]
        return None

    async def scale(self, resource: Resource, observed: Mapping[str, Any], replicas: int) -> Obj:
        metadata = observed["metadata"]
        self._call("scale", resource, metadata["name"])
        held = self.objects.get((resource.plural, metadata["namespace"], metadata["name"]))
        if held is None:
            raise NotFoundError(f"{metadata['name']} not found")
        self._require(held, metadata)
        scaled = self.put(resource, {**held, "spec": {**held["spec"], "replicas": replicas}})
        return {"kind": "Scale", "metadata": scaled["metadata"], "spec": {"replicas": replicas}}

    def _call(self, verb: str, resource: Resource, name: str) -> None:
        self.calls.append(f"{verb} {resource.plural} {name}")
        if self.failures.get(verb):
            raise self.failures[verb].pop(0)

    def _merge(self, resource: Resource, held: Obj, merged: Obj) -> Obj:
        """Store the merged object, under the same version if nothing changed, as the API server does."""
        kept = {key: held["metadata"].get(key) for key in ("resourceVersion", "generation", "uid")}
        if {**merged, "metadata": {**merged["metadata"], **kept}} == held:
            return copy.deepcopy(held)
        return self.put(resource, merged)

    @staticmethod
    def _require(held: Obj | None, wanted: Mapping[str, Any]) -> None:
        for field in ("uid", "resourceVersion"):
            if field in wanted and (held is None or held["metadata"][field] != wanted[field]):
                raise ConflictError(f"{field} is not {wanted[field]}")
