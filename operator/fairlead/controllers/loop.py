"""The reconcile loop, the same for every kind: changed object -> keys -> gather -> plan -> execute -> status.

It knows kinds only by the `Controller` protocol. A plan is made from what is, never from what changed. No error of
one object, be it the API server's or a planner's bug, stops the loop or touches another object; only lost leadership
ends it. Run by `app/main.py`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.kube.errors import (
    ConflictError,
    KubeError,
    LeadershipLostError,
    NamespaceTerminatingError,
    RetryableError,
    TerminalError,
)
from fairlead.kube.queue import EVENTFUL, ROUTINE, URGENT, WorkQueue
from fairlead.kube.recorder import EventType
from fairlead.kube.store import Store
from fairlead.plan.types import Key, Obj, Plan

from .execute import Executor, Place
from .failures import TERMINAL_RETRY_S, Failure, failure_of, is_shown, overlay, transition
from .types import Controller, ToKeys, World, key_of

log = logging.getLogger(__name__)
AnyController = Controller[Any]
RECONCILE_TIMEOUT_S = 60.0
STALE_RETRY_S = 0.05
STALE_REFRESH_S = 5.0  # an event that has not come by then is lost: read the object instead
SOONEST_REQUEUE_S = 0.02
STOP_GRACE_S = 2.0


class Events(Protocol):
    """What the loop needs of `kube.recorder.Recorder`."""

    def record(self, obj: Obj, type_: EventType, reason: str, note: str) -> None:
        """Say that something became of an object."""
        ...


class LoopMetrics(Protocol):
    """What the loop reports; `app/metrics.py` gives it controller-runtime's names."""

    def on_reconcile(self, controller: str, result: str, seconds: float) -> None:
        """One reconcile ended: `success`, `requeue_after`, `requeue` or `error`."""
        ...


@dataclass
class _Memory:
    """What the loop remembers of a key between reconciles; losing it costs a write or a little time, never truth."""

    failure: Failure | None = None  # laid over status until an attempt succeeds
    awaited: tuple[Place, ...] = ()  # our writes that the store has yet to see
    awaited_since: float = 0.0
    leaving_uid: str = ""  # of the object when its namespace was found to be going


@dataclass
class _Work:
    """One reconcile under way."""

    controller: AnyController
    key: Key
    obj: Obj
    memory: _Memory
    awaited: list[Place] = field(default_factory=list)


@dataclass(frozen=True)
class Surroundings:
    """What the loop works with; `world` is asked anew for each reconcile."""

    store: Store
    executor: Executor
    queue: WorkQueue[Key]
    world: Callable[[], World]
    events: Events
    now: Callable[[], datetime]
    metrics: LoopMetrics | None = None
    monotonic: Callable[[], float] = time.monotonic


