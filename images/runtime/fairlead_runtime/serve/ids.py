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
        self._stem = ""  # the revision and the upper 40 bits of the millisecond's start
        self._upper = ""  # all of an id but its last ten bits
        self._counter = 0

    def next(self, now_ns: int) -> str:
        """Return a new id for an answer made at `now_ns` (Unix time).

        A ULID is 48 bits of milliseconds and 80 random bits; within a millisecond the low 40 bits count up from
        a random start, as the specification's monotonic mode does, so a request pays for one table look-up.
        """
        millisecond = now_ns // 1_000_000
        if millisecond > self._millisecond:
            self._start(millisecond)
        self._counter += 1
        last = self._counter & 1023
        if not last:
            self._carry()
        return self._upper + _PAIRS[last]

    def _start(self, millisecond: int) -> None:
        self._millisecond = millisecond
        chance = secrets.randbits(40 + _COUNTER_BITS - 1)  # one bit of room to count up
        self._stem = f"{self._revision}-{_encode(millisecond, 10)}{_encode(chance >> _COUNTER_BITS - 1, 8)}"
        self._counter = chance & (1 << _COUNTER_BITS - 1) - 1
        self._carry()

    def _carry(self) -> None:
        self._upper = self._stem + _encode(self._counter >> 10, 6)


def new_start_id() -> str:
    """Return a ULID that names one start of this server."""
    return _encode(time.time_ns() // 1_000_000, 10) + _encode(secrets.randbits(80), 16)
