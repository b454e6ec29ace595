"""The servers that are compared: ours, MLServer, the KServe SDK and a plain FastAPI, each a process on one CPU.

Each runs in an environment of its own under $FAIRLEAD_CACHE/bench, made by `make bench-peers`: ours from
requirements/server.txt as in the image, each peer from requirements/bench-<peer>.txt. The variants are the grid from
which each peer's best is taken. Used by `bench_serve`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tests.perf.serving.clients import Target
from tests.perf.serving.trained import Trained, grpc_body, instances_body, predict_body, protocol_body
from tests.support.served import Served, free_port, store_artifact

from fairlead.contract.jobs import Capture

SERVER_CPU = 0
START_S = 60.0
INFER = "/v2/models/tumor/infer"
ECHO = """
import asyncio, sys, uvloop
ANSWER = b'HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: 2\\r\\n\\r\\n{}'
class Constant(asyncio.Protocol):
    def connection_made(self, transport): self.write = transport.write
    def data_received(self, data): self.write(ANSWER)
async def main():
    server = await asyncio.get_running_loop().create_server(Constant, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
uvloop.run(main())
"""
Rows = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Variant:
    """One way to run a peer: MLServer's settings and the model's, or KServe's arguments and environment."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    model_settings: dict[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    first_protocol: bool = False


_LEAN: dict[str, Any] = {"parallel_workers": 0, "debug": False}
_BARE = {**_LEAN, "gzip_enabled": False, "metrics_endpoint": None}
_QUIET = ("--enable_latency_logging=false",)
_OFF = {"LOGS": "off"}
MLSERVER = [
    Variant("as it comes: 1 worker process"),
    Variant("2 worker processes, no access log", {"debug": False, "parallel_workers": 2}),
    Variant("no worker process", {"parallel_workers": 0}),
    Variant("no worker process, no access log", _LEAN),
    Variant("no worker process, no access log, no gzip, no metrics", _BARE),
    Variant("the same, batches of 16 within 1 ms", _BARE, {"max_batch_size": 16, "max_batch_time": 0.001}),
]
KSERVE = [
    Variant("as it comes"),
    Variant("no logs, asyncio", {}, {}, (*_QUIET, "--event-loop=asyncio"), _OFF),
    Variant("no logs, uvloop", {}, {}, (*_QUIET, "--event-loop=uvloop"), _OFF),
    Variant("no logs, uvloop, no gRPC", {}, {}, (*_QUIET, "--event-loop=uvloop", "--enable_grpc=false"), _OFF),
    Variant("no logs, uvloop, protocol 1", {}, {}, (*_QUIET, "--event-loop=uvloop"), _OFF, True),
    Variant("no logs, uvloop, 2 workers", {}, {}, (*_QUIET, "--event-loop=uvloop", "--workers=2"), _OFF),
]
# docs/serving-peers.md has the grid that says so. Batching answers up to 16 requests that come within 1 ms by one call:
# it suits 16 connections that ask without a pause, holds a lone request up, and is measured beside the bars.
BEST = {"MLServer": MLSERVER[4], "KServe SDK": KSERVE[3]}
BEST_GRPC = {**BEST, "KServe SDK": KSERVE[2]}
BATCHING = MLSERVER[5]


@dataclass
class Running:
    """A server that answers, and how to ask it."""

    name: str
    pid: int
    rest: Callable[[Rows], Target]
    grpc: Callable[[Rows], Target] | None = None
    served: Served | None = None
    first_answer_s: float = 0.0

    def ask(self, rows: Rows) -> Any:
        """Return the JSON answer; raise OSError if there is none."""
        target = self.rest(rows)
        headers = dict(header.split(": ", 1) for header in target.headers)
        request = urllib.request.Request(f"http://127.0.0.1:{target.port}{target.path}", target.body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def probabilities(self, rows: Rows) -> Rows:
        """Return the answer's probabilities, [rows, classes], whatever its form."""
        value = self.ask(rows)
        if "outputs" in value:
            found = next(o["data"] for o in value["outputs"] if o["name"] != "label")
        else:
            found = value.get("probabilities", value.get("predictions"))
        return np.array(found, dtype=float).reshape(len(rows), -1)


def python_of(peer: str) -> Path:
    """Return a peer's Python; raise SystemExit if `make bench-peers` was not run."""
    cache = Path(os.environ.get("FAIRLEAD_CACHE", Path.home() / ".cache" / "fairlead"))
    found = cache / "bench" / peer / "bin" / "python"
    if not found.exists():
        raise SystemExit(f"{found} is not there; run: make bench-peers")
    return found


@contextlib.contextmanager
def mlserver(trained: Trained, folder: Path, variant: Variant) -> Iterator[Running]:
    """Run MLServer with its scikit-learn runtime."""
    folder.mkdir(parents=True)
    trained.store_joblib(folder / "model.joblib")
    http, grpc, metrics = free_port(), free_port(), free_port()
    ports = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    (folder / "settings.json").write_text(json.dumps({**variant.settings, **ports}))
    model = {
        "name": "tumor",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
        **variant.model_settings,
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = [str(python_of("mlserver").with_name("mlserver")), "start", str(folder)]
    rest = _rest(http, ["predict_proba"])
    with _running(f"MLServer, {variant.name}", command, {}, folder, rest) as running:
        running.grpc = _grpc(grpc, "predict_proba")
        yield running


@contextlib.contextmanager
def kserve(trained: Trained, folder: Path, variant: Variant) -> Iterator[Running]:
    """Run the KServe SDK's model server."""
    folder.mkdir(parents=True)
    trained.store_joblib(folder / "model.joblib")
    http, grpc = free_port(), free_port()
    program = Path(__file__).with_name("kserve_model.py")
    ports = [f"--http_port={http}", f"--grpc_port={grpc}"]
    command = [str(python_of("kserve")), str(program), *ports, *variant.arguments]
    environ = {"MODEL": str(folder / "model.joblib"), **variant.environ}
    rest = _rest(http, [])
    if variant.first_protocol:
        rest = lambda rows: Target(http, "/v1/models/tumor:predict", instances_body(rows))  # noqa: E731
    with _running(f"KServe SDK, {variant.name}", command, environ, folder, rest) as running:
        running.grpc = _grpc(grpc, "")
        yield running


@contextlib.contextmanager
def fastapi(trained: Trained, folder: Path) -> Iterator[Running]:
    """Run a plain FastAPI with a pydantic body and joblib, uvicorn with one worker and no access log."""
    folder.mkdir(parents=True)
    trained.store_joblib(folder / "model.joblib")
    port = free_port()
    environ = {"MODEL": str(folder / "model.joblib"), "COLUMNS": json.dumps(trained.columns)}
    source = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-m", "uvicorn", "--app-dir", source, "--port", str(port), "fastapi_joblib:app"]
    command += ["--no-access-log", "--log-level", "warning"]

    def rest(rows: Rows) -> Target:
        body = dict(zip(trained.columns, rows[0].tolist(), strict=True))
        return Target(port, "/predict", json.dumps(body).encode())

    with _running("FastAPI + joblib", command, environ, folder, rest) as running:
        yield running


@contextlib.contextmanager
def constant(folder: Path) -> Iterator[Running]:
    """Run a server that answers a constant: how far above the others it is shows how far the client can go."""
    folder.mkdir(parents=True)
    port = free_port()
    command = [sys.executable, "-c", ECHO, str(port)]
    with _running("a constant (the client's limit)", command, {}, folder, _rest(port, [])) as running:
        yield running


@dataclass(frozen=True)
class Ours:
    """How our server is run: which path is asked, and how much is captured."""

    path: str = INFER
    capture: int = 0
    name: str = "Fairlead"
    prefix: tuple[str, ...] = ()
    environ: tuple[tuple[str, str], ...] = ()


@contextlib.contextmanager
def fairlead(trained: Trained, folder: Path, how: Ours) -> Iterator[Running]:
    """Run our server."""
    folder.mkdir(parents=True)
    artifact = store_artifact(folder / "store", trained.onnx(), trained.signature())
    served = Served.of(
        folder, artifact, dict(how.environ), capture=Capture(percent=how.capture), latency_threshold_ms=50
    )
    served.cpu = SERVER_CPU
    served.python = str(python_of("fairlead"))  # with what the server's image has, and no more
    served.prefix = list(how.prefix)
    began = time.perf_counter()
    served.start()
    if how.path == "/predict":
        running = Running(
            how.name, served.pid, lambda rows: Target(served.port, how.path, predict_body(rows, trained.columns))
        )
    else:
        running = Running(how.name, served.pid, _rest(served.port, []))
    running.grpc = _grpc(served.grpc, "")
    running.served = served
    try:
        running.ask(trained.rows(1))
        running.first_answer_s = time.perf_counter() - began
        yield running
    finally:
        served.stop()


def _rest(port: int, outputs: list[str]) -> Callable[[Rows], Target]:
    return lambda rows: Target(port, INFER, protocol_body(rows, outputs))


def _grpc(port: int, output: str) -> Callable[[Rows], Target]:
    return lambda rows: Target(port, "", grpc_body(rows, "tumor", output))


@contextlib.contextmanager
def _running(
    name: str, command: list[str], environ: dict[str, str], folder: Path, rest: Callable[[Rows], Target]
) -> Iterator[Running]:
    """Start a process on the servers' CPU, wait for its first good answer, and end it at the end."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    began = time.perf_counter()
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CPU), *command],
            env={**os.environ, **threads, **environ},
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    running = Running(name, process.pid, rest)
    try:
        _await_answer(running, process, folder / "log")
        running.first_answer_s = time.perf_counter() - began
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _await_answer(running: Running, process: subprocess.Popen[bytes], log: Path) -> None:
    row = np.zeros((1, 30))
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{running.name} ended with {process.returncode}: {log.read_text()[-3000:]}")
        try:
            running.ask(row)
            return
        except urllib.error.HTTPError as error:
            said = error.read()[:500]
            if error.code not in (404, 503) and b"not ready" not in said:  # while routes and models of a peer come
                raise RuntimeError(f"{running.name}: {error.code} {said!r}") from None
        except OSError:
            pass  # not listening yet
        time.sleep(0.01)
    raise RuntimeError(f"{running.name} did not answer after {START_S:g} s: {log.read_text()[-3000:]}")
