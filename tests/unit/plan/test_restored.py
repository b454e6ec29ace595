"""Every story, broken off after each of its steps: all objects are lost and restored, and go on from what was decided.

Pods, Jobs and all else that objects own is gone; what did not depend on Fairlead (Gateways, routes of others) is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.plan.simulation import NAMESPACE, Simulation, owner_uids
from tests.unit.plan.telling import Teller, check_laws, read_story, reconcile, story_paths
from tests.unit.plan.test_stories import KINDS

from fairlead.api import names
from fairlead.cli import saved

AT = "2026-01-01T00:00:00Z"
Objects = dict[tuple[str, str], dict[str, Any]]


def restored(lost: Simulation) -> tuple[Objects, Simulation]:
    """Return what was saved of a world, and a new world with that."""
    world = Simulation(now=lost.now, settings=lost.settings)
    own = [obj for (kind, _, _), obj in lost.objects.items() if kind in saved.BY_KIND]
    others = [obj for obj in lost.objects.values() if obj["kind"] in ("Gateway", "HTTPRoute") and not owner_uids(obj)]
    for obj in others:
        world.create(obj)
    file = saved.read(saved.render([saved.save(obj, AT) for obj in own], "a world", AT))
    uids: dict[str, str] = {}
    for each in file:
        body = saved.birth(each, uids)
        body["metadata"]["annotations"].pop(names.ANNOTATION_RESTORING)
        status = saved.status_of(each, 1)
        made = world.create({**body, "status": {"observedGeneration": -1, **status}})
        uids[each["metadata"]["uid"]] = made["metadata"]["uid"]
        decision = saved.decision_of(each)
        if decision is not None and saved.may_be_decided(each):
            place = (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])
            world.update(place, {"spec": {"approval": decision}})
    return {(each["kind"], each["metadata"]["name"]): each for each in file}, world


def is_told_in_full(obj: Mapping[str, Any]) -> bool:
    """Say whether a story says all of a revision that serves, as status does; some name only what they need."""
    roles = [obj["status"].get(role) for role in ("stable", "previous", "canary")]
    return all(role.get("serve") for role in roles if role)


@pytest.mark.parametrize("kind", KINDS.values())
def test_what_was_decided_holds_after_a_restoration_at_any_moment(kind: str) -> None:
    told = []
    for path in story_paths():
        if KINDS[path.parent.name] == kind:
            teller = Teller(read_story(path), kind)

            def look(subject: Mapping[str, Any], teller: Teller = teller, story: str = path.stem) -> bool:
                if is_told_in_full(subject):
                    told.append(story)
                    assert differences(teller) == [], f"{story}, after step {told.count(story)}"
                return False  # and on to the next step

            teller.tell(until=look)
    assert len(told) > 10


def differences(teller: Teller) -> list[str]:
    """Return what a restoration of the story's world at this moment changes."""
    file, world = restored(teller.world)
    reconcile(world, teller.key, teller.controller)
    before = file[teller.key.kind, teller.key.name]
    after = world.objects[teller.key.kind, NAMESPACE, teller.key.name]
    check_laws(after)
    return [*lost_decisions(before, after), *trained_again(file, world)]


def lost_decisions(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what was decided before and is not so after."""
    old, new = before.get("status") or {}, after["status"]
    kept = {
        "TrainingRun": ("outcome", "artifact", "failure", "modelVersion") if old.get("outcome") else ("dataset",),
        "ModelVersion": ("refusal", "approvedAt", "approvedBy", "artifact"),
        "Dataset": ("revision",),
        "DriftMonitor": ("retrainings", "monthCount", "lastWindow"),
        "InferenceService": (),
    }[before["kind"]]
    found = [field for field in kept if old.get(field) and new.get(field) != old[field]]
    for field in ("rejected", "rejectedBy"):
        found += [f"{field} {entry}" for entry in old.get(field) or () if entry not in (new.get(field) or ())]
    if before["kind"] == "InferenceService":
        found += _changed_service(old, new)
    return found


def _changed_service(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    rollout = old.get("rollout") or {}
    baking = "Baking" in (rollout.get("state"), rollout.get("resume"))
    served = old.get("previous") if baking and old.get("previous") else old.get("stable")
    found = []
    if served and (new.get("stable") or {}).get("revision") != served["revision"]:
        found.append(f"{served['version']} no longer serves: {new.get('stable')}")
    canary = new.get("canary")
    for entry in (old.get("rejected") or ()) if canary else ():
        if canary["digest"] == entry["digest"] and (not entry.get("revision") or canary["content"] == entry["content"]):
            found.append(f"{canary['version']} is tried again")
    return found


def trained_again(file: Objects, world: Simulation) -> list[str]:
    """Return Jobs of runs that had ended."""
    ended = {name for (kind, name), obj in file.items() if kind == "TrainingRun" and obj["status"].get("outcome")}
    jobs = [obj for (kind, _, _), obj in world.objects.items() if kind == "Job"]
    labels = [(job["metadata"]["name"], job["metadata"]["labels"]) for job in jobs]
    return [
        name
        for name, said in labels
        if said[names.LABEL_OWNER_KIND] == "TrainingRun" and said[names.LABEL_OWNER] in ended
    ]
