"""The processes of one server: load, listen, answer, drain, end.

With one worker everything runs in one process and one event loop. With more, this process forks them before anything
with threads is loaded, keeps the internal ports for itself, and ends when a worker ends unasked: a crash must be seen
as a restart of the container, not healed in secret. Called by `__main__`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from fairlead.contract import env
from fairlead.contract.jobs import ServeInput
from fairlead_runtime.hashing import hasher_of
from fairlead_runtime.store import Store, open_store

from . import metrics
from .answered import Answered
from .bins import Grid, bins_of
from .capture import Capture, Counts, Feedback
from .control import Control, State
from .counters import Counters, Edges, Writer
from .flush import Flusher, Pace, Waits, warm
from .grpc import GrpcAnswers, GrpcService
from .http import HttpServer
from .http2 import Http2Connection
from .ids import new_start_id
from .listening import listen, listen_internally, stop_event
from .loading import Fetched, bins_of_other, fetch, load
from .oip import InferenceProtocol
from .predict import Answers, Predictor, PublicEndpoint, Route
from .replay import Replay
from .served_model import ServedModel
from .wire import Limits

log = logging.getLogger("fairlead.serve")

_SWEEP_S = 1.0
_SPARE_FILES = 256  # for the store, the internal ports, and connections that are being refused
_COUNTERS = "counters"  # in the pod's own folder, which a restart of the container leaves as it is
_FLUSH_S = 10.0  # of the pod's grace period, after the drain


@dataclass(frozen=True)
class Settings:
    """What the environment says; the ports are the contract's, other ones are for tests."""

    host: str = "0.0.0.0"
    port_http: int = env.PORT_HTTP
    port_grpc: int = env.PORT_GRPC
    port_control: int = env.PORT_CONTROL
    port_metrics: int = env.PORT_METRICS
    drain_s: float = 5.0
    finish_s: float = 10.0  # for requests that are in flight when the drain ends
    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    pod: str = "local"
    work_dir: Path = Path("/tmp")

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings of an environment."""
        limits = Limits(
            body_bytes=int(environ.get("FAIRLEAD_MAX_BODY_BYTES", Limits.body_bytes)),
            pending=int(environ.get("FAIRLEAD_MAX_PENDING", Limits.pending)),
            wait_s=float(environ.get("FAIRLEAD_MAX_WAIT_S", Limits.wait_s)),
            held_bytes=int(environ.get("FAIRLEAD_MAX_HELD_BYTES", Limits.held_bytes)),
            header_bytes=int(environ.get("FAIRLEAD_MAX_HEADER_BYTES", Limits.header_bytes)),
            connections=_connections(int(environ.get("FAIRLEAD_MAX_CONNECTIONS", Limits.connections))),
            idle_s=float(environ.get("FAIRLEAD_IDLE_S", Limits.idle_s)),
            request_s=float(environ.get("FAIRLEAD_REQUEST_S", Limits.request_s)),
        )
        return cls(
            host=environ.get("FAIRLEAD_HOST", cls.host),
            port_http=int(environ.get("FAIRLEAD_PORT_HTTP", cls.port_http)),
            port_grpc=int(environ.get("FAIRLEAD_PORT_GRPC", cls.port_grpc)),
            port_control=int(environ.get("FAIRLEAD_PORT_CONTROL", cls.port_control)),
            port_metrics=int(environ.get("FAIRLEAD_PORT_METRICS", cls.port_metrics)),
            drain_s=float(environ.get("FAIRLEAD_DRAIN_S", cls.drain_s)),
            limits=limits,
            pace=Pace(
                every_s=float(environ.get("FAIRLEAD_CAPTURE_FLUSH_S", Pace.every_s)),
                waiting_bytes=int(environ.get("FAIRLEAD_CAPTURE_WAITING_BYTES", Pace.waiting_bytes)),
            ),
            pod=environ.get(env.POD_NAME, cls.pod),
            work_dir=Path(environ.get(env.WORK_DIR, cls.work_dir)),
        )


def _connections(wanted: int) -> int:
    """Return how many connections there may be: as many as wanted, as far as this process may open files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return wanted if most == resource.RLIM_INFINITY else max(1, min(wanted, most - _SPARE_FILES))


