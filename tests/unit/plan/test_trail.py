"""What a rollout remembers over time: bounded, and nothing when nothing is new."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from tests.unit.plan.simulation import START

from fairlead.api.conditions import format_time
from fairlead.api.inferenceservice import InferenceServiceStatus, RolloutStatus, TrafficShare
from fairlead.contract.rollouts import MAX_POINTS, Look, Trail
from fairlead.plan.analysis import Finding
from fairlead.plan.judge import Decision, SignalVerdict, Verdict
from fairlead.plan.trail import with_look


def signal(name: str, requests: int) -> SignalVerdict:
    return SignalVerdict(name, True, 0.5, 0.0123, 0.01, requests, requests // 2, -12.3456, 3.69, 1.25, 3.0, 100)


def finding(requests: int, *names: str) -> Finding:
    signals = tuple(signal(name, requests) for name in names or ("errors", "latency", "predictions", "labels"))
    return Finding(Verdict(Decision.INCONCLUSIVE, "", None, signals, requests, requests, None), {"canary": 24.96})


def service(state: str = "Step", weight: int = 25) -> InferenceServiceStatus:
    rollout = RolloutStatus(state=state, weight=weight, started_at=format_time(START))
    return InferenceServiceStatus(
        rollout=rollout, traffic=[TrafficShare(revision="r", role="canary", requested=weight)]
    )


def moved(status: InferenceServiceStatus, **fields: object) -> InferenceServiceStatus:
    assert status.rollout is not None
    weight = fields.get("weight", status.rollout.weight)
    shares = [TrafficShare(revision="r", role="canary", requested=int(str(weight)))]
    rollout = status.rollout.model_copy(update=fields)
    return status.model_copy(update={"rollout": rollout, "traffic": shares})


def looks(status: InferenceServiceStatus) -> list[Look]:
    assert status.rollout is not None
    return Trail.model_validate(status.rollout.trail or {}).looks


def test_a_look_is_the_same_after_status() -> None:
    look = Look(14, 1, 25, 24.9, (168, 154), ((1.1, 1.02), (2.3, 2.2)), ((-0.4, 0.1), (3.7, -12.0)))
    assert Look.from_text(look.to_text()) == look
    assert Look.from_text(Look(0).to_text()) == Look(0)


def test_what_shows_nothing_new_changes_nothing() -> None:
    status = with_look(service(), finding(100), START)
    assert with_look(status, finding(100), START + timedelta(seconds=60)) is status
    assert with_look(status, finding(200), START + timedelta(seconds=2)) is status, "too soon"
    assert with_look(status, None, START + timedelta(seconds=60)) is status


def test_a_change_of_share_or_state_is_kept_at_once() -> None:
    status = with_look(service(), finding(100), START)
    status = with_look(moved(status, weight=50), finding(100), START + timedelta(seconds=1))
    status = with_look(moved(status, state="Held"), finding(100), START + timedelta(seconds=2))
    assert [(look.asked, look.state) for look in looks(status)] == [(25, 1), (50, 1), (50, 4)]


def test_a_rollout_of_days_is_told_in_few_looks() -> None:
    status, weights = service(), {0: 5, 2000: 25, 9000: 50}
    for i in range(20_000):
        status = moved(status, weight=weights.get(i, status.rollout.weight if status.rollout else 0))
        status = with_look(status, finding(100 * i), START + timedelta(seconds=10 * i))
    found = looks(status)
    assert MAX_POINTS / 2 <= len(found) <= MAX_POINTS
    assert [look.asked for look in found if look.at_s in (20_000, 90_000)] == [25, 50], "when it changed is kept"
    assert [look.at_s for look in found] == sorted(look.at_s for look in found)
    assert max(b.at_s - a.at_s for a, b in pairwise(found)) <= 200_000 / 8
    assert status.rollout is not None
    assert len(str(status.rollout.trail)) < 4096, "a status is at most 16 KiB"


def test_a_signal_that_comes_later_stands_behind_the_others() -> None:
    status = with_look(service(), finding(100, "errors"), START)
    status = with_look(status, finding(200, "latency", "errors"), START + timedelta(seconds=60))
    assert [len(look.rates) for look in looks(status)] == [1, 2]
    assert status.rollout is not None
    assert [one["name"] for one in (status.rollout.trail or {})["signals"]] == ["errors", "latency"]
