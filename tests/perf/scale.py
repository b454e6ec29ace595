"""The operator at scale on a real API server, beside a plain kopf controller, held against expected ranges.

    make perf                                  all of it, at most 20 min; fails outside of ranges.yaml
    .venv/bin/python -m tests.perf.scale --only burst latency --existing 200 --count 20

Both controllers run all the time, each serving a namespace of its own, and take turns at every measurement. There is
no kubelet: Jobs exist and never run, which is the busier kind of rest, because what waits is looked at again.
Prints the load of the machine beside the figures: by the clock they hold only on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttp
import yaml
from tests.perf import ranges
from tests.perf.crowd import Crowd, build_dataset, crowd, for_all
from tests.perf.processes import OURS, PEER, ROOT, Audit, Controller, ours, peer, plane_cpu_s
from tests.perf.rollout import count_rollout_requests
from tests.support.control_plane import ControlPlane, control_plane
from tests.support.eventually import eventually

from fairlead.api.names import DATASET, Resource

CRD = Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
NAMESPACE = Resource("v1", "Namespace", "namespaces")
PARTS = ("burst", "latency", "noisy", "rest", "restart", "startup", "rollout")
COMPARED = ("burst_s", "burst_cpu_s", "burst_plane_cpu_s", "latency_p50_ms", "latency_p99_ms", "memory_per_1000_mb")
ROUNDS = 4
NOISE_PER_S = 50
QUIET_S = 3.0


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    existing: int = 1000
    count: int = 50  # applies per round and controller
    rest_s: float = 600.0
    startup: int = 5000  # Datasets, each with a Job and a pod


@dataclass
class Run:
    """One API server, the user, what has been measured so far."""

    plane: ControlPlane
    user: Crowd
    audit: Audit
    sizes: Sizes
    figures: dict[str, float] = field(default_factory=dict)

    def note(self, **figures: float) -> None:
        """Keep figures and say them at once."""
        self.figures |= {name: round(value, 2) for name, value in figures.items()}
        said = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
        print(f"{time.strftime('%H:%M:%S')} load {os.getloadavg()[0]:.1f}: {said}", file=sys.stderr, flush=True)

    async def settle(self) -> None:
        """Wait until neither controller has written for a while."""
        last, since = -1, time.monotonic()
        while time.monotonic() - since < QUIET_S:
            await asyncio.sleep(0.5)
            now = sum(n for (who, verb, what), n in self.audit.read().items() if who != "crowd" and what != "leases"
                      and verb not in ("get", "list", "watch"))  # fmt: skip
            if now != last:
                last, since = now, time.monotonic()


def p99(times: Iterable[float]) -> float:
    """Return the value that 99 of 100 do not exceed."""
    ordered = sorted(times)
    return ordered[math.ceil(len(ordered) * 0.99) - 1]


async def measure_burst(run: Run, controller: Controller) -> None:
    """All Datasets at once, until all Jobs are there."""
    cpu, plane_cpu, memory = controller.cpu_s(), plane_cpu_s(run.plane), controller.rss_mb()
    took = await run.user.burst(controller.namespace, [f"there-{n}" for n in range(run.sizes.existing)])
    until_jobs_cpu, until_jobs_plane_cpu = controller.cpu_s() - cpu, plane_cpu_s(run.plane) - plane_cpu
    await run.settle()
    run.note(
        **{
            f"{controller.name}_burst_s": took,
            f"{controller.name}_burst_cpu_s": until_jobs_cpu,
            f"{controller.name}_burst_settled_cpu_s": controller.cpu_s() - cpu,
            f"{controller.name}_burst_plane_cpu_s": until_jobs_plane_cpu,
            f"{controller.name}_burst_settled_plane_cpu_s": plane_cpu_s(run.plane) - plane_cpu,
            f"{controller.name}_memory_start_mb": memory,
        }
    )


async def measure_latency(run: Run, controllers: Iterable[Controller]) -> None:
    """One Dataset after the other with the crowd there, the controllers in turns."""
    times: dict[str, list[float]] = {OURS: [], PEER: []}
    for turn in range(ROUNDS):
        for controller in controllers:
            times[controller.name] += await _latencies(run, controller, f"timed-{turn}")
    for name, taken in times.items():
        run.note(**{f"{name}_latency_p50_ms": statistics.median(taken), f"{name}_latency_p99_ms": p99(taken)})


async def _latencies(run: Run, controller: Controller, prefix: str) -> list[float]:
    times = []
    for number in range(run.sizes.count):
        times.append(await run.user.latency_ms(controller.namespace, f"{prefix}-{number}"))
        await asyncio.sleep(0.1)  # each meets a quiet controller
    return times


async def measure_noisy(run: Run, controller: Controller) -> None:
    """One Dataset's spec changes 50 times a second; the others' latency, in turns with quiet.

    In turns too with the same noise in a namespace that no controller serves: what the API server and the user of
    this very program cost each other on these cores, whoever is the controller.
    """
    unserved = "unserved"
    await run.user.create(NAMESPACE, {"metadata": {"name": unserved}})
    await run.user.create(DATASET, build_dataset("noisy", unserved))
    await run.user.burst(controller.namespace, ["noisy"])
    times: dict[str, list[float]] = {"quiet": [], unserved: [], controller.namespace: []}
    for turn in range(ROUNDS):
        for place in times:
            times[place] += await _latencies_beside(run, controller, place, f"{place}-{turn}")
            await run.settle()
    quiet, floor, noisy = (p99(taken) for taken in times.values())
    run.note(noisy_quiet_p99_ms=quiet, noisy_unserved_p99_ms=floor, noisy_p99_ms=noisy)
    run.note(**{f"noisy_{name}_p50_ms": statistics.median(taken) for name, taken in times.items()})
    run.note(noisy_p99_ratio=noisy / quiet, noisy_unserved_p99_ratio=floor / quiet)


async def _latencies_beside(run: Run, controller: Controller, place: str, prefix: str) -> list[float]:
    """Return latencies while the Dataset `noisy` of a namespace keeps changing; of none when it is `quiet`."""
    if place == "quiet":
        return await _latencies(run, controller, prefix)
    noise = asyncio.create_task(_change_for_ever(run, place, "noisy"))
    try:
        return await _latencies(run, controller, prefix)
    finally:
        noise.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await noise


async def _change_for_ever(run: Run, namespace: str, name: str) -> None:
    """Change a spec at a fixed rate, with connections of its own, so that nobody waits behind it on our side."""
    async with crowd(run.plane) as other, asyncio.TaskGroup() as changes:
        for number in range(10**9):
            body = {"spec": {"keepRevisions": 2 + number % 5}}
            changes.create_task(other.merge(DATASET, namespace, name, body))
            await asyncio.sleep(1 / NOISE_PER_S)


async def measure_rest(run: Run, controllers: Iterable[Controller]) -> None:
    """Nobody does anything."""
    await run.settle()
    before = {controller.name: controller.cpu_s() for controller in controllers}
    writes = run.audit.writes()
    await asyncio.sleep(run.sizes.rest_s)
    run.note(rest_writes=run.audit.writes() - writes)
    for controller in controllers:
        cpu = (controller.cpu_s() - before[controller.name]) / run.sizes.rest_s
        start = run.figures.get(f"{controller.name}_memory_start_mb", 0.0)
        memory = controller.rss_mb()
        crs = sum(namespace == controller.namespace for namespace, _ in run.user.seen) / 1000
        run.note(
            **{
                f"{controller.name}_rest_cpu_percent": cpu * 100,
                f"{controller.name}_rest_memory_mb": memory,
                f"{controller.name}_memory_per_1000_mb": (memory - start) / crs,
            }
        )


async def measure_restart(run: Run, namespace: str) -> None:
    """A new process meets what the old one left settled."""
    writes = run.audit.writes()
    async with ours(run.plane, namespace) as controller:
        await asyncio.sleep(5)
        await eventually(lambda: _is_idle(controller), 120, every_s=2)
        run.note(restart_writes=run.audit.writes() - writes, restart_memory_mb=controller.rss_mb())


def _is_idle(controller: Controller, last: dict[int, float] = {}) -> bool:  # noqa: B006 - remembers between looks
    """Say whether it used next to no CPU since the last look."""
    pid, now = controller.process.pid, controller.cpu_s()
    before, last[pid] = last.get(pid, -1.0), now
    return 0 <= now - before < 0.2


async def measure_startup(run: Run) -> None:
    """From the start of the process to /readyz with many objects, and what it costs to know them."""
    namespace = "many"
    await run.user.create(NAMESPACE, {"metadata": {"name": namespace}})
    await run.user.make_there(namespace, [f"many-{n}" for n in range(run.sizes.startup)])
    async with ours(run.plane, namespace, lease_name="many") as controller:
        run.note(startup_s=time.monotonic() - controller.began, startup_cpu_s=controller.cpu_s())
        run.note(startup_memory_mb=controller.rss_mb())


async def measure(run: Run, parts: Iterable[str]) -> None:
    """Measure these parts, in the order of PARTS."""
    for namespace in (OURS, PEER):
        await run.user.create(NAMESPACE, {"metadata": {"name": namespace}})
    async with ours(run.plane, OURS) as mine, peer(run.plane, PEER) as other:
        both = (mine, other)
        for controller in both:
            await run.user.burst(controller.namespace, ["warm"])
        await run.settle()
        if "burst" in parts:
            for controller in both:
                await measure_burst(run, controller)
        if "latency" in parts:
            await measure_latency(run, both)
        if "rest" in parts:
            await measure_rest(run, both)
        if "noisy" in parts:
            await measure_noisy(run, mine)
    if "restart" in parts:
        await measure_restart(run, OURS)
    if "startup" in parts:
        await measure_startup(run)


async def install(user: Crowd) -> None:
    """Install the kinds and wait until they are served."""
    documents = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    await for_all(documents, lambda document: user.create(CRD, document))

    async def served() -> bool:
        try:
            found = await user.send("GET", "/apis/fairlead.dev/v1alpha1")
        except aiohttp.ClientResponseError:
            return False
        return len([entry for entry in found["resources"] if "/" not in entry["name"]]) == len(documents)

    await eventually(served, 30, what="the kinds are served")


async def main(parts: Iterable[str], sizes: Sizes) -> dict[str, float]:
    """Start an API server, measure, return the figures by name."""
    with control_plane(environment={}) as plane:
        async with crowd(plane) as user:
            await install(user)
            run = Run(plane, user, Audit(plane), sizes)
            await measure(run, parts)
    if "rollout" in parts:
        run.note(**await count_rollout_requests())
    run.note(**compare(run.figures))
    return run.figures


def compare(figures: dict[str, float]) -> dict[str, float]:
    """Return ours divided by the peer's: these hold on a busy machine too."""
    pairs = {name: (figures.get(f"{OURS}_{name}"), figures.get(f"{PEER}_{name}")) for name in COMPARED}
    return {f"ratio_{name}": mine / theirs for name, (mine, theirs) in pairs.items() if mine and theirs}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--existing", type=int, default=Sizes.existing)
    parser.add_argument("--count", type=int, default=Sizes.count)
    parser.add_argument("--rest", type=float, default=Sizes.rest_s, help="seconds")
    parser.add_argument("--startup", type=int, default=Sizes.startup)
    parser.add_argument("--no-ranges", action="store_true", help="only print")
    given = parser.parse_args()
    measured = asyncio.run(main(given.only, Sizes(given.existing, given.count, given.rest, given.startup)))
    print(json.dumps({"load": os.getloadavg()[0], **measured}, indent=2))
    sys.exit(0 if given.no_ranges else ranges.report(measured))
