"""What the proxy costs: the same requests to the same server, directly and through it, by turns.

    make bench-proxy                       # 7 rounds; fails where the median costs more than 2 ms

Two servers: the usual FastAPI + joblib, and one that answers a constant, where the proxy is all there is. Two loads:
one connection that asks again at once, and 16 connections at a fixed rate, as a service sees them. A latency is from
the request's first byte to the answer's last, at the client. The proxy captures every request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import joblib
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.support.proxied import proxied
from tests.support.served import ROOT, free_port

from fairlead.contract.data import ColumnType
from fairlead.contract.jobs import Capture
from fairlead.contract.training import Task
from fairlead_runtime.signature import Input, Signature

CONSTANT = """
import asyncio, sys, uvloop
class Answer(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: 17\\r\\n\\r\\n" + b'{"prediction": 1}')
async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
uvloop.run(main())
"""  # noqa: E501
ONE, STEADY = "1 connection, one after the other", "16 connections"


@dataclass
class Asking(asyncio.Protocol):
    """One connection that times its answers."""

    request: bytes
    pause_s: float  # between two requests of a steady load; 0: ask again at once
    latencies_s: list[float] = field(default_factory=list)
    late: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.loop = asyncio.get_running_loop()
        self.buffer, self.busy, self.due_s = b"", False, self.loop.time()
        self.ask()

    def ask(self) -> None:
        if self.transport.is_closing():
            return
        if self.pause_s:
            self.due_s += self.pause_s
            self.loop.call_at(self.due_s, self.ask)
        if self.busy:
            self.late += 1  # the answer before is not there yet
            return
        self.busy, self.began_s = True, time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, body = self.buffer.partition(b"\r\n\r\n")
        if not mark or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(self.buffer.decode())
        self.latencies_s.append(time.perf_counter() - self.began_s)
        self.buffer, self.busy = b"", False
        if not self.pause_s:
            self.ask()


async def measure(port: int, body: bytes, load: str, seconds: float, rate: float) -> list[float]:
    """Return the latencies of one load in seconds."""
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    connections = 1 if load == ONE else 16
    pause_s = 0.0 if load == ONE else connections / rate
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(connections):
        made = await loop.create_connection(lambda: Asking(head.encode() + body, pause_s), "127.0.0.1", port)
        opened.append(made)
        await asyncio.sleep(pause_s / connections)  # spread over the time between two requests of one
    await asyncio.sleep(seconds)
    for transport, _ in opened:
        transport.close()
    return [latency for _, client in opened for latency in client.latencies_s]


@dataclass
class Row:
    """One server under one load: the medians and 99th percentiles of the rounds, in ms."""

    server: str
    load: str
    direct: list[tuple[float, float]] = field(default_factory=list)
    through: list[tuple[float, float]] = field(default_factory=list)

    @property
    def cost_ms(self) -> float:
        """The median over the rounds of what the proxy added to the round's median."""
        return statistics.median(t[0] - d[0] for d, t in zip(self.direct, self.through, strict=True))

    def __str__(self) -> str:
        direct, through = (statistics.median(m for m, _ in side) for side in (self.direct, self.through))
        last = [statistics.median(p for _, p in side) for side in (self.direct, self.through)]
        costs = [t[0] - d[0] for d, t in zip(self.direct, self.through, strict=True)]
        spread = f"{self.cost_ms:.2f} ({min(costs):.2f} to {max(costs):.2f})"
        p99 = f"{last[0]:.2f} / {last[1]:.2f}"
        return f"| {self.server}; {self.load} | {direct:.2f} | {through:.2f} | {spread} | {p99} |"


def _in_ms(latencies_s: list[float]) -> tuple[float, float]:
    return float(np.percentile(latencies_s, 50)) * 1e3, float(np.percentile(latencies_s, 99)) * 1e3


def start_fastapi(folder: Path, names: list[str], port: int) -> subprocess.Popen[bytes]:
    """Train, save, and start the usual server."""
    rows, target = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows, target)
    joblib.dump(model, folder / "model.joblib")
    environ = {"MODEL": str(folder / "model.joblib"), "COLUMNS": json.dumps(names)}
    where = ["--app-dir", str(ROOT / "tests/perf"), "--host", "127.0.0.1", "--port", str(port)]
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "fastapi_joblib:app",
        *where,
        "--log-level",
        "warning",
        "--no-access-log",
    ]
    return subprocess.Popen(command, env={**os.environ, **environ}, stdout=subprocess.DEVNULL)


def run(arguments: argparse.Namespace, folder: Path) -> list[Row]:
    """Start both servers, each with a proxy in front, and measure by turns."""
    data = load_breast_cancer()
    names = [str(name) for name in data.feature_names]
    body = json.dumps(dict(zip(names, data.data[0].tolist(), strict=True))).encode()
    inputs = [Input(name=name, type=ColumnType.FLOAT, datatype="FP32") for name in names]
    signature = Signature(task=Task.CLASSIFICATION, inputs=inputs, classes=["0", "1"], probability_output="p")
    ports = {"FastAPI + joblib": free_port(), "a constant": free_port()}
    servers = [
        start_fastapi(folder, names, ports["FastAPI + joblib"]),
        subprocess.Popen([sys.executable, "-c", CONSTANT, str(ports["a constant"])]),
    ]
    proxies, rows = {}, [Row(name, load) for name in ports for load in (ONE, STEADY)]
    try:
        for name, port in ports.items():
            (folder / name).mkdir()
            capture = Capture(percent=100)
            proxies[name] = proxied(folder / name, port, signature=signature, capture=capture).start()
        for _ in range(arguments.rounds):
            for row in rows:
                for side, port in ((row.direct, ports[row.server]), (row.through, proxies[row.server].port)):
                    found = asyncio.run(measure(port, body, row.load, arguments.seconds, arguments.rate))
                    side.append(_in_ms(found))
        for name, proxy in proxies.items():
            said = proxy.arm()
            print(f"{name}: {said['requests']} requests, {said['failed']} failed, {said['captureLost']} captures lost")
            assert said["failed"] == 0
        return rows
    finally:
        for proxy in proxies.values():
            proxy.stop()
        for server in servers:
            server.terminate()
            server.wait(20)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3, help="of each side in each round")
    parser.add_argument("--rate", type=float, default=200, help="requests a second over 16 connections")
    parser.add_argument("--at-most-ms", type=float, default=2.0, help="fail where the median costs more")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = run(arguments, Path(folder))
    print("| server; load | direct, ms | through, ms | cost at the median (rounds) | p99 direct / through |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(str(row).replace(STEADY, f"{STEADY}, {arguments.rate:g}/s"))
    worst = max(row.cost_ms for row in rows)
    if worst > arguments.at_most_ms:
        raise SystemExit(
            f"the proxy costs {worst:.2f} ms at the median, at most {arguments.at_most_ms:g} was asked for"
        )


if __name__ == "__main__":
    main()
