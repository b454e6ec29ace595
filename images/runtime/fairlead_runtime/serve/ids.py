"""Response ids: `<first 10 hex of the revision digest>-<ulid>`. Made once per answer, on the hot path.

An id names the revision, so lineage needs no store. It must never repeat: not over workers, pods or restarts.
"""

from __future__ import annotations

import secrets
import time

from fairlead.contract.base import short

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32, as the ULID specification has it
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]  # 10 bits each
_COUNTER_BITS = 40


def _encode(value: int, length: int) -> str:
    return "".join(_ALPHABET[(value >> (5 * place)) & 31] for place in range(length - 1, -1, -1))


class ResponseIds:
    """A source of ids for one process; ids of one process sort by time of making."""

    def __init__(self, revision: str) -> None:
        self._revision = short(revision)
        self._millisecond = -1
        self._prefix = ""
        self._counter = 0

    def next(self, now_ns: int) -> str:
        """Return a new id for an answer made at `now_ns` (Unix time).

        A ULID is 48 bits of milliseconds and 80 random bits; within a millisecond the low 40 bits count up from
        a random start, as the specification's monotonic mode does, so a request pays for four table look-ups.
        """
        millisecond = now_ns // 1_000_000
        if millisecond > self._millisecond:
            self._start(millisecond)
        count = self._counter = self._counter + 1
        pairs = _PAIRS
        return (
            self._prefix
            + pairs[count >> 30 & 1023]
            + pairs[count >> 20 & 1023]
            + pairs[count >> 10 & 1023]
            + pairs[count & 1023]
        )

    def _start(self, millisecond: int) -> None:
        self._millisecond = millisecond
        self._prefix = f"{self._revision}-{_encode(millisecond, 10)}{_encode(secrets.randbits(40), 8)}"
        self._counter = secrets.randbits(_COUNTER_BITS - 1)  # one bit of room to count up


def new_start_id() -> str:
    """Return a ULID that names one start of this server."""
    return _encode(time.time_ns() // 1_000_000, 10) + _encode(secrets.randbits(80), 16)
