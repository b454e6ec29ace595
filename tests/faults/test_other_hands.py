"""Other hands on what is ours: a manager that takes fields over, edits, deletions, finalizers, a namespace that goes.

After each of them the children are as they were, without a storm of requests. A revision's Deployment is born once and
Jobs are records: an edit of these is the user's, only what is deleted and still wanted comes back.
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Any

import pytest
from tests.support.eventually import eventually

from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.plan.jobs import is_finished

from .actors import NAMESPACE
from .admin import APPLY
from .arena import PATIENCE_S, WHOLE, Arena, Outcome, Scene, require_same
from .pods import Json
from .story import DATA, FAMILY, MONITOR

pytestmark = pytest.mark.asyncio(loop_scope="session")

STEPS = ("serving", "approval", "promoted", "rolled back", "retrained")
REQUESTS_PER_S = 60.0
# resource, name, and what a foreign hand sets in fields of ours
EDITS: tuple[tuple[Resource, str, Json], ...] = (
    (names.SERVICE, FAMILY, {"spec": {"selector": {names.LABEL_OWNER: "elsewhere"}}}),
    (names.SERVICE, f"{FAMILY}-control", {"metadata": {"labels": {names.LABEL_MANAGED_BY: "me"}}}),
    (names.DISRUPTION_BUDGET, FAMILY, {"spec": {"maxUnavailable": 3}}),
    (names.HTTP_ROUTE, FAMILY, {"spec": {"hostnames": ["stolen.example.com"]}}),
    (names.CRON_JOB, f"{MONITOR}-monitor", {"spec": {"schedule": "1 1 1 1 *"}}),
    (names.CRON_JOB, f"{FAMILY}-captures", {"spec": {"suspend": True}}),
)
LASTING = (names.SERVICE, names.DISRUPTION_BUDGET, names.HTTP_ROUTE, names.CRON_JOB, names.AUTOSCALER)


def requests_per_s(scene: Scene, since: float) -> float:
    """Return how busy the operator was since a time."""
    return sum(call.at >= since for call in scene.proxy.calls) / max(1.0, time.monotonic() - since)


async def is_restored(scene: Scene, expected: list[str]) -> None:
    """Wait until all is as it was, and quiet."""

    def same() -> bool:
        require_same(lasting(expected), lasting(scene.state()))
        return True

    await eventually(same, PATIENCE_S, every_s=0.1)
    await scene.rest()
    scene.check_laws()


def lasting(state: list[str]) -> list[str]:
    """Leave out Jobs: those of a CronJob go with it."""
    return [line for line in state if not line.startswith('{"kind": "Job"')]


async def test_edits_take_overs_and_deletions_of_every_child(faults: Arena) -> None:
    """One scene: each child in turn is edited, taken over by another manager, and deleted."""
    async with faults.scene() as scene:
        await scene.story.play()
        await scene.settle()
        was, admin, space, since = scene.state(), faults.admin, scene.namespace, time.monotonic()
        scaled = {"spec": {"maxReplicas": 9}}
        scalers = [(names.AUTOSCALER, it["metadata"]["name"], scaled) for it in scene.actors.all(names.AUTOSCALER)]
        for resource, name, change in (*EDITS, *scalers):
            await admin.patch(resource, (space, name), change)
            await is_restored(scene, was)
            await take_over(scene, resource, name, change)
            await is_restored(scene, was)
        for resource in LASTING:
            for child in scene.actors.all(resource):
                await admin.delete(resource, (space, child["metadata"]["name"]))
                await scene.become(functools.partial(born_again, resource=resource, child=child))
        await is_restored(scene, was)
        assert requests_per_s(scene, since) < REQUESTS_PER_S


async def take_over(scene: Scene, resource: Resource, name: str, change: Json) -> None:
    """Apply by force as another field manager."""
    path = f"/apis/{resource.api_version}" if "/" in resource.api_version else f"/api/{resource.api_version}"
    path += f"/namespaces/{scene.namespace}/{resource.plural}/{name}?fieldManager=other&force=true"
    head = {"apiVersion": resource.api_version, "kind": resource.kind}
    metadata = {"name": name, "namespace": scene.namespace, **(change.get("metadata") or {})}
    body = {**head, **change, "metadata": metadata}
    await scene.arena.admin.send("PATCH", path, body, APPLY)


def born_again(scene: Scene, resource: Resource, child: Json) -> bool:
    """Say whether a deleted child is there again, as another object."""
    found = scene.actors.find(resource, child["metadata"]["name"])
    assert found is not None, f"{resource.kind} {child['metadata']['name']} is not made again"
    return bool(found["metadata"]["uid"] != child["metadata"]["uid"])


async def test_a_deleted_deployment_of_a_revision_that_serves_comes_back(faults: Arena) -> None:
    async with faults.scene() as scene:
        await scene.story.play(until="serving")
        await scene.rest()
        was = scene.state()
        serving = scene.actors.all(names.DEPLOYMENT)[0]
        await faults.admin.delete(names.DEPLOYMENT, (scene.namespace, serving["metadata"]["name"]))
        await scene.become(functools.partial(born_again, resource=names.DEPLOYMENT, child=serving))
        await is_restored(scene, was)


async def test_deleted_jobs_do_no_harm(faults: Arena, expected: Outcome) -> None:
    """Each Job is deleted once: read and evaluated again; a trained one, when it has ended, is known by its result."""
    async with faults.scene() as scene:
        deleting = asyncio.create_task(delete_each_job_once(scene))
        await scene.story.play()
        deleting.cancel()
        await scene.rest()
        assert scene.story.is_over()
        scene.check_laws()


async def delete_each_job_once(scene: Scene) -> None:
    deleted: set[str] = set()
    while True:
        for job in scene.actors.all(names.JOB):
            name = job["metadata"]["name"]
            labels = job["metadata"].get("labels") or {}
            key = f"{labels.get(names.LABEL_OWNER)}/{labels.get(names.LABEL_ROLE)}"
            role = labels.get(names.LABEL_ROLE)
            harmless = role in ("snapshot", "evaluate") or (role == "train" and is_finished(job))
            if key not in deleted and harmless:
                deleted.add(key)
                await scene.arena.admin.delete(names.JOB, (scene.namespace, name))
        await asyncio.sleep(0.01)


async def test_finalizers_of_others_hold_nothing_up_but_themselves(faults: Arena) -> None:
    """Children that cannot go: no storm, and all is well once the finalizer is gone."""
    async with faults.scene() as scene:
        await scene.story.play(until="serving")
        await scene.rest()
        was, since, admin, space = scene.state(), time.monotonic(), faults.admin, scene.namespace
        for resource, name in held_places():
            await admin.patch(resource, (space, name), {"metadata": {"finalizers": ["example.com/hold"]}})
            await admin.delete(resource, (space, name))
        await scene.rest()
        for resource, name in held_places():
            found = scene.actors.find(resource, name)
            assert found is not None
            assert found["metadata"].get("deletionTimestamp")
            await admin.patch(resource, (space, name), {"metadata": {"finalizers": None}})
        await is_restored(scene, was)
        assert requests_per_s(scene, since) < REQUESTS_PER_S


def held_places() -> list[tuple[Resource, str]]:
    """Return children that may be held."""
    return [
        (names.SERVICE, FAMILY),
        (names.DISRUPTION_BUDGET, FAMILY),
        (names.HTTP_ROUTE, FAMILY),
        (names.CRON_JOB, f"{MONITOR}-monitor"),
    ]


async def test_an_owner_held_by_a_finalizer_is_left_alone(faults: Arena) -> None:
    async with faults.scene() as scene:
        await scene.story.play(until="serving")
        await scene.rest()
        place = (scene.namespace, DATA)
        await faults.admin.patch(names.DATASET, place, {"metadata": {"finalizers": ["example.com/hold"]}})
        await faults.admin.delete(names.DATASET, place)
        await scene.rest()
        await faults.admin.patch(names.DATASET, place, {"metadata": {"finalizers": None}})
        await scene.become(lambda scene: scene.actors.find(names.DATASET, DATA) is None)


@pytest.mark.parametrize("step", ["applied", *STEPS] if WHOLE else ["applied"])
async def test_a_namespace_deleted_in_this_state_goes_in_peace(faults: Arena, step: str) -> None:
    async with faults.scene() as scene:
        playing = asyncio.create_task(scene.story.play(until=step if step != "applied" else STEPS[0]))
        if step == "applied":
            await scene.become(lambda scene: bool(scene.actors.all(names.JOB)))
            playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        since = time.monotonic()
        await faults.admin.delete(NAMESPACE, ("", scene.namespace))
        scene.actors.is_terminating = True
        await scene.become(is_empty)
        await faults.admin.send("PUT", f"/api/v1/namespaces/{scene.namespace}/finalize", whole(scene.namespace))
        await scene.rest()
        assert requests_per_s(scene, since) < REQUESTS_PER_S
        assert scene.exits == [], f"it ended: {scene.log}"
        assert "unexpected error" not in scene.log.read_text()


def is_empty(scene: Scene) -> bool:
    """Say whether nothing is left; fail with what is."""
    left = [(place, obj["metadata"].get("deletionTimestamp")) for place, obj in scene.actors.objects.items()]
    assert not left, f"{left}; the actors' last events: {list(scene.actors.log)[-5:]}"
    return True


def whole(namespace: str) -> dict[str, Any]:
    """Return the body that lets a namespace go."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}, "spec": {"finalizers": []}}
