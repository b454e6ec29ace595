"""Each object of the scenario is deleted in each state that it goes through, as soon as it says so.

All that it owned goes, nothing is made for it any more, everything else stays and tells the truth. Stories do the same
in every state of the state tables, without an API server: tests/unit/plan/test_deletion.py.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import pytest

from fairlead.api import names
from fairlead.api.conditions import find_condition

from .arena import SIDE_BY_SIDE, WHOLE, Arena, Scene
from .pods import Json

pytestmark = pytest.mark.asyncio(loop_scope="session")

STRIDE = 1 if WHOLE else 9  # every so many states; `make faults` takes all
OWN = {resource.kind for resource in names.OWN_KINDS}


@dataclass(frozen=True)
class State:
    """What an object said of itself."""

    kind: str
    name: str
    reason: str

    @classmethod
    def of(cls, obj: Json) -> State | None:
        """Return the state of an object of ours; None for any other and while it says nothing."""
        said = find_condition(obj, "Ready") if obj["kind"] in OWN else None
        name = re.sub(r"\d{6,}$", "*", obj["metadata"]["name"])  # a monitor names its runs after the time
        return cls(obj["kind"], name, said["reason"]) if said else None


async def test_deletion_in_each_state_of_each_object(faults: Arena) -> None:
    states = await states_of_a_run(faults)
    chosen, gate, missed = states[::STRIDE], asyncio.Semaphore(SIDE_BY_SIDE), list[State]()

    async def one(state: State) -> None:
        async with gate:
            if not await delete_in(faults, state):
                missed.append(state)

    results = await asyncio.gather(*(one(state) for state in chosen), return_exceptions=True)
    broken = [f"{state}: {result}" for state, result in zip(chosen, results, strict=True) if result is not None]
    assert not broken, "\n".join(broken)
    print(f"{len(chosen) - len(missed)} of {len(states)} states; too short to be met again: {missed}")
    assert len(missed) <= len(chosen) // 5


async def states_of_a_run(faults: Arena) -> list[State]:
    """Return the states that objects go through in a run without faults, in the order of their first appearance."""
    seen: dict[State, None] = {}
    async with faults.scene() as scene:
        listen(scene, lambda obj: seen.setdefault(state) if (state := State.of(obj)) else None)
        await scene.story.play()
    assert len({state.kind for state in seen}) == len(OWN), seen
    return list(seen)


def listen(scene: Scene, look: Any) -> None:
    """Let `look` see every object that the harness's watch tells of."""
    hear = scene.actors.on_event

    def also(type_: str, obj: Json) -> None:
        hear(type_, obj)
        if type_ != "DELETED":
            look(obj)

    scene.actors.on_event = also  # type: ignore[method-assign]


async def delete_in(faults: Arena, state: State) -> bool:
    """Play until an object is in the state, delete it, look; False when the run ended without the state."""
    reached: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
    resource = names.BY_KIND[state.kind]

    def look(obj: Json) -> None:
        if State.of(obj) == state and not reached.done():
            reached.set_result(obj)

    async with faults.scene() as scene:
        listen(scene, look)
        playing = asyncio.create_task(scene.story.play())
        await asyncio.wait({playing, reached}, return_when=asyncio.FIRST_COMPLETED)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        if not reached.done():
            return False
        subject, others = reached.result(), uids(scene)
        name = subject["metadata"]["name"]
        await faults.admin.delete(resource, (scene.namespace, name))
        await scene.become(lambda scene: scene.actors.find(resource, name) is None)
        await scene.rest()  # a write under way may still make a child; the garbage collector takes it, too
        await scene.become(lambda scene: not owned_by(scene, subject["metadata"]["uid"]))
        await scene.rest()
        assert scene.actors.find(resource, name) is None, "it was made again"
        left = owned_by(scene, subject["metadata"]["uid"])
        assert not left, f"made for it when all was quiet: {left}"
        gone = others.items() - uids(scene).items() - {((state.kind, name), subject["metadata"]["uid"])}
        assert not gone, f"others went, too: {gone}"
        await scene.become(is_truthful)
        scene.check_laws()
        said = scene.log.read_text()
        assert "unexpected error" not in said, str(scene.log)
        assert len(scene.exits) == said.count("leadership is lost"), f"it ended for another reason: {scene.log}"
    return True


def uids(scene: Scene) -> dict[tuple[str, str], str]:
    """Return the objects of ours."""
    return {place: obj["metadata"]["uid"] for place, obj in scene.actors.objects.items() if place[0] in OWN}


def owned_by(scene: Scene, uid: str) -> list[tuple[str, str]]:
    """Return what belongs to an owner."""
    found = scene.actors.objects.items()
    return [place for place, obj in found if uid in [r["uid"] for r in obj["metadata"].get("ownerReferences") or ()]]


def is_truthful(scene: Scene) -> bool:
    """Say whether no version claims to serve in a service that is gone, and every object says something of itself."""
    services = {obj["metadata"]["name"] for obj in scene.actors.all(names.INFERENCE_SERVICE)}
    for version in scene.actors.all(names.MODEL_VERSION):
        said = version.get("status") or {}
        serves = set(said.get("productionIn") or ())
        assert serves <= services, f"{version['metadata']['name']} serves in {serves - services}"
        assert serves or said.get("stage") != "Production", f"{version['metadata']['name']} serves nowhere"
    return True
