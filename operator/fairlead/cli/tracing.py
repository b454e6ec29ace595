"""`kubectl fairlead lineage`: reads the few objects that an answer leads to and prints the chain. Called by `main.py`.

It writes nothing and never asks the object store: at most four requests, whatever the size of the namespace's history.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from fairlead.api import names
from fairlead.api.names import Resource

from .commands import OK, Session
from .lineage import Found, Sources, UnknownAnswerError, dataset_name, find_answer, read_answer, run_name, sections
from .why import render_sections


async def lineage(session: Session, given: argparse.Namespace) -> int:
    """Print everything that made an answer."""
    asked = read_answer(sys.stdin.read() if given.answer == "-" else given.answer)
    namespace = None if given.all_namespaces else session.namespace
    services = [obj async for page in session.client.pages(names.INFERENCE_SERVICE, namespace) for obj in page.items]
    found = find_answer(services, asked)
    sources = await _sources(session, found)
    if not found.service and sources.version is None:
        raise UnknownAnswerError(f"nothing in namespace {session.namespace} is called {found.version}")
    said = sections(asked, found, sources)
    if given.output == "json":
        session.say(json.dumps({section.title: list(section.lines) for section in said}, indent=2))
    else:
        session.say(render_sections(said))
    return OK


async def _sources(session: Session, found: Found) -> Sources:
    namespace = str((found.service.get("metadata") or {}).get("namespace") or session.namespace)

    async def find(resource: Resource, name: str) -> dict[str, Any] | None:
        return await session.client.find(resource, namespace, name) if name else None

    version = await find(names.MODEL_VERSION, found.version)
    run = await find(names.TRAINING_RUN, run_name(version))
    return Sources(version, run, await find(names.DATASET, dataset_name(version)))
