"""The arena of the fault tests: one control plane a session; one event loop a module, so that scenarios share it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.control_plane import ControlPlane, control_plane
from tests.support.longest_first import longest_first
from tests.support.status_watch import status_laws_are_kept, status_watches  # noqa: F401  after every test

from .arena import WHOLE, Arena, Outcome, arena

# A worker takes two of these at once: after the longest of all comes what is short.
LONGEST = (
    "faults/leader/",
    "test_a_kill_at_every_write",
    "test_all_events_of_a_kind_out_of_order",
    "test_every_event_late_once",
    "test_an_owner_held",
    "test_healthz_says",
    "test_finalizers_of_others",
    "test_deletion_in_each_state",
    "test_two_undisturbed_runs",
    "test_edits_take_overs",
    "test_watch_events.py",
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "whole: too long for the share that `make test` has; in `make faults`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [] if WHOLE else [item for item in items if item.get_closest_marker("whole")]
    items[:] = [item for item in items if item not in left_out]
    longest_first(items, LONGEST)
    for item in items:
        if "faults/leader/" in item.nodeid:  # these have an API server of their own
            item.add_marker(pytest.mark.xdist_group("leader"))
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    with control_plane() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def faults(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Arena]:
    folder: Path = tmp_path_factory.mktemp("faults")
    async with arena(plane, folder) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def expected(faults: Arena) -> Outcome:
    """The end of a run without faults."""
    async with faults.scene() as scene:
        await scene.story.play()
        await scene.settle()
        return scene.outcome()
