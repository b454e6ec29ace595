"""Every object of every story is deleted in each state that its story goes through, and made again.

The stories go through every state of the state tables (test_stories.py holds that). What must hold each time: all that
the object owned goes with it, everything else stays, the others come to rest within their laws and say nothing of it
that is not so, and an object made again under the name comes to rest as well. On the cluster and on a real API server
the same is done for the states that need them: tests/e2e/test_deletion.py, tests/faults/test_deletion.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.plan.simulation import Address, Simulation, owner_uids
from tests.unit.plan.telling import Teller, check_laws, controller_of, read_story, reconcile, story_paths
from tests.unit.plan.test_stories import KINDS

from fairlead.api import names
from fairlead.plan.types import Key, Obj

OWN = {resource.kind for resource in names.OWN_KINDS}
MADE = {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "HTTPRoute", "CronJob"}


def _title(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", story_paths(), ids=_title)
def test_deletion_in_each_state_of_a_story(path: Path) -> None:
    teller = Teller(read_story(path), KINDS[path.parent.name])
    states = 0

    def delete_here(_subject: Obj) -> bool:
        nonlocal states
        states += 1
        address = (teller.key.kind, teller.key.namespace, teller.key.name)
        delete_and_look(teller.world.copy(), address)
        return False

    teller.tell(until=delete_here)
    assert states, "the story has no state"


def delete_and_look(world: Simulation, address: Address) -> None:
    """Delete an object of a world, let everything come to rest, look, and make the object again."""
    whole = [other for other in sorted(world.objects) if other[0] in OWN and is_whole(world, other)]
    rest(world, [other for other in whole if other != address])
    before, subject = dict(world.objects), world.objects[address]
    uid = subject["metadata"]["uid"]
    world.remove(address)
    gone = {other for other in before if other not in world.objects}
    assert all(other == address or _hangs_on(before, other, uid) for other in gone)
    rest(world, whole)
    left = [other for other, obj in world.objects.items() if uid in owner_uids(obj)]
    assert not left, f"made again for an owner that is gone: {left}"
    for other, obj in before.items():
        if other not in gone and other[0] in OWN:
            assert world.objects[other]["metadata"]["uid"] == obj["metadata"]["uid"], f"{other} went, too"
    assert_labelled_children_are_owned(before, subject)
    assert_truthful(world, whole)
    assert address not in world.objects, "it was made again by somebody else"
    manifest = {key: subject[key] for key in ("apiVersion", "kind", "spec")}
    world.create({**manifest, "name": address[2], "metadata": {"namespace": address[1]}})
    rest(world, whole)


def is_whole(world: Simulation, address: Address) -> bool:
    """Say whether an object can be reconciled; stories give of their neighbours only what the subject reads."""
    try:
        rest(world.copy(), [address])
    except ValidationError:
        return False
    return True


def rest(world: Simulation, addresses: list[Address]) -> None:
    """Reconcile these objects, as far as they are there, until none does anything more."""
    for _ in range(10):
        there = [address for address in addresses if address in world.objects]
        done = [reconcile(world, Key(*address), controller_of(address[0])).actions for address in there]
        if not any(done):
            break
    else:
        raise AssertionError("they keep each other busy")
    for address in there:
        check_laws(world.objects[address])


def _hangs_on(objects: dict[Address, Any], address: Address, uid: str) -> bool:
    """Say whether an object belongs to this owner, itself or by what it belongs to."""
    owners = owner_uids(objects[address])
    between = [other for other, obj in objects.items() if obj["metadata"]["uid"] in owners]
    return uid in owners or any(_hangs_on(objects, other, uid) for other in between)


def assert_labelled_children_are_owned(objects: dict[Address, Any], owner: Obj) -> None:
    """What carries the owner's name in our labels goes with it: nothing is left to a clean-up of ours."""
    name = (owner["kind"], owner["metadata"]["name"])
    for other, obj in objects.items():
        labels = obj["metadata"].get("labels") or {}
        if other[0] in MADE and (labels.get(names.LABEL_OWNER_KIND), labels.get(names.LABEL_OWNER)) == name:
            assert _hangs_on(objects, other, owner["metadata"]["uid"]), f"{other} stays behind"


def assert_truthful(world: Simulation, addresses: list[Address]) -> None:
    """No version says that it serves in a service that does not exist."""
    services = {address[2] for address in world.objects if address[0] == "InferenceService"}
    for address in addresses:
        obj = world.objects.get(address)
        if obj is not None and address[0] == "ModelVersion":
            serves = set(obj["status"].get("productionIn") or ())
            assert serves <= services, f"{address[2]} serves in {serves - services}, which is gone"
            assert not (obj["status"].get("stage") == "Production" and not serves)
