"""The operator as a process of its own that starts in a moment and dies by SIGKILL.

A fork server imports the operator once; each start is a fork of it, so that hundreds of restarts are cheap. Times that
the product has as constants are scaled here for scenarios, and only here: `SCALED` is the whole list. Lease and relist
times are settings.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# module, constant, value here; the product's value stands behind it
SCALED: tuple[tuple[str, str, Any], ...] = (
    ("fairlead.plan.rollout", "DRAIN_S", 1.0),  # 10
    ("fairlead.plan.rollout", "DRAIN_AT_MOST_S", 8.0),  # 60
    ("fairlead.plan.inferenceservice", "LOOK_S", 0.4),  # 2
    ("fairlead.app.main", "START_RETRY_S", 0.3),  # 2
)
ARM_INTERVAL_S = 0.35  # 1.9
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["fairlead.app.main", "kopf", "tests.faults.process"])


class OperatorProcess:
    """One life of an operator."""

    def __init__(self, arguments: Sequence[str], arms_port: int, log: Path) -> None:
        self._process = _CONTEXT.Process(target=_run, args=(list(arguments), arms_port, str(log)), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Return how it ended, or None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """End it by SIGKILL, now."""
        self._process.kill()

    def terminate(self) -> None:
        """Ask it to end by SIGTERM."""
        self._process.terminate()

    async def ended(self) -> int:
        """Wait for its end and return the exit code."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        return int(self._process.exitcode or 0)


def _run(arguments: list[str], arms_port: int, log: str) -> None:
    """Be the operator: in the forked process."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for module, name, value in SCALED:
        vars(importlib.import_module(module))[name] = value
    operator = importlib.import_module("fairlead.app.main")
    arms = importlib.import_module("fairlead.controllers.world").HttpArms
    vars(operator)["HttpArms"] = functools.partial(arms, arms_port, interval_s=ARM_INTERVAL_S)
    sys.exit(operator.main(arguments))