class Loop:
    """Queue, workers, and the way from a changed object to the keys it concerns."""

    def __init__(self, controllers: Collection[AnyController], around: Surroundings) -> None:
        self._controllers = {controller.resource.kind: controller for controller in controllers}
        self._store, self._executor, self._world = around.store, around.executor, around.world
        self._events, self._metrics = around.events, around.metrics
        self._now, self._monotonic = around.now, around.monotonic
        self.queue = around.queue
        self._memories: dict[Key, _Memory] = {}
        self._is_awake = False  # a standby keeps its caches warm and queues nothing
        self._routes = _build_routes(controllers)
        self._store.listen(self.on_change)

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Everything that the controllers watch."""
        return tuple(resource for resource, _ in self._routes.values())

    def on_change(self, resource: Resource, obj: Obj) -> None:
        """Queue every key that a changed or deleted object concerns."""
        if not self._is_awake:
            return
        priority = URGENT if resource.kind in self._controllers and _is_unanswered(obj) else EVENTFUL
        for to_keys in self._routes.get(resource.kind, (resource, []))[1]:
            try:
                for key in to_keys(obj, self._store):
                    if key.kind in self._controllers:
                        self.queue.add(key, priority)
            except Exception:  # a bug in one mapping must not cost the others their event
                log.exception("a change of %s could not be mapped to keys", resource.plural)

    def wake(self) -> None:
        """Queue every object of every kind, and from now on what changes: on becoming the leader."""
        self._is_awake = True
        self.enqueue_all()

    def enqueue_all(self) -> None:
        """Queue every object of every kind, after what is urgent; nothing on a standby."""
        for controller in self._controllers.values() if self._is_awake else ():
            for obj in self._store.list(controller.resource):
                self.queue.add(key_of(controller.resource, obj), ROUTINE)

    async def run(self, workers: int) -> None:
        """Work for ever; raise LeadershipLostError when this process may not write any more."""
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(), name=f"worker {number}")

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await _finish(self.reconcile(key))
            finally:
                self.queue.done(key)

    async def reconcile(self, key: Key) -> None:
        """Look at one object once: bring it forward, or note why not and when to try again."""
        began = self._monotonic()
        try:
            async with asyncio.timeout(RECONCILE_TIMEOUT_S):
                delay = await self._reconcile(key)
            result = self._after_success(key, delay)
        except LeadershipLostError:
            raise
        except NamespaceTerminatingError as error:
            result = self._after_leaving(key, error)
        except Exception as error:  # a bug in one planner must not stop the others
            result = await self._after_failure(key, error)
        if self._metrics is not None:
            self._metrics.on_reconcile(key.kind, result, self._monotonic() - began)

    async def _reconcile(self, key: Key) -> float | None:
        controller = self._controllers[key.kind]
        memory = self._memories.setdefault(key, _Memory())
        if await self._is_behind(memory):
            return STALE_RETRY_S
        obj = self._store.get(controller.resource, key.namespace, key.name)
        if obj is not None and memory.leaving_uid == obj["metadata"].get("uid"):
            return None  # each child that goes would ask for a new one, and be refused
        snapshot = await controller.gather(key, self._world()) if obj is not None and _is_ours_to_plan(obj) else None
        if obj is None or snapshot is None:
            self._memories.pop(key, None)
            return None
        plan = controller.plan(snapshot, self._now())
        work = _Work(controller, key, obj, memory)
        try:
            await self._execute(work, plan)
        finally:
            memory.awaited, memory.awaited_since = tuple(work.awaited), self._monotonic()
        return plan.requeue_after_s

    async def _execute(self, work: _Work, plan: Plan) -> None:
        """Carry out a plan; while an earlier failure is shown, status keeps saying so until the actions succeed."""
        is_outdated = True  # until a write of status shows that the object is as it was seen
        try:
            if plan.status is not None and plan.status_first:
                await self._write_status(work, overlay(plan.status, work.memory.failure, work.obj, self._now()))
            is_outdated = False
            for action in plan.actions:
                place = await self._executor.act(action)
                work.awaited += [place] if place is not None else []
        except KubeError as error:
            if not (is_outdated and isinstance(error, ConflictError)):  # words over an older version are outdated too
                await self._show(work, error, plan.status)
            raise
        if not plan.status_first and work.memory.failure is None and self.queue.is_urgent():
            return  # others wait for their first child; the actions have queued this key again, and status comes then
        if not plan.status_first:
            plan = await self._plan_again(work)
        if plan.status is not None and (work.memory.failure is not None or not plan.status_first):
            work.memory.failure = None
            await self._write_status(work, plan.status)

    async def _plan_again(self, work: _Work) -> Plan:
        """Return what there is to say now that the actions are done: their uids cost no second write of status then.

        Only its status counts; what it would do is left to the next look, which the actions themselves have queued.
        """
        key = work.key
        obj = self._store.get(work.controller.resource, key.namespace, key.name)
        if obj is None or not _is_ours_to_plan(obj):
            return Plan()
        snapshot = await work.controller.gather(key, self._world())
        if snapshot is None:
            return Plan()
        work.obj = obj
        return dataclasses.replace(work.controller.plan(snapshot, self._now()), status_first=False)

    async def _write_status(self, work: _Work, status: Obj) -> None:
        before = work.obj
        work.obj = await self._executor.write_status(work.controller.resource, before, status)
        change = transition(before, work.obj) if work.obj is not before else None
        if change is not None:
            self._events.record(work.obj, "Warning" if change.warning else "Normal", change.reason, change.message)

    async def _show(self, work: _Work, error: Exception, status: Obj | None) -> None:
        """Write an error that lasts into status, as far as that is possible."""
        if isinstance(error, LeadershipLostError) or work.controller.is_terminal(work.obj):
            return
        if not is_shown(error, self.queue.failures(work.key) + 1):
            return
        generation = work.obj["metadata"].get("generation", 0)
        failure = replace(failure_of(error), generation=generation, since=self._monotonic())
        if not failure.is_newly_worded(work.memory.failure):
            work.memory.failure = failure
        observed = work.obj.get("status") or {}
        for base in (
            (observed,) if status is None else (status, observed)
        ):  # the planner's status may be what is refused
            try:
                await self._write_status(work, overlay(base, work.memory.failure, work.obj, self._now()))
            except RetryableError as second:
                log.debug("%s: the error could not be shown: %s", _name(work.key), second.message)
            except TerminalError:
                continue
            return

    async def _is_behind(self, memory: _Memory) -> bool:
        """Say whether the store has yet to see our own last writes; after a while read them instead of waiting."""
        late = [place for place in memory.awaited if self._store.is_behind(*place)]
        if late and self._monotonic() - memory.awaited_since > STALE_REFRESH_S:
            for resource, namespace, name in late:
                held = self._store.get(resource, namespace, name)
                await self._executor.refresh(resource, held or {"metadata": {"namespace": namespace, "name": name}})
            return False
        return bool(late)

    def _after_success(self, key: Key, delay_s: float | None) -> str:
        self.queue.succeed(key)
        if delay_s is None:
            return "success"
        self.queue.add_after(key, max(delay_s, SOONEST_REQUEUE_S))
        return "requeue_after"

    def _after_leaving(self, key: Key, error: NamespaceTerminatingError) -> str:
        """Let go of an object whose namespace goes: that is never taken back, and the object's end is seen anyway."""
        log.info("%s: nothing more is done: %s", _name(key), error.message)
        obj = self._store.get(self._controllers[key.kind].resource, key.namespace, key.name)
        if obj is not None:
            self._memories.setdefault(key, _Memory()).leaving_uid = obj["metadata"].get("uid", "")
        self.queue.succeed(key)
        return "success"

    async def _after_failure(self, key: Key, error: Exception) -> str:
        if isinstance(error, TerminalError):
            log.warning("%s: %s: %s", _name(key), error.reason, error.message)
            self.queue.add_failed(key, at_least_s=TERMINAL_RETRY_S)
            return "error"
        if isinstance(error, KubeError):
            log.info("%s: %s: %s", _name(key), error.reason, error.message)
            self.queue.add_failed(key, at_least_s=error.retry_after_s)
            return "requeue" if isinstance(error, RetryableError) and error.status == 409 else "error"
        log.exception("%s: unexpected error", _name(key), exc_info=error)
        await self._show_unexpected(key, error)
        self.queue.add_failed(key)
        return "error"

    async def _show_unexpected(self, key: Key, error: Exception) -> None:
        controller = self._controllers[key.kind]
        obj = self._store.get(controller.resource, key.namespace, key.name)
        if obj is None:
            return
        work = _Work(controller, key, obj, self._memories.setdefault(key, _Memory()))
        try:
            await self._show(work, error, None)
        except LeadershipLostError:
            raise
        except Exception:  # the error itself is logged; failing to show it must not hide it
            log.exception("%s: the error could not be shown", _name(key))


