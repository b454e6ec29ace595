"""A child that the API server refuses for good: status stands still while time passes, or each write would be a try."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import planted
from tests.unit.plan.simulation import NAMESPACE, Simulation, run_now
from tests.unit.plan.telling import controller_of

from fairlead.plan.types import Key, Plan

SPECS: dict[str, dict[str, Any]] = {
    "Dataset": {"source": {"configMap": {"name": "a", "key": "a"}}, "format": "CSV"},
    "TrainingRun": {
        "dataset": {"name": "rows"},
        "model": "m",
        "trainer": {"sklearn": {"estimator": "sklearn.svm.SVC"}},
    },
    "ModelVersion": {"model": "m", "source": {"trainingRun": {"name": "trained"}}},
    "InferenceService": {"model": {"version": "trained"}},
    "DriftMonitor": {"inferenceService": {"name": "serving"}, "schedule": "0 0 1 1 *"},
}


@pytest.mark.parametrize("kind", SPECS)
def test_a_status_stands_still_while_its_children_are_refused(kind: str) -> None:
    world = Simulation()
    for body in planted.objects():
        world.create(body)
    world.create({"kind": kind, "name": "x", "spec": SPECS[kind]})
    key, controller = Key(kind, NAMESPACE, "x"), controller_of(kind)

    def plan() -> Plan:
        snapshot = run_now(controller.gather(key, world.world))
        return controller.plan(snapshot, world.now)  # type: ignore[no-any-return]

    def write_only_status() -> Any:
        planned = plan()
        list(world.execute(key, Plan((), planned.status)))
        return planned.status

    assert plan().actions, "the test needs a child"
    for _ in range(3):
        write_only_status()
    before = world.objects[(kind, NAMESPACE, "x")]["status"]
    for _ in range(3):
        world.now += timedelta(seconds=1)
        assert write_only_status() == before
