"""API requests of one rollout with three steps: alone, and beside other services that must not make them more.

The scenario, its actors and its proxy are those of the fault tests. Counted is everything that the operator asks of
the API server from the approval of a version until it serves, its Lease and the opening of watches left out.
"""

from __future__ import annotations

import collections
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.faults.arena import Arena, Scene, arena
from tests.faults.story import SERVICE
from tests.perf.crowd import for_all
from tests.support.control_plane import control_plane

from fairlead.api.names import INFERENCE_SERVICE

STEPS_PERCENT = [10, 25, 50]
OTHERS = 50


async def count_rollout_requests() -> dict[str, float]:
    """Return how many reads and writes a rollout took, alone and beside others."""
    figures: dict[str, float] = {}
    with control_plane(environment={}) as plane, tempfile.TemporaryDirectory() as folder:
        async with arena(plane, Path(folder)) as made:
            for suffix, others in (("", 0), (f"_beside_{OTHERS}", OTHERS)):
                counts = await _roll_out(made, others)
                reads = sum(n for (method, _), n in counts.items() if method == "GET")
                looks = counts["PATCH", INFERENCE_SERVICE.plural]  # status: the judge's evidence, every two seconds
                figures[f"rollout_reads{suffix}"] = reads
                figures[f"rollout_status_writes{suffix}"] = looks
                figures[f"rollout_other_writes{suffix}"] = counts.total() - reads - looks
    return figures


async def _roll_out(made: Arena, others: int) -> collections.Counter[tuple[str, str]]:
    async with made.scene(**{"relist-period": "5m"}) as scene:
        await for_all(range(others), lambda number: _make_other(scene, number))
        await scene.story.play(until="approval")
        steps = {"spec": {"rollout": {"stepsPercent": STEPS_PERCENT}}}
        await scene.arena.admin.patch(INFERENCE_SERVICE, (scene.namespace, SERVICE), steps)
        await scene.rest()
        began = time.monotonic()
        await scene.story.play(until="promoted")
        await scene.rest()
        calls = [call for call in scene.proxy.calls if call.at > began and not (call.is_lease or call.is_watch)]
        return collections.Counter((call.method, call.plural) for call in calls)


async def _make_other(scene: Scene, number: int) -> Any:
    body = {"metadata": {"name": f"other-{number}"}, "spec": {"model": {"name": f"other-{number}"}}}
    return await scene.arena.admin.create(INFERENCE_SERVICE, scene.namespace, body)
