"""Runs programs for a step: output to the step's log, failure as one exception.

The only place that starts processes, so that every command line ends up in a log.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class StepError(Exception):
    """A step could not do its work; the message says what to do about it where that is known."""


@dataclass(frozen=True)
class Log:
    """The file one step writes to."""

    path: Path

    def say(self, text: str) -> None:
        """Appends a line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text.rstrip("\n") + "\n")

    def tail(self, lines: int) -> list[str]:
        """The last lines, without reading more than the end of a long log."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - 64 * 1024))
            text = file.read().decode("utf-8", "replace")
        return [line for line in text.splitlines() if line.strip()][-lines:]


def run(
    log: Log,
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> None:
    """Runs a command with its output in the log; StepError if it does not exit 0."""
    words = [str(word) for word in command]
    log.say(f"$ {shlex.join(words)}")
    if shutil.which(words[0]) is None:
        raise StepError(f"`{words[0]}` is not on PATH")
    with log.path.open("ab") as out:
        done = subprocess.run(
            words,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            input=stdin.encode() if stdin is not None else None,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise StepError(f"`{words[0]} ...` exited {done.returncode}")


def says(command: Sequence[str | Path], text: str, *, timeout_s: float) -> bool:
    """Whether a command prints the text in time; it is ended as soon as that is known."""
    try:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return False
    with process:
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        try:
            return any(text.encode() in line for line in process.stdout or ())
        finally:
            timer.cancel()
            process.kill()


def ask_bytes(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, timeout_s: float = 60
) -> bytes | None:
    """What a command prints, or None if it is not there, fails or takes too long."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def ask(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, timeout_s: float = 60) -> str | None:
    """The same as text, without the white space around it."""
    found = ask_bytes(command, env=env, timeout_s=timeout_s)
    return None if found is None else found.decode("utf-8", "replace").strip()
