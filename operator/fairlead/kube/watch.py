"""Watch streams, by kopf; the only importer of kopf, behind the protocol `Streams`.

kopf gives list and watch with reconnects, bookmarks and an inactivity timeout. It must never write anything:
no finalizers, no annotations, no events, no peering. Each rule below answers a fault that was reproduced on 1.45.2;
`tests/unit/kube/test_kopf_contract.py` pins them all without a cluster. Run by `app/main.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import kopf

from fairlead.api.names import Resource

from .client import CHUNK
from .connection import Connection
from .relist import selector_of

log = logging.getLogger(__name__)

OnEvent = Callable[[Resource, str, Mapping[str, Any]], None]
ERROR_BACKOFFS_S = (0.1, 0.5, 1, 2, 3, 5, 8, 13, 21)  # then the stream, and the process with it, ends
LISTED = "LISTED"  # the type we give to objects that kopf lists before it watches
DECOY_FINALIZER = "fairlead.dev/decoy-that-is-set-on-nothing"  # kopf strips the configured name wherever it sees it


class StreamEndedError(Exception):
    """A watch stream ended for good; the process has to end too, because it is blind now."""


class Streams(Protocol):
    """Watches resources and reports every event, for ever."""

    async def run(self, resources: Collection[Resource], on_event: OnEvent) -> None:
        """Report LISTED, ADDED, MODIFIED and DELETED objects until cancelled; raise when a stream ends."""
        ...


@dataclass(frozen=True)
class WatchSettings:
    """Seconds, and the namespaces to watch (none: all)."""

    namespaces: tuple[str, ...] = ()
    server_timeout_s: int = 300
    client_timeout_s: int = 330
    connect_timeout_s: int = 10
    inactivity_timeout_s: float = 70.0
    request_timeout_s: int = 60
    chunk: int = CHUNK


class _NoDiffBase(kopf.DiffBaseStorage):
    """Keeps nothing: the default builds an essence and a diff per event (1-9 ms of CPU) that nobody reads."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """Keeps nothing: there are no stateful handlers."""

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


class KopfStreams:
    """`Streams` by kopf's event handlers, in the running event loop."""

    def __init__(
        self,
        connection: Connection,
        settings: WatchSettings = WatchSettings(),
        *,
        restore_signals: Callable[[], None] = lambda: None,
    ) -> None:
        """`restore_signals` is called once streams run, because kopf takes SIGINT and SIGTERM for itself."""
        self._connection, self._settings, self._restore_signals = connection, settings, restore_signals

    async def run(self, resources: Collection[Resource], on_event: OnEvent) -> None:
        """Report every event until cancelled; raise StreamEndedError, or what ended the stream."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_hush_generators)
        failed: asyncio.Future[None] = loop.create_future()
        tasks = await kopf.spawn_tasks(
            registry=self._build_registry(resources, on_event, failed),
            settings=self._build_settings(resources),
            standalone=True,
            clusterwide=not self._settings.namespaces,
            namespaces=list(self._settings.namespaces),
        )
        self._restore_signals()
        try:
            done, _ = await asyncio.wait({*tasks, failed}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise StreamEndedError("the watch streams ended")
        finally:
            await _stop(tasks)

    def _build_registry(
        self, resources: Collection[Resource], on_event: OnEvent, failed: asyncio.Future[None]
    ) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.ConnectionInfo:
            return await self._login()

        for resource in resources:
            handler = _build_handler(resource, on_event, failed)
            kopf.on.event(*_selector(resource), registry=registry, id=f"watch-{resource.plural}")(handler)
        return registry

    async def _login(self) -> kopf.ConnectionInfo:
        credentials = await self._connection.credentials()
        return kopf.ConnectionInfo(
            server=credentials.server,
            ca_path=credentials.ca_path,
            insecure=credentials.insecure,
            certificate_path=credentials.certificate_path,
            private_key_path=credentials.private_key_path,
            scheme="Bearer" if credentials.token else None,
            token=credentials.token,
        )

    def _build_settings(self, resources: Collection[Resource]) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.peering.standalone = True
        settings.scanning.disabled = True  # no list of CRDs and namespaces; relist.py does the discovery
        settings.persistence.finalizer = DECOY_FINALIZER
        settings.persistence.diffbase_storage = _NoDiffBase()
        settings.persistence.progress_storage = _NoProgress()
        settings.queueing.worker_limit = None  # a limit below the number of objects hangs the start
        settings.queueing.idle_timeout = 0.1  # a task and its last event per object of a burst are kept this long
        settings.watching.server_timeout = self._settings.server_timeout_s
        settings.watching.client_timeout = self._settings.client_timeout_s
        settings.watching.connect_timeout = self._settings.connect_timeout_s
        settings.watching.inactivity_timeout = self._settings.inactivity_timeout_s
        settings.watching.chunk_size = self._settings.chunk
        settings.networking.connect_timeout = self._settings.connect_timeout_s
        settings.networking.request_timeout = self._settings.request_timeout_s
        settings.networking.error_backoffs = ERROR_BACKOFFS_S
        for resource in resources:
            if resource.label_selected:
                settings.watching.label_selectors[_selector(resource)] = selector_of(resource)
        return settings


def _selector(resource: Resource) -> tuple[str, str, str]:
    group, _, version = resource.api_version.rpartition("/")
    return group, version, resource.plural


def _build_handler(resource: Resource, on_event: OnEvent, failed: asyncio.Future[None]) -> Callable[..., Any]:
    async def handle(event: Mapping[str, Any], **_: Any) -> None:
        # kopf only logs what a handler raises and goes on, so a bug here would lose events without a word.
        try:
            on_event(resource, event["type"] or LISTED, event["object"])
        except Exception as error:  # whatever it is, the store may be wrong now
            log.exception("an event of %s was not taken", resource.plural)
            if not failed.done():
                failed.set_exception(error)

    return handle


def _hush_generators(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Drop the complaint of kopf's stream generators, which cannot be closed in order when the process ends."""
    if getattr(context.get("asyncgen"), "__qualname__", "") != "infinite_watch":
        loop.default_exception_handler(context)


async def _stop(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel kopf's tasks and wait for them; kopf's own `operator()` would cancel every task of the process."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
