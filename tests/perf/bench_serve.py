"""Our server beside MLServer, the KServe SDK and a plain FastAPI: `python -m tests.perf.bench_serve --help`.

Same models (scikit-learn's breast cancer data, 30 features), same request (the Open Inference Protocol), same client,
every server a process of one worker on one CPU and the client on the other; rounds interleaved; answers compared before
the clock starts. A server that answers a constant is measured in the same rounds: how far it is above the others says
how far the client is from its limit. Prints medians and spreads as Markdown. Beside the rate on the clock stand the
requests per second of the server's own CPU time, which other work on the machine does not change much.
`--only grid` measures each peer's variants; docs/serving-peers.md has the result, and BEST in `servers` is its best.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.perf.serving import clients
from tests.perf.serving.process_tree import cpu_limit, cpu_s, memory_mb
from tests.perf.serving.servers import (
    BATCHING,
    BEST,
    BEST_GRPC,
    INFER,
    KSERVE,
    MLSERVER,
    Ours,
    Running,
    Variant,
    constant,
    fairlead,
    fastapi,
    kserve,
    mlserver,
)
from tests.perf.serving.tables import Measured, both, ratio, spread, table, verdict
from tests.perf.serving.trained import MODELS, Trained

CONNECTIONS = 16
BATCH_ROWS = 1_000
STARTS = 5  # of the servers whose difference is a few percent
FRAUD_RATE = 23  # requests a second: two million a day
FRAUD_MILLICORES = 500
OVERLOAD_MS = 400  # a quarter of a second that requests may wait (FAIRLEAD_MAX_WAIT_S), one turn, and the way
RATE_BARS = {"logistic": 15.0, "forest": 80.0, "boosting": 20.0}


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: int
    models: Sequence[str]
    folder: Path

    def place(self) -> Path:
        """Return a new folder."""
        return Path(tempfile.mkdtemp(dir=self.folder)) / "server"


@contextlib.contextmanager
def peers(trained: Trained, plan: Plan, best: Mapping[str, Variant] = BEST) -> Iterator[list[Running]]:
    """Run both peers, each at its best."""
    with (
        mlserver(trained, plan.place(), best["MLServer"]) as first,
        kserve(trained, plan.place(), best["KServe SDK"]) as second,
    ):
        yield [first, second]


def check_equal(servers: Sequence[Running], trained: Trained) -> float:
    """Return the largest difference of a probability over 50 rows; raise if a label differs or it exceeds 1e-5."""
    worst = 0.0
    for start in range(0, len(trained.table), len(trained.table) // 50):
        rows = trained.rows(1, start)
        answers = [server.probabilities(rows) for server in servers]
        for server, answer in zip(servers[1:], answers[1:], strict=True):
            if answer.argmax() != answers[0].argmax():
                raise ValueError(f"labels differ at row {start}: {server.name} {answer}, {answers[0]}")
            worst = max(worst, float(np.abs(answer - answers[0]).max()))
    if worst > 1e-5:
        raise ValueError(f"probabilities differ by {worst}")
    return worst


Pair = tuple[Running, Measured]
Rows = np.ndarray  # type: ignore[type-arg]


def by_rest(servers: Sequence[Running], plan: Plan, rows: Rows) -> list[Measured]:
    """Return the rows a second of all servers over REST with JSON, in interleaved rounds."""

    def measure(server: Running) -> float:
        return len(rows) * clients.http_rate(server.rest(rows), CONNECTIONS, plan.seconds, plan.folder)

    return rounds(servers, plan, measure)


def by_grpc(servers: Sequence[Running], plan: Plan, rows: Rows) -> list[Measured]:
    """Return the rows a second of all servers over gRPC with a raw tensor, in interleaved rounds."""

    def measure(server: Running) -> float:
        assert server.grpc, server.name
        return len(rows) * clients.grpc_rate(server.grpc(rows), CONNECTIONS, plan.seconds, plan.folder)

    return rounds(servers, plan, measure)


def rounds(servers: Sequence[Running], plan: Plan, measure: Callable[[Running], float]) -> list[Measured]:
    """Return the interleaved rounds of all servers; the order turns, so that none is always first."""
    measured = [Measured(server.name) for server in servers]
    pairs: list[Pair] = list(zip(servers, measured, strict=True))
    for number in range(plan.rounds):
        for server, found in pairs[number % len(pairs) :] + pairs[: number % len(pairs)]:
            found.add(server, lambda one=server: measure(one))  # type: ignore[misc]
    return measured


def bench_rates(plan: Plan) -> None:
    """One row at a time, as fast as 16 connections ask; and the memory of each server after that."""
    for kind in plan.models:
        trained = Trained(kind)
        with (
            peers(trained, plan) as theirs,
            mlserver(trained, plan.place(), BATCHING) as batching,
            fairlead(trained, plan.place(), Ours()) as ours,
            fairlead(trained, plan.place(), Ours("/predict", name="Fairlead, POST /predict")) as plain,
            fastapi(trained, plan.place()) as usual,
            constant(plan.place()) as limit,
        ):
            compared = [*theirs, ours, plain, batching]
            worst = check_equal(compared, trained)
            measured = by_rest([*compared, usual, limit], plan, trained.rows(1))
            memory = {server.name: memory_mb(server.pid) for server in compared}
        table(f"{kind}, one row, {CONNECTIONS} connections", "requests/s", measured, measured[:2])
        print(f"\nlargest difference of a probability over 50 rows: {worst:.1e}")
        print(f"memory (PSS) after the load: {', '.join(f'{name} {mb:.0f} MB' for name, mb in memory.items())}")
        clock, said = both(measured[2], measured[:2])
        verdict(f"{kind}, requests/s", f"{RATE_BARS[kind]:g} times", said, clock >= RATE_BARS[kind])
        print(f"\nbeside {batching.name}: {both(measured[2], [*measured[:2], measured[4]])[1]}")
        if kind == "logistic":
            least = min(memory[server.name] for server in theirs)
            share = memory[ours.name] / least
            verdict("memory of one worker", "half of the leaner peer", f"{share:.2f} of {least:.0f} MB", share <= 0.5)


def bench_batch(plan: Plan) -> None:
    """A thousand rows in a request: as JSON, as a raw tensor by gRPC, and each server the way that suits it better."""
    for kind in plan.models:
        trained = Trained(kind)
        with peers(trained, plan, BEST_GRPC) as theirs, fairlead(trained, plan.place(), Ours()) as ours:
            rows, servers = trained.rows(BATCH_ROWS), [*theirs, ours]
            ways = {"JSON": by_rest(servers, plan, rows), "gRPC, raw tensor": by_grpc(servers, plan, rows)}
        best = [max(found, key=Measured.median) for found in zip(*ways.values(), strict=True)]
        for way, measured in {**ways, "each at its better way": best}.items():
            table(f"{kind}, batches of {BATCH_ROWS:,} rows, {way}", "rows/s", measured, measured[:2])
            clock, said = both(measured[2], measured[:2])
            verdict(f"{kind}, batch rows/s, {way}", "5 times", said, clock >= 5)


def bench_grpc(plan: Plan) -> None:
    """One row at a time by gRPC."""
    trained = Trained("logistic")
    with peers(trained, plan, BEST_GRPC) as theirs, fairlead(trained, plan.place(), Ours()) as ours:
        measured = by_grpc([*theirs, ours], plan, trained.rows(1))
    table(f"logistic by gRPC, one row, {CONNECTIONS} connections", "calls/s", measured, measured[:2])
    clock, said = both(measured[2], measured[:2])
    verdict("logistic, gRPC calls/s", "3 times", said, clock >= 3)


def bench_tail(plan: Plan) -> None:
    """The 99th percentile of each at the same rate: half of what the better peer can do at most."""
    trained = Trained("logistic")
    with peers(trained, plan) as theirs, fairlead(trained, plan.place(), Ours()) as ours:
        row = trained.rows(1)
        peaks = [clients.http_rate(peer.rest(row), CONNECTIONS, plan.seconds, plan.folder) for peer in theirs]
        rate = max(peaks) / 2
        found: dict[str, list[clients.Paced]] = {server.name: [] for server in [*theirs, ours]}
        for _ in range(plan.rounds):
            for server in [*theirs, ours]:
                found[server.name].append(clients.paced(server.rest(row), rate, 2 * plan.seconds, CONNECTIONS))
    print(f"\n### logistic, one row, {rate:.0f} requests/s: half of the better peer's peak\n")
    print("| server | p50 ms, median (lowest to highest) | p99 ms | failed |\n|---|---|---|---|")
    tails = {}
    for name, runs in found.items():
        tails[name] = [run.percentile_ms(0.99) for run in runs]
        failed = sum(run.other + run.refused for run in runs)
        middle = spread([run.percentile_ms(0.5) for run in runs], ".2f")
        print(f"| {name} | {middle} | {spread(tails[name], '.2f')} | {failed} |")
    better = theirs[peaks.index(max(peaks))].name
    share = statistics.median(own / other for own, other in zip(tails[ours.name], tails[better], strict=True))
    verdict("p99 at half of the better peer's peak", "1/5 of its p99", f"{share:.2f} of it", share <= 0.2)


def bench_cold(plan: Plan) -> None:
    """From the start of the process to its first answer."""
    trained = Trained("logistic")
    starts: dict[str, list[float]] = {}
    for _ in range(plan.rounds):
        for begin in (
            lambda: mlserver(trained, plan.place(), BEST["MLServer"]),
            lambda: kserve(trained, plan.place(), BEST["KServe SDK"]),
            lambda: fairlead(trained, plan.place(), Ours()),
        ):
            with begin() as server:
                starts.setdefault(server.name, []).append(server.first_answer_s)
    print("\n### start of the process to its first answer\n\n| server | seconds |\n|---|---|")
    for name, seconds in starts.items():
        print(f"| {name} | {spread(seconds, '.2f')} |")
    median = statistics.median(starts["Fairlead"])
    verdict("cold start", "2 s", f"{median:.2f} s", median <= 2)


def bench_capture(plan: Plan) -> None:
    """What it costs to capture all requests, and what is lost at full speed, and so at half of it too.

    Both are started several times: one process differs from the next by several percent, by where its memory lies, for
    as long as it runs (Curtsinger and Berger, STABILIZER, ASPLOS 2013), so that rounds of one pair would measure that.
    """
    trained = Trained("logistic")
    how = [Ours(INFER, percent, f"Fairlead, capture {percent} %") for percent in (0, 100)]
    measured = [Measured(one.name) for one in how]
    lost = asked = 0
    for _ in range(STARTS):
        with fairlead(trained, plan.place(), how[0]) as without, fairlead(trained, plan.place(), how[1]) as captured:
            target = captured.rest(trained.rows(1))
            clients.http_rate(target, CONNECTIONS, 11, plan.folder)  # until a first file was written
            for server, found in zip(measured, by_rest([without, captured], plan, trained.rows(1)), strict=True):
                server.extend(found)
            arm = captured.served.arm()  # type: ignore[union-attr]
        lost, asked = lost + arm["captureLost"], asked + arm["requests"]
    table(f"logistic, one row, with and without capture, {STARTS} starts", "requests/s", measured, measured[:1])
    share = ratio(measured[1].rates, [measured[0].rates])
    cpu = ratio(measured[1].cpu_rates, [measured[0].cpu_rates])
    verdict("capture at 100 %", "0.90 of the rate without", f"{share:.3f} ({cpu:.3f} per CPU second)", share >= 0.9)
    verdict("capture losses at half of the peak", "0", f"{lost:,} of {asked:,} at the whole peak", lost == 0)


def bench_fraud(plan: Plan) -> None:
    """23 requests a second on half a CPU, everything captured, from the first request on."""
    trained = Trained("boosting")
    seconds = 15 * plan.seconds
    with cpu_limit(FRAUD_MILLICORES) as limit:
        how = Ours("/predict", 100, "Fairlead on 500m", tuple(limit.prefix))
        with fairlead(trained, plan.place(), how) as server:
            began, used = limit.throttled(), cpu_s(server.pid)
            run = clients.paced(server.rest(trained.rows(1)), FRAUD_RATE, seconds, CONNECTIONS)
            ended, used = limit.throttled(), cpu_s(server.pid) - used
            assert server.served is not None
            arm = server.served.arm()
    print(f"\n### {FRAUD_RATE} requests/s for {seconds} s, boosting, capture 100 %: {limit.how}\n")
    print(
        f"p50 {run.percentile_ms(0.5):.2f} ms, p99 {run.percentile_ms(0.99):.2f} ms, worst {run.percentile_ms(1):.1f}"
    )
    print(
        f"cold start {server.first_answer_s:.2f} s; {used / seconds:.3f} CPUs; periods {ended[0] - began[0]}, ", end=""
    )
    print(f"throttled {ended[1] - began[1]}; lost {arm['captureLost']}; not answered {run.other + run.refused}")
    good = run.percentile_ms(0.99) < 50 and not run.other and not run.refused
    verdict("the fraud case", "p99 under 50 ms", f"{run.percentile_ms(0.99):.2f} ms", good)


def bench_overload(plan: Plan) -> None:
    """Twice as many requests as it can answer: what it accepts stays fast, the rest is refused at once."""
    trained = Trained("forest")
    with fairlead(trained, plan.place(), Ours()) as server:
        target = server.rest(trained.rows(100))
        peak = clients.http_rate(target, CONNECTIONS, plan.seconds, plan.folder)
        calm = clients.paced(target, peak / 2, 2 * plan.seconds, CONNECTIONS)
        crowd = clients.paced(target, 2 * peak, 2 * plan.seconds, 512)
    good = len(crowd.latencies_s) / crowd.took_s
    print("\n### forest, 100 rows a request, twice the peak over 512 connections\n")
    print("| | offered/s | answered/s | refused (503) | other | p50 ms | p99 ms | p99 ms from when it was due |")
    print("|---|---|---|---|---|---|---|---|")
    for name, rate, run in (("half the peak", peak / 2, calm), ("twice the peak", 2 * peak, crowd)):
        cells = [f"{run.percentile_ms(0.5, sent=True):.1f}", f"{run.percentile_ms(0.99, sent=True):.1f}"]
        cells = [str(run.refused), str(run.other), *cells, f"{run.percentile_ms(0.99):.1f}"]
        print(f"| {name} | {rate:.0f} | {len(run.latencies_s) / run.took_s:.0f} | {' | '.join(cells)} |")
    tail = crowd.percentile_ms(
        0.99, sent=True
    )  # what waits for one of the client's 512 connections waits in the client
    verdict("p99 of what is accepted in overload", f"{OVERLOAD_MS:g} ms", f"{tail:.0f} ms", tail <= OVERLOAD_MS)
    verdict("answered in overload", "0.8 of the peak", f"{good / peak:.2f}", good >= 0.8 * peak and not crowd.other)


def bench_grid(plan: Plan) -> None:
    """Each peer's variants, one after the other in each round."""
    print("\n| peer | variant | " + " | ".join(f"{kind}, requests/s" for kind in plan.models) + " |")
    print("|---|---|" + "---|" * len(plan.models))
    for start, variants, peer in ((mlserver, MLSERVER, "MLServer"), (kserve, KSERVE, "KServe SDK")):
        for variant in variants:
            cells = [_variant(start, variant, Trained(kind), plan) for kind in plan.models]
            print(f"| {peer} | {variant.name} | {' | '.join(cells)} |", flush=True)


def _variant(start: Callable[..., contextlib.AbstractContextManager[Running]], variant: Variant, *more: object) -> str:
    trained, plan = more
    assert isinstance(trained, Trained)
    assert isinstance(plan, Plan)
    try:
        with start(trained, plan.place(), variant) as server:
            found = by_rest([server], plan, trained.rows(1))[0]
    except RuntimeError as error:  # a variant that this peer cannot run is a cell of the table, and its reason is said
        print(f"{variant.name}: {error}", file=sys.stderr)
        return "did not run"
    return f"{spread(found.rates, ',.0f')}; {statistics.median(found.cpu_rates):,.0f} per CPU second"


BENCHES = {
    "rates": bench_rates,
    "batch": bench_batch,
    "grpc": bench_grpc,
    "tail": bench_tail,
    "cold": bench_cold,
    "capture": bench_capture,
    "fraud": bench_fraud,
    "overload": bench_overload,
    "grid": bench_grid,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(BENCHES), default=[b for b in BENCHES if b != "grid"])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each server in each round")
    arguments = parser.parse_args()
    missing = clients.needed()
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only:
            BENCHES[name](Plan(arguments.rounds, arguments.seconds, arguments.models, Path(folder)))


if __name__ == "__main__":
    main()
