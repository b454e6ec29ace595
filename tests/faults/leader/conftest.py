"""One API server for the leader's tests, and groups of replicas that end with their test.

`FAIRLEAD_FAULTS=whole` (set by `make faults`) runs every repetition; otherwise a small share of each, for `make test`.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.faults.arena import WHOLE
from tests.integration.conftest import _install_crds
from tests.support.control_plane import ControlPlane, control_plane

from .audit import RULES, Audit
from .group import SCALED, Group, Times, build_group, stop

Groups = Callable[..., Awaitable[list[Group]]]


def repetitions(whole: int, share: int) -> int:
    """Return how often a test repeats: all of it in `make faults`, a share in `make test`."""
    return whole if WHOLE else share


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    with control_plane(audit_rules=RULES) as running:
        asyncio.run(_install_crds(running))
        yield running


@pytest.fixture(scope="session")
def audit(plane: ControlPlane) -> Audit:
    return Audit(plane.audit_log)


@pytest_asyncio.fixture
async def groups(plane: ControlPlane, audit: Audit) -> AsyncIterator[Groups]:
    """Build groups that have a leader and a standby; end them with the test."""
    built: list[Group] = []
    keepers: list[asyncio.Task[None]] = []
    folder = Path(tempfile.mkdtemp(prefix="fairlead-leader-"))

    async def build(count: int = 1, times: Times = SCALED, server: str = "", fence: bool = True) -> list[Group]:
        made = [await build_group(plane, audit, folder, times, server=server, fence=fence) for _ in range(count)]
        built.extend(made)
        keepers.extend(asyncio.create_task(group.supervise()) for group in made)
        await asyncio.gather(*(group.pair() for group in made))
        return made

    yield build
    ends = [await stop(keeper) for keeper in keepers]
    for group in built:
        group.end()
        await group.api.close()
    shutil.rmtree(folder, ignore_errors=True)
    assert [end for end in ends if end is not None] == []
