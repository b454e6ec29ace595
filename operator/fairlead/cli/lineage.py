"""From an answer back to everything that made it: service, version, gates, approver, data, code, parameters, image.

Takes what a client has of an answer (its id, or the headers), and objects. Pure; the store is not asked, because the
id names the revision and objects remember the rest. Called by `tracing.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fairlead.api.conditions import format_time
from fairlead.contract import env
from fairlead.contract.base import short

from .evidence import Section, approval_lines, gate_line

Obj = Mapping[str, Any]
PREFIX_DIGITS = 10
_ULID = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID = re.compile(rf"^([0-9a-f]{{{PREFIX_DIGITS}}})-([{_ULID}]{{26}})(\.\d+)?$")
_DIGEST = re.compile(r"^(?:sha256:)?([0-9a-f]{10,64})$")
_VERSION = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_ROLES = ("stable", "canary", "baseline", "previous")


class UnknownAnswerError(ValueError):
    """The words are no answer's, or nothing remembers it; the message says what to give instead."""


@dataclass(frozen=True)
class Asked:
    """What is known of an answer: the begin of its revision's digest, its version, its bytes, when it was made."""

    words: str
    revision: str = ""
    version: str = ""
    digest: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Found:
    """Where the answer came from: the service, what it remembers of the revision, and in which role."""

    service: Obj
    role: str
    version: str
    digest: str
    revision: str
    known: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sources:
    """The objects that the answer leads to, as far as they still exist."""

    version: Obj | None = None
    run: Obj | None = None
    dataset: Obj | None = None


def read_answer(text: str) -> Asked:
    """Return what a response id, a revision's digest, a version's name or a block of headers says.

    Raises UnknownAnswerError.
    """
    words = text.strip()
    headers = dict(_headers(words))
    if headers:
        told = _read_id(headers.get(env.HEADER_RESPONSE_ID, "")) or Asked(words)
        revision = short(headers.get(env.HEADER_REVISION, ""), 64) or told.revision
        version, digest = headers.get(env.HEADER_MODEL_VERSION, ""), headers.get(env.HEADER_MODEL_DIGEST, "")
        name = headers.get(env.HEADER_RESPONSE_ID) or "the answer"
        return Asked(name, revision, version, digest, told.at)
    found = _DIGEST.match(words)
    asked = _read_id(words) or (Asked(words, revision=found[1]) if found else None)
    if asked is None and _VERSION.match(words):
        asked = Asked(words, version=words)
    if asked is None:
        raise UnknownAnswerError(
            f"{words[:80]!r} is no answer of ours; give the header {env.HEADER_RESPONSE_ID} or the field `id` of an"
            f" answer, a revision's digest, a ModelVersion's name, or with `-` all headers"
        )
    return asked


def _headers(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip().lower().startswith("x-fairlead-"):
            yield name.strip().lower(), value.strip()


def _read_id(text: str) -> Asked | None:
    match = _ID.match(text)
    return Asked(text, revision=match[1], at=_made_at(match[2])) if match else None


def _made_at(ulid: str) -> datetime | None:
    milliseconds = 0
    for char in ulid[:10]:
        milliseconds = milliseconds * 32 + _ULID.index(char)
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError):
        return None


def find_answer(services: Iterable[Obj], asked: Asked) -> Found:
    """Return the service and revision that made an answer. Raises UnknownAnswerError when nothing remembers it."""
    found = [entry for service in services for entry in _remembered(service) if _is_of(entry, asked)]
    if found:
        return found[0]
    if asked.version:
        return Found({}, "", asked.version, asked.digest, asked.revision)
    raise UnknownAnswerError(
        f"no service here remembers revision {asked.revision}: each knows its present revisions, what it refused and"
        f" its last ten rollouts. Look in the right namespace, or give the version's name (header"
        f" {env.HEADER_MODEL_VERSION})"
    )


def _is_of(found: Found, asked: Asked) -> bool:
    if asked.revision:
        return short(found.revision, 64).startswith(asked.revision)
    return found.version == asked.version and (not asked.digest or asked.digest == found.digest)


def _remembered(service: Obj) -> Iterator[Found]:
    """Yield every revision that a service knows, present ones first."""
    status = service.get("status") or {}
    for role in _ROLES:
        known = status.get(role) or {}
        if known:
            yield Found(service, role, known["version"], known.get("digest", ""), known.get("revision", ""), known)
    for line in status.get("history") or ():
        role = f"{line['outcome']} at {line.get('endedAt')}"
        yield Found(service, role, line["version"], line.get("digest", ""), line.get("revision", ""), line)
    for entry in status.get("rejected") or ():
        role = f"refused at {entry.get('at')}"
        yield Found(service, role, entry.get("version", ""), entry.get("digest", ""), entry.get("revision", ""), entry)


