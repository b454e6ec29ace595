"""What we rely on in kopf and what we forbid it, against a fake API server: a new release shows what changed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import kopf
import pytest
from tests.support.eventually import eventually
from tests.support.fake_api import FakeApi, fake_api
from tests.support.toy import TOY

from fairlead.api.names import HTTP_ROUTE, JOB, POD, Resource
from fairlead.kube.client import CHUNK
from fairlead.kube.watch import DECOY_FINALIZER, LISTED, KopfStreams, WatchSettings

RESOURCES = (TOY, JOB, POD)
KOPF_DEFAULT_FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"


class Seen:
    """Events as `on_event` gets them."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.explode = False

    def __call__(self, resource: Resource, type_: str, obj: Any) -> None:
        if self.explode:
            raise RuntimeError("the store broke")
        self.events.append((resource.kind, type_, obj["metadata"]["name"]))


@asynccontextmanager
async def streaming(
    api: FakeApi, seen: Seen, resources: tuple[Resource, ...] = RESOURCES, **settings: Any
) -> AsyncIterator[asyncio.Task[None]]:
    streams = KopfStreams(api.connection(), WatchSettings(**settings))
    task = asyncio.create_task(streams.run(resources, seen))
    try:
        await eventually(lambda: task.done() or all(api.watches[r.plural] for r in resources), what="all watched")
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_listed_and_watched_objects_reach_on_event() -> None:
    async with fake_api(RESOURCES) as api:
        api.put(TOY, "old")
        seen = Seen()
        async with streaming(api, seen):
            await eventually(lambda: ("Toy", LISTED, "old") in seen.events)
            for type_ in ("ADDED", "MODIFIED", "DELETED"):
                api.emit(TOY, type_, api.put(TOY, "new"))
            wanted = [("Toy", type_, "new") for type_ in ("ADDED", "MODIFIED", "DELETED")]
            await eventually(lambda: seen.events[-3:] == wanted)


async def test_an_event_is_not_held_back() -> None:
    """kopf once waited 0.1 s for a batch; a reconcile must begin at once."""
    async with fake_api(RESOURCES) as api:
        seen = Seen()
        async with streaming(api, seen):
            loop = asyncio.get_running_loop()
            times = []
            for number in range(5):
                began = loop.time()
                api.emit(TOY, "ADDED", api.put(TOY, f"t{number}"))
                await eventually(lambda n=number: ("Toy", "ADDED", f"t{n}") in seen.events, every_s=0.001)
                times.append(loop.time() - began)
            assert min(times) < 0.05


async def test_kopf_only_reads_and_leaves_every_finalizer() -> None:
    async with fake_api(RESOURCES) as api:
        finalizers = [KOPF_DEFAULT_FINALIZER, "fairlead.dev/finalizer", "foregroundDeletion"]
        api.put(JOB, "theirs", metadata={"finalizers": finalizers})
        api.put(TOY, "leaving", metadata={"finalizers": finalizers, "deletionTimestamp": "2026-01-01T00:00:00Z"})
        seen = Seen()
        async with streaming(api, seen):
            await eventually(lambda: len(seen.events) == 2)
            api.emit(JOB, "MODIFIED", api.put(JOB, "theirs", metadata={"finalizers": finalizers}))
            await eventually(lambda: ("Job", "MODIFIED", "theirs") in seen.events)
        assert {method for method, _, _ in api.requests} == {"GET"}


async def test_the_finalizer_that_kopf_is_given_is_stripped_and_so_it_is_a_decoy() -> None:
    """If this fails, kopf leaves its finalizer alone now, and the decoy can go."""
    async with fake_api(RESOURCES) as api:
        api.put(TOY, "decoyed", metadata={"finalizers": [DECOY_FINALIZER]})
        async with streaming(api, Seen()):
            await eventually(lambda: api.asked("PATCH"))


async def test_neither_crds_nor_namespaces_are_listed() -> None:
    async with fake_api(RESOURCES) as api, streaming(api, Seen()):
        asked = api.asked()
        assert not [request for request in asked if request.endswith(("customresourcedefinitions", "/namespaces"))]


async def test_children_are_selected_by_label_in_list_and_watch() -> None:
    async with fake_api(RESOURCES) as api, streaming(api, Seen()):
        for resource in (JOB, POD):
            for watch in (False, True):
                queries = api.queries(resource, watch=watch)
                assert queries
                assert {query.get("labelSelector") for query in queries} == {"app.kubernetes.io/managed-by=fairlead"}
        assert {query.get("labelSelector") for query in api.queries(TOY, watch=True)} == {None}


