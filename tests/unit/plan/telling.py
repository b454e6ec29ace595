"""Reading and telling stories: a YAML file becomes steps in a simulated world, each held against what it expects.

How a story is written stands in stories/README.md. A kind takes part by having `controllers/<kind>.py` with CONTROLLER.
"""

from __future__ import annotations

import fnmatch
import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.support.status_laws import StatusLaws, breaches
from tests.unit.plan.happenings import happen
from tests.unit.plan.simulation import NAMESPACE, Simulation, covers, run_now

from fairlead.api import conditions, names
from fairlead.plan.types import Key, Obj, Plan

FOLDER = Path(__file__).parent / "stories"
MAX_TURNS = 20  # plans until quiet; more is a loop without end
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def story_paths() -> list[Path]:
    """Return every story, sorted."""
    return sorted(FOLDER.glob("*/*.yaml"))


def read_story(path: Path) -> dict[str, Any]:
    """Return a story as plain data."""
    return dict(yaml.load(path.read_text(), Loader=_Loader))


def controller_of(kind: str) -> Any:
    """Return the CONTROLLER of a kind."""
    return importlib.import_module(f"fairlead.controllers.{kind.lower()}").CONTROLLER


@dataclass
class Turn:
    """What one reconcile until quiet did."""

    actions: list[str] = field(default_factory=list)
    last: Plan = field(default_factory=Plan)
    planning_s: list[float] = field(default_factory=list)


def reconcile(world: Simulation, key: Key, controller: Any, laws: StatusLaws | None = None) -> Turn:
    """Gather, plan and execute until a plan changes nothing; raise AssertionError when that never happens."""
    turn = Turn()
    for _ in range(MAX_TURNS):
        snapshot = run_now(controller.gather(key, world.world))
        if snapshot is None:
            return turn
        begun = time.thread_time()  # of the processor: others share the machine
        turn.last = controller.plan(snapshot, world.now)
        turn.planning_s.append(time.thread_time() - begun)
        done = list(world.execute(key, turn.last))
        if laws is not None:
            laws.see(world.objects[key.kind, key.namespace, key.name])
        if not done:
            return turn
        turn.actions += [action for action in done if not action.startswith("Status ")]
    raise AssertionError(f"not quiet after {MAX_TURNS} plans; did {turn.actions}")


def check_laws(obj: Mapping[str, Any]) -> None:
    """Assert the status laws over one object of ours that was looked at."""
    assert conditions.find_condition(obj, conditions.READY) is not None, "Ready is always present"
    found = breaches(obj)
    assert not found, "\n".join(found)


class Teller:
    """Tells one story: lets things happen, reconciles, compares."""

    def __init__(self, story: Mapping[str, Any], kind: str) -> None:
        self.world = Simulation()
        self.planning_s: list[float] = []
        self.states: list[Obj] = []  # the subject after each step's happenings, and again after the reconcile
        self._laws = StatusLaws()
        self._story = story
        given = list(story["given"])
        for said in given:
            self.world.create(said)
        subject = story.get("about") or next(said["name"] for said in given if said["kind"] == kind)
        self.key = Key(kind, NAMESPACE, subject)
        self.controller = controller_of(kind)

    def tell(self, until: Callable[[Obj], bool] | None = None) -> None:
        """Go through all steps, or to the end of the first one that leaves the subject as `until` wants it."""
        for number, step in enumerate(self._story["steps"], 1):
            for said in step.get("observe") or ():
                happen(self.world, said)
            self._keep_state()
            turn = reconcile(self.world, self.key, self.controller, self._laws)
            self.planning_s += turn.planning_s
            self._keep_state()
            expected = step.get("expect") or {}
            unknown = set(expected) - {"actions", "conditions", "message", "status", "objects", "absent", "againWithin"}
            assert not unknown, f"step {number} expects something unknown: {unknown}"
            for difference in self._differences(expected, turn):
                raise AssertionError(f"step {number} ({step.get('then', '')}): {difference}")
            if until is not None and until(self.states[-1]):
                return

    def _keep_state(self) -> None:
        obj = self.world.get(names.BY_KIND[self.key.kind], NAMESPACE, self.key.name)
        self.states += [obj] if obj is not None else []

    def _differences(self, expected: Mapping[str, Any], turn: Turn) -> Iterator[str]:
        obj = self.world.get(names.BY_KIND[self.key.kind], NAMESPACE, self.key.name)
        assert obj is not None, "the subject of the story is gone"
        check_laws(obj)
        self._laws.assert_kept()
        yield from self._actions(expected.get("actions"), turn)
        yield from _conditions(expected.get("conditions"), obj)
        yield from _messages(expected.get("message"), obj)
        if not covers(obj["status"], expected.get("status") or {}):
            yield f"expected status {expected['status']}, found {obj['status']}"
        yield from self._objects(expected)
        again = turn.last.requeue_after_s
        if "againWithin" in expected and (again is None or again > expected["againWithin"]):
            yield f"expected another look within {expected['againWithin']} s, found {again}"

    def _actions(self, expected: list[str] | None, turn: Turn) -> Iterator[str]:
        if expected is None:
            return
        matches = [fnmatch.fnmatch(done, wanted) for done, wanted in zip(turn.actions, expected, strict=False)]
        if len(turn.actions) != len(expected) or not all(matches):
            yield f"expected actions {expected}, found {turn.actions}"

    def _objects(self, expected: Mapping[str, Any]) -> Iterator[str]:
        for reference, wanted in (expected.get("objects") or {}).items():
            found = self.world.objects[self.world.find(reference)]
            if not covers(found, wanted):
                yield f"expected {reference} with {wanted}, found {found}"
        for reference in expected.get("absent") or ():
            kind, _, pattern = reference.partition("/")
            found_names = [a[2] for a in self.world.objects if a[0] == kind and fnmatch.fnmatch(a[2], pattern)]
            if found_names:
                yield f"expected no {reference}, found {found_names}"


def _conditions(expected: Mapping[str, str] | None, obj: Mapping[str, Any]) -> Iterator[str]:
    if expected is None:
        return
    found = {c["type"]: f"{c['status']} {c['reason']}" for c in obj["status"]["conditions"]}
    if found != dict(expected):
        yield f"expected conditions {dict(expected)}, found {found}; Ready says: {_ready_message(obj)}"


def _messages(expected: str | list[str] | None, obj: Mapping[str, Any]) -> Iterator[str]:
    for text in [expected] if isinstance(expected, str) else expected or ():
        if text not in _ready_message(obj):
            yield f"expected Ready's message to say {text!r}, found {_ready_message(obj)!r}"


def _ready_message(obj: Mapping[str, Any]) -> str:
    condition = conditions.find_condition(obj, conditions.READY)
    return str(condition["message"]) if condition else ""