@dataclass(frozen=True)
class Server:
    """All that the processes of one server share."""

    document: ServeInput
    settings: Settings
    fetched: Fetched
    counters: Counters
    state: State
    environ: Mapping[str, str]
    answered: Answered | None = None

    def store(self) -> Store:
        """Return the store with no tries of its own: the flusher keeps what it could not write, and goes on."""
        return open_store(self.environ, retry_delays_s=())


def serve(document: ServeInput, environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM and return the exit code; raise JobError if the artifact cannot be served."""
    settings = Settings.read(environ)
    store = open_store(environ)
    fetched = fetch(store, document.artifact, settings.work_dir / "model")
    workers = max(1, document.workers)
    edges = Edges.of(document.latency_threshold_ms, fetched.profile)
    other = bins_of_other(store, document.compared_with) if document.compared_with else None
    grid = Grid([bins_of(fetched.signature, fetched.profile), other])
    counters = Counters(2 * workers + 2, edges, document.latency_threshold_ms, grid, settings.work_dir / _COUNTERS)
    answered = Answered(workers, fetched.signature) if document.labels and fetched.signature.classes else None
    counters.labels = answered is not None
    server = Server(document, settings, fetched, counters, State(new_start_id()), environ, answered)
    if workers > 1:
        return _supervise(server, workers)
    return uvloop.run(_work(server, 0, with_control=True))


async def _work(server: Server, index: int, *, with_control: bool) -> int:
    """Be worker `index` until SIGTERM."""
    stop = stop_event()
    public, flusher = _public(server, index, own_feedback=with_control)
    if server.document.capture.percent:
        warm()
    host = server.settings.host
    listeners = [await listen(http.connect, host, port, shared=True) for port, http in public.items()]
    internal = await _internal(server, flusher.feedback) if with_control else []
    gc.collect()
    gc.freeze()  # what is loaded stays; the collector need not look at it again
    server.counters.writer(2 * index).add("ready")
    server.state.ready = True
    flusher.thread.start()
    log.info("worker %d serves %s (%s)", index, server.document.artifact.version, server.document.artifact.digest)
    await _sweep_until(stop, public.values())
    server.state.draining = True
    for http in public.values():
        http.draining = True
    await asyncio.sleep(server.settings.drain_s)  # endpoints take this long to propagate; requests still come
    await _finish(server.settings, public.values(), listeners)
    await asyncio.to_thread(flusher.thread.stop, _FLUSH_S)
    for listener in internal:
        listener.close()
    return env.EXIT_OK


@dataclass(frozen=True)
class _Capturing:
    """The flusher of one process and the feedback it carries, if any."""

    thread: Flusher
    feedback: Feedback | None


def _public(server: Server, index: int, *, own_feedback: bool) -> tuple[dict[int, HttpServer], _Capturing]:
    """Return the servers by port, and the flusher of what they capture."""
    document, signature = server.document, server.fetched.signature
    writer = server.counters.writer(2 * index)
    counts = Counts(writer.add, server.counters.writer(2 * index + 1).add)
    hasher = hasher_of(server.environ, document.namespace, document.service)
    capture = Capture(document, signature, counts, hasher) if document.capture.percent else None
    waits = server.counters.writer(2 * index + 1).waits
    capturing = _capturing(server, f"{index}", capture, counts if own_feedback else None, waits)
    model = load(server.fetched)
    remember = server.answered.writer(index) if server.answered else None
    predictor = Predictor(model, signature, writer, capture, remember)
    answers = Answers(document)
    endpoint = PublicEndpoint(predictor, answers, writer)
    endpoint.add("/predict", Route(b"POST", None, counted=True))
    Replay(model, signature, answers, hasher.token).add_to(endpoint)
    served = ServedModel(document, signature, server.state.serving)
    InferenceProtocol(predictor, answers, served).add_to(endpoint)
    settings = server.settings
    rest = HttpServer(endpoint, settings.limits)
    calls = HttpServer(_grpc_endpoint(document, predictor, served, writer), settings.limits, Http2Connection)
    return {settings.port_http: rest, settings.port_grpc: calls}, capturing


def _grpc_endpoint(document: ServeInput, predictor: Predictor, served: ServedModel, writer: Writer) -> PublicEndpoint:
    answers = GrpcAnswers(document)
    endpoint = PublicEndpoint(predictor, answers, writer)
    GrpcService(predictor, answers, served).add_to(endpoint)
    return endpoint


def _capturing(server: Server, name: str, capture: Capture | None, counts: Counts | None, waits: Waits) -> _Capturing:
    feedback = Feedback(server.document, server.fetched.signature, counts, server.answered) if counts else None
    sources = [source for source in (capture, feedback) if source is not None]
    file_name = f"{server.settings.pod}-{server.state.start_id}-{name}"
    thread = Flusher(server.store(), sources, file_name, server.settings.pace, waits)
    for source in sources:
        source.attach(thread.wake)
    return _Capturing(thread, feedback)


async def _internal(server: Server, feedback: Feedback | None) -> list[asyncio.Server]:
    control, settings = Control(server.document, server.state, server.counters, feedback), server.settings
    ports = (settings.port_control, settings.port_metrics)
    return await listen_internally(
        control, lambda: metrics.render(server.document, server.counters), settings.host, ports
    )


async def _sweep_until(stop: asyncio.Event, public: Collection[HttpServer]) -> None:
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), _SWEEP_S)
        except TimeoutError:
            for http in public:
                http.sweep()


async def _finish(settings: Settings, public: Collection[HttpServer], listeners: list[asyncio.Server]) -> None:
    """Take no new connections, answer what is there, and close."""
    for listener in listeners:
        listener.close()
    loop = asyncio.get_running_loop()
    until = loop.time() + settings.finish_s
    while any(http.busy for http in public) and loop.time() < until:  # noqa: ASYNC110 - asking costs less than an event on each request
        await asyncio.sleep(0.02)
    for http in public:
        http.close()


# -- more than one worker


def _supervise(server: Server, workers: int) -> int:
    """Fork the workers, serve the internal ports, and end with the workers."""
    children = [_fork(server, index) for index in range(workers)]
    return uvloop.run(_watch(server, workers, children))


def _fork(server: Server, index: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = uvloop.run(_work(server, index, with_control=False))
    except Exception:
        log.exception("a worker ended")
    finally:
        sys.stderr.flush()
        os._exit(code)  # never back into the parent's stack


async def _watch(server: Server, workers: int, children: list[int]) -> int:
    stop = stop_event()
    last = 2 * workers
    counts = Counts(server.counters.writer(last).add, server.counters.writer(last + 1).add)
    capturing = _capturing(server, "feedback", None, counts, server.counters.writer(last + 1).waits)
    internal = await _internal(server, capturing.feedback)
    capturing.thread.start()
    ended = asyncio.create_task(_await_children(children, stop))
    while not stop.is_set():
        server.state.ready = server.counters.simple()["ready"] == workers
        try:
            await asyncio.wait_for(stop.wait(), 0.1)
        except TimeoutError:
            continue
    server.state.draining = True
    for pid in children:
        _end(pid)
    codes = await ended
    await asyncio.to_thread(capturing.thread.stop, _FLUSH_S)
    for listener in internal:
        listener.close()
    return max(codes)


async def _await_children(children: list[int], stop: asyncio.Event) -> list[int]:
    """Return the exit codes; the first worker that ends makes all end."""

    async def await_one(pid: int) -> int:
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        if not stop.is_set():
            log.error("worker process %d ended unasked with status %d", pid, status)
            stop.set()
            return os.waitstatus_to_exitcode(status) or 1
        return abs(os.waitstatus_to_exitcode(status))

    return list(await asyncio.gather(*(await_one(pid) for pid in children)))


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        log.debug("worker %d is gone already", pid)
