"""Gives batches of objects to a running operator, waits until it has said what it makes of them, and judges that.

A batch has its own names and is removed afterwards with all its children, since no garbage collector runs here.
It never repairs what it finds: every breach is a line for the test to fail with. Used by tests of generated input.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.api.conditions import find_condition
from fairlead.api.names import Resource
from fairlead.app.main import Operator
from fairlead.kube.client import Client
from fairlead.kube.errors import ConflictError, InvalidError, KubeError, NotFoundError
from fairlead.kube.objects import resource_path
from fairlead.plan.types import Key

from . import planted
from .children import KINDS as CHILD_KINDS
from .eventually import eventually
from .status_laws import breaches

Json = dict[str, Any]
SIDE_BY_SIDE = 12
RECONCILES_MAX = 30  # of one object, from birth to its fixed point; and one a second for states that look at the clock
REQUESTS_MAX = 16.0  # of the operator for one object, mean over a batch
MANY = 20  # the lists of the start do not count among so many
SETTLE_S = 120.0
LOOK_EVERY_S = 0.05
REST_LOOKS = 24  # over a second: a time in status that moves with the clock is a write a second, and so a hot loop
_FAULTS = (
    "InternalError", "ApiServerError", "Forbidden", "TimedOut", "NotFound", "Conflict", "AlreadyExists",
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One document and what admission must say: accepted, or refused because of `broken`."""

    document: Json
    accepted: bool
    broken: str = ""


@dataclass
class Tally:
    """What became of all examples."""

    accepted: int = 0
    refused: int = 0
    states: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    most_reconciles: int = 0
    most_requests: float = 0.0


class Errors(logging.Handler):
    """Keeps every record of level ERROR: an exception that nobody handled."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record with its traceback."""
        self.lines.append(logging.Formatter("%(name)s: %(message)s").format(record)[-1500:])


