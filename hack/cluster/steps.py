"""The step engine: a graph of named steps, run side by side, each with its log and its cache check.

It decides what runs when and says so; it knows nothing of clusters. A step is skipped when its
`fresh` says that its product is already there. Products are written under a temporary name and
renamed by the steps themselves, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from hack.cluster.shell import Log, StepError

HEARTBEAT_S = 20.0
FAILURE_LINES = 25


def never() -> bool:
    """The cache check of a step whose check is the work itself."""
    return False


@dataclass(frozen=True)
class Step:
    """One named piece of work. `needs` names steps that must be done before it."""

    name: str
    action: Callable[[Log], None]
    needs: tuple[str, ...] = ()
    fresh: Callable[[], bool] = never
    note: str = ""  # said when it starts: what a person should know before it happens


@dataclass
class Report:
    """What a run did: seconds per step, and which were skipped or failed."""

    took_s: dict[str, float] = field(default_factory=dict)
    cached: list[str] = field(default_factory=list)
    failed: dict[str, BaseException] = field(default_factory=dict)


class Screen:
    """One line per event; safe to call from several threads."""

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._write = write or self._stdout

    @staticmethod
    def _stdout(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Prints a line with the time since the start."""
        with self._lock:
            self._write(f"[{time.monotonic() - self._start:6.1f} s] {text}")


def order(steps: Iterable[Step]) -> list[Step]:
    """The steps so that each comes after its needs; ValueError on a cycle or an unknown name."""
    by_name = {step.name: step for step in steps}
    result: list[Step] = []
    state: dict[str, bool] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name not in by_name:
            raise ValueError(f"step {path[-1]} needs {name}, which is not a step")
        if state.get(name) is True:
            return
        if name in path:
            raise ValueError(f"steps need each other: {' -> '.join((*path, name))}")
        for need in by_name[name].needs:
            visit(need, (*path, name))
        state[name] = True
        result.append(by_name[name])

    for name in by_name:
        visit(name, ())
    return result


@dataclass
class Runner:
    """Runs a graph with at most `workers` steps at once; stops starting new ones on a failure."""

    logs: Path
    screen: Screen
    workers: int = 3
    heartbeat_s: float = HEARTBEAT_S

    def run(self, steps: Sequence[Step]) -> Report:
        """Runs all steps; raises StepError with the tails of the logs if one of them failed."""
        report = Report()
        todo = {step.name: step for step in order(steps)}
        started: dict[str, float] = {}
        running: dict[Future[bool], Step] = {}
        with ThreadPoolExecutor(max_workers=self.workers) as pool:
            while todo or running:
                if not report.failed:
                    self._start_ready(pool, todo, running, started)
                if not running:
                    break
                done, _ = wait(running, timeout=self.heartbeat_s, return_when=FIRST_COMPLETED)
                for future in done:
                    self._finish(running.pop(future), future, started, report)
                if not done:
                    self._heartbeat(running.values(), started)
        if report.failed:
            raise StepError(self._explain(report.failed))
        return report

    def _start_ready(
        self,
        pool: ThreadPoolExecutor,
        todo: dict[str, Step],
        running: dict[Future[bool], Step],
        started: dict[str, float],
    ) -> None:
        open_names = set(todo) | {step.name for step in running.values()}
        for name, step in list(todo.items()):
            if len(running) >= self.workers:
                return
            if not open_names.intersection(step.needs):
                del todo[name]
                started[name] = time.monotonic()
                running[pool.submit(self._do, step)] = step

    def _do(self, step: Step) -> bool:
        """Runs one step; True if it was not needed."""
        if step.fresh():
            return True
        log = self.log(step.name)
        log.path.unlink(missing_ok=True)
        log.say(f"# {step.name}")
        self.screen.say(f"{step.name}: start" + (f" ({step.note})" if step.note else ""))
        step.action(log)
        return False

    def log(self, name: str) -> Log:
        """The log of the step of this name."""
        return Log(self.logs / f"{name}.log")

    def _finish(self, step: Step, future: Future[bool], started: Mapping[str, float], report: Report) -> None:
        took = time.monotonic() - started[step.name]
        report.took_s[step.name] = took
        error = future.exception()
        if error is not None:
            report.failed[step.name] = error
            self.screen.say(f"{step.name}: FAILED after {took:.1f} s: {str(error).partition(chr(10))[0]}")
        elif future.result():
            report.cached.append(step.name)
            self.screen.say(f"{step.name}: there already")
        else:
            self.screen.say(f"{step.name}: done in {took:.1f} s")

    def _heartbeat(self, running: Iterable[Step], started: Mapping[str, float]) -> None:
        now = time.monotonic()
        for step in running:
            last = self.log(step.name).tail(1)
            hint = f": {last[0].strip()[:90]}" if last else ""
            self.screen.say(f"{step.name}: {now - started[step.name]:.0f} s{hint}")

    def _explain(self, failed: Mapping[str, BaseException]) -> str:
        parts = []
        for name, error in failed.items():
            log = self.log(name)
            tail = "\n".join(f"    {line}" for line in log.tail(FAILURE_LINES))
            parts.append(f"{name} failed: {error}\n{tail}\n  whole log: {log.path}")
        return "\n".join(parts)
