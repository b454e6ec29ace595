from __future__ import annotations

import asyncio
import random

import pytest
from aiohttp import web
from tests.support.clock import FakeClock
from tests.support.eventually import eventually
from tests.support.fake_api import fake_api, status
from tests.support.toy import TOY

from fairlead.api.names import HTTP_ROUTE, JOB, POD
from fairlead.kube.client import Client
from fairlead.kube.errors import ServerError
from fairlead.kube.queue import Backoff
from fairlead.kube.relist import PAGES, Relist, RelistSettings
from fairlead.kube.store import Store

RESOURCES = (TOY, JOB)


async def test_fill_lists_everything_with_its_selector() -> None:
    async with fake_api(RESOURCES) as api:
        api.put(TOY, "a")
        client, store = Client(api.connection()), Store()
        relist = Relist(client, store)
        await relist.fill(RESOURCES)
        assert store.get(TOY, "ns", "a") is not None
        assert api.queries(JOB, watch=False)[0]["labelSelector"] == "app.kubernetes.io/managed-by=fairlead"
        assert "labelSelector" not in api.queries(TOY, watch=False)[0]
        await client.close()


async def test_a_start_gets_on_though_something_fails_each_time() -> None:
    """Each attempt loses one of the two lists, in turn: what an attempt has got is kept for the next."""
    async with fake_api(RESOURCES) as api:
        attempts = 0

        def interfere(request: web.Request) -> web.Response | None:
            unlucky = RESOURCES[attempts % 2].plural
            return status(503, "ServiceUnavailable", "try again") if request.path.endswith(unlucky) else None

        api.interfere = interfere
        client = Client(api.connection())
        relist = Relist(client, Store())
        for attempts in (0, 1):
            try:
                await relist.fill(RESOURCES)
                break
            except ServerError:
                assert attempts == 0
        assert relist.oldest_age_s(RESOURCES) < 60
        await client.close()


async def test_the_age_is_that_of_the_oldest_list() -> None:
    async with fake_api(RESOURCES) as api:
        clock = FakeClock()
        client = Client(api.connection())
        relist = Relist(client, Store(), monotonic=clock.monotonic)
        assert relist.oldest_age_s(RESOURCES) == float("inf")
        await relist.relist(TOY)
        clock.advance(7)
        await relist.relist(JOB)
        assert relist.oldest_age_s(RESOURCES) == 7
        await client.close()


async def test_a_list_whose_position_expires_starts_over() -> None:
    async with fake_api(RESOURCES) as api:
        answers = [status(410, "Expired", "too old")]
        api.interfere = lambda _request: answers.pop() if answers else None
        client, store = Client(api.connection()), Store()
        api.put(TOY, "a")
        await Relist(client, store).relist(TOY)
        assert store.get(TOY, "ns", "a") is not None
        await client.close()


async def test_a_long_list_goes_on_where_a_page_failed() -> None:
    """40 pages, a third of all requests failing: a list that began anew each time would never end."""
    chance = random.Random(7)

    def serve(request: web.Request) -> web.Response:
        number = int(request.query.get("continue") or 0)
        if number and chance.random() < 1 / 3:
            return chance.choice((status(429, "TooManyRequests", "wait"), status(500, "X", "down")))
        metadata = {"resourceVersion": "9"} | ({"continue": str(number + 1)} if number < 39 else {})
        item = {"metadata": {"name": f"a-{number}", "namespace": "ns", "uid": f"u{number}", "resourceVersion": "1"}}
        return web.json_response({"metadata": metadata, "items": [item]})

    async with fake_api(RESOURCES) as api:
        api.interfere = serve
        client, store = Client(api.connection()), Store()
        await Relist(client, store, settings=RelistSettings(pages=Backoff(base_s=0.001))).relist(TOY)
        assert {f"a-{number}" for number in range(40)} == {obj["metadata"]["name"] for obj in store.list(TOY)}
        asked = api.queries(TOY, watch=False)
        assert len([query for query in asked if "continue" not in query]) == 1
        assert len(asked) > 50
        await client.close()


async def test_a_page_that_never_comes_is_an_error_in_the_end() -> None:
    def serve(request: web.Request) -> web.Response:
        if "continue" in request.query:
            return status(503, "X", "down")
        return web.json_response({"metadata": {"resourceVersion": "9", "continue": "x"}, "items": []})

    async with fake_api(RESOURCES) as api:
        api.interfere = serve
        client = Client(api.connection())
        relist = Relist(client, Store(), settings=RelistSettings(pages=Backoff(base_s=0.001)))
        with pytest.raises(ServerError):
            await relist.relist(TOY)
        assert len(api.queries(TOY, watch=False)) == 1 + 8
        await client.close()


def test_all_tries_of_a_page_take_some_ten_seconds() -> None:
    """Long enough for an API server that restarts, and no longer: a start is tried again as a whole."""
    failed = range(1, RelistSettings().page_tries)
    assert sum(PAGES.delay_s(failures, lambda: 0.5) for failures in failed) == pytest.approx(10.5)


async def test_only_served_resources_are_discovered() -> None:
    async with fake_api(RESOURCES) as api:
        client = Client(api.connection())
        assert await Relist(client, Store()).discover((*RESOURCES, HTTP_ROUTE)) == RESOURCES
        await client.close()


async def test_relists_go_on_after_failures() -> None:
    async with fake_api((*RESOURCES, POD)) as api:
        failures = 3

        def fail(request: web.Request) -> web.StreamResponse | None:
            nonlocal failures
            failures -= 1
            return status(500, "X", "down") if failures >= 0 else None

        api.interfere = fail
        client, store = Client(api.connection()), Store()
        relist = Relist(client, store, settings=RelistSettings(period_s=0.02, settle_s=0.02, retry_s=0.01))
        task = asyncio.create_task(relist.run([TOY]))
        api.put(TOY, "a")
        await eventually(lambda: store.get(TOY, "ns", "a"))
        assert not task.done()
        task.cancel()
        await client.close()


async def test_a_watch_that_lists_anew_is_followed_by_a_list_of_our_own() -> None:
    """kopf tells what is there after a 410, not what went meanwhile."""
    async with fake_api(RESOURCES) as api:
        client, store = Client(api.connection()), Store()
        relist = Relist(client, store, settings=RelistSettings(settle_s=0.02))
        task = asyncio.create_task(relist.run([TOY]))
        await eventually(lambda: relist.oldest_age_s([TOY]) < 60)  # the one after the start
        api.put(TOY, "a")
        await asyncio.sleep(0.1)
        assert store.get(TOY, "ns", "a") is None
        relist.watch_begins(TOY)
        await eventually(lambda: store.get(TOY, "ns", "a"))
        task.cancel()
        await client.close()


async def test_our_own_list_waits_until_the_watch_has_listed_all() -> None:
    async with fake_api(RESOURCES) as api:
        client = Client(api.connection())
        relist = Relist(client, Store(), settings=RelistSettings(settle_s=0.2))
        task = asyncio.create_task(relist.run([TOY]))
        for _ in range(20):
            relist.watch_begins(TOY)
            await asyncio.sleep(0.02)
        assert api.queries(TOY, watch=False) == []
        await eventually(lambda: len(api.queries(TOY, watch=False)) == 1)
        task.cancel()
        await client.close()
