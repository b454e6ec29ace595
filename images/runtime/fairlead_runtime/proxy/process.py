"""The proxy's process: fetch the model's files, listen, watch the user's server, drain, end.

The kubelet starts the user's container only when this one answers, so the model's files lie there before it; and at the
pod's end it asks the hook here first, so the user's server gets its SIGTERM only when no request needs it any more.
Called by `__main__`; the only module here that knows when to begin and to end.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from pydantic import ValidationError

from fairlead.contract import env, keys
from fairlead.contract.jobs import ServeInput, Upstream
from fairlead_runtime.artifact import fetch_artifact
from fairlead_runtime.errors import BadInput
from fairlead_runtime.hashing import hasher_of
from fairlead_runtime.profile import ModelProfile
from fairlead_runtime.serve import metrics
from fairlead_runtime.serve.bins import Grid, bins_of
from fairlead_runtime.serve.capture import Counts, Feedback
from fairlead_runtime.serve.control import Control, State
from fairlead_runtime.serve.counters import Counters, Edges
from fairlead_runtime.serve.flush import Flusher, Pace
from fairlead_runtime.serve.ids import new_start_id
from fairlead_runtime.serve.listening import listen, listen_internally, stop_event
from fairlead_runtime.serve.loading import bins_of_other
from fairlead_runtime.serve.wire import Limits
from fairlead_runtime.signature import Signature
from fairlead_runtime.store import open_store

from .capture import Capture, Tally
from .client import Client
from .readiness import EVERY_S, is_ready
from .relay import Relay

log = logging.getLogger("fairlead.proxy")

_SWEEP_S = 0.5
_FLUSH_S = 10.0  # of the pod's grace period, after the drain
_HOOK_S = 5.0  # for the kubelet to send its request


@dataclass(frozen=True)
class Settings:
    """What the environment says; the ports are the contract's, other ones are for tests."""

    host: str = "0.0.0.0"
    port_http: int = env.PROXY_PORT_HTTP
    port_control: int = env.PROXY_PORT_CONTROL
    port_drain: int = env.PROXY_PORT_DRAIN
    port_metrics: int = env.PROXY_PORT_METRICS
    drain_path: str = ""
    drain_s: float = 5.0
    finish_s: float = 10.0  # for requests that are in flight when the drain ends
    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    pod: str = "local"
    models_dir: Path = Path(env.MODELS_DIR)

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings of an environment."""
        limits = Limits(
            pending=int(environ.get("FAIRLEAD_MAX_PENDING", "1024")),
            idle_s=float(environ.get("FAIRLEAD_IDLE_S", Limits.idle_s)),
            request_s=float(environ.get("FAIRLEAD_REQUEST_S", Limits.request_s)),
        )
        return cls(
            host=environ.get("FAIRLEAD_HOST", cls.host),
            port_http=int(environ.get("FAIRLEAD_PORT_HTTP", cls.port_http)),
            port_control=int(environ.get("FAIRLEAD_PORT_CONTROL", cls.port_control)),
            port_drain=int(environ.get("FAIRLEAD_PORT_DRAIN", cls.port_drain)),
            port_metrics=int(environ.get("FAIRLEAD_PORT_METRICS", cls.port_metrics)),
            drain_path=environ.get(env.DRAIN_PATH, cls.drain_path),
            drain_s=float(environ.get("FAIRLEAD_DRAIN_S", cls.drain_s)),
            limits=limits,
            pace=Pace(every_s=float(environ.get("FAIRLEAD_CAPTURE_FLUSH_S", Pace.every_s))),
            pod=environ.get(env.POD_NAME, cls.pod),
            models_dir=Path(environ.get("FAIRLEAD_MODELS_DIR", cls.models_dir)),
        )


@dataclass(frozen=True)
class Model:
    """What is known of the model whose files were fetched; a proxy works without either."""

    signature: Signature | None
    profile: ModelProfile | None
    grid: Grid


def run(document: ServeInput, environ: Mapping[str, str]) -> int:
    """Proxy until SIGTERM and return the exit code; raise JobError if the artifact cannot be had."""
    if document.upstream is None:
        raise BadInput("InputInvalid", "the input document names no upstream to stand in front of")
    settings = Settings.read(environ)
    model = fetch_model(document, environ, settings.models_dir)
    return uvloop.run(Proxy(document, document.upstream, settings, environ).work(model))


def fetch_model(document: ServeInput, environ: Mapping[str, str], folder: Path) -> Model:
    """Copy the model's files to where the user's server finds them, every byte checked; they are for all to read."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as fresh:
        store = open_store(environ)
        fetch_artifact(store, document.artifact, Path(fresh))
        for path in Path(fresh).iterdir():
            path.chmod(0o644)
            path.replace(folder / path.name)  # whole or not at all: after a restart of ours a server may be reading it
    signature, profile = _signature(folder / keys.SIGNATURE), _profile(folder / keys.PROFILE)
    other = bins_of_other(store, document.compared_with) if document.compared_with else None
    return Model(signature, profile, Grid([bins_of(signature, profile) if signature else None, other]))


