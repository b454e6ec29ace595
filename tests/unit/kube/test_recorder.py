from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.clock import FakeClock

from fairlead.kube.errors import NotFoundError, ServerError
from fairlead.kube.recorder import Recorder, RecorderSettings

TOY = {
    "apiVersion": "test/v1",
    "kind": "Toy",
    "metadata": {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "7"},
}


class EventApi:
    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.patched: list[tuple[str, dict[str, Any]]] = []
        self.fails = False
        self.expired = False

    async def create(self, _resource: Any, namespace: str, body: dict[str, Any]) -> None:
        if self.fails:
            raise ServerError("no")
        assert body["metadata"]["namespace"] == namespace
        self.created.append(body)

    async def patch(self, _resource: Any, _namespace: str, name: str, body: dict[str, Any]) -> None:
        if self.expired:
            raise NotFoundError("gone")
        self.patched.append((name, body))


@asynccontextmanager
async def recording(api: EventApi, clock: FakeClock, **settings: Any) -> AsyncIterator[Recorder]:
    recorder = Recorder(
        api,
        "op-1",
        clock.now,
        RecorderSettings(**settings),
        monotonic=clock.monotonic,  # type: ignore[arg-type]
    )
    task = asyncio.create_task(recorder.run())
    yield recorder
    task.cancel()


async def test_an_event_has_what_kubectl_describe_shows() -> None:
    api = EventApi()
    async with recording(api, FakeClock()) as recorder:
        recorder.record(TOY, "Warning", "RolledBack", "v3 failed")
        await recorder.flush()
    (event,) = api.created
    assert event["regarding"] == {
        "apiVersion": "test/v1", "kind": "Toy", "namespace": "ns", "name": "a", "uid": "u", "resourceVersion": "7",
    }  # fmt: skip
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "RolledBack", "v3 failed")
    assert event["eventTime"] == "2026-11-21T12:00:00.000000Z"
    assert event["metadata"]["name"].startswith("a.")


async def test_equal_events_become_a_series_and_different_ones_do_not() -> None:
    api, clock = EventApi(), FakeClock()
    async with recording(api, clock) as recorder:
        for note in ("x", "x", "x", "y"):
            recorder.record(TOY, "Normal", "R", note)
            await recorder.flush()
            clock.advance(1)
        assert [event["note"] for event in api.created] == ["x", "y"]
        assert [body["series"]["count"] for _, body in api.patched] == [2, 3]
        clock.advance(601)
        recorder.record(TOY, "Normal", "R", "x")
        await recorder.flush()
        assert len(api.created) == 3


async def test_a_series_whose_event_has_expired_begins_anew() -> None:
    api, clock = EventApi(), FakeClock()
    async with recording(api, clock) as recorder:
        recorder.record(TOY, "Normal", "R", "x")
        await recorder.flush()
        api.expired = True
        clock.advance(1)
        recorder.record(TOY, "Normal", "R", "x")
        await recorder.flush()
    assert len(api.created) == 2
    assert api.created[0]["metadata"]["name"] != api.created[1]["metadata"]["name"]


async def test_a_chatty_object_is_limited_and_others_are_not() -> None:
    api, clock = EventApi(), FakeClock()
    other = {**TOY, "metadata": {**TOY["metadata"], "uid": "other"}}  # type: ignore[dict-item]
    async with recording(api, clock, object_tokens=3.0) as recorder:
        for number in range(10):
            recorder.record(TOY, "Normal", "R", str(number))
        recorder.record(other, "Normal", "R", "x")
        await recorder.flush()
        assert len(api.created) == 4
        assert recorder.dropped == 7
        clock.advance(61)
        recorder.record(TOY, "Normal", "R", "later")
        await recorder.flush()
        assert len(api.created) == 5


async def test_failing_to_write_never_matters() -> None:
    api = EventApi()
    async with recording(api, FakeClock(), queue=2) as recorder:
        api.fails = True
        for number in range(4):
            recorder.record(TOY, "Normal", "R", str(number))
        await recorder.flush()
        api.fails = False
        recorder.record(TOY, "Normal", "R", "again")
        await recorder.flush()
    assert [event["note"] for event in api.created] == ["again"]
    assert recorder.dropped == 4
