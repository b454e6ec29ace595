"""What users beside a shadow notice: p99 of a service whose shadow is ill, and of a twin, by turns.

    make bench-shadow                      # on the kind cluster, alone; 14 min; fails where a p99 is over 5 % more

Two services of the same version behind the gateway are asked at a fixed rate, in blocks that alternate. In the first
half the left one's requests are copied to a shadow, in the second the right one's: one pod differs from the next by
more than what is measured. Two shadows: one that answers after 5 s, one that cuts every second connection. A latency is
from when a request is sent to the answer's last byte, at the client. On one machine the copies take processors from
those that answer users, which they do not where pods have nodes of their own; `--beside "answers at once"` gives the
twin a healthy shadow, so that only the illness differs.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.e2e import load, misbehaving
from tests.e2e.rollouts.story import ENDLESS, in_state, rollout_of, serves
from tests.e2e.team import Team, install_operator
from tests.perf.serving.tables import verdict

BAR = 1.05
SERVER = """
import asyncio, random, re
class Ill(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.got = transport, b""
    def data_received(self, data):
        self.got += data
        head, end, body = self.got.partition(b"\\r\\n\\r\\n")
        length = re.search(rb"content-length: *([0-9]+)", head, re.I)
        if not end or len(body) < int(length[1] if length else 0):
            return
        self.got = b""
        self.answer() if head.startswith(b"GET") else self.ail()
    def ail(self):
        {illness}
    def answer(self):
        self.transport.write(b'HTTP/1.1 200 OK\\r\\ncontent-length: 20\\r\\n\\r\\n{{"predictions": [1]}}')
async def main():
    await (await asyncio.get_running_loop().create_server(Ill, "", 8080)).serve_forever()
asyncio.run(main())
"""  # cheap, for here it shares the processors with those that it must not disturb
WELL = "answers at once"
NONE = "none"
ILLNESSES = {
    WELL: "self.answer()",
    "answers after 5 s": "asyncio.get_running_loop().call_later(5, self.answer)",
    "cuts every second connection": "self.answer() if random.random() < 0.5 else self.transport.abort()",
}
NAMES = ("left", "right")


@dataclass
class Arm:
    """Latencies in seconds of a service, by blocks."""

    blocks: list[list[float]] = field(default_factory=list)

    def p99_ms(self, blocks: Sequence[Sequence[float]] | None = None) -> float:
        """Return the 99th percentile of all, or of the blocks given, in ms."""
        ordered = sorted(itertools.chain.from_iterable(self.blocks if blocks is None else blocks))
        return 1000 * ordered[int(0.99 * len(ordered))]

    def p50_ms(self) -> float:
        """Return the median in ms."""
        return 1000 * statistics.median(itertools.chain.from_iterable(self.blocks))


@dataclass(frozen=True)
class Half:
    """One service had an ill shadow, its twin none or a healthy one."""

    ill: Arm
    twin: Arm

    def ratio(self, chance: random.Random | None = None) -> float:
        """Return the first's p99 to its twin's; with `chance`, of blocks drawn again (the bootstrap)."""
        if chance is None:
            return self.ill.p99_ms() / self.twin.p99_ms()
        drawn = [arm.p99_ms(chance.choices(arm.blocks, k=len(arm.blocks))) for arm in (self.ill, self.twin)]
        return drawn[0] / drawn[1]


def overall(halves: Sequence[Half], chance: random.Random | None = None) -> float:
    """Return the geometric mean of the halves' ratios, in which what differs between the twins cancels out."""
    return math.exp(statistics.fmean(math.log(half.ratio(chance)) for half in halves))


def hostname(team: Team, name: str) -> str:
    """Return the name that a service is asked by."""
    return f"{name}.{team.namespace}.example.com"


def given_twins(team: Team) -> None:
    """Serve one version twice."""
    misbehaving.given_versions(team, v1="onnx")
    judge = {"errorRate": {"maxIncreasePoints": 99}, "latency": {"thresholdMs": 60_000, "maxIncreasePoints": 99}}
    rollout = {"strategy": "Shadow", "step": ENDLESS, "deadline": "2h", "judge": judge}
    for name in NAMES:
        team.apply(misbehaving.service("v1", hostname(team, name), name=name, rollout=rollout))
    for name in NAMES:
        team.until("InferenceService", name, serves("v1"), 240)


def shadow(team: Team, name: str, illness: str) -> None:
    """Copy a service's requests to an ill server."""
    program = SERVER.format(illness=ILLNESSES[illness])
    container = {"image": "fairlead-jobs:dev", "command": ["python", "-c", program], "readinessPath": "/"}
    team.patch("InferenceService", name, {"spec": {"predictor": {"container": container}}})
    team.until("InferenceService", name, in_state("Step"), 240)


def no_shadow(team: Team, name: str) -> None:
    """Ask for what serves, so that its shadow goes."""
    team.patch("InferenceService", name, {"spec": {"predictor": {"container": None}}})
    team.until("InferenceService", name, lambda o: not rollout_of(o) and serves("v1")(o), 240)


def block(team: Team, name: str, rate: float, seconds: float) -> list[float]:
    """Ask a service for a time; return the latencies, or raise where a request failed."""
    with load.steady(hostname(team, name), misbehaving.rows(100), rate) as sent:
        load.until_routed(sent)
        time.sleep(seconds)
    if sent.failed():
        raise RuntimeError(f"{len(sent.failed())} requests of {name} failed: {sent.failed()[:3]}")
    return [one.took_s for one in sent.sent]


def half(team: Team, name: str, illness: str, plan: argparse.Namespace) -> Half:
    """Measure with an ill shadow of this service, and none or a healthy one of its twin."""
    twin = NAMES[1 - NAMES.index(name)]
    shadow(team, name, illness)
    if plan.beside == WELL:
        shadow(team, twin, WELL)
    arms = {one: Arm() for one in NAMES}
    for number in range(plan.rounds):
        for one in NAMES if number % 2 else NAMES[::-1]:
            arms[one].blocks.append(block(team, one, plan.rate, plan.seconds))
        found = rollout_of(team.get("InferenceService", name) or {})
        if found.get("state") != "Step":
            raise RuntimeError(f"{name} has no shadow any more: {found}")
    for one in NAMES if plan.beside == WELL else (name,):
        no_shadow(team, one)
    return Half(arms[name], arms[twin])


def measure(team: Team, illness: str, plan: argparse.Namespace) -> bool:
    """Print the p99s of both in both halves; return whether they are within the bar."""
    halves = [half(team, name, illness, plan) for name in NAMES]
    chance = random.Random(1)
    drawn = sorted(overall(halves, chance) for _ in range(1000))
    found = overall(halves)
    print(f"\n### a shadow that {illness}; of its twin: {plan.beside}\n")
    print("| shadow | requests | p50 ms | p99 ms | p99 / p99 |")
    print("|---|---|---|---|---|")
    for name, one in zip(NAMES, halves, strict=True):
        for what, arm in ((f"{illness}: {name}", one.ill), (f"{plan.beside}: its twin", one.twin)):
            count, ratio = sum(map(len, arm.blocks)), f"{one.ratio():.3f}" if arm is one.ill else "1"
            print(f"| {what} | {count} | {arm.p50_ms():.2f} | {arm.p99_ms():.2f} | {ratio} |")
    good = found <= BAR
    said = f"{found:.3f} (95 % of bootstrapped runs {drawn[25]:.3f} to {drawn[974]:.3f})"
    verdict(f"p99 beside a shadow that {illness}", f"{BAR} times", said, good)
    return good


def main() -> None:
    """Measure with both illnesses; exit 1 where a bar is not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="blocks of each service in each half")
    parser.add_argument("--seconds", type=float, default=8, help="of a block")
    ill = [one for one in ILLNESSES if one != WELL]
    parser.add_argument("--illness", choices=ill, nargs="+", default=ill)
    parser.add_argument("--beside", choices=(NONE, WELL), default=NONE, help="the twin's shadow")
    parser.add_argument("--rate", type=float, default=60, help="requests a second")
    plan = parser.parse_args()
    install_operator()
    team = Team.create("bench_shadow")
    try:
        given_twins(team)
        met = [measure(team, illness, plan) for illness in plan.illness]
    finally:
        team.delete()
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
