from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from tests.support.clock import FakeClock

from fairlead.contract.jobs import ArmReport
from fairlead.controllers.types import ArmFailure
from fairlead.controllers.world import ARM_PODS, LOG_REMEMBERED, HttpArms, PodLogs, _control_port, _url
from fairlead.kube.errors import InvalidError, KubeError, NotFoundError, ServerError

REPORT = {"startId": "s", "revision": "r", "requests": 7, "failed": 1, "slow": 0}


def pod(name: str, address: str | None = "127.0.0.1") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "status": {"podIP": address} if address else {}}


@asynccontextmanager
async def serving(answer: Any) -> AsyncIterator[HttpArms]:
    app = web.Application()
    app.router.add_get("/arm", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    arms = HttpArms(runner.addresses[0][1], timeout_s=1.0)
    yield arms
    await arms.close()
    await runner.cleanup()


async def test_reports_come_by_uid_and_a_pod_without_address_is_a_failure() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(REPORT)

    async with serving(answer) as arms:
        reports = await arms.poll([pod("a"), pod("b", None)])
    assert isinstance(reports["uid-a"], ArmReport)
    assert reports["uid-a"].requests == 7
    assert reports["uid-b"] == ArmFailure("pod b has no address yet")


async def test_a_slow_a_lying_a_redirecting_and_an_absent_pod_are_failures() -> None:
    async def slow(_request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        raise AssertionError

    async def lying(_request: web.Request) -> web.Response:
        return web.json_response({"requests": "many"})

    async def endless(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 200_000)

    async def redirecting(_request: web.Request) -> web.Response:
        raise web.HTTPFound("http://169.254.169.254/")

    for answer, words in ((slow, "within"), (lying, "something else"), (endless, "something else")):
        async with serving(answer) as arms:
            arms._timeout_s = 0.2 if answer is slow else 2.0
            report = (await arms.poll([pod("a")]))["uid-a"]
        assert isinstance(report, ArmFailure)
        assert words in report.message
    async with serving(redirecting) as arms:
        assert isinstance((await arms.poll([pod("a")]))["uid-a"], ArmFailure)
    nobody = HttpArms(1)
    assert isinstance((await nobody.poll([pod("a")]))["uid-a"], ArmFailure)
    await nobody.close()


async def test_at_most_twenty_pods_are_asked_and_side_by_side() -> None:
    asked, together, most = 0, 0, 0

    async def answer(_request: web.Request) -> web.Response:
        nonlocal asked, together, most
        asked, together = asked + 1, together + 1
        most = max(most, together)
        await asyncio.sleep(0)
        together -= 1
        return web.json_response(REPORT)

    async with serving(answer) as arms:
        reports = await arms.poll([pod(f"p{number:02}") for number in range(30)])
    assert asked == len(reports) == ARM_PODS


def test_addresses_of_both_families_make_urls() -> None:
    assert _url("10.0.0.1", 8081) == "http://10.0.0.1:8081/arm"
    assert _url("fd00::1", 8081) == "http://[fd00::1]:8081/arm"


def test_the_port_of_counters_is_the_one_that_the_pod_calls_control() -> None:
    ports = [{"name": "http", "containerPort": 15080}, {"name": "control", "containerPort": 15081}]
    assert _control_port({"spec": {"containers": [{"name": "main", "ports": ports}]}}) == 15081
    assert _control_port({"spec": {"containers": [{"name": "main"}]}}) == 8081


class LogApi:
    def __init__(self) -> None:
        self.reads = 0
        self.error: KubeError | None = None

    async def read_log(self, _namespace: str, pod: str, _container: str, _lines: int) -> str:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return f"{pod} 1\n{pod} 2\n{pod} {self.reads}"


async def test_a_pod_is_read_at_most_every_ten_seconds() -> None:
    api, clock = LogApi(), FakeClock()
    logs = PodLogs(api, monotonic=clock.monotonic)
    first = await logs.tail("ns", "p", "main", 2)
    assert first == ["p 2", "p 1"]
    clock.advance(9.9)
    assert await logs.tail("ns", "p", "main", 2) == first
    clock.advance(0.2)
    assert await logs.tail("ns", "p", "main", 1) == ["p 2"]
    assert api.reads == 2


async def test_what_cannot_be_read_is_empty_or_what_was_read_before() -> None:
    api, clock = LogApi(), FakeClock()
    logs = PodLogs(api, monotonic=clock.monotonic)
    before = await logs.tail("ns", "p", "main", 5)
    clock.advance(11)
    api.error = ServerError("down")
    assert await logs.tail("ns", "p", "main", 5) == before
    for error in (NotFoundError("gone"), InvalidError("container is waiting to start")):
        clock.advance(11)
        api.error = error
        assert await logs.tail("ns", "p", "main", 5) == []


async def test_remembered_logs_are_bounded() -> None:
    logs = PodLogs(LogApi(), monotonic=FakeClock().monotonic)
    for number in range(LOG_REMEMBERED + 5):
        await logs.tail("ns", f"p{number}", "main", 1)
    assert len(logs._known) == LOG_REMEMBERED
