"""One function per verb: read objects, let a pure function decide or render, write at most one patch.

With `gather.py` and `backup.py` the only one of the plugin that does IO, to the cluster through `kube/`. Called by
`main.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fairlead import __version__
from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.contract.printable import in_lines
from fairlead.kube.client import Client
from fairlead.kube.person import ask_who, connect_person

from . import saved as saved_form
from .asks import Ask, Decision, Signature, build_decision, build_override, build_promotion, build_request, resource_of
from .backup import Restoring, collect
from .bundle import pack
from .gather import Scope
from .gather import gather as gather_bundle
from .subjects import Subject
from .tree import render_tree
from .why import render_why

OK, UNDECIDED = 0, 1


def say(text: str) -> None:
    """Print a text."""
    print(in_lines(text))  # objects quote programs and people: nothing of it may steer a terminal


def timestamp() -> str:
    """Return the present time, RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass(frozen=True)
class Session:
    """One namespace of one cluster, and where words go."""

    client: Client
    namespace: str
    say: Callable[[str], None] = field(default=say)
    timestamp: Callable[[], str] = field(default=timestamp)

    async def get(self, resource: Resource, name: str) -> dict[str, Any]:
        """Return an object; NotFoundError when there is none."""
        obj = await self.client.get(resource, self.namespace, name)
        return {**obj, "kind": resource.kind}

    async def sign(self) -> Signature:
        """Return who asks, as the API server knows them, and when."""
        return Signature(await ask_who(self.client), self.timestamp())

    async def send(self, ask: Ask) -> int:
        """Write a request and say so."""
        await self.client.patch(ask.resource, self.namespace, ask.name, ask.patch)
        self.say(ask.said)
        return OK


@asynccontextmanager
async def open_session(kubeconfig: str | None, context: str | None, namespace: str | None) -> AsyncIterator[Session]:
    """Yield a session on a context's cluster and, unless named, its namespace. Raises NoConnectionError."""
    connection, own = await connect_person(kubeconfig, context)
    client = Client(connection, user_agent=f"kubectl-fairlead/{__version__}", field_manager="kubectl-fairlead")
    try:
        yield Session(client, namespace or own)
    finally:
        await client.close()


async def show_tree(session: Session) -> int:
    """Print the namespace's objects and how they hand over."""
    objects = {
        resource.kind: [item async for page in session.client.pages(resource, session.namespace) for item in page.items]
        for resource in names.OWN_KINDS
    }
    session.say(render_tree(objects))
    return OK


async def show_why(session: Session, subject: Subject) -> int:
    """Print why an object is as it is."""
    session.say(render_why(await session.get(subject.resource, subject.name)))
    return OK


async def decide(session: Session, name: str, decision: Decision, reason: str) -> int:
    """Approve or reject a ModelVersion as the caller."""
    version = await session.get(names.MODEL_VERSION, name)
    who = (await session.sign()).who
    return await session.send(build_decision(version, decision, who, reason))


async def request(session: Session, verb: str, name: str) -> int:
    """Ask an object for a rollback, a retry, a retraining or a refresh."""
    obj = await session.get(resource_of(verb), name)
    return await session.send(build_request(verb, obj, await session.sign()))


async def promote(session: Session, name: str) -> int:
    """Let a revision that waits for a person serve."""
    return await session.send(build_promotion(await session.get(names.INFERENCE_SERVICE, name)))


async def override(session: Session, name: str, version: str, reason: str) -> int:
    """Ask a service to try a refused version again."""
    service = await session.get(names.INFERENCE_SERVICE, name)
    refused = await session.get(names.MODEL_VERSION, version)
    return await session.send(build_override(service, refused, await session.sign(), reason))


async def gather(session: Session, given: argparse.Namespace) -> int:
    """Write a support bundle; say where it is and what it lacks."""
    began = time.monotonic()
    scope = Scope(None if given.all_namespaces else session.namespace, given.operator_namespace)
    bundle = await gather_bundle(session.client, scope, datetime.fromisoformat(session.timestamp()).astimezone(UTC))
    path, data = Path(given.output or f"{bundle.name}.tar.gz"), pack(bundle)
    _write_private(path, data)
    seconds = time.monotonic() - began
    session.say(f"{path}: {len(bundle.files)} files of {scope}, {len(data):,} bytes, {seconds:.1f} s")
    for part, why in sorted(bundle.missing.items()):
        session.say(f"not collected: {part}: {why}")
    return OK


async def backup(session: Session, given: argparse.Namespace) -> int:
    """Write all objects of the five kinds, with status, to a file or to standard output."""
    namespace = None if given.all_namespaces else session.namespace
    at = session.timestamp()
    saved = [saved_form.save(obj, at) for obj in await collect(session.client, namespace)]
    text = saved_form.render(saved, str(Scope(namespace)), at)
    if not given.output:
        session.say(text.rstrip())
        return OK
    _write_private(Path(given.output), text.encode())
    session.say(f"{given.output}: {len(saved)} objects of {Scope(namespace)}")
    return OK


async def restore(session: Session, given: argparse.Namespace) -> int:
    """Put back what a backup holds; 1 when a version has to be decided again."""
    text = sys.stdin.read() if given.file == "-" else _read(Path(given.file))
    restoring = Restoring(session.client, saved_form.read(text), session.say)
    await restoring.run()
    return UNDECIDED if restoring.undecided else OK


def _read(path: Path) -> str:
    return path.read_text()


def _write_private(path: Path, data: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(data)
