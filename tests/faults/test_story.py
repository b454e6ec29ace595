"""The scenario without any fault: it comes to its end, twice to the same one."""

from __future__ import annotations

import time

import pytest

from .arena import Arena

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_two_undisturbed_runs_end_alike(faults: Arena) -> None:
    outcomes = []
    for _ in range(2):
        began = time.monotonic()
        async with faults.scene() as scene:
            await scene.story.play()
            await scene.settle()
            outcomes.append(scene.outcome())
            scene.check_laws()
            writes = [call for call in scene.proxy.calls if call.is_write and not call.is_lease]
            print({step: round(at - began, 1) for step, at in scene.story.times.items()})
            print(f"{time.monotonic() - began:.1f} s, {len(scene.proxy.calls)} calls, {len(writes)} writes")
            assert scene.exits == []
    assert outcomes[0] == outcomes[1]
