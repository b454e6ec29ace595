"""The real cluster, the real images, the chart as people install it.

    make test-e2e                                  # cluster, images, all of this folder
    .venv/bin/pytest tests/e2e -n 3                # cluster and images are there already
    .venv/bin/pytest tests/e2e/test_approval.py    # one kind or promise

Each test has a namespace and a store prefix of its own (fixture `team`), so tests run side by side and in any order;
Fairlead is installed once per run, by whichever worker comes first. Nothing sleeps a fixed time: `team.until` waits for
what status says. At the end of each test the laws of status are checked over every object, and that the operator did
not restart. A failing test leaves objects, events and logs in artifacts/e2e/<namespace>, and says so.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import pytest
from tests.e2e.bundle import write_bundle
from tests.e2e.team import Team, install_operator, operator_restarts
from tests.support.longest_first import longest_first
from tests.support.status_laws import breaches

HelmAlone = Callable[[], AbstractContextManager[IO[str]]]
ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts" / "e2e"
LONGEST = (  # over a minute each
    "test_demo",
    "test_canary_by_whole_pods",
    "test_a_program_exits_3",
    "test_deletion_of_what_is_ready",
    "test_deletion_in_the_middle",
    "test_everything_lost_comes_back",
    "test_a_window_of_shifted_requests",
    "test_a_store_that_dies",
    "test_addresses_gateways",
)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        item.stash[_FAILURE] = report.longreprtext if report.failed else ""


_FAILURE = pytest.StashKey[str]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The demo takes longest, so it begins first."""
    longest_first(items, LONGEST)


@pytest.fixture(scope="session")
def helm_alone(tmp_path_factory: pytest.TempPathFactory) -> HelmAlone:
    """A lock of all workers: Helm refuses a second command on a release while one is under way."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    marker = tmp_path_factory.getbasetemp().parent / f"fairlead-installed-{run}"

    @contextmanager
    def alone() -> Iterator[IO[str]]:
        with marker.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    return alone


@pytest.fixture(scope="session")
def operator(helm_alone: HelmAlone) -> str:
    """Fairlead, installed by its chart; once per run, whichever worker comes first. The chart's value of this run."""
    with helm_alone() as file:
        file.seek(0)
        stamp = file.read()
        if not stamp:
            stamp = install_operator()
            file.write(stamp)
    return stamp


@pytest.fixture
def team(request: pytest.FixtureRequest, operator: str) -> Iterator[Team]:
    """A namespace of its own with a store, under restricted pod security; status laws are checked at its end."""
    team = Team.create(request.node.name)
    restarts = operator_restarts()
    yield team
    found = [breach for obj in team.all_objects() for breach in breaches(obj, secrets=[team.secret_key])]
    failure = request.node.stash.get(_FAILURE, "")
    if failure or found or operator_restarts() != restarts:
        folder = ARTIFACTS / team.namespace
        write_bundle(team, folder, failure or "\n".join(found) or "the operator restarted")
        print(f"\nobjects, events and logs of this test lie in {folder}")
    team.delete()
    assert not found, "\n".join(found)
    assert operator_restarts() == restarts, "the operator restarted"
