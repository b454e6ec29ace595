"""The real cluster, the real images, the chart as people install it. A failing test leaves a support bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.bundle import write_bundle
from tests.e2e.team import Team, install_operator, operator_restarts
from tests.support.status_laws import breaches

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts" / "e2e"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        item.stash[_FAILED] = report.failed


_FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def operator() -> None:
    """Fairlead, installed by its chart."""
    install_operator()


@pytest.fixture
def team(request: pytest.FixtureRequest, operator: None) -> Iterator[Team]:
    """A namespace of its own with a store, under restricted pod security; status laws are checked at its end."""
    team = Team.create(request.node.name)
    restarts = operator_restarts()
    yield team
    found = [breach for obj in team.all_objects() for breach in breaches(obj, secrets=[team.secret_key])]
    if request.node.stash.get(_FAILED, False) or found or operator_restarts() != restarts:
        folder = ARTIFACTS / team.namespace
        write_bundle(team, folder)
        print(f"\nobjects, events and logs of this test lie in {folder}")
    team.delete()
    assert not found, "\n".join(found)
    assert operator_restarts() == restarts, "the operator restarted"
