"""When a step had its share: a gateway that lags is forgiven soon, a share that is not the asked one never."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

from fairlead.plan.analysis import REMEMBERED, Finding, is_measured, remember
from fairlead.plan.judge import Decision, Verdict
from fairlead.plan.traffic import CANARY, STABLE

LOOK_S, LAG_S, LOOKS = 2.0, 1.5, 200


def looks(per_s: float, weight: int, *, before: float, really: float, seed: str) -> list[bool]:
    """Say look by look whether the share fits its weight; the gateway sends `before` percent until the lag is over."""
    dice = np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
    served: dict[str, int] = {}
    found = []
    for look in range(LOOKS):
        late = LAG_S / LOOK_S if look == 0 else 0.0
        counts = {CANARY: 0, STABLE: 0}
        for part, percent in ((late, before), (1 - late, really)):
            requests = int(dice.poisson(per_s * LOOK_S * part))
            canary = int(dice.binomial(requests, percent / 100))
            counts = {CANARY: counts[CANARY] + canary, STABLE: counts[STABLE] + requests - canary}
        served = remember(served, counts)
        total = sum(served.values())
        nothing = Verdict(Decision.INCONCLUSIVE, "", None, (), total, total, None)
        shares = {role: 100 * count / max(1, total) for role, count in served.items()}
        found.append(is_measured(Finding(nothing, shares, total), weight))
    return found


@pytest.mark.parametrize("per_s", [100, 1_000, 5_000, 50_000])
def test_what_the_gateway_sent_before_it_moved_fades_within_a_minute(per_s: int) -> None:
    for before, weight in itertools.pairwise((0, 1, 5, 10, 25, 50, 75, 90, 95, 99)):
        fits = looks(per_s, weight, before=before, really=weight, seed=f"{per_s} {weight}")
        assert any(fits[: int(60 / LOOK_S)]), (before, weight)
        assert np.mean(fits[int(60 / LOOK_S) :]) > 0.95, (before, weight)


@pytest.mark.parametrize("weight", [1, 5, 25, 50, 75, 99])
def test_a_share_that_is_another_is_never_taken_for_the_asked_one(weight: int) -> None:
    """Six standard errors of what is remembered beside a look are far beyond three."""
    off = weight + 6 * 100 * (weight / 100 * (1 - weight / 100) / REMEMBERED) ** 0.5 * (1 if weight < 99 else -1)
    fits = looks(5_000, weight, before=off, really=off, seed=f"off {weight}")
    assert sum(fits) <= 1


def test_few_requests_are_all_remembered() -> None:
    assert remember({CANARY: 30, STABLE: 70}, {CANARY: 3, STABLE: 7}) == {CANARY: 33, STABLE: 77}
    assert remember({CANARY: 5_000, STABLE: 15_000}, {CANARY: 1, STABLE: 2}) == {CANARY: 2_501, STABLE: 7_502}