async def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end even when cancelled meanwhile, for a while: on SIGTERM, steps under way are completed."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=STOP_GRACE_S)
        task.cancel()
        raise


def _build_routes(controllers: Collection[AnyController]) -> dict[str, tuple[Resource, list[ToKeys]]]:
    routes: dict[str, tuple[Resource, list[ToKeys]]] = {}
    for controller in controllers:
        routes.setdefault(controller.resource.kind, (controller.resource, []))[1].append(_own_key(controller.resource))
        for watch in controller.watches:
            routes.setdefault(watch.resource.kind, (watch.resource, []))[1].append(watch.to_keys)
    return routes


def _own_key(resource: Resource) -> ToKeys:
    return lambda obj, _view: [key_of(resource, obj)]


def _is_ours_to_plan(obj: Obj) -> bool:
    """Say whether to look at an object: not while it is deleted, nor while its status has yet to be restored."""
    metadata = obj["metadata"]
    restoring = names.ANNOTATION_RESTORING in (metadata.get("annotations") or {})
    return not (restoring or metadata.get("deletionTimestamp"))


def _is_unanswered(obj: Obj) -> bool:
    """Say whether status speaks of an earlier spec, or of none: people wait for these first, also in a crowd."""
    return bool((obj.get("status") or {}).get("observedGeneration") != obj["metadata"].get("generation"))


def _name(key: Key) -> str:
    return f"{key.kind} {key.namespace}/{key.name}"
