"""Rollouts on the real cluster under steady load: what users of a gateway see while versions come and go back.

They run in `make test-rollouts` with those of tests/e2e/rollouts, until a quiet machine has shown both green.
"""

from __future__ import annotations

from tests.e2e import load, misbehaving
from tests.e2e.misbehaving import POISON, quick, service
from tests.e2e.rollouts.story import at_weight, captured, in_state, rolled_back, serves, switch
from tests.e2e.team import Team, condition, eventually


def test_captured_requests_stop_what_answers_otherwise_before_its_first_user(team: Team) -> None:
    """Two features swapped, or one answer to everything: replayed, refused, and no request of a user reaches it."""
    misbehaving.given_versions(team, v1="onnx", swapped="swapped", constant="constant", better="better")
    hostname = f"{team.namespace}.example.com"
    replay = {"requests": 300, "minRequests": 100, "maxDisagreementPercent": 10}
    team.apply(service("v1", hostname, capture={"percent": 100}, rollout=quick(replay=replay)))
    team.until_ready("InferenceService", "tumor", 180)
    with load.steady(hostname, misbehaving.rows(500), 40) as sent:
        load.until_routed(sent)
        eventually(lambda: captured(team, "v1") > 200, "too few requests are captured", 60)
        for number, bad in enumerate(("swapped", "constant"), 1):
            switch(team, bad)
            refused = rolled_back(team, bad, 180)
            assert (refused["reason"], len(refused["digest"])) == ("ReplayFailed", 71), refused
            assert "of its answers differ" in refused["message"]
            found = team.until("ModelVersion", bad, lambda o: bool(o["status"].get("rejectedBy")))
            assert found["status"]["rejectedBy"][0]["inferenceService"] == "tumor"
            replays = f"captures/{team.namespace}/tumor/replays/"
            assert len(team.stored(replays)) == number, "every comparison is in the store"
        switch(team, "better")
        ended = team.until("InferenceService", "tumor", serves("better"), 180)
        assert ended["status"]["history"][0]["outcome"] == "Promoted"
    assert sent.by_version().keys() == {"v1", "better"}, "nobody met what was refused"
    assert not sent.failed(), sent.failed()[:3]


def test_an_incident_of_both_arms_is_held_and_then_goes_on(team: Team) -> None:
    misbehaving.given_versions(team, v1="good", v2="better")
    hostname = f"{team.namespace}.example.com"
    rollout = quick(stepsPercent=[40, 60], step={"minRequests": 400, "minDuration": "2s"})
    team.apply(service("v1", hostname, rollout=rollout))
    team.until_ready("InferenceService", "tumor", 180)
    good = misbehaving.rows(100)
    with load.steady(hostname, good, 40) as sent:
        load.until_routed(sent)
        switch(team, "v2")
        team.until("InferenceService", "tumor", in_state("Step"), 180)
        sent.rows = [{**row, "age": POISON} if n % 5 else row for n, row in enumerate(good)]
        message = team.until_says("InferenceService", "tumor", "SharedIncident", 60)
        assert "Mend what both depend on" in message
        held = team.get("InferenceService", "tumor") or {}
        assert held["status"]["rollout"]["resume"] == "Step"
        assert condition(held, "Available")["status"] == "True"
        sent.rows = good
        # Not to the end: what failed before the hold came in one burst, and such evidence takes thousands of requests.
        ended = team.until("InferenceService", "tumor", at_weight(60), 120)
    assert not ended["status"].get("rejected"), "an incident refuses nobody"
