"""What `plan` says of a rollout's way, by strategy; its figures are held against what decides in the operator."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.perf.strategy_times import outcomes_until_told
from tests.unit.cli.test_planning import manifest, planned, served

from fairlead.cli.prospect import BAD_OUTCOMES, OUTCOMES_OF_A_TEST, prospect
from fairlead_runtime.stats.intervals import clopper_pearson

CAPTURES = {"serve": {"capture": {"percent": 10}}}


def service(kind: str, state: str = "Preparing", captures: bool = True, **rules: Any) -> dict[str, Any]:
    arm = {"revision": "sha256:1", **(CAPTURES if captures else {})}
    status = {"rollout": {"kind": kind, "state": state, "size": 4}, "stable": arm, "canary": arm}
    return {"kind": "InferenceService", "spec": {"model": {"name": "fraud"}, "rollout": rules}, "status": status}


def said(*args: Any, **rules: Any) -> list[str]:
    return list(prospect(service(*args, **rules)))


def test_a_shadow_says_what_is_copied_compared_and_decides() -> None:
    rules = {"shadow": {"percent": 50, "maxDisagreementPercent": 1}, "judge": {"errorRate": {"maxIncreasePoints": 1}}}
    assert said("Shadow", latency=None, **rules) == [
        "then: copies of 50 % of the requests, its answers to nobody, with 200 requests and 30s or more",
        "then: a verdict on errors and slow answers; about 3,200 copies if both are equal and nothing fails "
        "(limit 1 points), more where requests fail",
        "then: a Job compares captured answers to the same questions; at least 368 pairs, and more where some differ "
        "(limit 1 %)",
        "then: all requests",
        "then: 10m of bake; without a verdict by 2h: RollBack",
    ]
    assert "answers are not compared" in said("Shadow", captures=False)[2]


@pytest.mark.parametrize("limit", [0.5, 1, 5, 10, 50, 100])
def test_so_many_equal_answers_are_what_the_comparing_job_asks_for(limit: float) -> None:
    (line,) = [line for line in said("Shadow", shadow={"maxDisagreementPercent": limit}) if "pairs" in line]
    pairs = int(line.split("at least ")[1].split(" ")[0].replace(",", ""))
    alpha = 0.05 / 2  # of the first look
    assert 100 * clopper_pearson(0, pairs, alpha).high <= limit
    assert pairs == 1 or 100 * clopper_pearson(0, pairs - 1, alpha).high > limit


def test_an_ab_test_says_who_gets_it_and_how_many_outcomes_decide() -> None:
    test = {"percent": 20, "minDifferencePoints": 1}
    assert said("ABTest", abTest=test, promotion="Manual", onInconclusive="Hold") == [
        "then: 20 % of new users get it and keep it, with 200 requests and 30s or more",
        "then: a verdict when bad outcomes of one are fewer by more than 1 points; about 18,000 outcomes of each to "
        "/feedback, if 10% are bad and they differ by 2 points; none where they are equal",
        "then: all requests, when a person promotes it",
        "then: 10m of bake; without a verdict by 2h: Hold",
    ]


def test_the_outcomes_of_a_test_are_what_it_takes() -> None:
    random, points = np.random.default_rng(20), 2.0
    taken = [outcomes_until_told(points, BAD_OUTCOMES, 2 * points, random) for _ in range(25)]
    told = OUTCOMES_OF_A_TEST * BAD_OUTCOMES * (1 - BAD_OUTCOMES) / (points / 100) ** 2
    assert told / 2 < statistics.median(taken) < told * 2


def test_blue_green_is_not_judged_before_and_a_replay_goes_first() -> None:
    assert said("BlueGreen", replay={}, promotion="Manual") == [
        "then: captured requests are answered by both, before the first user",
        "then: all requests at once, when 4 of its pods are ready and a person promotes it; nothing is judged before",
        "then: 10m of bake, in which the previous revision stays ready",
    ]


def test_nothing_is_said_of_what_is_not_judged_or_goes_back() -> None:
    assert said("First") == said("Return") == said("Canary", state="RollingBack") == []


@pytest.mark.parametrize(("strategy", "first"), [("Shadow", "copies of 100 %"), ("ABTest", "50 % of new users")])
def test_plan_shows_the_way_of_a_strategy(
    strategy: str, first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = served()
    wanted = manifest(objects, predictor={"resources": {"requests": {"memory": "512Mi"}}})
    wanted["spec"]["rollout"] = {**wanted["spec"].get("rollout", {}), "strategy": strategy}
    code, text = planned(tmp_path, capsys, objects, wanted)
    assert code == 0, text
    assert f"then: {first}" in text
    assert "then: a verdict" in text
