"""The operator process on a real API server: time from applying a Dataset to its Job, memory, writes at rest.

    .venv/bin/python -m tests.perf.bench_operator [--count 50] [--existing 0] [--rest 60]

Prints one JSON object. `--existing` Datasets are there before the clock starts (their Jobs never run: there is no
kubelet), so the same command measures the idle cluster and the crowded one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from tests.support.control_plane import ControlPlane, control_plane
from tests.support.eventually import eventually

from fairlead.api.names import DATASET, Resource
from fairlead.kube.client import Client
from fairlead.kube.connection import Connection, connect

ROOT = Path(__file__).resolve().parents[2]
CRD = Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
NAMESPACE = "default"


def build_dataset(name: str) -> dict[str, Any]:
    return {
        "apiVersion": DATASET.api_version,
        "kind": DATASET.kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"source": {"configMap": {"name": "rows", "key": "rows.csv"}}, "format": "CSV", "target": "y"},
    }


class JobTimes:
    """When each Job was first seen, from a watch of our own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.seen: dict[str, float] = {}  # owner's name -> monotonic time

    async def watch(self) -> None:
        url = f"{self._connection.configuration.host}/apis/batch/v1/namespaces/{NAMESPACE}/jobs?watch=true"
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(ssl=_trust(self._connection))
        headers = await self._connection.headers()
        async with (
            aiohttp.ClientSession(connector=connector, read_bufsize=2**21) as session,
            session.get(url, headers=headers, timeout=timeout) as response,
        ):
            async for line in response.content:
                event = json.loads(line)
                for owner in event["object"]["metadata"].get("ownerReferences") or ():
                    self.seen.setdefault(owner["name"], time.monotonic())


def _trust(connection: Connection) -> Any:
    import ssl  # noqa: PLC0415

    return ssl.create_default_context(cafile=connection.configuration.ssl_ca_cert)


@asynccontextmanager
async def operator(plane: ControlPlane) -> AsyncIterator[asyncio.subprocess.Process]:
    arguments = (
        "--kubeconfig", str(plane.kubeconfig()), "--server-image", "example.com/server@sha256:0",
        "--jobs-image", "example.com/jobs@sha256:0", "--lease-namespace", NAMESPACE, "--bind-address", "127.0.0.1",
        "--health-port", "0", "--metrics-port", "0", "--log-format", "text", "--log-level", "warning",
    )  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "fairlead.app", *arguments, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def rss_mb(process: asyncio.subprocess.Process) -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cpu_s(process: asyncio.subprocess.Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def writes(plane: ControlPlane) -> int:
    """Return how many writes the operator made, its Lease left out."""
    entries = [json.loads(line) for line in plane.audit_log.read_text().splitlines() if line.endswith("}")]
    return sum(
        entry.get("userAgent", "").startswith("fairlead/")
        and entry["verb"] not in ("get", "list", "watch")
        and entry["objectRef"]["resource"] != "leases"
        for entry in entries
    )


async def apply_all(api: Client, jobs: JobTimes, names: list[str]) -> float:
    """Apply Datasets, ten at a time; return the seconds until every Job exists."""
    began = time.monotonic()
    slots = asyncio.Semaphore(10)

    async def one(name: str) -> None:
        async with slots:
            await api.create(DATASET, NAMESPACE, build_dataset(name))

    await asyncio.gather(*map(one, names))
    await eventually(lambda: all(name in jobs.seen for name in names), 600, every_s=0.1)
    return time.monotonic() - began


async def settle(plane: ControlPlane) -> float:
    """Wait until the operator has written nothing for two seconds; return how long that took."""
    began, last = time.monotonic(), -1
    while (now := writes(plane)) != last:
        last = now
        await asyncio.sleep(2)
    return time.monotonic() - began


async def latencies(api: Client, jobs: JobTimes, count: int) -> list[float]:
    times = []
    for number in range(count):
        name = f"timed-{number}"
        began = time.monotonic()
        await api.create(DATASET, NAMESPACE, build_dataset(name))
        await eventually(lambda name=name: name in jobs.seen, 30, every_s=0.001)
        times.append((jobs.seen[name] - began) * 1000)
        await asyncio.sleep(0.1)  # the peer of each measurement is a quiet operator
    return times


async def measure(plane: ControlPlane, count: int, existing: int, rest_s: float) -> dict[str, Any]:
    connection = await connect(str(plane.kubeconfig()))
    api, jobs = Client(connection, user_agent="bench"), JobTimes(connection)
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        await api.create(CRD, "", yaml.safe_load(path.read_text()))
    watch = asyncio.create_task(jobs.watch())
    figures: dict[str, Any] = {"existing": existing, "count": count}
    async with operator(plane) as process:
        await apply_all(api, jobs, ["warm"])
        figures["memory_start_mb"] = round(rss_mb(process), 1)
        if existing:
            cpu = cpu_s(process)
            figures["burst_s"] = round(await apply_all(api, jobs, [f"there-{n}" for n in range(existing)]), 2)
            figures["settled_after_s"] = round(await settle(plane), 2)
            figures["burst_cpu_s"] = round(cpu_s(process) - cpu, 2)
        times = await latencies(api, jobs, count)
        figures["p50_ms"] = round(statistics.median(times), 1)
        figures["p99_ms"] = round(sorted(times)[max(0, int(len(times) * 0.99) - 1)], 1)
        await settle(plane)
        before, cpu = writes(plane), cpu_s(process)
        await asyncio.sleep(rest_s)
        figures["writes_at_rest"] = writes(plane) - before
        figures["cpu_at_rest_percent"] = round((cpu_s(process) - cpu) / rest_s * 100, 2)
        figures["memory_rest_mb"] = round(rss_mb(process), 1)
    async with operator(plane) as process:
        before = writes(plane)
        await asyncio.sleep(10 + existing / 100)
        figures["writes_after_restart"] = writes(plane) - before
        figures["memory_restart_mb"] = round(rss_mb(process), 1)
    watch.cancel()
    await api.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--existing", type=int, default=0)
    parser.add_argument("--rest", type=float, default=60)
    given = parser.parse_args()
    with control_plane() as plane:
        print(json.dumps(asyncio.run(measure(plane, given.count, given.existing, given.rest)), indent=2))


if __name__ == "__main__":
    main()