class Batches:
    """Batches of one kind against one operator in this process."""

    def __init__(self, api: Client, operator: Operator, namespace: str, resource: Resource) -> None:
        self._api, self._operator, self._namespace, self._resource = api, operator, namespace, resource
        self._reconciles: Counter[Key] = Counter()
        self.tally = Tally()
        self.start()
        self._count_reconciles()

    def _count_reconciles(self) -> None:
        loop, reconcile = self._operator.loop, self._operator.loop.reconcile

        async def counted(key: Key) -> None:
            self._reconciles[key] += 1
            await reconcile(key)

        loop.reconcile = counted  # type: ignore[method-assign]

    def start(self) -> None:
        """Count from here."""
        self._reconciles.clear()
        self._began = time.monotonic()

    async def run(self, examples: Sequence[Example]) -> None:
        """Take one batch from apply to removal."""
        self.start()
        requests = self._requests()
        errors = Errors()
        logging.getLogger().addHandler(errors)
        try:
            slots = asyncio.Semaphore(SIDE_BY_SIDE)
            answers = await asyncio.gather(*(self._admit(example, slots) for example in examples))
            living = {str(answer["metadata"]["name"]): answer for answer in answers if answer is not None}
            await self.settle(living)
            await self.judge(living, errors)
            if len(living) >= MANY:
                self._judge_effort((self._requests() - requests) / len(living))
        finally:
            logging.getLogger().removeHandler(errors)
        await self._remove()

    async def _admit(self, example: Example, slots: asyncio.Semaphore) -> Json | None:
        async with slots:
            try:
                answer = await self._api.create(self._resource, self._namespace, example.document)
            except InvalidError as error:
                self.tally.refused += 1
                if example.accepted:
                    self._fault("refused at admission", example.document, error.message)
                return None
            except KubeError as error:
                self._fault(f"admission answered {error.status}", example.document, error.message)
                return None
        self.tally.accepted += 1
        if not example.accepted:
            self._fault("accepted at admission", example.document, example.broken)
        return answer

    async def settle(self, living: Mapping[str, Json]) -> None:
        """Wait until every object has an answer for its generation and nothing is asked for over a second."""
        store, queue = self._operator.store, self._operator.queue
        seen: list[float] = []

        def answered(name: str) -> bool:
            obj = store.get(self._resource, self._namespace, name)
            status = (obj or {}).get("status") or {}
            return bool(status.get("conditions")) and status.get("observedGeneration") == living[name]["metadata"].get(
                "generation"
            )

        def rests() -> bool:
            seen.append(self._requests())
            is_idle = len(queue) == 0 and queue.oldest_work_s() == 0
            return (
                is_idle and len(seen) > REST_LOOKS and len(set(seen[-REST_LOOKS:])) == 1 and all(map(answered, living))
            )

        try:
            await eventually(rests, SETTLE_S, every_s=LOOK_EVERY_S)
        except AssertionError:
            silent = [name for name in living if not answered(name)]
            busy = [f"{key.kind} {key.name} x{count}" for key, count in self._reconciles.most_common(3)]
            self._fault("no fixed point", living.get(silent[0], {}) if silent else {}, f"silent {silent}, busy {busy}")

    async def judge(self, living: Mapping[str, Json], errors: Errors) -> None:
        """Hold every object against the laws, and note what it says."""
        listed = [obj async for page in self._api.pages(self._resource, self._namespace) for obj in page.items]
        for obj in listed:
            name = obj["metadata"]["name"]
            if name not in living:
                continue
            for breach in breaches(obj):
                self._fault("status law", obj, breach)
            said = find_condition(obj, "Ready") or {}
            kind = "Ready" if said.get("status") == "True" else _second(obj)
            self.tally.states[f"{kind} {said.get('reason')}"] += 1
            if said.get("reason") in _FAULTS:
                self._fault(str(said["reason"]), obj, str(said.get("message")))
            if not said.get("message"):
                self._fault("no message", obj, str(said))
            key = Key(self._resource.kind, self._namespace, name)
            self.tally.most_reconciles = max(self.tally.most_reconciles, self._reconciles[key])
            if self._reconciles[key] > RECONCILES_MAX + time.monotonic() - self._began:
                self._fault(f"{self._reconciles[key]} reconciles", obj, str(said.get("reason")))
        for line in errors.lines:
            self._fault("an error was logged", {}, line)

    def _judge_effort(self, requests: float) -> None:
        self.tally.most_requests = max(self.tally.most_requests, requests)
        if requests > REQUESTS_MAX:
            self._fault(f"{requests:.1f} requests an object", {}, "")

    def _requests(self) -> float:
        samples = [s for metric in self._operator.metrics.registry.collect() for s in metric.samples]
        return sum(sample.value for sample in samples if sample.name == "rest_client_requests_total")

    def _fault(self, what: str, document: Mapping[str, Any], why: str) -> None:
        metadata = {key: value for key, value in (document.get("metadata") or {}).items() if key != "managedFields"}
        spec = json.dumps({"metadata": metadata, "spec": document.get("spec")}, ensure_ascii=False)
        self.tally.faults.append(f"{what}: {why[:1500]}\n    {spec[:3000]}")

    async def _remove(self) -> None:
        for resource in (self._resource, *CHILD_KINDS):
            if resource in planted.KINDS:
                found = [obj async for page in self._api.pages(resource, self._namespace) for obj in page.items]
                gone = [obj for obj in found if obj["metadata"]["name"] not in planted.NAMES]
                slots = asyncio.Semaphore(SIDE_BY_SIDE)
                await asyncio.gather(*(self._delete(resource, obj, slots) for obj in gone))
            else:
                await delete_all(self._api, resource, self._namespace)

    async def _delete(self, resource: Resource, obj: Json, slots: asyncio.Semaphore) -> None:
        async with slots:
            try:
                await self._api.delete(resource, obj)
                return
            except NotFoundError:
                return
            except ConflictError:  # the operator has just written its status
                fresh = await self._api.find(resource, self._namespace, obj["metadata"]["name"])
                if fresh is None:
                    return
        await self._delete(resource, fresh, slots)


async def delete_all(api: Client, resource: Resource, namespace: str) -> None:
    """Delete every object of a kind in a namespace by one request, which is much cheaper than one each."""
    path = resource_path(resource, namespace)
    await api._write("DELETE", path, f"delete all {resource.plural}", body={"propagationPolicy": "Background"})


def _second(obj: Mapping[str, Any]) -> str:
    return "Stalled" if find_condition(obj, "Stalled") else "Reconciling"
