"""/healthz, /readyz and /metrics: whether this process still does its work, and in figures.

Healthy: the event loop turns (else nothing answers), every list is younger than two periods, no reconcile hangs.
Ready: the caches are filled; a standby is ready too. Never says anything about users' objects. Run by `main.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from .metrics import Metrics

STUCK_S = 180.0  # a reconcile ends itself after 60 s; one that takes three times that is stuck
Check = Callable[[], str | None]  # what is wrong, or None


@dataclass
class Health:
    """The checks of this process, by name; each says what is wrong or None."""

    live: dict[str, Check] = field(default_factory=dict)
    ready: dict[str, Check] = field(default_factory=dict)

    @staticmethod
    def failures(checks: dict[str, Check]) -> list[str]:
        """Return `name: what is wrong` for each check that fails."""
        return [f"{name}: {wrong}" for name, check in checks.items() if (wrong := check()) is not None]


@dataclass(frozen=True)
class Ports:
    """Where to listen; 0 is any free port."""

    address: str
    health: int
    metrics: int


class HealthServer:
    """Serves the checks on one port and the metrics on another."""

    def __init__(self, health: Health, metrics: Metrics, ports: Ports) -> None:
        self._health, self._metrics, self._ports = health, metrics, ports
        self._runners: list[web.AppRunner] = []
        self.bound = ports

    async def start(self) -> None:
        """Listen; `bound` has the real ports afterwards."""
        checks = web.Application()
        checks.router.add_get("/healthz", self._answer(self._health.live))
        checks.router.add_get("/readyz", self._answer(self._health.ready))
        figures = web.Application()
        figures.router.add_get("/metrics", self._render)
        health = await self._listen(checks, self._ports.health)
        metrics = await self._listen(figures, self._ports.metrics)
        self.bound = Ports(self._ports.address, health, metrics)

    async def stop(self) -> None:
        """Stop listening."""
        for runner in self._runners:
            await runner.cleanup()

    async def _listen(self, app: web.Application, port: int) -> int:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, self._ports.address or None, port).start()
        return int(runner.addresses[0][1])

    def _answer(self, checks: dict[str, Check]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_request: web.Request) -> web.Response:
            failures = self._health.failures(checks)
            return web.Response(text="\n".join(failures) or "ok", status=503 if failures else 200)

        return answer

    async def _render(self, _request: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=self._metrics.render(), headers=headers)
