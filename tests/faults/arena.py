"""One control plane, and scenarios side by side in it, each with its own namespace, proxy, operator and actors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.support.control_plane import ROOT, ControlPlane
from tests.support.crds import CRD, bare_crd
from tests.support.eventually import eventually
from tests.support.served import free_port
from tests.support.status_laws import StatusLaws

from fairlead.api import names

from .actors import NAMESPACE, Actors
from .admin import Admin, Refused
from .canon import births, canonical, difference
from .pods import Json, Servers
from .process import OperatorProcess
from .proxy import Proxy, Rule, proxied
from .story import Story

WHOLE = os.environ.get("FAIRLEAD_FAULTS") == "whole"  # `make faults`; otherwise a share of each, for `make test`
SIDE_BY_SIDE = int(os.environ.get("FAULTS_SIDE_BY_SIDE", "6" if WHOLE else "4"))
LEASES_IN = "default"
PATIENCE_S = 180.0  # with a busy machine; bars are asserted beside it, where they are promised
QUIET_S = 1.0
RELIST_S = 10.0
SOON = {"relist-period": "3s"}  # where only a list can tell what a watch did not
_GIVEN = {
    "server-image": "example.com/server@sha256:0",
    "jobs-image": "example.com/jobs@sha256:0",
    "lease-namespace": LEASES_IN,
    "identity": "operator",  # a restarted container is the same holder, so that a restart is not a failover
    "relist-period": f"{RELIST_S:g}s",
    "bind-address": "127.0.0.1",
    "log-format": "text",
    "metrics-port": "0",
}


@dataclass
class Arena:
    """A control plane with the kinds installed, and what all scenarios share."""

    plane: ControlPlane
    admin: Admin
    servers: Servers
    folder: Path
    _actors: dict[str, Actors] = field(default_factory=dict)

    def on_event(self, type_: str, obj: Json) -> None:
        """Give an event to the actors of its namespace."""
        actors = self._actors.get(obj["metadata"].get("namespace", ""))
        if actors is not None:
            actors.on_event(type_, obj)

    @contextlib.asynccontextmanager
    async def scene(self, *rules: Rule, **settings: str) -> AsyncIterator[Scene]:
        """Set up a namespace with actors, a proxy with these rules, and an operator behind it that restarts."""
        namespace = f"f-{secrets.token_hex(4)}"
        await self.admin.create(NAMESPACE, "", {"metadata": {"name": namespace}})
        actors = self._actors[namespace] = Actors(self.admin, namespace, self.servers)
        try:
            async with proxied(self.plane.server, str(self.plane.ca), *rules) as proxy:
                scene = Scene(self, actors, proxy, Story(actors), settings)
                async with scene.alive():
                    yield scene
        finally:
            del self._actors[namespace]
            await self._clean(actors)

    async def _clean(self, actors: Actors) -> None:
        for address in actors.leave():
            await self.servers.close(address)
        for resource in names.RESOURCES:
            path = f"/apis/{resource.api_version}" if "/" in resource.api_version else f"/api/{resource.api_version}"
            with contextlib.suppress(Refused):
                await self.admin.send("DELETE", f"{path}/namespaces/{actors.namespace}/{resource.plural}")
        with contextlib.suppress(Refused):
            await self.admin.send("DELETE", f"/api/v1/namespaces/{actors.namespace}")
        with contextlib.suppress(Refused):
            await actors.finalize()


@dataclass(repr=False)
class Scene:
    """One scenario under way."""

    arena: Arena
    actors: Actors
    proxy: Proxy
    story: Story
    settings: dict[str, str] = field(default_factory=dict)
    lives: list[OperatorProcess] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    killed_at: float | None = None
    health_port: int = 0
    unhealthy: list[str] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        """Return its namespace."""
        return self.actors.namespace

    @property
    def health_url(self) -> str:
        """Return where the operator says how it is."""
        return f"http://127.0.0.1:{self.health_port}/healthz"

    @property
    def log(self) -> Path:
        """Return the operator's log."""
        return self.arena.folder / f"{self.namespace}.log"

    def kill(self) -> None:
        """End the operator by SIGKILL; it is started again at once, as a kubelet would."""
        self.killed_at = time.monotonic()
        self.lives[-1].kill()

    @contextlib.asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Run actors and operator until the block ends."""
        self.health_port = free_port()
        tasks = [asyncio.create_task(self.actors.run()), asyncio.create_task(self._supervise())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            if self.lives and self.lives[-1].exit_code is None:
                self.lives[-1].kill()
                await self.lives[-1].ended()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _supervise(self) -> None:
        while True:
            self.lives.append(OperatorProcess(self._arguments(), self.arena.servers.port, self.log))
            self.exits.append(await self.lives[-1].ended())

    def _arguments(self) -> list[str]:
        own = {
            "kubeconfig": str(self._kubeconfig()),
            "namespaces": self.namespace,
            "lease-name": self.namespace,
            "health-port": str(self.health_port),
        }
        return [f"--{name}={value}" for name, value in {**_GIVEN, **own, **self.settings}.items()]

    def _kubeconfig(self) -> Path:
        document = yaml.safe_load(self.arena.plane.kubeconfig().read_text())
        document["clusters"][0]["cluster"] = {"server": self.proxy.url}
        path = self.arena.folder / f"{self.namespace}.kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    def state(self) -> list[str]:
        """Return what is there now, as far as two runs must agree on it."""
        return canonical(self.actors.objects.values(), self.namespace)

    async def settle(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the story is over, nothing was written for a while, and no child is on its way out."""
        await eventually(lambda: self.story.is_over() and self._is_quiet(), timeout_s, every_s=0.1)

    def _is_quiet(self) -> bool:
        writes = [call.at for call in self.proxy.calls if call.is_write and not call.is_lease]
        return not writes or time.monotonic() - writes[-1] > QUIET_S

    async def agree(self, expected: Outcome, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the end state is the expected one; fail with what differs. Then hold births against it."""

        def same() -> bool:
            assert self.story.is_over(), f"the story is at {self.story.step!r}; exits {self.exits}"
            require_same(expected.state, self.state())
            return True

        await eventually(same, timeout_s, every_s=0.1)
        extra = births(self.actors.born, self.namespace) - expected.births
        assert not extra, f"made more than once: {dict(extra)}"
        self.check_laws()

    async def become(self, look: Callable[[Scene], bool], timeout_s: float = PATIENCE_S) -> None:
        """Wait until `look` holds."""
        await eventually(lambda: look(self), timeout_s, every_s=0.1)

    async def rest(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until nothing was written for a while."""
        await eventually(self._is_quiet, timeout_s, every_s=0.1)

    async def touch(self, plurals: Iterable[str]) -> None:
        """Make one watch event for each of these resources that has an object."""
        for resource in names.RESOURCES:
            if resource.plural in plurals and (found := self.actors.all(resource)):
                note = {"metadata": {"annotations": {"touched": secrets.token_hex(4)}}}
                with contextlib.suppress(Refused):
                    await self.arena.admin.patch(resource, (self.namespace, found[0]["metadata"]["name"]), note)

    def lists_are_old(self) -> bool:
        """Say whether some kind was not listed in time by what the proxy saw: then /healthz may say so."""
        last: dict[str, float] = {}
        for call in self.proxy.calls:
            if call.method == "GET" and not call.is_watch and call.parts[2] == "" and call.status == 200:
                last[call.plural] = call.at
        return any(time.monotonic() - at > RELIST_S * 2 for at in last.values())

    def check_laws(self) -> None:
        """Fail on a breach of the laws of status, or on a fault of the harness itself."""
        laws = StatusLaws()
        for resource in names.OWN_KINDS:
            for obj in self.actors.all(resource):
                laws.see(obj)
        laws.assert_kept()
        assert not self.actors.problems, self.actors.problems[:3]

    def outcome(self) -> Outcome:
        """Return the end of this run, for others to be held against."""
        return Outcome(self.state(), births(self.actors.born, self.namespace))


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    state: list[str]
    births: Any


def require_same(expected: Sequence[str], found: Sequence[str]) -> None:
    """Raise AssertionError with the lines that only one side has."""
    if expected != found:
        raise AssertionError("\n".join(difference(expected, found)))


@contextlib.asynccontextmanager
async def arena(plane: ControlPlane, folder: Path) -> AsyncIterator[Arena]:
    """Install the kinds, begin to watch, and clean up in the end."""
    async with Admin(plane).connected() as admin:
        await _install(admin)
        servers = Servers(free_port())
        await servers.start()
        made = Arena(plane, admin, servers, folder)
        watching = asyncio.create_task(admin.watch_all(made.on_event))
        try:
            yield made
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await servers.stop()


async def _install(admin: Admin) -> None:
    documents = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    documents += [bare_crd(resource) for resource in (names.HTTP_ROUTE, names.GATEWAY)]
    for document in documents:
        with contextlib.suppress(Refused):
            await admin.create(CRD, "", document)

    async def is_served() -> Any:
        return await _is_served(admin)

    await eventually(is_served, 30.0, every_s=0.1)


async def _is_served(admin: Admin) -> bool:
    try:
        for resource in (*names.OWN_KINDS, names.HTTP_ROUTE, names.GATEWAY):
            await admin.list(resource, "default")
    except Refused:
        return False
    return True
