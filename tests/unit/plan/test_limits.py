"""Every limit that the API takes is one that the judge can hold counts against, however far off they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from fairlead.api.inferenceservice import InferenceServiceSpec, InferenceServiceStatus, RevisionStatus
from fairlead.api.judge import Judge
from fairlead.plan.analysis import limits_of
from fairlead.plan.judge import ArmCounts, JudgeState, observe, signals, start_step, verdict

POINTS = st.floats(0, 99, exclude_min=True)
LOOK = 50
ARM = RevisionStatus(revision=f"sha256:{0:064}", serve={"latencyThresholdMs": 50})
LIMITED = ("errorRate", "latency", "predictions", "labels")


def judge_with(points: float) -> dict[str, Any]:
    return {name: {"maxIncreasePoints": points} for name in LIMITED}


def counts(hits: int) -> ArmCounts:
    return ArmCounts(LOOK, hits, hits, LOOK, hits, 0, (hits, LOOK - hits))


@given(points=POINTS, confidence=st.floats(80, 99.999), canary=st.integers(0, LOOK), baseline=st.integers(0, LOOK))
@example(points=99.0, confidence=95.0, canary=LOOK, baseline=0)
@example(points=5e-324, confidence=95.0, canary=0, baseline=LOOK)
def test_whatever_the_api_allows_can_be_judged(points: float, confidence: float, canary: int, baseline: int) -> None:
    judge = {**judge_with(points), "confidencePercent": confidence}
    spec = InferenceServiceSpec.model_validate({"model": {"version": "v1"}, "rollout": {"judge": judge}})
    limits = limits_of(InferenceServiceStatus(canary=ARM, baseline=ARM), spec)
    assert len(signals(limits)) == len(LIMITED)
    state = start_step(JudgeState())
    for _ in range(8):
        state = observe(state, limits, counts(canary), counts(baseline))
        verdict(state, limits, last_step=True)
        assert JudgeState.from_dict(state.to_dict()) == state


@pytest.mark.parametrize("name", LIMITED)
@pytest.mark.parametrize("points", [0, 99.5, 100])
def test_a_limit_that_allows_nothing_or_everything_is_refused(name: str, points: float) -> None:
    with pytest.raises(ValidationError, match=r"greater than 0|less than or equal to 99"):
        Judge.model_validate({name: {"maxIncreasePoints": points}})