def run_name(version: Obj | None) -> str:
    """Return the name of the training run that made a version, or ""."""
    source = ((version or {}).get("spec") or {}).get("source") or {}
    return str((source.get("trainingRun") or {}).get("name") or "")


def dataset_name(version: Obj | None) -> str:
    """Return the name of the Dataset that a version was trained on, or ""."""
    return str((((version or {}).get("status") or {}).get("lineage") or {}).get("dataset") or "")


def sections(asked: Asked, found: Found, sources: Sources) -> list[Section]:
    """Return the chain from the answer to the data, as sections of plain lines."""
    return [
        Section("Answer", list(_answer(asked, found))),
        Section("Served by", list(_served(found))),
        Section("Version", list(_version(found, sources.version))),
        Section("Gates", [gate_line(gate) for gate in _status(sources.version).get("gates") or ()]),
        Section("Approval", list(approval_lines(sources.version or {}))),
        *_made_from(sources),
    ]


def _status(obj: Obj | None) -> Mapping[str, Any]:
    return (obj or {}).get("status") or {}


def _answer(asked: Asked, found: Found) -> Iterator[str]:
    yield asked.words
    if asked.at is not None:
        yield f"Made at {format_time(asked.at)}"
    if found.revision:
        yield f"Revision {found.revision}"


def _served(found: Found) -> Iterator[str]:
    if not found.service:
        yield "No service here remembers it; what follows is of the version that the answer names."
        return
    metadata = found.service["metadata"]
    yield f"InferenceService {metadata['namespace']}/{metadata['name']}: {found.role}"
    own = ((found.known.get("predictor") or {}).get("container") or {}).get("image")
    if own:
        yield f"Container image {own}"
    if found.known.get("image"):
        yield f"{'Proxy' if own else 'Server'} image {found.known['image']}"
    resources = (found.known.get("predictor") or {}).get("resources")
    if resources:
        yield f"Resources {resources}"


def _version(found: Found, version: Obj | None) -> Iterator[str]:
    if version is None:
        yield f"ModelVersion {found.version} is gone; its bytes were {found.digest or 'not named'}"
        return
    status = _status(version)
    artifact = status.get("artifact") or {}
    digest = str(artifact.get("digest") or "")
    yield f"ModelVersion {found.version} of model {version['spec'].get('model')}, stage {status.get('stage')}"
    yield f"Bytes {digest} ({artifact.get('format') or 'format not named'})"
    if found.digest and digest != found.digest:
        yield f"MISMATCH: the answer's bytes were {found.digest}; this version was made again under the same name"
    evaluation = status.get("evaluation") or {}
    if evaluation:
        where = f"{evaluation.get('split')} split of {evaluation.get('dataset')} {evaluation.get('revision')}"
        yield f"Evaluated on {evaluation.get('rows', 0):,} rows of the {where}; card {evaluation.get('cardKey')}"


def _made_from(sources: Sources) -> Sequence[Section]:
    lineage = dict(_status(sources.version).get("lineage") or {})
    run = _status(sources.run)
    parameters = lineage.pop("parameters", "") or run.get("parameters") or ""
    data = [f"Dataset {lineage.pop('dataset', '')} revision {lineage.pop('dataRevision', '')}"] if lineage else []
    if data and sources.dataset is None:
        data.append("The Dataset is gone; the store may still hold the revision")
    for revision in _status(sources.dataset).get("revisions") or ():
        if data and revision.get("revision") in data[0]:
            data.append(f"Frozen at {revision.get('at')}, {revision.get('rows', 0):,} rows")
    code = [f"{name}: {lineage.pop(name)}" for name in ("repository", "commit") if name in lineage]
    image = [f"{name}: {lineage.pop(name)}" for name in ("image", "imageDigest", "packagesDigest") if name in lineage]
    metrics = [f"Metrics {_numbers(run['metrics'])}"] if run.get("metrics") else []
    made = [*([f"{parameters}"] if parameters else []), *metrics]
    rest = [f"{name}: {value}" for name, value in sorted(lineage.items())]
    return [
        Section("Data", data),
        Section("Code", code or ["The training run named no repository (spec.code)"]),
        Section("Parameters", made),
        Section("Training image", image),
        Section("And", rest),
    ]


def _numbers(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
