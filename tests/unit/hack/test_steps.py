"""The step engine: order, caches, failures, and that it is never silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hack.cluster.shell import Log, StepError, run
from hack.cluster.steps import Runner, Screen, Step, order


def noop(_log: Log) -> None:
    """A step's action that does nothing."""


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def runner(tmp_path: Path, lines: list[str]) -> Runner:
    return Runner(tmp_path / "logs", Screen(lines.append), workers=2, heartbeat_s=0.02)


def recording(seen: list[str], name: str) -> Callable[[Log], None]:
    """An action that writes its name down."""
    return lambda _log: seen.append(name)


def test_order_puts_needs_first() -> None:
    steps = [Step("c", noop, needs=("b",)), Step("b", noop, needs=("a",)), Step("a", noop)]
    assert [step.name for step in order(steps)] == ["a", "b", "c"]


def test_order_keeps_the_given_order_where_nothing_is_needed() -> None:
    steps = [Step(name, noop) for name in ("long", "short", "other")]
    assert [step.name for step in order(steps)] == ["long", "short", "other"]


def test_order_names_a_cycle() -> None:
    steps = [Step("a", noop, needs=("b",)), Step("b", noop, needs=("a",))]
    with pytest.raises(ValueError, match="a -> b -> a"):
        order(steps)


def test_order_names_an_unknown_need() -> None:
    with pytest.raises(ValueError, match="a needs ghost"):
        order([Step("a", noop, needs=("ghost",))])


def test_a_step_runs_after_its_needs(runner: Runner) -> None:
    seen: list[str] = []
    runner.run(
        [
            Step("last", recording(seen, "last"), needs=("left", "right")),
            Step("left", recording(seen, "left")),
            Step("right", recording(seen, "right")),
        ]
    )
    assert seen[-1] == "last"
    assert sorted(seen[:2]) == ["left", "right"]


def test_independent_steps_run_side_by_side(runner: Runner) -> None:
    meeting = threading.Barrier(2, timeout=5)
    runner.run([Step("a", lambda _log: meeting.wait() and None), Step("b", lambda _log: meeting.wait() and None)])


def test_no_more_steps_at_once_than_workers(runner: Runner) -> None:
    now, most, lock = [0], [0], threading.Lock()

    def busy(_log: Log) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    runner.run([Step(str(index), busy) for index in range(6)])
    assert most[0] == runner.workers


def test_a_fresh_step_is_not_run(runner: Runner, lines: list[str]) -> None:
    seen: list[str] = []
    report = runner.run([Step("kept", recording(seen, "kept"), fresh=lambda: True)])
    assert seen == []
    assert report.cached == ["kept"]
    assert any("kept: there already" in line for line in lines)


def test_each_step_is_named_with_its_time(runner: Runner, lines: list[str]) -> None:
    report = runner.run([Step("one", noop, note="what it does")])
    assert any("one: start (what it does)" in line for line in lines)
    assert any("one: done in" in line for line in lines)
    assert report.took_s["one"] >= 0


def test_a_long_step_shows_its_last_log_line(runner: Runner, lines: list[str]) -> None:
    said = threading.Event()

    def slow(log: Log) -> None:
        log.say("compiling the world")
        said.wait(5)

    def watch(line: str) -> None:
        lines.append(line)
        if "compiling the world" in line:
            said.set()

    runner.screen = Screen(watch)
    runner.run([Step("slow", slow)])
    assert said.is_set()


def test_a_failure_gives_the_end_of_the_log_and_its_path(runner: Runner) -> None:
    def breaks(log: Log) -> None:
        run(log, ["sh", "-c", "for i in $(seq 100); do echo line $i; done; exit 7"])

    with pytest.raises(StepError) as caught:
        runner.run([Step("broken", breaks)])
    text = str(caught.value)
    assert "exited 7" in text
    assert "line 100" in text
    assert "line 10\n" not in text
    assert str(runner.logs / "broken.log") in text


def test_nothing_new_starts_after_a_failure(runner: Runner) -> None:
    seen: list[str] = []

    def breaks(_log: Log) -> None:
        raise StepError("no")

    with pytest.raises(StepError, match="broken failed: no"):
        runner.run([Step("broken", breaks), Step("after", recording(seen, "after"), needs=("broken",))])
    assert seen == []


def test_an_unexpected_error_is_reported_as_a_failure(runner: Runner) -> None:
    def breaks(_log: Log) -> None:
        raise OSError("disk full")

    with pytest.raises(StepError, match="disk full"):
        runner.run([Step("broken", breaks)])


def test_a_second_run_does_only_what_the_first_did_not_finish(runner: Runner, tmp_path: Path) -> None:
    done: list[str] = []

    def makes(name: str, fail: bool) -> Step:
        product = tmp_path / name

        def action(_log: Log) -> None:
            done.append(name)
            if fail:
                raise StepError("interrupted")
            product.touch()

        return Step(name, action, fresh=product.exists)

    with pytest.raises(StepError):
        runner.run([makes("first", fail=False), Step("gate", noop, needs=("first",)), makes("second", fail=True)])
    runner.run([makes("first", fail=False), makes("second", fail=False)])
    assert done.count("first") == 1
    assert done.count("second") == 2
