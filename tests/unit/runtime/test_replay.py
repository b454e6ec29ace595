"""Replay before exposure: captured requests to real servers of both versions; how often chance refuses a good one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.support.graphs import MIXED, SIGNATURE, fragile, linear
from tests.support.served import Served, store_artifact
from tests.support.wire_client import Wire

from fairlead.contract.jobs import ArtifactRef, Capture, ReplayInput, ReplayLimits, ReplaySummary
from fairlead_runtime.evaluate.groups import Group
from fairlead_runtime.hashing import hasher_of
from fairlead_runtime.replay import job
from fairlead_runtime.replay.ask import Answer, Arm, UnreachableError
from fairlead_runtime.replay.compare import compare
from fairlead_runtime.signature import Input, Signature
from fairlead_runtime.store import LocalStore, StoreError

LIMITS = ReplayLimits(max_disagreement_percent=5, max_more_errors_points=0.5, slow_ms=5000, max_more_slow_points=1)


def swapped() -> bytes:
    """Return the model that takes each of its two numbers for the other: what a mixed-up feature pipeline makes."""
    model = onnx.load_from_string(linear())
    names = list(model.graph.node[0].input)
    del model.graph.node[0].input[:]
    model.graph.node[0].input.extend(reversed(names))
    return bytes(model.SerializeToString())


@dataclass
class Pair:
    """The stable revision and a candidate, both served, with one store in which requests were captured."""

    folder: Path
    stable: Served
    candidate: Served
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def start(
        cls, folder: Path, models: tuple[bytes, bytes], signature: Signature, rows: list[dict[str, Any]], **more: Any
    ) -> Pair:
        """Serve the stable model to users, then both as before a rollout."""
        stable, candidate = (_stored(folder, model, signature, n) for n, model in enumerate(models, 1))
        before = Served.of(folder, stable, capture=Capture(percent=100, **more)).start()
        with Wire(before.port) as wire:
            for row in rows:
                assert wire.post("/predict", row).status == 200
        assert before.stop() == 0
        started = []
        for name, artifact in (("s", stable), ("c", candidate)):
            (folder / name).mkdir()
            (folder / name / "store").symlink_to(folder / "store")
            started.append(Served.of(folder / name, artifact, capture=Capture(percent=100, **more)).start())
        return cls(folder, *started, rows)

    def replay(self, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> ReplaySummary:
        """Run the Job; twice, since the same input has the same result."""
        monkeypatch.delenv("FAIRLEAD_STORE_SECRET_KEY", raising=False)
        asked = ReplayInput(
            namespace="test",
            name="risk",
            rollout=(datetime.now(UTC) + timedelta(seconds=1)).isoformat(),
            stable=self.stable.document.artifact,
            stable_url=f"http://127.0.0.1:{self.stable.port}",
            candidate=self.candidate.document.artifact,
            candidate_url=f"http://127.0.0.1:{self.candidate.port}",
            requests=500,
            min_requests=50,
            limits=LIMITS,
        ).model_copy(update=changes)
        store = LocalStore(self.folder / "store")
        summary = job.run(asked, store)
        assert job.run(asked, store) == summary
        return summary

    def stop(self) -> None:
        """End both; nothing that was replayed counts as a user's or is captured."""
        for server in (self.stable, self.candidate):
            counts = server.arm()
            assert (counts["requests"], counts["failed"], counts["captured"]) == (0, 0, 0)
            server.stop()


def _stored(folder: Path, model: bytes, signature: Signature, number: int) -> ArtifactRef:
    return store_artifact(folder / "store", model, signature).model_copy(update={"version": f"tumor-{number}"})


def numbers(count: int) -> list[dict[str, Any]]:
    chance = random.Random(7)
    return [{"age": chance.randint(0, 20), "mean radius": round(chance.uniform(0, 20), 2)} for _ in range(count)]


def carriers(count: int, others: int) -> list[dict[str, Any]]:
    known = [{"delay": 1.0, "carrier": "AA" if n % 2 else "UA"} for n in range(count - others)]
    return [*known, *({"delay": 1.0, "carrier": "B6"} for _ in range(others))]


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two versions that are the same; for all tests of this file, since a replay changes nothing."""
    pair = Pair.start(tmp_path_factory.mktemp("alike"), (linear(), linear()), SIGNATURE, numbers(300))
    yield pair
    pair.stop()


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A candidate that takes its two numbers the other way round."""
    rows = [{"age": n % 20, "mean radius": n / 30} for n in range(420)]
    pair = Pair.start(tmp_path_factory.mktemp("unlike"), (linear(), swapped()), SIGNATURE, rows)
    yield pair
    pair.stop()


