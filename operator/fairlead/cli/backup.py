"""`kubectl fairlead backup` and `restore`: all objects of the five kinds into a file, and back with what was decided.

Restoring is done in three rounds (objects, held; status and decisions; release), so that the operator sees no object
without its past. Each round can be interrupted and run again. What exists and is not held is left alone. The caller
needs the rights for it: to write status, and to approve in the name of others. Called by `commands.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fairlead.api import names
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExistsError

from . import saved as form
from .saved import Json, Obj


async def collect(client: Client, namespace: str | None) -> list[Obj]:
    """Return all objects of the five kinds, in an order in which no object is older than one that it made."""
    found: list[Obj] = []
    for resource in form.READ_ORDER:
        found += [item async for page in client.pages(resource, namespace) for item in page.items]
    return [*found, *await _late_versions(client, found)]


async def _late_versions(client: Client, found: Sequence[Obj]) -> list[Obj]:
    """Return versions that a run says it made after versions were read."""
    known = {_place(obj) for obj in found}
    late: list[Obj] = []
    for run in found:
        name = (run.get("status") or {}).get("modelVersion") if run["kind"] == names.TRAINING_RUN.kind else None
        namespace = run["metadata"]["namespace"]
        if name and (names.MODEL_VERSION.kind, namespace, name) not in known:
            version = await client.find(names.MODEL_VERSION, namespace, name)
            late += [{**version, "kind": names.MODEL_VERSION.kind}] if version else []
    return late


def _place(obj: Obj) -> tuple[str, str, str]:
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]


class Restoring:
    """One restoration: saved objects, and those of them that are live and held."""

    def __init__(self, client: Client, saved: Sequence[Json], say: Callable[[str], None]) -> None:
        self._client, self._saved, self._say = client, saved, say
        self._uids: dict[str, str] = {}
        self._held: list[tuple[Json, Obj]] = []
        self.undecided = 0

    async def run(self) -> None:
        """Do all three rounds; a KubeError ends it, and what was done stays held until it is run again."""
        for each in self._saved:
            await self._create(each)
        for each, live in self._held:
            await self._write_status(each, live)
        for each, _ in self._held:
            await self._release(each)

    async def _create(self, saved: Json) -> None:
        resource, metadata = form.resource_of(saved), saved["metadata"]
        live = await self._client.find(resource, metadata["namespace"], metadata["name"])
        if live is None:
            try:
                live = await self._client.create(resource, metadata["namespace"], form.birth(saved, self._uids))
            except AlreadyExistsError:
                live = await self._client.get(resource, metadata["namespace"], metadata["name"])
        self._uids[str(metadata.get("uid", ""))] = str(live["metadata"]["uid"])
        if form.is_held(live):
            self._held.append((saved, live))
        elif form.is_held(saved):
            self._say(f"{_title(saved)} exists and is left alone")

    async def _write_status(self, saved: Json, live: Obj) -> None:
        resource, metadata = form.resource_of(saved), live["metadata"]
        place = {key: metadata[key] for key in ("name", "namespace", "uid")}
        generation = int(metadata.get("generation") or 1)
        body: dict[str, Any] = {"apiVersion": saved["apiVersion"], "kind": saved["kind"], "metadata": place}
        body["status"] = form.status_of(saved, generation)
        if body["status"]:
            await self._client.apply(resource, place["namespace"], body, status=True)
        decision = form.decision_of(saved)
        if decision is None:
            return
        if form.may_be_decided(saved):
            change = {"spec": {"approval": decision}}
            await self._client.patch(resource, place["namespace"], place["name"], change)
            return
        self.undecided += 1
        self._say(f"{_title(saved)}: its approval named another evaluation; approve it again")

    async def _release(self, saved: Json) -> None:
        resource, metadata = form.resource_of(saved), saved["metadata"]
        change = {"metadata": {"annotations": {names.ANNOTATION_RESTORING: None}}}
        await self._client.patch(resource, metadata["namespace"], metadata["name"], change)
        self._say(f"{_title(saved)} restored")


def _title(obj: Obj) -> str:
    return f"{obj['kind']} {obj['metadata']['namespace']}/{obj['metadata']['name']}"
