"""A bundle's logs and metrics, its index page, and that nothing which looks like a credential gets into them."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

from fairlead.api.names import Resource
from fairlead.cli.bundle import pack
from fairlead.cli.gather import Scope, gather
from fairlead.kube.client import Client, Page
from fairlead.kube.errors import NotFoundError
from fairlead.kube.recorder import EVENT

from .objects import Obj, world

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
PLANTED = "Zx81-canary-value"


def pod(name: str, namespace: str, restarts: int = 0, *, waiting: bool = False) -> Obj:
    state = {"waiting": {"reason": "ContainerCreating"}} if waiting else {"running": {}}
    containers = [{"name": "main", "restartCount": restarts, "state": state}]
    return {"metadata": {"name": name, "namespace": namespace}, "status": {"containerStatuses": containers}}


class Api:
    """A cluster with an operator that restarted once, and the objects of a namespace."""

    def __init__(self) -> None:
        containers = [{"name": "main", "image": "fairlead-operator:v1"}]
        operator = {"metadata": {"name": "fairlead", "namespace": "system"}}
        self.lists: dict[tuple[str, str], list[Obj]] = {
            ("deployments", ""): [{**operator, "spec": {"template": {"spec": {"containers": containers}}}}],
            ("pods", "system"): [pod("operator-1", "system", restarts=1)],
            ("pods", "fraud"): [pod("server", "fraud"), pod("starting", "fraud", waiting=True)],
            **{(f"{kind.lower()}s", "fraud"): objects for kind, objects in world().items()},
        }

    async def pages(self, resource: Resource, namespace: str | None = None, _: str = "") -> AsyncIterator[Page]:
        yield Page(self.lists.get((resource.plural, namespace or ""), []), "1")

    async def get(self, *_: Any) -> Obj:
        raise NotFoundError("crds not found")

    async def read_text(self, path: str) -> str:
        return '{"gitVersion": "v1.36.1"}' if path == "/version" else f"fairlead_up 1\n# token={PLANTED}\n"

    async def read_log(self, _: str, pod: str, container: str, lines: int, *, previous: bool = False) -> str:
        assert lines > 0
        return f"{pod} {container} {'before' if previous else 'now'}\npassword={PLANTED}\n"


async def test_logs_metrics_and_what_is_not_ready() -> None:
    bundle = await gather(cast(Client, Api()), Scope("fraud"), AT)
    assert {
        "operator/logs/system/operator-1/main.log",
        "operator/logs/system/operator-1/main.previous.log",
        "operator/metrics/operator-1.txt",
        "logs/fraud/server/main.log",
        "objects/inferenceservices.json",
    } <= set(bundle.files)
    assert "logs/fraud/starting/main.log" not in bundle.files
    assert "before" in bundle.files["operator/logs/system/operator-1/main.previous.log"]
    assert bundle.versions["API server"] == "v1.36.1"
    assert bundle.missing == {"versions/crds": "crds not found"}
    assert ("InferenceService fraud/fraud", "Stalled RolledBack") in [row[:2] for row in bundle.problems]
    assert [path for path, text in bundle.files.items() if PLANTED in text] == []


async def test_the_archive_opens_with_its_index_and_shows_words_as_words() -> None:
    bundle = await gather(cast(Client, Api()), Scope("fraud"), AT)
    bundle.problems.append(("Dataset fraud/x", "Stalled", "<script>alert(1)</script>"))
    with tarfile.open(fileobj=io.BytesIO(pack(bundle))) as archive:
        first = archive.getmembers()[0]
        held = archive.extractfile(first)
        page = held.read().decode() if held else ""
    assert first.name == "fairlead-20261121T120000Z/index.html"
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert 'href="operator/metrics/operator-1.txt"' in page
    assert "crds not found" in page


async def test_without_an_operator_the_page_says_how_to_name_it() -> None:
    api = Api()
    api.lists.pop(("deployments", ""))
    bundle = await gather(cast(Client, api), Scope("fraud"), AT)
    assert "--operator-namespace" in bundle.missing["operator"]


async def test_of_many_objects_no_more_is_kept_than_their_text() -> None:
    api = Api()
    api.lists["jobs", "fraud"] = []

    async def pages(resource: Resource, namespace: str | None = None, _: str = "") -> AsyncIterator[Page]:
        for number in range(30 if resource.plural == "jobs" else 0):
            yield Page([fat(f"{number}-{each}") for each in range(10)], "1")

    api.pages = pages  # type: ignore[assignment,method-assign]
    tracemalloc.start()
    bundle = await gather(cast(Client, api), Scope("fraud"), AT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(json.loads(bundle.files["objects/jobs.json"])["items"]) == 300
    # the text, and while the file is put together twice more; the objects themselves would be ten times as much
    assert peak < 4 * sum(map(len, bundle.files.values()))


def fat(name: str) -> Obj:
    """Return an object of many small values, as specs of pods are."""
    values = [{"name": f"N{number}", "value": str(number), "optional": True} for number in range(40)]
    return {"metadata": {"name": name, "namespace": "fraud"}, "spec": {"env": values}}


async def test_events_that_do_not_end_in_time_are_there_as_far_as_they_came() -> None:
    api, never = Api(), asyncio.Event()
    pages = api.pages

    async def endless(resource: Resource, namespace: str | None = None, _: str = "") -> AsyncIterator[Page]:
        if resource != EVENT:
            async for page in pages(resource, namespace):
                yield page
            return
        yield Page([{"eventTime": "2026-11-21T12:00:00Z", "note": "password=Zx81-canary-value"}], "1")
        await never.wait()

    api.pages = endless  # type: ignore[method-assign]
    bundle = await gather(cast(Client, api), Scope("fraud"), AT, limit_s=0.5)
    assert bundle.missing["events.txt"] == "time was up"
    assert "2026-11-21T12:00:00Z" in bundle.files["events.txt"]
    assert PLANTED not in bundle.files["events.txt"]
