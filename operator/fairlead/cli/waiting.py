"""`kubectl fairlead wait`: looks at one object until it is decided; its exit code says how. Called by `main.py`.

It reads one object by and by and writes nothing into the cluster.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from .commands import Session
from .outcome import Ended, Outcome, outcome_of, render_junit, render_summary
from .states import state_of
from .subjects import Subject

POLL_S = 1.0


@dataclass(frozen=True)
class Wish:
    """What to wait for and where to write how it ended; `version`: of a service, what becomes of that version."""

    subject: Subject
    timeout_s: float
    version: str = ""
    junit: Path | None = None
    summary: Path | None = None

    @property
    def title(self) -> str:
        """The object in words."""
        return f"{self.subject.resource.kind} {self.subject.name}"


async def wait(session: Session, wish: Wish) -> int:
    """Wait until an object is Ready (0), refused (1) or inconclusive (2), or time is up (3); say each new reason."""
    ended = await _watch(session, wish)
    if ended.outcome is Outcome.TIMED_OUT:
        session.say(f"{wish.title} did not get there in {wish.timeout_s:g} s")
    if wish.junit is not None:
        wish.junit.write_bytes(render_junit(ended))
    if wish.summary is not None:
        with wish.summary.open("a", encoding="utf-8") as file:  # as for $GITHUB_STEP_SUMMARY: others write there too
            file.write(render_summary(ended))
    return int(ended.outcome)


async def _watch(session: Session, wish: Wish) -> Ended:
    began, said = time.monotonic(), ""
    while True:
        found = await session.client.find(wish.subject.resource, session.namespace, wish.subject.name)
        obj = {**found, "kind": wish.subject.resource.kind} if found else None
        words = f"{wish.title} does not exist yet"
        if obj is not None:
            state = state_of(obj)
            words = f"{wish.title}: {state.standing}, {state.reason}. {state.message}"
        if words != said:
            session.say(words)
            said = words
        outcome = outcome_of(obj, wish.version) if obj is not None else None
        seconds = time.monotonic() - began
        if outcome is None and seconds + POLL_S > wish.timeout_s:
            outcome = Outcome.TIMED_OUT
        if outcome is not None:
            return Ended(wish.title, outcome, obj, seconds)
        await asyncio.sleep(POLL_S)
