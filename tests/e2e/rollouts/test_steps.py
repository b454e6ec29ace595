"""A canary goes up step by step: nobody's request fails, and each step has the share that was asked for."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e import asking, load, misbehaving
from tests.e2e.misbehaving import quick, service
from tests.e2e.rollouts.story import ENDLESS, at_weight, in_state, rollout_of, serves, switch
from tests.e2e.team import Obj, Team, condition

STEPS = [5, 10, 15, 20, 30, 40, 50, 60, 75, 90]
PER_SECOND, AT_LEAST = 220, 2_000  # requests
Spans = dict[int, list[float]]


def test_ten_steps_through_the_gateway(team: Team) -> None:
    """0 failed requests; per step, at 2,000 requests or more, the share is within three binomial standard errors.

    Of ten honest shares one lies beyond three standard errors in 2.7 % of runs, two in 0.03 %; beyond four, in 0.06 %.
    """
    misbehaving.given_versions(team, v1="onnx", v2="better")
    hostname = f"{team.namespace}.example.com"
    step = {"minRequests": 100, "minDuration": f"{math.ceil(AT_LEAST / PER_SECOND) + 3}s"}
    team.apply(service("v1", hostname, rollout=quick(stepsPercent=STEPS, step=step)))
    team.until_ready("InferenceService", "tumor", 180)
    with load.steady(hostname, misbehaving.rows(500), PER_SECOND) as sent:
        load.until_routed(sent)
        with watched(team) as spans:
            switch(team, "v2")
            team.until("InferenceService", "tumor", in_state("Step"), 240)
            ended = team.until("InferenceService", "tumor", serves("v2"), 480)
    assert ended["status"]["history"][0]["outcome"] == "Promoted"
    assert not sent.failed(), sent.failed()[:3]
    assert list(spans) == STEPS, "each step once, in order"
    off = {weight: _errors_off(sent, weight, *span) for weight, span in spans.items()}
    print({weight: f"{errors:+.1f} SE" for weight, errors in off.items()}, len(sent.sent), "requests")
    assert sum(abs(errors) > 3 for errors in off.values()) <= 1, off
    assert max(map(abs, off.values())) <= 4, off


def _errors_off(sent: load.Load, weight: int, first: float, last: float) -> float:
    """Return how many standard errors the canary's share lies off its weight while that was programmed."""
    counts = sent.by_version(first, last)
    total, share = sum(counts.values()), weight / 100
    assert total >= AT_LEAST, f"only {total} requests at {weight} %"
    return (counts["v2"] / total - share) / math.sqrt(share * (1 - share) / total)


@contextmanager
def watched(team: Team) -> Iterator[Spans]:
    """Note from when to when each weight was seen to be programmed, a second later than that to be sure."""
    spans: Spans = {}
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            begun, found = time.monotonic(), team.get("InferenceService", "tumor") or {}
            weight = rollout_of(found).get("weight", 0) if found else 0
            if weight and at_weight(weight)(found):
                span = spans.setdefault(weight, [time.monotonic() + 1.0, 0.0])
                span[1] = begun
            done.wait(0.2)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield spans
    finally:
        done.set()
        thread.join(30)


def test_without_a_gateway_status_says_what_whole_pods_reach(team: Team) -> None:
    misbehaving.given_versions(team, v1="onnx", v2="better")
    rollout = quick(stepsPercent=[10, 40], step={"minRequests": 30, "minDuration": "2s"})
    scaling = {"minReplicas": 2, "maxReplicas": 2}
    team.apply(service("v1", scaling=scaling, rollout=rollout))
    team.until_ready("InferenceService", "tumor", 180)
    ask = asking.by_service(team.namespace, "tumor")
    asking.until_answered(ask, misbehaving.rows(1))
    with _asked_all_the_time(ask) as answers:
        switch(team, "v2")
        stepping = team.until("InferenceService", "tumor", in_state("Step"), 240)
        shares = {share["role"]: share["requested"] for share in stepping["status"]["traffic"]}
        message = condition(stepping, "Ready")["message"]
        ended = team.until("InferenceService", "tumor", serves("v2"), 300)
    assert shares == {"stable": 50, "canary": 25, "baseline": 25}, "one pod beside two, and one of the baseline"
    assert "25 % (asked for 10 %; shares are those of ready pods)" in message
    assert ended["status"]["history"][0]["outcome"] == "Promoted"
    assert not [answer for answer in answers if answer.status != 200]


@contextmanager
def _asked_all_the_time(ask: asking.Ask) -> Iterator[list[asking.Answer]]:
    answers: list[asking.Answer] = []
    done = threading.Event()
    rows = misbehaving.rows(1)

    def run() -> None:
        while not done.is_set():
            answers.extend(asking.ask_often(ask, rows, 20))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield answers
    finally:
        done.set()
        thread.join(60)


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
