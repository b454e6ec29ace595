"""The operator process: builds everything once, runs it, and ends when it should not go on.

It ends by SIGTERM (the Lease is released), when leadership is lost, and when a watch stream ends for good: the
Deployment starts it again with clean memory. No decision about a user's object is made here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.controllers import dataset, driftmonitor, inferenceservice, modelversion, trainingrun
from fairlead.controllers.execute import Executor
from fairlead.controllers.loop import AnyController, Loop, Surroundings
from fairlead.controllers.types import OperatorSettings, World
from fairlead.controllers.world import HttpArms, PodLogs
from fairlead.kube.client import Client, Timeouts
from fairlead.kube.connection import Connection, NoConnectionError, connect
from fairlead.kube.errors import KubeError, LeadershipLostError
from fairlead.kube.lease import Lease, LeaseSettings
from fairlead.kube.queue import WorkQueue
from fairlead.kube.recorder import Recorder
from fairlead.kube.relist import Relist, RelistSettings
from fairlead.kube.store import Store
from fairlead.kube.watch import LISTED, KopfStreams, WatchSettings
from fairlead.plan.types import Key

from . import clock
from .health import STUCK_S, Health, HealthServer, Ports
from .logging import set_up_logging
from .metrics import Metrics
from .settings import Settings, SettingsError, read_settings

log = logging.getLogger(__name__)
GATEWAY_API = frozenset({names.HTTP_ROUTE, names.GATEWAY})  # may be absent; everything else has to be served
START_RETRY_S = 2.0


CONTROLLERS: tuple[AnyController, ...] = (
    dataset.CONTROLLER,
    trainingrun.CONTROLLER,
    modelversion.CONTROLLER,
    inferenceservice.CONTROLLER,
    driftmonitor.CONTROLLER,
)


class Operator:
    """One process's parts and their life."""

    def __init__(self, settings: Settings, connection: Connection, controllers: Collection[AnyController]) -> None:
        self._settings = settings
        self.metrics = Metrics(connection.configuration.host)
        term = _lease_settings(settings)
        lease_client = Client(connection, timeouts=term.request_timeouts, on_request=self.metrics.on_request)
        self.lease = Lease(lease_client, term, clock.now)
        guard = self.lease.check if settings.leader_elect else None
        timeouts = Timeouts(write_s=term.write_timeout_s)
        self.client = Client(connection, timeouts=timeouts, guard=guard, on_request=self.metrics.on_request)
        self.store = Store()
        self._stop = asyncio.Event()
        self._streams = KopfStreams(connection, WatchSettings(settings.namespaces), restore_signals=self._take_signals)
        self._lists = RelistSettings(period_s=settings.relist_period, discovery_s=min(60, settings.relist_period / 5))
        self.relist = Relist(self.client, self.store, settings.namespaces, self._lists)
        self._recorder = Recorder(self.client, settings.identity, clock.now)
        self._arms = HttpArms()
        self._installation = OperatorSettings(
            settings.server_image, settings.jobs_image, settings.image_pull_policy, namespaces=settings.namespaces
        )
        self._logs = PodLogs(self.client)
        self.queue: WorkQueue[Key] = WorkQueue(metrics=self.metrics)
        around = Surroundings(
            self.store,
            Executor(self.client, self.store),
            self.queue,
            self._world,
            self._recorder,
            clock.now,
            self.metrics,
        )
        self.loop = Loop(controllers, around)
        self._served: tuple[Resource, ...] = ()
        self._filled = False
        self._server = HealthServer(
            self._build_health(),
            self.metrics,
            Ports(settings.bind_address, settings.health_port, settings.metrics_port),
        )

    def _build_health(self) -> Health:
        limit = 2 * self._lists.period_s * (1 + self._lists.jitter)

        def lists() -> str | None:
            age = self.relist.oldest_age_s(self._served) if self._filled else 0.0
            return f"a list is {age:.0f} s old, more than {limit:.0f}" if age > limit else None

        def work() -> str | None:
            oldest = self.queue.oldest_work_s()
            return f"a reconcile hangs for {oldest:.0f} s" if oldest > STUCK_S else None

        def filled() -> str | None:
            return None if self._filled else "the caches are not filled yet"

        return Health(live={"lists": lists, "work": work}, ready={"caches": filled})

    @property
    def ports(self) -> Ports:
        """Return the ports that are listened on."""
        return self._server.bound

    def stop(self) -> None:
        """Ask the process to end in an orderly way."""
        self._stop.set()

    async def run(self) -> None:
        """Run until stopped; raise what makes it impossible to go on."""
        self._take_signals()
        self.metrics.set_workers(tuple(resource.kind for resource in names.OWN_KINDS), self._settings.workers)
        self.metrics.set_work_under_way(self.queue.unfinished_work_s, self.queue.oldest_work_s)
        self.metrics.set_leader(self._settings.lease_name, False)
        await self._server.start()
        work = asyncio.create_task(self._work())
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            await self._end(work, stop)

    async def _end(self, *tasks: asyncio.Task[Any]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._settings.leader_elect:
            await self.lease.release()
        await self._server.stop()
        await self._arms.close()
        await self.client.close()
        await self.lease.close()

    async def _work(self) -> None:
        await self._start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed(), name="feed")
            group.create_task(self._recorder.run(), name="events")
            group.create_task(self._lead(), name="lead")
            group.create_task(clock.watch_steps(self._on_clock_step, now=clock.now), name="clock")

    async def _start(self) -> None:
        """Fill the caches, however long the API server or the CRDs take to appear."""
        while not self._filled:
            try:
                await self._fill()
            except KubeError as error:
                log.warning("not started yet: %s; trying again", error.message)
                await asyncio.sleep(START_RETRY_S)

    async def _fill(self) -> None:
        served = await self.relist.discover(self.loop.resources)
        missing = [r.plural for r in self.loop.resources if r not in served and r not in GATEWAY_API]
        if missing:
            log.warning("not started yet: %s are not served; install the CRDs of the chart", ", ".join(missing))
            await asyncio.sleep(START_RETRY_S)
            return
        self._serve(served)
        await self.relist.fill(served)
        self._filled = True
        gc.collect()
        gc.freeze()  # what the caches hold now is not looked at by every later collection
        log.info("the caches are filled: %s", {r.plural: self.store.count(r) for r in served})

    def _serve(self, served: tuple[Resource, ...]) -> None:
        self._served = served
        present = set(served) >= GATEWAY_API
        self._installation = dataclasses.replace(self._installation, gateway_api_present=present)

    async def _feed(self) -> None:
        """Watch and relist what is served; begin again when an optional resource appears."""
        while True:
            feed = asyncio.create_task(self._watch_and_relist(self._served))
            appeared = asyncio.create_task(self._wait_for_more())
            try:
                await asyncio.wait({feed, appeared}, return_when=asyncio.FIRST_COMPLETED)
                if feed.done():
                    feed.result()
            finally:
                feed.cancel()
                appeared.cancel()
                await asyncio.gather(feed, appeared, return_exceptions=True)
            await self._refill()

    async def _refill(self) -> None:
        """List the resource that has appeared, and look at everything again with it."""
        try:
            await self.relist.fill(self._served)
        except KubeError as error:  # the relist that is started next tries again
            log.warning("a list failed: %s", error.message)
        self.loop.enqueue_all()

    async def _watch_and_relist(self, served: tuple[Resource, ...]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._streams.run(served, self._on_event), name="streams")
            group.create_task(self.relist.run(served), name="relist")

    async def _wait_for_more(self) -> None:
        """Return when a resource that was absent is served."""
        while set(self._served) < set(self.loop.resources):
            await asyncio.sleep(self._lists.discovery_s)
            with contextlib.suppress(KubeError):
                served = await self.relist.discover(self.loop.resources)
                if set(served) > set(self._served):
                    log.info("now served: %s", ", ".join(r.plural for r in served if r not in self._served))
                    self._serve(served)
                    return
        await asyncio.Event().wait()

    def _on_event(self, resource: Resource, type_: str, obj: Mapping[str, Any]) -> None:
        if type_ == "DELETED":
            self.store.forget(resource, obj)
            return
        self.store.observe(resource, obj)
        if type_ == LISTED:
            self.relist.watch_begins(resource)

    def _on_clock_step(self, step_s: float) -> None:
        """Look at everything again: what was to be done at a time may be due now."""
        log.warning("the clock was set by %+.0f s, or the machine slept; everything is looked at again", step_s)
        self.loop.enqueue_all()

    async def _lead(self) -> None:
        if not self._settings.leader_elect:
            await self._reconcile()
            return
        await self.lease.acquire()
        self.metrics.set_leader(self._settings.lease_name, True)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.lease.hold(), name="lease")
            group.create_task(self._reconcile(), name="loop")

    async def _reconcile(self) -> None:
        self.loop.wake()
        await self.loop.run(self._settings.workers)

    def _world(self) -> World:
        return World(self.store, self._arms, self._logs, self._installation)

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError):
                asyncio.get_running_loop().add_signal_handler(number, self._stop.set)


