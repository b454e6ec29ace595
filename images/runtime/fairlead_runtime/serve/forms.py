"""Bodies that differ in nothing but their numbers from one that was read before: only the numbers are parsed. No IO.

A client writes the JSON around the numbers of one row in the same way each time. If the bytes around them are equal,
and between them is one list of numbers, then the whole says the same as before, with these numbers. Used by `oip`.
"""

from __future__ import annotations

import re

import orjson

from .columns import LARGEST, Row

_DATA = b'"data"'
_OPENS = re.compile(rb'"data"\s*:\s*\[$')
_OF_NUMBERS = b"0123456789+-.eE, \t\r\n"
_MAX_BYTES = 1_024  # around the numbers
_MAX_TRIES = 64  # to learn a form: a client that names its tensors anew each time is not worth it


class Forms:
    """The forms of requests for one row of so many numbers that were seen."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._after: dict[bytes, bytes] = {}  # what follows the numbers, by what comes before them
        self._tries = _MAX_TRIES

    def row(self, body: bytes) -> Row | None:
        """Return the row that a body of a known form asks about; None for all others, and for numbers too large."""
        at = body.find(b"[", body.find(_DATA)) + 1
        after = self._after.get(body[:at])
        if after is None or not body.endswith(after):
            return None
        text = body[at - 1 : len(body) - len(after) + 1]
        if text.translate(None, _OF_NUMBERS) != b"[]":
            return None
        try:
            values = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        fits = len(values) == self._count and max(values) <= LARGEST and min(values) >= -LARGEST
        return tuple(values) if fits else None

    def learn(self, body: bytes, row: Row) -> None:
        """Remember the form of a body that asked about this row by one tensor, and said nothing else.

        Without escapes a key is spelled one way only, so where `"data"` occurs once, that is where the row came from.
        """
        if not self._tries:
            return
        self._tries -= 1
        at = body.find(b"[", body.find(_DATA)) + 1
        end = body.find(b"]", at)
        before, text, after = body[:at], body[at - 1 : end + 1], body[end:]
        simple = _OPENS.search(before) and _DATA not in after and b"\\" not in before and b"\\" not in after
        if not simple or len(before) + len(after) > _MAX_BYTES or text.translate(None, _OF_NUMBERS) != b"[]":
            return
        if tuple(orjson.loads(text)) == row:
            self._after[before] = after
