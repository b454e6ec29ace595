"""A canary goes up step by step: nobody's request fails, and each step has the share that was asked for."""

from __future__ import annotations

import math
import time
from collections import Counter

from tests.e2e import asking, load, misbehaving
from tests.e2e.misbehaving import quick, service
from tests.e2e.rollouts.story import ENDLESS, at_weight, in_state, rollout_of, serves, switch
from tests.e2e.team import Obj, Team, condition, eventually

STEPS = [5, 10, 15, 20, 30, 40, 50, 60, 75, 90]
PER_SECOND, AT_LEAST = 220, 2_000  # requests
SETTLES_S = 1.0  # from the status that says programmed to a share that is so; and from a request to its answer
SLACK_S = 6.0  # of a step beyond its requests: to see it begin, and to suspend it where it is measured again
OFF_AT_MOST = 3.0  # standard errors


def test_ten_steps_through_the_gateway(team: Team) -> None:
    """0 failed requests; per step, at 2,000 requests or more, the share is within three binomial standard errors.

    Of ten right shares one lies beyond three standard errors in 2.7 % of runs. Such a step is measured a second time,
    by requests that are not of the first, and then has to be within three: one of ten right shares is beyond twice in
    1 of 14,000 runs.
    """
    misbehaving.given_versions(team, v1="onnx", v2="better")
    hostname = f"{team.namespace}.example.com"
    step = {"minRequests": 100, "minDuration": f"{math.ceil(AT_LEAST / PER_SECOND + SLACK_S)}s"}
    team.apply(service("v1", hostname, rollout=quick(stepsPercent=STEPS, step=step)))
    team.until_ready("InferenceService", "tumor", 180)
    with load.steady(hostname, misbehaving.rows(500), PER_SECOND) as sent:
        load.until_routed(sent)
        switch(team, "v2")
        off = {weight: _measured(team, sent, weight) for weight in STEPS}  # a step that was jumped is never seen
        ended = team.until("InferenceService", "tumor", serves("v2"), 480)
    assert ended["status"]["history"][0]["outcome"] == "Promoted"
    assert not sent.failed(), sent.failed()[:3]
    print({weight: [f"{errors:+.1f} SE" for errors in found] for weight, found in off.items()}, len(sent.sent), "sent")
    assert all(abs(found[-1]) <= OFF_AT_MOST for found in off.values()), off


def _measured(team: Team, sent: load.Load, weight: int) -> list[float]:
    """Return how far a step's share lies off its weight: measured once, or twice where the first is too far off."""
    team.until("InferenceService", "tumor", at_weight(weight), 240)
    found = [_errors_off(sent, weight)]
    _assert_still(team, weight)
    if abs(found[0]) > OFF_AT_MOST:  # the share stays as it is while the service is suspended
        team.patch("InferenceService", "tumor", {"spec": {"suspend": True}})
        team.until_says("InferenceService", "tumor", "Suspended")
        _assert_still(team, weight)
        found.append(_errors_off(sent, weight))
        team.patch("InferenceService", "tumor", {"spec": {"suspend": False}})
    return found


def _assert_still(team: Team, weight: int) -> None:
    present = rollout_of(team.get("InferenceService", "tumor") or {})["weight"]
    assert present == weight, f"the step of {weight} % went on to {present} % before it was measured"


def _errors_off(sent: load.Load, weight: int) -> float:
    """Return how many standard errors the canary's share of the next 2,000 requests or more lies off its weight."""
    begun = time.monotonic() + SETTLES_S

    def counted() -> Counter[str] | None:
        counts = sent.by_version(begun, time.monotonic() - SETTLES_S)
        return counts if sum(counts.values()) >= AT_LEAST else None

    counts = eventually(counted, f"there are no {AT_LEAST} requests at {weight} %", 60)
    total, share = sum(counts.values()), weight / 100
    return float((counts["v2"] / total - share) / math.sqrt(share * (1 - share) / total))


