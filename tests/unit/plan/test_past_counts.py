"""A switch has no baseline beside it: the previous revision's past is dealt out, and errs no more than a judge may."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairlead.plan.analysis import deal
from fairlead.plan.arms import ArmCounts
from fairlead.plan.judge import Decision, JudgeState, Limits, observe, verdict

LIMITS = Limits(error_points=0.5)
SWITCHES, LOOKS = 150, 40


@given(st.integers(0, 1000), st.integers(0, 1000), st.lists(st.integers(0, 400), max_size=8))
def test_dealing_gives_the_past_out_once_and_evenly(requests: int, failed: int, asked: list[int]) -> None:
    past = left = ArmCounts(requests, min(failed, requests))
    given_out = ArmCounts()
    for count in asked:
        left, dealt = deal(left, count)
        given_out += dealt
        assert dealt.requests <= count
        assert dealt.failed <= dealt.requests
        assert abs(given_out.failed * past.requests - past.failed * given_out.requests) <= past.requests * len(asked)
    assert left + given_out == past


def ended(past_rate: float, new_rate: float, *, burst: int = 1, seed: str) -> int:
    """Return how many switches are taken back; failures come `burst` at a time."""
    dice = np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
    failed = 0
    for _ in range(SWITCHES):
        left = ArmCounts(20_000, int(dice.binomial(20_000 // burst, past_rate)) * burst)
        state = JudgeState()
        for _look in range(LOOKS):
            events = int(dice.poisson(200 / burst))
            new = ArmCounts(events * burst, int(dice.binomial(events, new_rate)) * burst)
            left, against = deal(left, new.requests)
            state = observe(state, LIMITS, new, against)
            if verdict(state, LIMITS, last_step=False).decision is Decision.FAIL:
                failed += 1
                break
    return failed


def test_a_version_like_the_previous_one_and_one_at_the_limit_are_kept() -> None:
    assert ended(0.01, 0.01, seed="equal") <= 0.05 * SWITCHES
    assert ended(0.01, 0.01, burst=5, seed="bursts") <= 0.05 * SWITCHES
    assert ended(0.01, 0.015, seed="at the limit") <= 0.05 * SWITCHES


def test_a_worse_version_is_found() -> None:
    assert ended(0.01, 0.05, seed="worse") >= 0.95 * SWITCHES
