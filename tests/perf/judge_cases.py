"""The rows of the judge's table: what happens in each, and the bar that was promised for it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from fairlead.plan.judge import Limits

from .judge_streams import BASE, BINS, EDGE, LIMITS, Case, Labels

WRONG = 0.05  # the bar of every share of wrong decisions


class Bar(NamedTuple):
    """A case and what was promised; `most`: median canary requests (to PASS of identical versions, else to FAIL)."""

    case: Case
    text: str
    most: float | None = None


def bad(errors: float) -> tuple[float, float, float]:
    """A canary with this rate of errors, otherwise like the baseline."""
    return (errors, *BASE[1:])


EACH, PUBLISHED, BACK = "each <= 5 %", "published", "<= 5 % rolled back"
ONE = bad(EDGE[0])
SPREAD = tuple(1 / BINS + (0.01 if i % 2 else -0.01) for i in range(BINS))  # 5 points away from equal bins, in five
SHIFTED = tuple(2 * share - 1 / BINS for share in SPREAD)
FLAT = (1 / BINS,) * BINS
WITH_LABELS = replace(LIMITS, labels_points=3.0)

SAME = Bar(Case("identical versions"), "<= 5 % rolled back; PASS within 10,000", 10_000)
AT_EDGE = Bar(Case("exactly the allowed loss, in every signal", EDGE), EACH)
BURSTS = [
    Bar(
        Case(f"{name}, bursts of {burst}", rates, burst=burst),
        PUBLISHED if burst == 25 else BACK if rates == BASE else EACH,
    )
    for burst in (5, 10, 25)
    for name, rates in (
        ("identical versions", BASE),
        ("exactly the allowed loss, in every signal", EDGE),
        ("exactly the allowed loss, in errors only", ONE),
    )
]
UNHARMED = [
    SAME,
    AT_EDGE,
    Bar(Case("exactly the allowed loss, in errors only", ONE), EACH),
    *BURSTS,
    Bar(Case("identical, pods restart, are replaced, forget counts", pods=3), BACK),
    Bar(Case("exactly the allowed loss, pods restart and so on", EDGE, pods=3), EACH),
    Bar(Case("identical, both fail 30 % for 1,000 requests", incident=(20, 40, 0.3)), BACK),
    Bar(Case("allowed loss in predictions only, over five bins", bins=(SPREAD, FLAT)), BACK),
    Bar(Case("identical, with labels", labels=Labels(), limits=WITH_LABELS), BACK),
    Bar(Case("allowed loss in labels only", labels=Labels(canary=0.08), limits=WITH_LABELS), BACK),
]
CAUGHT = [
    Bar(Case("20 % errors from the start", bad(0.20), looks=40), "200", 200),
    Bar(Case("5 % errors from the start", bad(0.05), looks=100), "700", 700),
    Bar(Case("3 % errors from the start", bad(0.03), looks=200), "2,000", 2_000),
    Bar(Case("2 % errors from the start", bad(0.02), looks=700), "12,000", 12_000),
    Bar(Case("20 % errors after 7,000 good requests", bad(0.20), looks=160, good_looks=140), "300", 300),
    Bar(Case("5 % errors after 7,000 good requests", bad(0.05), looks=220, good_looks=140), "1,200", 1_200),
    Bar(Case("5 % errors, pods restart and so on", bad(0.05), looks=200, pods=3), "none set"),
    Bar(Case("20 % errors once it has full traffic", bake=bad(0.20)), "caught in the bake"),
    Bar(Case("constant predictions", bins=((0, 0, 0, 1, 0, 0, 0, 0, 0, 0), FLAT), looks=40), "none set"),
    Bar(
        Case("predictions 10 points off, over five bins", bins=(SHIFTED, FLAT), looks=700),
        "none set",
    ),
    Bar(Case("20 % of labels wrong, 5 % before", labels=Labels(canary=0.20), limits=WITH_LABELS), "none set"),
]
LIVE = Case(
    "20 % errors, 37 requests an arm and look, clean baseline",
    (0.20, 0.05, 0.10),
    (0.0001, 0.05, 0.10),
    looks=30,
    look=(37.5, 37.5),
    limits=Limits(error_points=1.0, latency_points=5.0),
)
