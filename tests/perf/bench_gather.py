"""`kubectl fairlead gather -A` with a thousand objects there: how long it takes, how much memory, how big it is.

    make bench-gather

A real API server holds a thousand objects of the five kinds with the status that the operator gave them, the Jobs that
it made, a thousand pods and five thousand events. A played kubelet answers for the logs of every pod with more lines
than are asked for. The plugin is a process of its own, as a person runs it.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from tests.integration.test_process import ONE_OF_EACH, own
from tests.perf.crowd import Crowd, Json, build_children, build_dataset, crowd, for_all
from tests.perf.processes import ROOT, ours
from tests.perf.scale import NAMESPACE, install
from tests.support.control_plane import ControlPlane, control_plane
from tests.support.eventually import eventually

from fairlead.api.names import POD, Resource
from fairlead.kube.recorder import EVENT

OBJECTS, EVENTS_EACH = 1000, 5
SPACE, NODE = "crowd", "played"
LINE = (
    "2026-11-21T20:00:00Z INFO fairlead_runtime.serve row 17 of batch 23 answered by revision flights-7f3a in 0.8 ms\n"
)
PLUGIN = "import sys; from fairlead.cli.main import main; sys.exit(main())"
NODES = Resource("v1", "Node", "nodes")


@dataclass(frozen=True)
class Run:
    """What one run of the plugin cost."""

    took_s: float
    cpu_s: float
    memory_mb: float
    archive_mb: float
    unpacked_mb: float
    files: int


@asynccontextmanager
async def played_kubelet(plane: ControlPlane, user: Crowd) -> AsyncIterator[None]:
    """Answer for the logs of a node's pods, as many lines as a kubelet would hold."""

    async def logs(request: web.Request) -> web.Response:
        lines = int(request.query["tailLines"])
        return web.Response(text=(LINE * lines)[: int(request.query["limitBytes"])])

    app = web.Application()
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", logs)
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trust.load_cert_chain(plane.folder / "apiserver.crt", plane.folder / "apiserver.key")
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=trust)
    await site.start()
    port = runner.addresses[0][1]
    endpoints = {"kubeletEndpoint": {"Port": port}}
    await user.create(NODES, {"metadata": {"name": NODE}})
    status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": endpoints}
    await user.send("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": status}, "application/merge-patch+json")
    try:
        yield
    finally:
        await runner.cleanup()


async def given_objects(plane: ControlPlane, user: Crowd) -> None:
    """Make a thousand objects, and let the operator say what it says of them."""
    await user.create(NAMESPACE, {"metadata": {"name": SPACE}})
    names = [f"one-{number}" for number in range(OBJECTS // len(ONE_OF_EACH))]
    made = [(kind, own(kind, name, SPACE, dict(spec))) for kind, spec in ONE_OF_EACH for name in names]
    await for_all(made, lambda one: user.create(*one))
    await for_all(range(OBJECTS * EVENTS_EACH), lambda number: user.create(EVENT, event(number)))
    async with ours(plane, SPACE):

        async def said() -> bool:
            listed = [await user.send("GET", f"/apis/fairlead.dev/v1alpha1/{kind.plural}") for kind, _ in ONE_OF_EACH]
            return all(obj.get("status", {}).get("conditions") for part in listed for obj in part["items"])

        await eventually(said, 300, every_s=2, what="every object has a status")
    await for_all(range(OBJECTS), lambda number: running_pod(user, number))


async def running_pod(user: Crowd, number: int) -> None:
    """Make a pod as a Job of ours has it, that runs on the played node and is not ready."""
    dataset = build_dataset(f"one-{number}", SPACE)
    dataset["metadata"]["uid"] = f"uid-{number}"
    _, pod = build_children(dataset)
    pod["metadata"]["name"] = f"running-{number}"
    pod["spec"] = {**pod["spec"], "nodeName": NODE}
    made = await user.create(POD, pod)
    states = [
        {"name": c["name"], "image": c["image"], "imageID": "", "ready": False, "restartCount": 0,
         "state": {"running": {"startedAt": "2026-11-21T20:00:00Z"}}}
        for c in made["spec"]["containers"]
    ]  # fmt: skip
    path = f"/api/v1/namespaces/{SPACE}/pods/{made['metadata']['name']}/status"
    await user.send("PATCH", path, {"status": {"phase": "Running", "containerStatuses": states}},
                    "application/strategic-merge-patch+json")  # fmt: skip


def event(number: int) -> Json:
    """Return an event about one of the objects."""
    about = {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "Dataset",
        "namespace": SPACE,
        "name": f"one-{number % 200}",
    }
    return {
        "metadata": {"name": f"event-{number}", "namespace": SPACE},
        "eventTime": "2026-11-21T20:00:00.000000Z",
        "reportingController": "fairlead.dev/operator",
        "reportingInstance": "fairlead-0",
        "action": "Reconcile",
        "type": "Normal",
        "reason": "SnapshotStarted",
        "note": "Reads the source into a snapshot; a pod was made for it and waits for a node with room.",
        "regarding": about,
    }


def gather(plane: ControlPlane, target: Path) -> Run:
    """Run the plugin as a person does; return what it cost."""
    command = [sys.executable, "-c", PLUGIN, "gather", "-A", "--kubeconfig", str(plane.kubeconfig())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    began = time.monotonic()
    pid = os.posix_spawn(sys.executable, [*command, "-o", str(target)], environment)
    _, code, usage = os.wait4(pid, 0)
    took = time.monotonic() - began
    if code:
        raise SystemExit(f"gather ended with {os.waitstatus_to_exitcode(code)}")
    with tarfile.open(target) as archive:
        members = archive.getmembers()
    size = sum(member.size for member in members)
    cpu = usage.ru_utime + usage.ru_stime
    return Run(took, cpu, usage.ru_maxrss * 1024 / 1e6, target.stat().st_size / 1e6, size / 1e6, len(members))


async def main() -> None:
    """Make the objects, gather, and print what it cost."""
    with control_plane(environment={}) as plane, tempfile.TemporaryDirectory() as folder:
        async with crowd(plane) as user, played_kubelet(plane, user):
            await install(user)
            await given_objects(plane, user)
            run = await asyncio.to_thread(gather, plane, Path(folder) / "bundle.tar.gz")
    print(json.dumps({"load": os.getloadavg()[0], **{name: round(value, 1) for name, value in vars(run).items()}}))


if __name__ == "__main__":
    asyncio.run(main())
