"""Requests a second of our server beside a plain FastAPI + joblib: `python -m tests.perf.bench_serve --help`.

One row of 30 features (scikit-learn's breast cancer data, logistic regression), 16 kept-alive connections on
127.0.0.1, every server a process on the same CPU, the client on the other one, rounds interleaved, answers compared
before the clock starts. The client is `wrk` where it is installed, else the one below. A server that answers a
constant is measured in the same rounds: how far it is above the others says how far the client is from its limit.
Prints medians, spread and ratios as a Markdown table, and beside the rate on the clock the requests per second of the
server's own CPU time, which other work on the machine does not change much (`nice -n -15` helps the clock there).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.support.served import Served, free_port, store_artifact

from fairlead.contract.data import ColumnType
from fairlead.contract.jobs import Capture
from fairlead.contract.training import Task
from fairlead_runtime.signature import Input, Signature

SERVER_CPU, CLIENT_CPU = 0, 1
MODELS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(max_iter=5000),
    "forest": lambda: RandomForestClassifier(100, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(random_state=0),
}
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


class Trained:
    """A fitted model in both forms, and rows to ask about."""

    def __init__(self, kind: str) -> None:
        data = load_breast_cancer(as_frame=True)
        self.columns = [str(name) for name in data.data.columns]
        self.rows = data.data.to_dict("records")
        self.plain = make_pipeline(StandardScaler(), MODELS[kind]()).fit(data.data.to_numpy(), data.target)
        scale, model = self.plain.steps[0][1], self.plain.steps[1][1]
        # The same fitted steps behind named columns: the form that training stores.
        columns = ColumnTransformer([("numeric", scale, self.columns)]).fit(data.data)
        self._named = Pipeline([("columns", columns), ("model", model)])

    def onnx(self) -> bytes:
        """Return the ONNX form with one input per column."""
        types = [(name, FloatTensorType([None, 1])) for name in self.columns]
        options = {id(self._named): {"zipmap": False}}
        return bytes(convert_sklearn(self._named, initial_types=types, options=options).SerializeToString())

    def signature(self) -> Signature:
        """Return what training would write."""
        inputs = [Input(name=n, type=ColumnType.FLOAT, datatype="FP32", nullable=False) for n in self.columns]
        return Signature(
            task=Task.CLASSIFICATION,
            inputs=inputs,
            classes=["0", "1"],
            class_type=ColumnType.INTEGER,
            probability_output="probabilities",
        )


class Peer:
    """One server under test: how it is asked, and what it answered."""

    def __init__(self, name: str, port: int, pid: int, body: Callable[[dict[str, float]], Any]) -> None:
        self.name = name
        self.port = port
        self.pid = pid
        self.body = body
        self.rates: list[float] = []
        self.cpu_rates: list[float] = []

    def cpu_s(self) -> float:
        """Return the seconds of CPU that the server's process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, row: dict[str, float]) -> Any:
        """Return the JSON answer to one row."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/predict",
            json.dumps(self.body(row)).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())


def start_fastapi(folder: Path, trained: Trained, port: int) -> subprocess.Popen[bytes]:
    """Start the peer: uvicorn with one worker, no access log."""
    joblib.dump(trained.plain, folder / "model.joblib")
    environ = {**os.environ, "MODEL": str(folder / "model.joblib"), "COLUMNS": json.dumps(trained.columns)}
    environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = ["-m", "uvicorn", "--app-dir", str(Path(__file__).parent), "--port", str(port), "fastapi_joblib:app"]
    return _start([*command, "--no-access-log", "--log-level", "warning"], environ)


def _start(arguments: list[str], environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    command = ["taskset", "-c", str(SERVER_CPU), sys.executable, *arguments]
    return subprocess.Popen(command, env=environ)


def await_answer(peer: Peer, row: dict[str, float]) -> None:
    """Wait until a peer answers; raise TimeoutError after 30 s."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            peer.ask(row)
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"{peer.name} did not answer on port {peer.port}")