def test_without_a_gateway_status_says_what_whole_pods_reach(team: Team) -> None:
    misbehaving.given_versions(team, v1="onnx", v2="better")
    rollout = quick(stepsPercent=[10, 40], step={"minRequests": 30, "minDuration": "2s"})
    scaling = {"minReplicas": 2, "maxReplicas": 2}
    team.apply(service("v1", scaling=scaling, rollout=rollout))
    team.until_ready("InferenceService", "tumor", 180)
    ask = asking.by_service(team.namespace, "tumor")
    asking.until_answered(ask, misbehaving.rows(1))
    with asking.all_the_time(ask, misbehaving.rows(1)) as answers:
        switch(team, "v2")
        stepping = team.until("InferenceService", "tumor", in_state("Step"), 240)
        shares = {share["role"]: share["requested"] for share in stepping["status"]["traffic"]}
        message = condition(stepping, "Ready")["message"]
        ended = team.until("InferenceService", "tumor", serves("v2"), 300)
    assert shares == {"stable": 50, "canary": 25, "baseline": 25}, "one pod beside two, and one of the baseline"
    assert "25 % (asked for 10 %; shares are those of ready pods)" in message
    assert ended["status"]["history"][0]["outcome"] == "Promoted"
    assert not [answer for answer in answers if answer.status != 200]


def test_no_traffic_is_no_evidence(team: Team) -> None:
    """At the deadline it goes back, Inconclusive, with what was missing; nothing is refused; a new spec begins anew."""
    misbehaving.given_versions(team, v1="onnx", v2="better")
    hostname = f"{team.namespace}.example.com"
    team.apply(service("v1", hostname, rollout=quick(step={"minRequests": 200, "minDuration": "1s"})))
    team.until_ready("InferenceService", "tumor", 180)
    with load.steady(hostname, misbehaving.rows(9), 2) as sent:  # a trickle
        load.until_routed(sent)
        switch(team, "v2")
        team.until("InferenceService", "tumor", lambda o: "of 200 requests in this step" in _says(o), 240)
        _until_now(team)
        message = team.until_says("InferenceService", "tumor", "Inconclusive", 120)
    assert "Version v2 was not promoted, v1 serves: No verdict within 1s" in message
    assert "more canary requests" in message or "no traffic is no evidence" in message
    after = team.get("InferenceService", "tumor") or {}
    assert not after["status"].get("rejected"), "a time-out proves nothing"
    assert not sent.failed(), sent.failed()[:3]
    team.patch("InferenceService", "tumor", {"spec": {"rollout": {"deadline": "1h"}}})
    team.until("InferenceService", "tumor", in_state("Preparing", "Step", version="v2"), 60)


def _until_now(team: Team) -> None:
    """Let the deadline be over: pods of a busy node take longer to start than a test could foresee."""
    team.patch("InferenceService", "tumor", {"spec": {"rollout": {"deadline": "1s"}}})


def _says(service_: Obj) -> str:
    return str(condition(service_, "Ready")["message"])


def test_a_hold_ends_at_the_deadline_too(team: Team) -> None:
    """An incident that does not end: held, and at the deadline back without a refusal."""
    misbehaving.given_versions(team, v1="good", v2="better")
    hostname = f"{team.namespace}.example.com"
    team.apply(service("v1", hostname, rollout=quick(step=ENDLESS)))
    team.until_ready("InferenceService", "tumor", 180)
    good = misbehaving.rows(100)
    with load.steady(hostname, good, 40) as sent:
        load.until_routed(sent)
        switch(team, "v2")
        team.until("InferenceService", "tumor", in_state("Step"), 180)
        sent.rows = [{**row, "age": misbehaving.POISON} for row in good]
        team.until_says("InferenceService", "tumor", "SharedIncident", 60)
        _until_now(team)
        message = team.until_says("InferenceService", "tumor", "Inconclusive", 180)
    assert "No verdict within 1s: Both arms fail" in message
    assert not (team.get("InferenceService", "tumor") or {})["status"].get("rejected")
