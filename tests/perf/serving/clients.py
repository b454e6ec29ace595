"""Clients that are not the bottleneck: wrk for HTTP/1.1, h2load for gRPC, and one that keeps to a rate.

The first two say how much a server can do; the third sends on a schedule whatever the server does, and counts an
answer's time from when its request was due, so that a slow answer is not hidden by the requests it held up.
Used by `bench_serve`; each checks that every answer is good.
"""

from __future__ import annotations

import asyncio
import os
import re
import selectors
import shutil
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CLIENT_CPU = 1


@dataclass(frozen=True)
class Target:
    """Where a request goes and what it says."""

    port: int
    path: str
    body: bytes
    headers: tuple[str, ...] = ("content-type: application/json",)

    def raw(self) -> bytes:
        """Return the bytes of the HTTP/1.1 request."""
        lines = [f"POST {self.path} HTTP/1.1", "host: 127.0.0.1", *self.headers, f"content-length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def needed() -> list[str]:
    """Return what is missing on this machine."""
    return [f"{command} (package {package})" for command, package in COMMANDS.items() if not shutil.which(command)]


COMMANDS = {"wrk": "wrk", "h2load": "nghttp2-client", "taskset": "util-linux"}


def http_rate(target: Target, connections: int, seconds: float, folder: Path) -> float:
    """Return requests a second at full speed; raise RuntimeError if any answer was not 2xx."""
    (folder / "body").write_bytes(target.body)
    script = folder / "post.lua"
    headers = " ".join('wrk.headers["{}"]="{}"'.format(*header.split(": ", 1)) for header in target.headers)
    script.write_text(
        f'wrk.method="POST" {headers} local f=io.open("{folder / "body"}","rb") wrk.body=f:read("*a") f:close()'
    )
    url = f"http://127.0.0.1:{target.port}{target.path}"
    patience = ["--timeout", "30s"]  # sixteen batches that wait at a slow server are no failure
    out = _run(["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", *patience, "-s", str(script), url])
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(f"{url}: {out}")
    return _number(r"Requests/sec:\s+([0-9.]+)", out)


def grpc_rate(target: Target, connections: int, seconds: float, folder: Path) -> float:
    """Return calls a second at full speed, one at a time on each connection."""
    (folder / "frame").write_bytes(target.body)
    url = f"http://127.0.0.1:{target.port}/inference.GRPCInferenceService/ModelInfer"
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    command = ["h2load", f"-c{connections}", "-m1", "-t1", f"-D{max(1, round(seconds))}", "-d", str(folder / "frame")]
    out = _run([*command, *headers, url])
    good, bad = _number(r"status codes: (\d+) 2xx", out), _number(r"(\d+) failed", out)
    if not good or bad:
        raise RuntimeError(f"{url}: {out}")
    return _number(r"finished in [^,]+, ([0-9.]+) req/s", out)


def _run(command: list[str]) -> str:
    done = subprocess.run(["taskset", "-c", str(CLIENT_CPU), *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if not found:
        raise RuntimeError(f"no {pattern} in: {text}")
    return float(found[1])


@dataclass
class Paced:
    """What a run at a fixed rate saw."""

    latencies_s: list[float]  # of answers 2xx, from when the request was due
    refused: int  # answers 503
    other: int  # any other answer, or none at all
    served_s: list[float] = field(default_factory=list)  # the same, from when the request was sent
    took_s: float = 0.0  # all of it

    def percentile_ms(self, share: float, *, sent: bool = False) -> float:
        """Return a percentile of the latencies in ms; from when requests were sent, if that is asked for."""
        ordered = sorted(self.served_s if sent else self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def paced(target: Target, rate: float, seconds: float, connections: int) -> Paced:
    """Send at a rate for a time over so many connections; one that is refused or cut is opened again."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CLIENT_CPU} & before or before)
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())  # epoll's time-out counts in whole milliseconds
    try:
        return loop.run_until_complete(_Pacer(target, connections).run(rate, seconds))
    finally:
        loop.close()
        os.sched_setaffinity(0, before)


_AWAKE_S = 0.005  # before a request is due the client, which has a processor of its own, sleeps no more


class _Pacer:
    def __init__(self, target: Target, connections: int) -> None:
        self.target = target
        self.request = target.raw()
        self.count = connections
        self.idle: deque[_Line] = deque()
        self.backlog: deque[float] = deque()
        self.seen = Paced([], 0, 0)
        self.outstanding = 0
        self.ended = False
        self.opening: set[asyncio.Task[Any]] = set()

    async def run(self, rate: float, seconds: float) -> Paced:
        loop = asyncio.get_running_loop()
        for _ in range(self.count):
            await loop.create_connection(lambda: _Line(self), "127.0.0.1", self.target.port)
        began = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            if number % 50 == 0:
                await asyncio.sleep(0)
            while (wait := due - time.perf_counter()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(max(0.0, wait - _AWAKE_S))
            self.ask(due)
        until = time.perf_counter() + 10
        while (self.backlog or self.outstanding) and time.perf_counter() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        self.seen.took_s = time.perf_counter() - began
        self.seen.other += len(self.backlog) + self.outstanding
        self.ended = True
        for line in self.idle:
            line.transport.close()
        return self.seen

    def ask(self, due: float) -> None:
        if self.idle:
            self.idle.popleft().ask(due)
        else:
            self.backlog.append(due)

    def free(self, line: _Line) -> None:
        if self.backlog:
            line.ask(self.backlog.popleft())
        else:
            self.idle.append(line)

    def lost(self, line: _Line) -> None:
        """Open another connection in place of one that the server closed."""
        if self.ended:
            return
        if line in self.idle:
            self.idle.remove(line)
        loop = asyncio.get_running_loop()
        opening = loop.create_task(loop.create_connection(lambda: _Line(self), "127.0.0.1", self.target.port))
        self.opening.add(opening)
        opening.add_done_callback(self.opening.discard)


class _Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, pacer: _Pacer) -> None:
        self.pacer = pacer
        self.due = self.sent = 0.0
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.pacer.free(self)

    def ask(self, due: float) -> None:
        self.due, self.sent = due, time.perf_counter()
        self.pacer.outstanding += 1
        self.transport.write(self.pacer.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", self.buffer, re.IGNORECASE)
        if head < 0 or not length or len(self.buffer) < head + 4 + int(length[1]):
            return
        now = time.perf_counter()
        elapsed, served, self.due = now - self.due, now - self.sent, 0.0
        status, closing = self.buffer[9:12], b"connection: close" in self.buffer[:head]
        self.buffer = b""
        self.pacer.outstanding -= 1
        if status.startswith(b"2"):
            self.pacer.seen.latencies_s.append(elapsed)
            self.pacer.seen.served_s.append(served)
        elif status == b"503":
            self.pacer.seen.refused += 1
        else:
            self.pacer.seen.other += 1
        if closing:
            self.transport.close()
        else:
            self.pacer.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.due:
            self.pacer.outstanding -= 1
            self.pacer.seen.other += 1
        self.pacer.lost(self)