def _lease_settings(settings: Settings) -> LeaseSettings:
    return LeaseSettings(
        settings.lease_namespace,
        settings.lease_name,
        settings.identity,
        settings.lease_duration,
        settings.lease_renew_deadline,
        settings.lease_retry_period,
    )


async def run_operator(settings: Settings) -> None:
    """Run the operator process with all kinds until it is told to stop."""
    connection = await connect(settings.kubeconfig or None)
    await Operator(settings, connection, CONTROLLERS).run()


def main(
    arguments: Sequence[str] | None = None, run: Callable[[Settings], Any] = lambda s: asyncio.run(run_operator(s))
) -> int:
    """Return the exit code: 0 stopped, 1 cannot go on (start it again), 2 wrong settings."""
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments)
    except SettingsError as error:
        print(f"fairlead-operator: {error}", file=sys.stderr)
        return 2
    set_up_logging(settings.log_format, settings.log_level)
    try:
        run(settings)
    except NoConnectionError as error:
        log.error("%s", error)
        return 1
    except BaseExceptionGroup as group:
        return _report(group)
    return 0


def _report(group: BaseExceptionGroup[BaseException]) -> int:
    lost, rest = group.split(LeadershipLostError)
    if lost is not None:
        log.error("leadership is lost; this process ends")
    if rest is not None:
        log.error("the operator cannot go on", exc_info=rest)
    return 1