def test_two_swapped_features_are_caught_before_the_first_user(unlike: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    said = unlike.replay(monkeypatch)
    assert said.outcome == "Failed"
    assert (said.checks[0].signal, said.checks[0].slice, said.requests) == ("Disagreement", "", 420)
    assert 40 < said.checks[0].percent < 60
    assert "420 captured requests of tumor-1 were sent to tumor-2 and to it" in said.message
    assert "% of its answers differ, surely over" in said.message


def test_a_version_that_answers_alike_passes(alike: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    said = alike.replay(monkeypatch)
    few = alike.replay(monkeypatch, min_requests=400)
    newest = alike.replay(monkeypatch, requests=60)
    long_ago = alike.replay(monkeypatch, rollout="2026-01-01T00:00:00Z")
    assert (said.outcome, said.requests, said.compared) == ("Passed", 300, 3)
    assert "0 % of its answers differ (limit 5)" in said.message
    assert (few.outcome, few.message) == (
        "NotPossible",
        "Only 300 requests of tumor-1 are captured, 400 are needed; set capture.percent, or wait for more.",
    )
    assert newest.requests == 60
    assert long_ago.message.startswith("No request of tumor-1 is captured, 50 are needed")


def test_a_fault_of_one_slice_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidate fails for one carrier in eleven, which the whole need not show: its slice does."""
    stable = Path(tmp_path / "model.onnx")
    model = onnx.load_from_string(fragile())
    encoder = model.graph.node[0]
    next(a for a in encoder.attribute if a.name == "default_int64").i = 1  # any other carrier is as UA
    stable.write_bytes(model.SerializeToString())
    pair = Pair.start(tmp_path, (stable.read_bytes(), fragile()), MIXED, carriers(440, 40))
    said = pair.replay(
        monkeypatch,
        slices=["carrier"],
        limits=LIMITS.model_copy(update={"max_more_errors_points": 30.0}),
    )
    pair.stop()
    assert said.outcome == "Failed"
    assert [(c.signal, c.slice, c.percent) for c in said.checks if c.failed] == [("Errors", "carrier=B6", 100.0)]
    assert "points more of its answers failed where carrier=B6 (40 requests)" in said.message


def test_what_captures_do_not_show_is_not_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair.start(tmp_path, (linear(), linear()), SIGNATURE, numbers(60), drop=["age"])
    said = pair.replay(monkeypatch)
    pair.stop()
    assert said.outcome == "NotPossible"
    assert "do not show age" in said.message


def test_a_column_that_only_the_candidate_takes_cannot_be_replayed(
    alike: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = [*SIGNATURE.inputs, Input(name="new", type="Float", datatype="FP32")]
    wider = store_artifact(alike.folder / "store", linear(), SIGNATURE.model_copy(update={"inputs": more}))
    said = alike.replay(monkeypatch, candidate=wider)
    assert said.outcome == "NotPossible"
    assert "do not show new" in said.message


def test_the_route_is_not_there_without_the_token(tmp_path: Path) -> None:
    artifact = store_artifact(tmp_path / "store", linear(), SIGNATURE)
    server = Served.of(tmp_path, artifact).start()
    with Wire(server.port) as wire:
        denied = wire.post("/replay", {"age": 1, "mean radius": 1.0})
        assert denied.status == 404
        assert denied.json["error"].startswith("there is nothing at /replay")
        assert wire.post("/replay", {"age": 1, "mean radius": 1.0}, "x-fairlead-replay: guessed").status == 404
    server.stop()


def test_a_server_that_cannot_be_reached_proves_nothing(alike: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arm, "__init__", _hasty(Arm.__init__))
    for url in ("candidate_url", "stable_url"):
        with pytest.raises(StoreError, match=r"127\.0\.0\.1:9 cannot be reached"):
            alike.replay(monkeypatch, **{url: "http://127.0.0.1:9"})


def _hasty(make: Any) -> Any:
    return lambda self, url, token: make(self, url, token, pause_s=0.0)


def test_an_older_server_is_not_asked(alike: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    said = alike.replay(monkeypatch, stable_url=f"http://127.0.0.1:{alike.stable.control}")
    assert said.outcome == "NotPossible"
    assert "does not know the route for replays" in said.message


def test_an_arm_takes_a_silence_for_a_failure() -> None:
    with pytest.raises(UnreachableError):
        Arm("http://127.0.0.1:9", "", pause_s=0).ask({})


def answers(chance: np.random.Generator, bad: Any, slow: Any, label: Any) -> list[Answer]:
    return [
        Answer(500 if b else 200, None if b else int(v), 100.0 if s else 1.0)
        for b, s, v in zip(bad.tolist(), slow.tolist(), label.tolist(), strict=True)
    ]


def test_chance_refuses_a_candidate_at_its_limits_in_at_most_five_percent() -> None:
    """Every signal exactly at its limit, over all and in each of eight slices: the worst good candidate there is."""
    chance, refused, replays, count = np.random.default_rng(20261121), 0, 300, 500
    limits = ReplayLimits(max_disagreement_percent=5, max_more_errors_points=2, slow_ms=50, max_more_slow_points=2)
    for _ in range(replays):
        where = chance.integers(0, 8, count)
        groups = [Group("c", str(n), where == n) for n in range(8)]
        shared_slow, shared_bad = chance.random(count) < 0.05, chance.random(count) < 0.01
        more_bad, more_slow = chance.random(count) < 0.02 / 0.99, chance.random(count) < 0.02 / 0.95
        label = chance.integers(0, 2, count)
        other = np.where(chance.random(count) < 0.05, 1 - label, label)
        stable = answers(chance, shared_bad, shared_slow, label)
        candidate = answers(chance, shared_bad | more_bad, shared_slow | more_slow, other)
        refused += any(check.failed for check in compare(stable, candidate, groups, limits))
    assert refused / replays <= 0.05, f"refused {refused} of {replays}"


@pytest.mark.parametrize(("signal", "rate"), [("Disagreement", 0.12), ("Errors", 0.05), ("Latency", 0.06)])
def test_what_is_clearly_over_its_limit_is_caught(signal: str, rate: float) -> None:
    chance, caught, replays, count = np.random.default_rng(7), 0, 60, 500
    for _ in range(replays):
        struck, label = chance.random(count) < rate, chance.integers(0, 2, count)
        nobody = np.zeros(count, dtype=bool)
        stable = answers(chance, nobody, nobody, label)
        bad, slow = (struck if signal == name else nobody for name in ("Errors", "Latency"))
        other = np.where(struck, 1 - label, label) if signal == "Disagreement" else label
        checks = compare(stable, answers(chance, bad, slow, other), [], LIMITS.model_copy(update={"slow_ms": 50}))
        caught += checks[0].failed and checks[0].signal == signal
    assert caught / replays >= 0.9, f"caught {caught} of {replays}"


def test_numbers_differ_beyond_a_tenth_of_their_spread() -> None:
    values = np.random.default_rng(1).normal(100, 10, 400)
    stable = [Answer(200, float(v), 1.0) for v in values]
    near = [Answer(200, float(v) + 0.5, 1.0) for v in values]
    far = [Answer(200, float(v) + 1.5, 1.0) for v in values]
    assert compare(stable, near, [], LIMITS)[0].percent == 0
    assert compare(stable, far, [], LIMITS)[0].percent == 100


def test_of_several_targets_each_is_compared_by_its_own_spread() -> None:
    chance = np.random.default_rng(1)
    values = list(zip(chance.normal(0, 1, 400), chance.normal(0, 1000, 400), strict=True))
    stable = [Answer(200, [float(a), float(b)], 1.0) for a, b in values]
    near = [Answer(200, [float(a), float(b) + 50], 1.0) for a, b in values]
    far = [Answer(200, [float(a) + 50, float(b)], 1.0) for a, b in values]
    fewer = [Answer(200, [float(a)], 1.0) for a, _ in values]
    for said, percent in ((near, 0), (far, 100), (fewer, 100)):
        assert next(c for c in compare(stable, said, [], LIMITS) if c.signal == "Disagreement").percent == percent


def test_a_summary_fits_its_limit(unlike: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    said = unlike.replay(monkeypatch, slices=["age", "mean radius"])
    assert len(said.checks) == 10
    assert said.compared > 10
    assert len(json.dumps(said.to_json_object())) < 3072


def test_the_arm_is_asked_over_one_connection(tmp_path: Path) -> None:
    artifact = store_artifact(tmp_path / "store", linear(), SIGNATURE)
    server = Served.of(tmp_path, artifact).start()
    arm = Arm(f"http://127.0.0.1:{server.port}", hasher_of({}, "test", "risk").token)
    assert [arm.ask({"age": n, "mean radius": 1.0}).prediction for n in (1, 20)] == ["benign", "malign"]
    assert arm.ask({"age": "x", "mean radius": 1.0}).status == 400
    arm.close()
    server.stop()