def _signature(path: Path) -> Signature | None:
    try:
        signature = Signature.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        log.warning("%s is not readable: requests are captured as size and hash", path.name)
        return None
    return signature if signature.inputs else None


def _profile(path: Path) -> ModelProfile | None:
    try:
        return ModelProfile.from_json(path.read_bytes())
    except (OSError, ValueError):
        return None


class Proxy:
    """One proxy from its first listener to its last byte."""

    def __init__(
        self, document: ServeInput, upstream: Upstream, settings: Settings, environ: Mapping[str, str]
    ) -> None:
        self._document = document
        self._upstream = upstream
        self._settings = settings
        self._environ = environ
        self._state = State(new_start_id())
        self._listeners: list[asyncio.Server] = []
        self._draining: asyncio.Task[None] | None = None

    async def work(self, model: Model) -> int:
        """Serve until SIGTERM."""
        stop = stop_event()
        threshold = self._document.latency_threshold_ms
        counters = Counters(2, Edges.of(threshold, model.profile), threshold, model.grid)
        counts = Counts(counters.writer(0).add, counters.writer(1).add)
        capture = self._capture(model.signature, counts, counters)
        relay = Relay(self._document, self._upstream, counters.writer(0), capture, self._settings.limits)
        feedback = Feedback(self._document, model.signature, counts) if model.signature else None
        sources = [source for source in (capture, feedback) if source is not None]
        file_name = f"{self._settings.pod}-{self._state.start_id}-proxy"
        store, waits = open_store(self._environ, retry_delays_s=()), counters.writer(1).waits
        flusher = Flusher(store, sources, file_name, self._settings.pace, waits)
        for source in sources:
            source.attach(flusher.wake)
        flusher.start()
        self._listeners.append(await listen(lambda: Client(relay), self._settings.host, self._settings.port_http))
        hook = await self._listen_for_drain(relay)
        internal = await self._internal(counters, feedback)
        watch = asyncio.create_task(self._watch())
        sweep = asyncio.create_task(_sweep(relay))
        log.info("in front of port %d for version %s", self._upstream.port, self._document.artifact.version)
        await stop.wait()
        await self._drain(relay)
        watch.cancel()
        sweep.cancel()
        await asyncio.to_thread(flusher.stop, _FLUSH_S)
        for listener in (hook, *internal):
            listener.close()
        return env.EXIT_OK

    def _capture(self, signature: Signature | None, counts: Counts, counters: Counters) -> Capture | None:
        document = self._document
        if not document.capture.percent:
            return None
        hasher = hasher_of(self._environ, document.namespace, document.service)
        return Capture(document, signature, counts, hasher, Tally(counters.writer(1), counters.grid))

    async def _internal(self, counters: Counters, feedback: Feedback | None) -> list[asyncio.Server]:
        control, settings = Control(self._document, self._state, counters, feedback), self._settings
        ports = (settings.port_control, settings.port_metrics)
        return await listen_internally(control, lambda: metrics.render(self._document, counters), settings.host, ports)

    async def _watch(self) -> None:
        """Say ready while the user's server is, also before its first request."""
        while True:
            ready = await is_ready(self._upstream)
            if ready != self._state.ready:
                log.info("the server in the container is %s", "ready" if ready else "not ready")
            self._state.ready = ready
            await asyncio.sleep(EVERY_S)

    # -- the end

    async def _listen_for_drain(self, relay: Relay) -> asyncio.Server:
        """Serve the hook: it is answered when nothing is on its way any more."""
        wanted = f"GET {self._settings.drain_path} ".encode()

        async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(_HOOK_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                known = bool(self._settings.drain_path) and head.startswith(wanted)
                if known:
                    await self._drain(relay)
                writer.write(b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % _said(known=known))
                await writer.drain()
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                log.warning("the hook: %s", error)
            finally:
                writer.close()

        return await asyncio.start_server(asked, self._settings.host, self._settings.port_drain, limit=4096)

    async def _drain(self, relay: Relay) -> None:
        """Let requests end and take no more; whoever asks first begins it, all wait for its end."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain_once(relay))
        await asyncio.shield(self._draining)

    async def _drain_once(self, relay: Relay) -> None:
        log.info("draining")
        self._state.draining = relay.draining = True
        await asyncio.sleep(self._settings.drain_s)  # endpoints take this long to propagate; requests still come
        for listener in self._listeners:
            listener.close()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.finish_s
        while relay.busy and loop.time() < until:  # noqa: ASYNC110 - asking costs less than an event on each request
            await asyncio.sleep(0.02)
        relay.close()


def _said(*, known: bool) -> bytes:
    return b"200 OK" if known else b"404 Not Found"


async def _sweep(relay: Relay) -> None:
    while True:
        await asyncio.sleep(_SWEEP_S)
        relay.sweep()
