"""Watch events lost, doubled, late and out of order; 410 Gone with changes in the gap; reads older than our own writes.

A run hurts every tenth event of each kind, so that ten runs hurt each event once: `make faults` makes all ten,
`make test` the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fairlead.api import names

from .arena import SIDE_BY_SIDE, SOON, WHOLE, Arena, Outcome, Scene
from .rules import Delay, Drop, Duplicate, Events, Gap, Reorder, StaleReads
from .story import DATA, FAMILY, dataset, training_run

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVERY = 10
RUNS = EVERY if WHOLE else 1
REORDERED = (
    "pods",
    "deployments",
    "jobs",
    "inferenceservices",
    "modelversions",
    "trainingruns",
    "httproutes",
    "services",
)


async def end_alike(faults: Arena, expected: Outcome, rules: Sequence[Events]) -> None:
    """Play once with each rule, some side by side; each has to hurt something and to end as if nothing was."""
    slots = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(rule: Events) -> None:
        async with slots, faults.scene(rule, **SOON) as scene:
            await scene.story.play()
            await scene.agree(expected)
            assert scene.exits == [], f"it ended: {scene.log}"
            assert rule.hurt.total() > 0

    async with asyncio.TaskGroup() as group:
        for rule in rules:
            group.create_task(one(rule))
    print(f"{len(rules)} runs, {sum(rule.hurt.total() for rule in rules)} events hurt")


async def test_every_event_lost_once(faults: Arena, expected: Outcome) -> None:
    await end_alike(faults, expected, [Drop(EVERY, first) for first in range(RUNS)])


async def test_every_event_delivered_twice(faults: Arena, expected: Outcome) -> None:
    await end_alike(faults, expected, [Duplicate(1, 0)])


async def test_every_event_late_once(faults: Arena, expected: Outcome) -> None:
    await end_alike(faults, expected, [Delay(EVERY, first, 5.0) for first in range(RUNS)])


async def test_all_events_of_a_kind_out_of_order(faults: Arena, expected: Outcome) -> None:
    await end_alike(faults, expected, [Reorder(plural) for plural in REORDERED[:RUNS]])


async def test_reads_older_than_our_own_writes(faults: Arena, expected: Outcome) -> None:
    rule = StaleReads()
    async with faults.scene(rule, **SOON) as scene:
        await scene.story.play()
        await scene.agree(expected)
        assert rule.stale > 20


GAP = ("services", "datasets", "trainingruns", "modelversions", "jobs", "pods")


async def change_much(scene: Scene) -> None:
    """Delete, create, and create again under the same name."""
    admin, space = scene.arena.admin, scene.namespace
    for resource, name in ((names.SERVICE, f"{FAMILY}-control"), (names.DATASET, DATA)):
        await admin.delete(resource, (space, name))
    await admin.delete(names.TRAINING_RUN, (space, f"{FAMILY}-v1"))
    await admin.create(names.DATASET, space, dataset())
    await admin.create(names.TRAINING_RUN, space, training_run(2))
    await admin.create(names.TRAINING_RUN, space, training_run(1))
    await admin.delete(names.TRAINING_RUN, (space, f"{FAMILY}-v1"))


def has_taken_it_in(scene: Scene) -> bool:
    """Say whether the world after `change_much` is as it should be."""
    control = scene.actors.find(names.SERVICE, f"{FAMILY}-control")
    data = scene.actors.find(names.DATASET, DATA) or {}
    assert control is not None, "the Service was not made again"
    assert (data.get("status") or {}).get("revision"), "the new Dataset was not read"
    assert scene.actors.find(names.TRAINING_RUN, f"{FAMILY}-v1") is None
    assert scene.story.serves(f"{FAMILY}-v2"), scene.story.tell()
    return True


async def test_410_with_changes_in_the_gap(faults: Arena) -> None:
    gap = Gap(GAP)
    async with faults.scene(gap, **SOON) as scene:
        await scene.story.play(until="serving")
        gap.is_open = True
        await change_much(scene)
        await scene.touch(GAP)
        gap.close()
        await scene.touch(GAP)
        await scene.become(has_taken_it_in)
        await scene.rest()
        assert gap.lost
        scene.check_laws()
