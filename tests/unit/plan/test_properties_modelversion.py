"""Whatever happens to a ModelVersion: no approval without evidence, and what was refused stays refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from tests.unit.plan.simulation import Simulation
from tests.unit.plan.walks import JOB_TROUBLE, TIME, Said, Step, Walker, walks

GATES = [
    {"name": "floor", "metric": "accuracy", "min": 0.8},
    {"name": "champion", "metric": "roc_auc", "versusChampion": {"maxLoss": 0.01}},
]
DIGEST = "sha256:m2"
RUN = {
    "kind": "TrainingRun",
    "name": "v",
    "spec": {"dataset": {"name": "d"}, "model": "m", "trainer": {"sklearn": {"estimator": "a.B"}}},
    "status": {
        "outcome": "Succeeded",
        "dataset": {"name": "d", "revision": "sha256:a"},
        "artifact": {"digest": DIGEST, "format": "onnx"},
    },
}


def _evaluated(floor: str, champion: str) -> Said:
    gates = [{"name": "floor", "outcome": floor, "rows": 100}, {"name": "champion", "outcome": champion, "rows": 100}]
    return {"job succeeds": "*", "with": {"kind": "Evaluate", "inputDigest": "sha256:e", "rows": 100, "gates": gates}}


def _serves(version: str, digest: str) -> Said:
    return {"change": "InferenceService/s", "to": {"status": {"stable": {"version": version, "digest": digest}}}}


def _approval(**said: Any) -> Said:
    return {"change": "ModelVersion/v", "to": {"spec": {"approval": said}}}


CURRENT = {"decision": "Approved", "by": "a", "reason": "b"}
REFUSED = [{"digest": DIGEST, "version": "v", "reason": "ErrorRate", "message": "no", "at": "2026-01-01T00:00:00Z"}]
APPROVE: Said = {"approve": "what is current"}
HAPPENINGS: tuple[Said, ...] = (
    _evaluated("Passed", "Passed"),
    _evaluated("Passed", "Inconclusive"),
    _evaluated("Failed", "Passed"),
    *JOB_TROUBLE,
    *TIME,
    APPROVE,
    _approval(**CURRENT, evaluationDigest="sha256:other"),
    _approval(decision="Rejected", by="a", reason="b"),
    _approval(decision=None, by=None, reason=None),
    _approval(required=False),
    _serves("old", "sha256:old"),
    _serves("v", DIGEST),
    _serves("third", "sha256:third"),
    {"change": "InferenceService/s", "to": {"status": {"rejected": REFUSED}}},
    {"change": "InferenceService/s", "to": {"status": {"rejected": None}}},
    {"change": "ModelVersion/v", "to": {"spec": {"resources": {"limits": {"memory": "8Gi"}}}}},
    {"delete": "TrainingRun/v"},
)
MEANWHILE = tuple(said for said in HAPPENINGS if said is not APPROVE)


def _walker() -> Walker:
    world = Simulation()
    spec = {"model": "m", "source": {"trainingRun": {"name": "v"}}, "gates": GATES}
    world.create({"kind": "ModelVersion", "name": "v", "spec": spec})
    world.create(RUN)
    world.create({"kind": "InferenceService", "name": "s", "spec": {"model": {"name": "m"}}})
    return Walker("ModelVersion", "v", world)


def _take(walker: Walker, step: Step) -> None:
    if step.said is not APPROVE:
        walker.take(step)
        return
    digest = (walker.status.get("evaluation") or {}).get("inputDigest")
    if digest:
        walker.take(replace(step, said=_approval(**CURRENT, evaluationDigest=digest)))


@settings(max_examples=100, deadline=None)
@given(walks(HAPPENINGS, meanwhile=MEANWHILE))
def test_a_version_comes_to_rest_and_approval_needs_evidence(steps: list[Step]) -> None:
    walker = _walker()
    for step in steps:
        before = walker.status
        _take(walker, step)
        after = walker.status
        _check_sticky(before, after)
        if after.get("approvedAt"):
            assert after["evaluation"]["inputDigest"]
            assert {gate["outcome"] for gate in after["gates"]} == {"Passed"}


def _check_sticky(before: Any, after: Any) -> None:
    if before.get("refusal"):
        assert after["refusal"] == before["refusal"], "a refusal was forgotten"
        assert after["stage"] in ("Rejected", "Production")
        assert not after.get("approvedAt")
    if before.get("approvedAt"):
        assert after.get("approvedAt") == before["approvedAt"] or after.get("refusal")
        assert after.get("evaluation") == before["evaluation"], "it was evaluated again after its approval"
    if before.get("artifact"):
        assert after["artifact"] == before["artifact"]
    services = {entry["inferenceService"] for entry in before.get("rejectedBy") or ()}
    assert services <= {entry["inferenceService"] for entry in after.get("rejectedBy") or ()}
    assert bool(before.get("wasProduction")) <= bool(after.get("wasProduction"))
