"""Whatever happens to a TrainingRun: it trains once, what ended stays, and its version is made once."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from tests.unit.plan.simulation import Simulation
from tests.unit.plan.walks import JOB_TROUBLE, TIME, Said, Step, Walker, walks

SPEC = {
    "dataset": {"name": "d"},
    "model": "m",
    "trainer": {"sklearn": {"estimator": "sklearn.linear_model.Ridge"}},
    "retries": 1,
}
DATASET = {
    "kind": "Dataset",
    "name": "d",
    "spec": {"source": {"configMap": {"name": "a", "key": "a"}}, "format": "CSV"},
    "status": {"revision": "sha256:a"},
}
SUCCESS: Said = {"job succeeds": "*", "with": {"kind": "Train", "digest": "sha256:m", "format": "onnx", "sizeBytes": 1}}
FOREIGN = {"kind": "ModelVersion", "name": "r", "spec": {"model": "x", "source": {"artifact": {"uri": "s3://b/x"}}}}
HAPPENINGS: tuple[Said, ...] = (
    SUCCESS,
    *JOB_TROUBLE,
    *TIME,
    {"change": "Dataset/d", "to": {"status": {"revision": "sha256:b"}}},
    {"delete": "Dataset/d"},
    {"delete": "ModelVersion/r"},
    {"take": "the name"},
)
FINAL = ("outcome", "artifact", "failure", "metrics", "finishedAt", "lineage", "dataset")


def _walker() -> Walker:
    world = Simulation()
    world.create({"kind": "TrainingRun", "name": "r", "spec": SPEC})
    world.create(DATASET)
    return Walker("TrainingRun", "r", world)


def _take(walker: Walker, step: Step) -> None:
    taken = ("ModelVersion", "demo", "r") in walker.world.objects
    if "take" not in step.said:
        walker.take(step)
    elif not taken:
        walker.take(replace(step, said={"create": FOREIGN}))


@settings(max_examples=100, deadline=None)
@given(walks(HAPPENINGS, meanwhile=HAPPENINGS[:-1]))
def test_a_run_comes_to_rest_trains_once_and_what_ended_stays(steps: list[Step]) -> None:
    walker = _walker()
    trained = 0
    for step in steps:
        before, jobs_before = walker.status, len([b for b in walker.created if b["kind"] == "Job"])
        _take(walker, step)
        after = walker.status
        assert len(walker.jobs("train", unfinished=True)) <= 1
        pinned = before.get("dataset")
        assert not pinned or after["dataset"] == pinned, "a pinned revision moved"
        if before.get("outcome"):
            assert {field: before.get(field) for field in FINAL} == {field: after.get(field) for field in FINAL}
            assert len([b for b in walker.created if b["kind"] == "Job"]) == jobs_before, "an ended run started a Job"
        trained += step.said is SUCCESS and after.get("outcome") == "Succeeded" != before.get("outcome")
    assert trained <= 1
    if walker.status.get("outcome") == "Failed":
        assert not [body for body in walker.created if body["kind"] == "ModelVersion"]


@settings(max_examples=50, deadline=None)
@given(walks(HAPPENINGS, meanwhile=HAPPENINGS[:-1]))
def test_a_run_ends_once_the_world_is_well(steps: list[Step]) -> None:
    walker = _walker()
    for step in steps:
        _take(walker, step)
    if ("Dataset", "demo", "d") not in walker.world.objects:
        walker.take(Step({"create": DATASET}))
    if not walker.status.get("modelVersion"):
        walker.take(Step({"delete": "ModelVersion/r"}))
    for _ in range(3):
        walker.take(Step(SUCCESS))
        walker.take(Step({"time passes": "11m"}))
    assert walker.status["outcome"] in ("Succeeded", "Failed")
    assert walker.status["outcome"] == "Failed" or walker.status["modelVersion"] == "r"
