"""Whatever happens to a Dataset: its valid revision stays, reads come one at a time, nothing referred to is removed."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from tests.unit.plan.simulation import Simulation
from tests.unit.plan.walks import JOB_TROUBLE, TIME, Said, Step, Walker, walks

from fairlead.api import names

SPEC = {"source": {"configMap": {"name": "a", "key": "a"}}, "format": "CSV", "keepRevisions": 1}


def _valid(revision: str) -> Said:
    summary = {"kind": "Snapshot", "valid": True, "revision": f"sha256:{revision}", "rows": 10}
    return {"job succeeds": "*-snapshot-*", "with": summary}


def _run(revision: str) -> Said:
    reference = {"name": "d", "revision": f"sha256:{revision}"}
    spec = {"dataset": reference, "model": "m", "trainer": {"sklearn": {"estimator": "a.B"}}}
    return {"create": {"kind": "TrainingRun", "name": f"run-{revision}", "spec": spec}}


def _change(**spec: Any) -> Said:
    return {"change": "Dataset/d", "to": {"spec": spec}}


INVALID: Said = {
    "job succeeds": "*-snapshot-*",
    "with": {"kind": "Snapshot", "valid": False, "reason": "ChecksFailed", "message": "no"},
}
HAPPENINGS: tuple[Said, ...] = (
    *(_valid(revision) for revision in "abc"),
    INVALID,
    *JOB_TROUBLE,
    *TIME,
    *({"change": "Dataset/d", "to": {"metadata": {"annotations": {names.ANNOTATION_REFRESH: n}}}} for n in "12"),
    _change(source={"configMap": {"key": "b"}}),
    _change(refresh={"schedule": "*/10 * * * *"}),
    _change(refresh={"schedule": "61 * * * *"}),
    _change(refresh=None),
    _change(suspend=True),
    _change(suspend=False),
    {"job succeeds": "*-cleanup-*", "with": {"kind": "Cleanup", "removed": 1}},
    {"delete": "TrainingRun/run-a"},
)


def _walker(referred: str = "") -> Walker:
    world = Simulation()
    world.create({"kind": "Dataset", "name": "d", "spec": SPEC})
    for revision in referred:
        world.create(_run(revision)["create"])
    return Walker("Dataset", "d", world)


@settings(max_examples=100, deadline=None)
@given(walks(HAPPENINGS, meanwhile=HAPPENINGS))
def test_a_dataset_comes_to_rest_and_keeps_what_is_valid(steps: list[Step]) -> None:
    walker = _walker(referred="ab")
    for step in steps:
        before = walker.status
        walker.take(step)
        after = walker.status
        assert after.get("revision") or not before.get("revision"), "the current revision was dropped"
        assert (after.get("lastCheck") or after)["tick"], "a result of no refresh: it is read again for nothing"
        listed = [entry["revision"] for entry in after.get("revisions") or ()]
        assert listed[:1] == ([after["revision"]] if after.get("revision") else [])
        assert len(walker.jobs("snapshot", unfinished=True)) <= 1
        both = walker.jobs("snapshot", unfinished=True) and walker.jobs("cleanup", unfinished=True)
        assert not both, "a clean-up runs beside a read whose revision it does not know"
        _check_cleanups(walker)


def _check_cleanups(walker: Walker) -> None:
    """A clean-up that is being started keeps the current list and what runs refer to."""
    runs = walker.world.list(names.TRAINING_RUN)
    for job in walker.jobs("cleanup", unfinished=True):
        text = job["spec"]["template"]["metadata"]["annotations"][names.ANNOTATION_INPUT]
        keep = set(json.loads(text)["keep"])
        listed = {entry["revision"] for entry in walker.status.get("revisions") or ()}
        needed = listed | {run["spec"]["dataset"]["revision"] for run in runs}
        assert {revision.removeprefix("sha256:") for revision in needed} <= keep


@settings(max_examples=50, deadline=None)
@given(walks(HAPPENINGS, meanwhile=HAPPENINGS))
def test_a_dataset_recovers_once_the_world_is_well(steps: list[Step]) -> None:
    walker = _walker()
    for step in steps:
        walker.take(step)
    walker.take(Step({"change": "Dataset/d", "to": {"spec": {"suspend": False, "refresh": None}}}))
    walker.take(Step({"change": "Dataset/d", "to": {"metadata": {"annotations": {names.ANNOTATION_REFRESH: "z"}}}}))
    for _ in range(6):  # a clean-up, a wait after a store that failed, the read that runs, the read that was asked for
        for role, said in (("cleanup", HAPPENINGS[-2]), ("snapshot", _valid("z"))):
            if walker.jobs(role, unfinished=True):
                walker.take(Step(said))
        walker.take(Step({"time passes": "11m"}))
    assert walker.status["revision"] == "sha256:z"
    assert walker.status["conditions"][0]["reason"] == "Valid"
