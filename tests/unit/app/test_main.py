"""What the process says by its exit code, and how it waits for what it needs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from tests.support.eventually import eventually
from tests.support.fake_api import FakeApi, fake_api
from tests.support.toy import TOY, ToyController

from fairlead.api import names
from fairlead.api.names import DEPLOYMENT, JOB, SERVICE, Resource
from fairlead.app.main import CONTROLLERS, Operator, main
from fairlead.app.settings import read_settings
from fairlead.kube.connection import NoConnectionError
from fairlead.kube.errors import LeadershipLostError

IMAGES = ("--server-image", "s", "--jobs-image", "j")
QUIET = (*IMAGES, "--leader-elect", "false", "--bind-address", "127.0.0.1", "--health-port", "0", "--metrics-port", "0")


@pytest.fixture
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


@pytest.mark.usefixtures("_logging_as_it_was")
@pytest.mark.parametrize(
    ("arguments", "error", "code"),
    [
        (IMAGES, None, 0),
        (("--workers", "x"), None, 2),
        (IMAGES, NoConnectionError("no cluster"), 1),
        (IMAGES, ExceptionGroup("tasks", [LeadershipLostError("lost")]), 1),
        (IMAGES, ExceptionGroup("tasks", [RuntimeError("stream ended")]), 1),
    ],
)
def test_the_exit_code_says_how_it_ended(arguments: tuple[str, ...], error: Exception | None, code: int) -> None:
    def run(_settings: Any) -> None:
        if error is not None:
            raise error

    assert main(arguments, run) == code


def test_every_kind_has_its_controller() -> None:
    assert {controller.resource for controller in CONTROLLERS} == set(names.OWN_KINDS)


def operator(api: FakeApi, *arguments: str) -> Operator:
    return Operator(read_settings([*QUIET, *arguments], {}), api.connection(), [ToyController()])


async def status_of(made: Operator, path: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{made.ports.health}/{path}") as answer,
    ):
        return answer.status


async def test_it_waits_for_its_crds_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    absent: tuple[Resource, ...] = (JOB, SERVICE, DEPLOYMENT)
    async with fake_api((TOY, *absent)) as api:
        api.resources = absent
        made = operator(api)
        task = asyncio.create_task(made.run())
        await eventually(lambda: "toys are not served; install the CRDs" in caplog.text)
        assert await status_of(made, "readyz") == 503
        assert await status_of(made, "healthz") == 200
        api.resources = (TOY, *absent)

        async def is_ready() -> bool:
            return await status_of(made, "readyz") == 200

        await eventually(is_ready)
        made.stop()
        await asyncio.wait_for(task, 10)


async def test_a_broken_stream_ends_the_process() -> None:
    async with fake_api((TOY, JOB, SERVICE, DEPLOYMENT)) as api:
        made = operator(api)
        task = asyncio.create_task(made.run())
        await eventually(lambda: api.watches["toys"])
        api.fail(TOY, 500, "InternalError")
        await eventually(task.done)
        assert task.exception() is not None
