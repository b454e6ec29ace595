"""Which Datasets, TrainingRuns and ModelVersions are looked at again when something else changes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.plan.simulation import NAMESPACE, Simulation

from fairlead.api import names
from fairlead.controllers import dataset, modelversion, trainingrun
from fairlead.controllers.types import Controller
from fairlead.plan.types import Obj

CONTROLLERS = (dataset.CONTROLLER, trainingrun.CONTROLLER, modelversion.CONTROLLER)


def touched(controller: Controller[Any], world: Simulation, changed: Obj) -> set[str]:
    """Return the names of the objects that a change concerns."""
    watches = [watch for watch in controller.watches if watch.resource.kind == changed["kind"]]
    keys = [key for watch in watches for key in watch.to_keys(changed, world)]
    assert all((key.kind, key.namespace) == (controller.resource.kind, NAMESPACE) for key in keys)
    return {key.name for key in keys}


@pytest.mark.parametrize("controller", CONTROLLERS, ids=lambda controller: controller.resource.kind)
@pytest.mark.parametrize("kind", ["Job", "Pod"])
def test_a_child_concerns_its_owner(controller: Controller[Any], kind: str) -> None:
    labels = {names.LABEL_OWNER: "a", names.LABEL_OWNER_KIND: controller.resource.kind}
    world = Simulation()
    ours = world.create({"kind": kind, "metadata": {"name": "x", "labels": labels}})
    other = world.create(
        {"kind": kind, "metadata": {"name": "y", "labels": {**labels, names.LABEL_OWNER_KIND: "Other"}}}
    )
    assert touched(controller, world, ours) == {"a"}
    assert touched(controller, world, other) == set()


def _run(world: Simulation, name: str, **more: Any) -> Obj:
    spec = {"dataset": {"name": "d"}, "model": "m", "trainer": {"sklearn": {"estimator": "a.B"}}}
    return world.create({"kind": "TrainingRun", "name": name, "spec": spec, **more})


def test_a_dataset_concerns_only_runs_that_still_wait_for_it() -> None:
    world = Simulation()
    _run(world, "waits")
    _run(world, "pinned", status={"dataset": {"name": "d", "revision": "sha256:a"}})
    changed = world.create({"kind": "Dataset", "name": "d", "spec": {}})
    assert touched(trainingrun.CONTROLLER, world, changed) == {"waits"}


def test_a_version_concerns_the_run_of_its_name() -> None:
    world = Simulation()
    _run(world, "r")
    same = world.create({"kind": "ModelVersion", "name": "r", "spec": {}})
    other = world.create({"kind": "ModelVersion", "name": "x", "spec": {}})
    assert touched(trainingrun.CONTROLLER, world, same) == {"r"}
    assert touched(trainingrun.CONTROLLER, world, other) == set()


def test_a_run_that_goes_concerns_the_dataset_whose_dropped_revision_it_held() -> None:
    world = Simulation()
    run = _run(world, "r", status={"dataset": {"name": "d", "revision": "sha256:a"}})
    world.create({"kind": "Dataset", "name": "d", "spec": {}})
    assert touched(dataset.CONTROLLER, world, run) == set()
    world.update(("Dataset", NAMESPACE, "d"), {"status": {"dropped": ["sha256:a"]}})
    assert touched(dataset.CONTROLLER, world, run) == {"d"}


def _version(world: Simulation, name: str, **status: Any) -> None:
    spec = {"model": "m", "source": {"trainingRun": {"name": "r"}}, "evaluation": {"dataset": {"name": "d"}}}
    world.create({"kind": "ModelVersion", "name": name, "spec": spec, "status": status})


def test_a_run_and_a_dataset_concern_versions_that_still_wait_for_them() -> None:
    world = Simulation()
    _version(world, "waits")
    _version(world, "knows", artifact={"digest": "sha256:m"}, dataset={"name": "d", "revision": "sha256:a"})
    assert touched(modelversion.CONTROLLER, world, _run(world, "r")) == {"waits"}
    changed = world.create({"kind": "Dataset", "name": "d", "spec": {}})
    assert touched(modelversion.CONTROLLER, world, changed) == {"waits"}


def test_a_service_concerns_versions_that_it_speaks_of_or_that_are_undecided() -> None:
    world = Simulation()
    approved = {"approvedAt": "2026-01-01T00:00:00Z", "stage": "Approved"}
    _version(world, "undecided")
    _version(world, "stable", **approved)
    _version(world, "was-stable", **approved, productionIn=["s"])
    _version(world, "refused", **approved, artifact={"digest": "sha256:bad"})
    _version(world, "idle", **approved, artifact={"digest": "sha256:other"})
    _version(world, "rejected", stage="Rejected")
    _version(world, "lifted", **approved, artifact={"digest": "sha256:again"})
    status = {
        "stable": {"version": "stable"},
        "rejected": [{"digest": "sha256:bad"}],
        "handled": {"overrideDigest": "sha256:again"},
    }
    service = world.create(
        {"kind": "InferenceService", "name": "s", "spec": {"model": {"name": "m"}}, "status": status}
    )
    assert touched(modelversion.CONTROLLER, world, service) == {
        "undecided",
        "stable",
        "was-stable",
        "refused",
        "lifted",
    }
