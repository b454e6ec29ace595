"""`kubectl fairlead plan`: what would happen if manifests were applied, from the operator's own planners.

It reads the namespace (or a file of saved objects, then it asks no cluster at all), applies the manifests in memory,
and lets the planners look until they are quiet. Nothing is written anywhere. What needs pods to run is where it stops.
Called by `main.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.controllers import dataset, driftmonitor, inferenceservice, modelversion, trainingrun
from fairlead.controllers.types import Controller, OperatorSettings, key_of
from fairlead.kube.errors import KubeError
from fairlead.plan.types import Key, Obj

from .commands import OK, Session
from .gather import OURS
from .imagined import Imagined
from .manifests import ManifestError, is_ours, merged, read_objects
from .prospect import prospect
from .states import Standing, state_of

REFUSED = 1
LOOKS_MAX = 200  # more is a loop without end
CONTROLLERS: tuple[Controller[Any], ...] = (
    dataset.CONTROLLER,
    trainingrun.CONTROLLER,
    modelversion.CONTROLLER,
    inferenceservice.CONTROLLER,
    driftmonitor.CONTROLLER,
)
_SHARED = (names.GATEWAY, names.HTTP_ROUTE)  # of other namespaces too: a Gateway is often there


@dataclass(frozen=True)
class Telling:
    """Where words go, and the time (RFC 3339) that planners are given."""

    say: Callable[[str], None]
    at: str


@dataclass
class Course:
    """What came of the manifests: what would be done for which object, and what nobody could see."""

    imagined: Imagined
    done: dict[Key, list[str]] = field(default_factory=dict)


async def plan(session: Session, given: argparse.Namespace) -> int:
    """Print what would happen in the cluster's namespace as it is now."""
    known, unread = await _read_cluster(session)
    for part in unread:
        session.say(f"not seen: {part}")
    return await _plan(given, known, session.namespace, Telling(session.say, session.timestamp()))


async def plan_offline(given: argparse.Namespace, telling: Telling) -> int:
    """Print what would happen to saved objects; no cluster is asked."""
    known = read_objects(_read(given.objects))
    spaces = [str(obj["metadata"]["namespace"]) for obj in known if obj["metadata"].get("namespace")]
    return await _plan(given, known, given.namespace or (spaces or ["default"])[0], telling)


async def _plan(given: argparse.Namespace, known: Sequence[Obj], namespace: str, telling: Telling) -> int:
    manifests = [obj for path in given.file for obj in read_objects(_read(path))]
    for obj in manifests:
        if not is_ours(obj):
            telling.say(f"left out: {obj['kind']} {obj['metadata']['name']} is no kind of Fairlead")
    ours = [obj for obj in manifests if is_ours(obj)]
    if not ours:
        raise ManifestError("there is no manifest of Fairlead in what was given")
    now = datetime.fromisoformat(telling.at).astimezone(UTC)
    course = Course(Imagined(known, _settings(known), now))
    keys = [_apply(course, manifest, namespace) for manifest in ours]
    await _follow(course, keys, now)
    return _tell(course, keys, telling.say)


def _read(path: str) -> str:
    return sys.stdin.read() if path == "-" else Path(path).read_text()


def _settings(known: Iterable[Obj]) -> OperatorSettings:
    """Return the operator's settings as far as objects show them: images that serve or work already."""
    server, jobs = "fairlead-server", "fairlead-jobs"
    for obj in known:
        stable = ((obj.get("status") or {}).get("stable")) or {}
        if obj["kind"] == names.INFERENCE_SERVICE.kind and stable.get("image"):
            server = str(stable["image"])
        if obj["kind"] in (names.JOB.kind, names.CRON_JOB.kind):
            jobs = _image(obj) or jobs
    return OperatorSettings(server, jobs, gateway_api_present=True)


def _image(job: Obj) -> str:
    spec = job.get("spec") or {}
    template = ((spec.get("jobTemplate") or {}).get("spec") or spec).get("template") or {}
    containers: Sequence[Obj] = (template.get("spec") or {}).get("containers") or ({},)
    return str(containers[0].get("image") or "")


async def _read_cluster(session: Session) -> tuple[list[Obj], list[str]]:
    """Return the namespace's objects, and what could not be read."""
    found: list[Obj] = []
    unread: list[str] = []

    async def read(resource: Resource) -> None:
        namespace = None if resource in _SHARED else session.namespace
        try:
            async for page in session.client.pages(resource, namespace, OURS if resource.label_selected else ""):
                found.extend({**obj, "kind": resource.kind} for obj in page.items)
        except KubeError as error:
            if resource in names.OWN_KINDS:
                raise
            unread.append(f"{resource.plural}: {error.message}")

    await asyncio.gather(*(read(resource) for resource in names.RESOURCES))
    return found, unread


def _apply(course: Course, manifest: Obj, namespace: str) -> Key:
    namespace = str(manifest["metadata"].get("namespace") or namespace)
    resource = names.BY_KIND[manifest["kind"]]
    before = course.imagined.get(resource, namespace, manifest["metadata"]["name"])
    made = course.imagined.put(merged(manifest, before, namespace))
    key = key_of(resource, made)
    new = before is None or (before.get("spec"), before["metadata"].get("annotations")) != (
        made["spec"], made["metadata"].get("annotations"),
    )  # fmt: skip
    course.done[key] = [] if new else ["nothing to apply: it is so already"]
    return key


async def _follow(course: Course, keys: Iterable[Key], now: datetime) -> None:
    """Let planners look at the manifests' objects and at all that their changes concern, until nothing changes."""
    by_kind = {controller.resource.kind: controller for controller in CONTROLLERS}
    queue, looks = deque(keys), 0
    for key in list(queue):
        obj = course.imagined.get(names.BY_KIND[key.kind], key.namespace, key.name)
        queue.extend(_concerned(course, obj) if obj is not None else ())
    while queue and looks < LOOKS_MAX:
        key, looks = queue.popleft(), looks + 1
        controller = by_kind[key.kind]
        snapshot = await controller.gather(key, course.imagined.world)
        if snapshot is None:
            continue
        for words, obj in course.imagined.carry_out(key, controller.plan(snapshot, now)):
            course.done.setdefault(key, []).extend([words] if words else [])
            queue.extend(other for other in _concerned(course, obj) if other not in queue)


def _concerned(course: Course, changed: Obj) -> list[Key]:
    """Return the keys that a change concerns, as the operator's loop maps it."""
    found = [key for controller in CONTROLLERS if controller.resource.kind == changed["kind"]
             for key in (key_of(controller.resource, changed),)]  # fmt: skip
    for controller in CONTROLLERS:
        for watch in controller.watches:
            if watch.resource.kind == changed["kind"]:
                found += watch.to_keys(changed, course.imagined)
    kinds = {controller.resource.kind for controller in CONTROLLERS}
    return list(dict.fromkeys(key for key in found if key.kind in kinds))


def _tell(course: Course, asked: Sequence[Key], say: Callable[[str], None]) -> int:
    refused = False
    for key in dict.fromkeys((*asked, *course.done)):
        obj = course.imagined.get(names.BY_KIND[key.kind], key.namespace, key.name)
        words = course.done.get(key) or []
        if obj is None or (key not in asked and not words):
            continue
        state = state_of(obj)
        refused = refused or (key in asked and state.standing is Standing.STALLED)
        say(f"{key.kind} {key.namespace}/{key.name}: {state}")
        for line in (state.message, *words, *prospect(obj)):
            if line:
                say(f"  {line}")
    return REFUSED if refused else OK
