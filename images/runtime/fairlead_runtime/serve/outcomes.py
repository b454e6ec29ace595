"""What users did after an answer, good or bad: counted by the revision that its id names, for a test of two revisions.

Any pod may be told of any revision's answers. In memory and bounded: it must never fill up, and counts what it is told
since this start alone. Called by `control`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .columns import RequestError, kind_of

_ID = re.compile(r"([0-9a-f]{10})-[0-9A-Z]{26}(\.[0-9]{1,6})?")
_REVISIONS = 8  # the newest ones are kept
_REMEMBERED = 50_000  # ids, about 5 MB: an outcome that is sent again soon counts once

Found = tuple[str, str, bool]  # id, revision, whether it was good


class Outcomes:
    """Counts by revision: all, and the bad ones."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, int]] = {}
        self._seen: dict[str, None] = {}

    def add(self, found: Sequence[Found]) -> None:
        """Count outcomes, each answer's once."""
        for response_id, revision, good in found:
            if response_id in self._seen:
                continue
            self._seen[response_id] = None
            if len(self._seen) > _REMEMBERED:
                del self._seen[next(iter(self._seen))]
            total, bad = self._counts.get(revision, (0, 0))
            self._counts[revision] = (total + 1, bad + (not good))
            if len(self._counts) > _REVISIONS:
                del self._counts[next(iter(self._counts))]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return a copy."""
        return dict(self._counts)


def read_outcome(position: int, item: Any) -> Found | None:
    """Return the outcome of one item of feedback, None where it has none; raise RequestError."""
    if not isinstance(item, dict) or "outcome" not in item:
        return None
    outcome, response_id = item["outcome"], item.get("id")
    if not isinstance(outcome, bool):
        raise RequestError(f"[{position}]: outcome: expected true (good) or false, got {kind_of(outcome)}")
    match = _ID.fullmatch(response_id) if isinstance(response_id, str) else None
    if match is None:
        raise RequestError(f"[{position}]: id: expected the id of a response, got {kind_of(response_id)}")
    return match[0], match[1], outcome


def needs_label(item: Any) -> bool:
    """Say whether an item of feedback is, or should be, a label."""
    return not isinstance(item, dict) or "label" in item or "outcome" not in item
