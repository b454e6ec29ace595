"""A program that runs for as long as a block does, its output in a file; ended politely, then not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, ends_within_s: float = 10
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command; at the end of the block send SIGTERM, and SIGKILL if it does not end in time."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(ends_within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
