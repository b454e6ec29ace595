"""The two controllers as processes of their own, and what they cost: CPU time, memory, writes by the audit log."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.control_plane import ControlPlane
from tests.support.eventually import eventually
from tests.support.served import free_port

ROOT = Path(__file__).resolve().parents[2]
READS = ("get", "list", "watch")
OURS, PEER = "fairlead", "kopf"  # also how their user agents begin


@dataclass
class Controller:
    """A running controller that serves one namespace."""

    name: str
    namespace: str
    process: asyncio.subprocess.Process
    health_port: int
    began: float

    def cpu_s(self) -> float:
        """Return the CPU seconds used so far."""
        return cpu_of(self.process.pid)

    def rss_mb(self) -> float:
        """Return the resident megabytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6

    async def ready_after_s(self, timeout_s: float = 120) -> float:
        """Wait for /readyz; return how long after the start of the process it said so."""
        url = f"http://127.0.0.1:{self.health_port}/readyz"
        await eventually(lambda: asyncio.to_thread(_answers, url), timeout_s, every_s=0.05, what=f"{url} says ok")
        return time.monotonic() - self.began


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def ours(plane: ControlPlane, namespace: str, **settings: str) -> AsyncIterator[Controller]:
    """Run the operator with the settings of the chart, in one namespace."""
    health_port = free_port()
    given = {
        "kubeconfig": str(plane.kubeconfig()),
        "namespaces": namespace,
        "server-image": "example.com/server@sha256:0",
        "jobs-image": "example.com/jobs@sha256:0",
        "lease-namespace": "default",
        "bind-address": "127.0.0.1",
        "health-port": str(health_port),
        "metrics-port": "0",
        "log-format": "text",
        "log-level": "warning",
    } | {name.replace("_", "-"): value for name, value in settings.items()}
    arguments = ["-m", "fairlead.app", *(f"--{name}={value}" for name, value in given.items())]
    async with _running(OURS, namespace, arguments, health_port, plane) as controller:
        yield controller


@asynccontextmanager
async def peer(plane: ControlPlane, namespace: str) -> AsyncIterator[Controller]:
    """Run the kopf controller beside it."""
    health_port = free_port()
    liveness = f"--liveness=http://127.0.0.1:{health_port}/readyz"
    arguments = ["-m", "kopf", "run", "--quiet", "--standalone", "-n", namespace, liveness, "-m", "tests.perf.peer"]
    async with _running(PEER, namespace, arguments, health_port, plane) as controller:
        yield controller


@asynccontextmanager
async def _running(
    name: str, namespace: str, arguments: Iterable[str], health_port: int, plane: ControlPlane
) -> AsyncIterator[Controller]:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}",
        "KUBECONFIG": str(plane.kubeconfig()),
    }
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
    try:
        controller = Controller(name, namespace, process, health_port, began)
        await controller.ready_after_s()
        yield controller
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                process.kill()
                await process.wait()


class Audit:
    """Requests by user agent, verb and resource, as the API server saw them; reads on where it stopped."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane, self._offset = plane, 0
        self.requests: Counter[tuple[str, str, str]] = Counter()

    def read(self) -> Counter[tuple[str, str, str]]:
        """Return all counts up to now."""
        with self._plane.audit_log.open("rb") as log:
            log.seek(self._offset)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._count(json.loads(line))
        return self.requests

    def _count(self, entry: dict[str, object]) -> None:
        reference = entry.get("objectRef")
        resource = str(reference.get("resource", "")) if isinstance(reference, dict) else ""
        agent = str(entry.get("userAgent", "")).partition("/")[0]
        self.requests[agent, str(entry["verb"]), resource] += 1

    def sum(self, agent: str, wanted: Callable[[str, str], bool]) -> int:
        """Return how many requests of an agent are wanted by (verb, resource)."""
        return sum(n for (who, verb, what), n in self.read().items() if who == agent and wanted(verb, what))

    def writes(self) -> int:
        """Return how many writes the operator made, its Lease left out."""
        return self.sum(OURS, lambda verb, resource: verb not in READS and resource != "leases")


def plane_cpu_s(plane: ControlPlane) -> float:
    """Return the CPU seconds of the API server and etcd, which share the machine with the controllers."""
    mine = [pid for pid in Path("/proc").iterdir() if pid.name.isdigit() and _is_of(pid, plane)]
    return sum(cpu_of(int(pid.name)) for pid in mine)


def _is_of(pid: Path, plane: ControlPlane) -> bool:
    try:
        words = (pid / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].endswith((b"kube-apiserver", b"etcd")) and str(plane.folder).encode() in b" ".join(words)
