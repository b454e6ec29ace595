"""The operator is granted what its code and its planners ask for in some story, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from tests.support.rights import RARE, UNSEEN, Right, asked_by, asked_by_the_shell, granted
from tests.unit.plan import serving  # noqa: F401  (the happenings of serving)
from tests.unit.plan.simulation import Simulation
from tests.unit.plan.telling import Teller, read_story, story_paths

from fairlead.app.rbac import RULES
from fairlead.plan.types import Key, Plan

KINDS = {
    "dataset": "Dataset",
    "trainingrun": "TrainingRun",
    "modelversion": "ModelVersion",
    "inferenceservice": "InferenceService",
    "driftmonitor": "DriftMonitor",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[Right]:
    """Everything that the plans of all stories ask for."""
    found: set[Right] = set()
    execute = Simulation.execute

    def noting(world: Simulation, key: Key, plan: Plan, *, writes: int | None = None) -> Iterable[str]:
        for action in plan.actions:
            found.update(asked_by(action))
        return execute(world, key, plan, writes=writes)

    monkeypatch.setattr(Simulation, "execute", noting)
    for path in story_paths():
        Teller(read_story(path), KINDS[path.parent.name]).tell()
    return found


def test_granted_is_what_is_asked_for(asked: set[Right]) -> None:
    needed = asked | asked_by_the_shell() | UNSEEN.keys()
    assert sorted(granted(RULES) - needed) == [], "granted, and nothing asks for it"
    assert sorted(needed - granted(RULES)) == [], "asked for, and not granted"


def test_every_excuse_is_about_something_granted_and_says_why() -> None:
    assert granted(RULES) >= UNSEEN.keys() | RARE.keys()
    assert all(len(why) > 20 for why in (UNSEEN | RARE).values())
