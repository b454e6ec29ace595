"""One replica of the operator, as a process of its own with all five kinds and the toy kind.

A fork server imports the operator once, so that hundreds of starts are cheap. A trap file makes the replica stop itself
(SIGSTOP) between a write's check of the Lease and its sending: the worst moment there is.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["fairlead.app.main", "kopf", "pytest", "tests.faults.process"])


class Replica:
    """A running operator process and how it may be hurt."""

    def __init__(self, name: str, arguments: Sequence[str], folder: Path, health_port: int) -> None:
        self.name, self.health_port = name, health_port
        self.log, self._trap, self._clock = (folder / f"{name}.{what}" for what in ("log", "trap", "clock"))
        self._process = _CONTEXT.Process(
            target=_run, args=(list(arguments), str(self.log), str(self._trap), str(self._clock)), daemon=True
        )
        self._process.start()
        self.is_hurt = False  # by a signal or a trap of ours

    @property
    def exit_code(self) -> int | None:
        """Return how it ended, or None while it lives."""
        return self._process.exitcode

    @property
    def is_alive(self) -> bool:
        """Say whether the process is there, stopped or not."""
        return self.exit_code is None

    def signal(self, number: int) -> None:
        """Send a signal."""
        if self.is_alive:
            self.is_hurt = True
            os.kill(self._pid, number)

    def set_trap(self, write: str) -> None:
        """Make it stop itself right before it sends the next such write, such as `POST jobs`."""
        self.is_hurt = True
        self._trap.write_text(write)

    def set_clock(self, ahead_s: float) -> None:
        """Set its clock so far ahead of the true time."""
        beside = self._clock.with_suffix(".new")
        beside.write_text(str(ahead_s))
        beside.rename(self._clock)

    def is_frozen(self) -> bool:
        """Say whether the kernel holds it stopped."""
        if not self.is_alive:
            return False
        stat = Path(f"/proc/{self._pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    async def ended(self, timeout_s: float = 30) -> int:
        """Wait for its end and return the exit code."""
        await eventually(lambda: not self.is_alive, timeout_s, what=f"{self.name} ends")
        return int(self.exit_code or 0)

    def end(self) -> None:
        """Leave nothing behind."""
        if self.is_alive:
            self._process.kill()
            self._process.join(5)

    def said(self) -> str:
        """Return what it logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def _pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid


def _run(arguments: list[str], log: str, trap: str, clock_file: str) -> None:
    """Be the operator: in the forked process."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from tests.support.toy import ToyController  # noqa: PLC0415 - in the fork only

    from fairlead.app import main as operator  # noqa: PLC0415
    from fairlead.kube.connection import connect  # noqa: PLC0415

    _plant_trap(Path(trap))
    _take_clock(Path(clock_file))

    async def run(settings: Any) -> None:
        connection = await connect(settings.kubeconfig)
        await operator.Operator(settings, connection, (*operator.CONTROLLERS, ToyController())).run()

    sys.exit(operator.main(arguments, lambda settings: asyncio.run(run(settings))))


def _take_clock(file: Path) -> None:
    from fairlead.app import clock  # noqa: PLC0415

    plain = clock.now
    clock.now = lambda: plain() + timedelta(seconds=float(file.read_text()) if file.exists() else 0.0)


def _plant_trap(trap: Path) -> None:
    from fairlead.kube.client import Client  # noqa: PLC0415

    plain = Client._send

    async def send(self: Client, request: Any) -> dict[str, Any]:
        _spring(trap, request)
        return await plain(self, request)

    Client._send = send  # type: ignore[method-assign]


def _spring(trap: Path, request: Any) -> None:
    if request.method == "GET" or not trap.exists():
        return
    method, _, place = trap.read_text().partition(" ")
    if request.method == method and f"/{place}" in request.path:
        trap.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)
