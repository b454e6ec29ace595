"""Says what happens and why, in plain sentences, with the time since the start; and the table at the end."""

from __future__ import annotations

import re
import sys
import textwrap
import time
from dataclasses import dataclass, field

from .cluster import Obj, ready_of

WIDTH = 110
REPEAT_S = 10.0
_BOLD, _DIM, _RED, _GREEN, _PLAIN = "\033[1m", "\033[2m", "\033[31m", "\033[32m", "\033[0m"


@dataclass
class Step:
    """One line of the table at the end."""

    title: str
    began_s: float
    ended_s: float = 0.0
    outcome: str = ""
    evidence: str = ""


@dataclass
class Narrator:
    """Prints the story as it happens and remembers its steps."""

    began: float = field(default_factory=time.monotonic)
    steps: list[Step] = field(default_factory=list)
    _said: dict[str, tuple[str, float]] = field(default_factory=dict)

    def since(self) -> float:
        """Return the seconds since the story began."""
        return time.monotonic() - self.began

    def step(self, title: str, why: str) -> Step:
        """Begin a step: a headline and why it is done."""
        step = Step(title, self.since())
        self.steps.append(step)
        self._print(f"\n{self._style(_BOLD)}{len(self.steps)}. {title}{self._style(_PLAIN)}")
        self.say(why)
        return step

    def say(self, text: str) -> None:
        """Print a sentence with the time."""
        clock = f"{int(self.since()) // 60:d}:{int(self.since()) % 60:02d}"
        lines = textwrap.wrap(text, WIDTH - 8) or [""]
        self._print(f"{self._style(_DIM)}{clock:>6}{self._style(_PLAIN)}  {lines[0]}")
        for line in lines[1:]:
            self._print(f"        {line}")

    def status(self, obj: Obj) -> None:
        """Say what an object's Ready condition says: when it says something else, or the same with news after 10 s."""
        ready, name = ready_of(obj), f"{obj['kind']} {obj['metadata']['name']}"
        gist = ready["reason"] + re.sub(r"[0-9.]+ |(: |; ).*", "", ready["message"])
        before, at_s = self._said.get(name, ("", 0.0))
        if gist != before or self.since() - at_s > REPEAT_S:
            self._said[name] = (gist, self.since())
            self.say(f"{name} [{ready['reason']}] {ready['message']}")

    def done(self, step: Step, outcome: str, evidence: str) -> None:
        """End a step as told."""
        step.ended_s, step.outcome, step.evidence = self.since(), outcome, evidence
        self.say(f"{self._style(_GREEN)}{outcome}{self._style(_PLAIN)}: {evidence}")

    def broken(self, why: str) -> None:
        """End the newest step as not told."""
        if self.steps:
            step = self.steps[-1]
            step.ended_s, step.outcome, step.evidence = self.since(), "BROKEN", why
        self.say(f"{self._style(_RED)}This did not end as told{self._style(_PLAIN)}: {why}")

    def table(self) -> None:
        """Print the steps with their times and evidence."""
        self._print(f"\n{self._style(_BOLD)}What happened{self._style(_PLAIN)}")
        self._print(f"  {'step':36} {'at':>6} {'took':>6}  {'outcome':12} evidence")
        for number, step in enumerate(self.steps, 1):
            first, *more = textwrap.wrap(step.evidence, WIDTH - 68) or [""]
            clock = f"{int(step.began_s) // 60}:{int(step.began_s) % 60:02d}"
            took = f"{step.ended_s - step.began_s:.0f} s"
            self._print(f"  {f'{number}. {step.title}'[:36]:36} {clock:>6} {took:>6}  {step.outcome:12} {first}")
            for line in more:
                self._print(f"  {'':64} {line}")

    def _print(self, text: str) -> None:
        print(text, flush=True)

    def _style(self, code: str) -> str:
        return code if sys.stdout.isatty() else ""