async def test_lists_come_in_chunks_and_watches_end_by_the_server() -> None:
    async with fake_api(RESOURCES) as api, streaming(api, Seen()):
        assert {query["limit"] for query in api.queries(TOY, watch=False)} == {str(CHUNK)}
        assert {query["timeoutSeconds"] for query in api.queries(TOY, watch=True)} == {"300"}
        assert {query["allowWatchBookmarks"] for query in api.queries(TOY, watch=True)} == {"true"}


async def test_named_namespaces_are_watched_one_by_one() -> None:
    async with fake_api(RESOURCES) as api, streaming(api, Seen(), namespaces=("a", "b")):
        paths = {path for _, path, query in api.requests if query.get("watch") == "true" and path.endswith("/toys")}
        assert paths == {f"/apis/{TOY.api_version}/namespaces/{namespace}/toys" for namespace in ("a", "b")}


async def test_a_watch_that_the_server_ends_goes_on() -> None:
    async with fake_api(RESOURCES) as api:
        seen = Seen()
        async with streaming(api, seen):
            before = len(api.queries(TOY, watch=True))
            api.cut(TOY)
            await eventually(lambda: len(api.queries(TOY, watch=True)) > before and api.watches["toys"])
            api.emit(TOY, "ADDED", api.put(TOY, "later"))
            await eventually(lambda: ("Toy", "ADDED", "later") in seen.events)


async def test_a_deletion_across_410_is_never_told_which_is_why_we_relist() -> None:
    """If this fails, kopf reports such deletions now, and the own relist may become rarer."""
    async with fake_api(RESOURCES) as api:
        api.put(TOY, "a")
        api.put(TOY, "b")
        seen = Seen()
        async with streaming(api, seen):
            await eventually(lambda: len(seen.events) == 2)
            api.remove(TOY, "b")
            api.expire(TOY)
            await eventually(lambda: seen.events.count(("Toy", LISTED, "a")) == 2 and api.watches["toys"])
            assert "DELETED" not in [type_ for _, type_, _ in seen.events]


async def test_an_error_event_ends_the_streams_aloud() -> None:
    async with fake_api(RESOURCES) as api, streaming(api, Seen()) as task:
        api.fail(TOY, 500, "InternalError")
        await eventually(task.done)
        assert task.exception() is not None


async def test_an_event_that_the_store_cannot_take_ends_the_streams_aloud() -> None:
    """kopf ignores errors of event handlers; ours must not be lost."""
    async with fake_api(RESOURCES) as api:
        seen = Seen()
        async with streaming(api, seen) as task:
            seen.explode = True
            api.emit(TOY, "ADDED", api.put(TOY, "one"))
            await eventually(task.done)
            with pytest.raises(RuntimeError, match="the store broke"):
                task.result()


async def test_ending_the_streams_leaves_other_tasks_alone() -> None:
    """kopf.operator() cancels every task of the process that is younger than itself; our way must not."""
    async with fake_api(RESOURCES) as api:
        async with streaming(api, Seen()):
            bystander = asyncio.create_task(asyncio.Event().wait())
        assert not bystander.done()
        bystander.cancel()


async def test_signals_are_given_back() -> None:
    """kopf takes SIGTERM and SIGINT; the process must keep its own orderly end."""
    got: list[str] = []
    loop = asyncio.get_running_loop()
    async with fake_api(RESOURCES) as api:
        streams = KopfStreams(
            api.connection(), restore_signals=lambda: loop.add_signal_handler(signal.SIGTERM, got.append, "ours")
        )
        task = asyncio.create_task(streams.run(RESOURCES, Seen()))
        await eventually(lambda: api.watches["toys"])
        signal.raise_signal(signal.SIGTERM)
        await eventually(lambda: got)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        loop.remove_signal_handler(signal.SIGTERM)


async def test_an_unserved_resource_is_no_error() -> None:
    async with fake_api(RESOURCES) as api:
        seen = Seen()
        streams = KopfStreams(api.connection())
        task = asyncio.create_task(streams.run((*RESOURCES, HTTP_ROUTE), seen))
        await eventually(lambda: all(api.watches[r.plural] for r in RESOURCES))
        api.emit(TOY, "ADDED", api.put(TOY, "one"))
        await eventually(lambda: seen.events)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_the_settings_that_are_used_exist() -> None:
    settings = kopf.OperatorSettings()
    for path in ("watching.chunk_size", "watching.label_selectors", "scanning.disabled", "posting.enabled"):
        group, name = path.split(".")
        assert hasattr(getattr(settings, group), name), path
