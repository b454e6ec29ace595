"""Objects by the words that people use for them: `infsvc/fraud`, `ModelVersion fraud-2`, `datasets.fairlead.dev/tx`.

Pure. Called by `main.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.api.kinds import KINDS
from fairlead.api.names import GROUP, Resource


class SubjectError(ValueError):
    """The words name no object of ours; the message says what to write."""


@dataclass(frozen=True)
class Subject:
    """One object of the namespace."""

    resource: Resource
    name: str


_BY_WORD = {
    word: kind.resource
    for kind in KINDS
    for word in (
        kind.resource.kind.lower(),
        kind.resource.plural,
        kind.short_name,
        f"{kind.resource.plural}.{GROUP}",
        f"{kind.resource.kind.lower()}.{GROUP}",
    )
}


def read_subject(words: Sequence[str]) -> Subject:
    """Return what `KIND/NAME` or `KIND NAME` names. Raises SubjectError."""
    parts = [part for word in words for part in word.split("/")]
    if len(parts) != 2 or not all(parts):
        raise SubjectError(f"{' '.join(words)}: write KIND/NAME, for instance {KINDS[2].short_name}/fraud-2")
    resource = _BY_WORD.get(parts[0].lower())
    if resource is None:
        known = ", ".join(f"{kind.resource.kind} ({kind.short_name})" for kind in KINDS)
        raise SubjectError(f"{parts[0]} is no kind of Fairlead; write one of {known}")
    return Subject(resource, parts[1])
