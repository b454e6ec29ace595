"""The arena of the fault tests: one control plane a session; one event loop a module, so that scenarios share it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.control_plane import ControlPlane, control_plane
from tests.support.status_watch import status_laws_are_kept, status_watches  # noqa: F401  after every test

from .arena import WHOLE, Arena, Outcome, arena


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "whole: too long for the share that `make test` has; in `make faults`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [] if WHOLE else [item for item in items if item.get_closest_marker("whole")]
    items[:] = [item for item in items if item not in left_out]
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