def check_equal(ours: Peer, theirs: Peer, trained: Trained) -> float:
    """Return the largest difference of a probability over 50 rows; raise if a label differs or it exceeds 1e-5."""
    worst = 0.0
    for row in trained.rows[:: len(trained.rows) // 50]:
        mine, other = ours.ask(row), theirs.ask(row)
        if mine["predictions"][0] != other["prediction"]:
            raise ValueError(f"labels differ: {mine} {other}")
        worst = max(worst, float(np.abs(np.subtract(mine["probabilities"][0], other["probabilities"])).max()))
    if worst > 1e-5:
        raise ValueError(f"probabilities differ by {worst}")
    return worst


def measure(peer: Peer, body: bytes, connections: int, seconds: int, folder: Path) -> None:
    """Record one round: requests a second by the clock and by the server's CPU."""
    before = peer.cpu_s()
    rate = ask(peer, body, connections, seconds, folder)
    peer.rates.append(rate)
    peer.cpu_rates.append(rate * seconds / max(0.01, peer.cpu_s() - before))


def ask(peer: Peer, body: bytes, connections: int, seconds: int, folder: Path) -> float:
    """Return requests a second of one round; raise if any answer was not 2xx."""
    if not shutil.which("wrk"):
        return asyncio.run(_ask_all(peer.port, body, connections, seconds))
    (folder / "body").write_bytes(body)
    script = folder / "post.lua"
    script.write_text(
        'wrk.method="POST" wrk.headers["content-type"]="application/json" '
        f'local f=io.open("{folder / "body"}","rb") wrk.body=f:read("*a") f:close()'
    )
    url = f"http://127.0.0.1:{peer.port}/predict"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    done = subprocess.run(["taskset", "-c", str(CLIENT_CPU), *command], capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"{peer.name}: {done.stdout}")
    found = re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    if not found:
        raise RuntimeError(f"wrk printed no rate: {done.stdout}")
    return float(found[1])


class _Client(asyncio.Protocol):
    """A connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.buffer = b""
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", self.buffer, re.IGNORECASE)
        if head < 0 or not length or len(self.buffer) < head + 4 + int(length[1]):
            return
        if not self.buffer.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(self.buffer.decode())
        self.buffer = b""
        self.answers += 1
        self.transport.write(self.request)


async def _ask_all(port: int, body: bytes, connections: int, seconds: int) -> float:
    os.sched_setaffinity(0, {CLIENT_CPU})
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    loop = asyncio.get_running_loop()
    request = head.encode() + body
    opened = [await loop.create_connection(lambda: _Client(request), "127.0.0.1", port) for _ in range(connections)]
    began = loop.time()
    await asyncio.sleep(seconds)
    rate = sum(client.answers for _, client in opened) / (loop.time() - began)
    for transport, _ in opened:
        transport.close()
    return rate


def report(peers: list[Peer], reference: Peer) -> str:
    """Return the table: median, spread over the rounds, and the median of the rounds' own ratios."""
    head = "| server | requests/s, median (lowest to highest) | times the reference | per CPU second | times |"
    lines = [head, "|---|---|---|---|---|"]
    for peer in peers:
        cells = [
            peer.name,
            _spread(peer.rates, ",.0f"),
            _spread(_ratios(peer.rates, reference.rates), ".1f"),
            _spread(peer.cpu_rates, ",.0f"),
            _spread(_ratios(peer.cpu_rates, reference.cpu_rates), ".1f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratios(own: list[float], other: list[float]) -> list[float]:
    return [mine / theirs for mine, theirs in zip(own, other, strict=True)]


def _spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def run(arguments: argparse.Namespace, folder: Path) -> str:
    """Start the servers, measure, stop them, and return the table."""
    trained = Trained(arguments.model)
    artifact = store_artifact(folder / "store", trained.onnx(), trained.signature())
    servers = []
    for name, percent in (("plain", 0), ("captured", 100)):
        (folder / name).mkdir()
        (folder / name / "store").symlink_to(folder / "store")
        server = Served.of(folder / name, artifact, capture=Capture(percent=percent), latency_threshold_ms=50)
        server.cpu = SERVER_CPU
        servers.append(server.start())
    echo_port, fastapi_port = free_port(), free_port()
    processes = [_start(["-c", ECHO, str(echo_port)]), start_fastapi(folder, trained, fastapi_port)]
    try:
        peers = [
            Peer("FastAPI + joblib", fastapi_port, processes[1].pid, lambda row: row),
            Peer("Fairlead", servers[0].port, servers[0].pid, lambda row: {"rows": [row]}),
            Peer("Fairlead, capture 100 %", servers[1].port, servers[1].pid, lambda row: {"rows": [row]}),
            Peer("a constant (the client's limit)", echo_port, processes[0].pid, lambda row: {"rows": [row]}),
        ]
        for peer in peers:
            await_answer(peer, trained.rows[0])
        worst = check_equal(peers[1], peers[0], trained)
        for _ in range(arguments.rounds):
            for peer in peers:
                body = json.dumps(peer.body(trained.rows[0])).encode()
                measure(peer, body, arguments.connections, arguments.seconds, folder)
        lost = servers[1].arm()
        said = f"largest difference of a probability over 50 rows: {worst:.1e}"
        captured = f"captured {lost['captured']:,}, lost {lost['captureLost']:,} of {lost['requests']:,}"
        return f"{report(peers, peers[0])}\n\n{arguments.model}; {said}; {captured}"
    finally:
        for process in processes:
            process.terminate()
            process.wait(20)
        for server in servers:
            server.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(MODELS), default="logistic")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each server in each round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--at-least", type=float, default=0.0, help="fail below this many times the reference")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = run(arguments, Path(folder))
    print(table)
    ratio = float(re.findall(r"\| Fairlead \| [^|]*\| ([0-9.]+) \(", table)[0])
    if ratio < arguments.at_least:
        raise SystemExit(f"Fairlead is {ratio} times the reference, {arguments.at_least} was asked for")


if __name__ == "__main__":
    main()
