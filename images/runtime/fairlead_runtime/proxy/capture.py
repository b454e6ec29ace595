"""What went through, kept for drift: copied into a bounded ring on the hot path, read as columns off it.

A JSON body that fits the model's signature becomes the same rows that our own server captures, so that a monitor need
not know who served. Of everything else size and salted hash are kept, in the folder `_opaque` of the hour. What finds
no room is dropped and counted; it never waits. Emptied by `serve.flush`'s threads.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fairlead.contract import keys
from fairlead.contract.jobs import ServeInput
from fairlead_runtime.hashing import Hasher
from fairlead_runtime.serve.bins import Grid
from fairlead_runtime.serve.capture import CaptureLayout, Counts, Part, hour_name
from fairlead_runtime.serve.counters import Writer
from fairlead_runtime.serve.records import Record
from fairlead_runtime.serve.ring import Ring, Sample
from fairlead_runtime.signature import Signature

from .bodies import Answer, BodyReader, read_json

if TYPE_CHECKING:
    import pyarrow as pa  # imported where it is used: it would double the time to the first answer

    from .exchange import Exchange

BODY_BYTES = 256 << 10  # a longer body is not copied, only hashed
RING_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 20  # read at a time, so that the answering thread gets its turn
_OVERHEAD_BYTES = 1 << 10  # of one record, beside its bodies
OPAQUE = "_opaque"  # no version has such a name


class Body:
    """A copy of a body, or of a long one its size and hash."""

    __slots__ = ("_digest", "_pieces", "_start", "size")

    def __init__(self, start: Callable[[], hmac.HMAC]) -> None:
        self.size = 0
        self._start = start
        self._pieces: list[bytes] = []
        self._digest: hmac.HMAC | None = None

    def add(self, data: bytes) -> None:
        """Take a piece; beyond the bound only its hash goes on."""
        self.size += len(data)
        if self._digest is not None:
            self._digest.update(data)
            return
        self._pieces.append(data)
        if self.size > BODY_BYTES:
            self._digest = self._start()
            for piece in self._pieces:
                self._digest.update(piece)
            self._pieces = []

    @property
    def held_bytes(self) -> int:
        """The bytes that are kept."""
        return 0 if self._digest is not None else self.size

    def whole(self) -> bytes | None:
        """Return the body, or None when it was too long to be kept."""
        return None if self._digest is not None else b"".join(self._pieces)

    def hash(self) -> str:
        """Return the salted hash of all bytes, as hex."""
        if self._digest is None:
            digest = self._start()
            digest.update(b"".join(self._pieces))
            return digest.hexdigest()
        return self._digest.hexdigest()


class _Kept:
    """One exchange, as the ring holds it."""

    __slots__ = ("answer", "answer_type", "id", "now_ns", "path", "request", "request_type", "status")

    def __init__(self, exchange: Exchange, request: Body, answer: Body) -> None:
        self.id, self.now_ns = exchange.id, exchange.now_ns
        self.path, self.status = exchange.path, exchange.status
        self.request, self.request_type = request, exchange.request_type
        self.answer, self.answer_type = answer, exchange.answer_type

    @property
    def held_bytes(self) -> int:
        return self.request.held_bytes + self.answer.held_bytes + _OVERHEAD_BYTES


class Tally:
    """Counts what captured answers say, as the server of ours counts its own; written by the flusher's thread alone."""

    def __init__(self, writer: Writer, grid: Grid) -> None:
        self._writer = writer
        self._by_class = any(bins.classes for bins in grid.bins)

    def add(self, answers: Sequence[Answer]) -> None:
        """Count the rows of one request, and for the judge its first answer, where it can be told."""
        self._writer.predicted([value for value in map(_number, answers) if value is not None])
        label, value = answers[0][0], _number(answers[0])
        if self._by_class and label is not None:
            self._writer.judged([label], [0.0])
        elif not self._by_class and value is not None:
            self._writer.judged([label], [value])


class Capture:
    """The captured exchanges of one proxy; a `flush.Source`."""

    def __init__(
        self,
        document: ServeInput,
        signature: Signature | None,
        counts: Counts,
        hasher: Hasher,
        tally: Tally,
    ) -> None:
        self._document = document
        self.wanted = Sample(document.capture.percent).wanted
        self._counts = counts
        self._hasher = hasher
        self._layout = CaptureLayout(document, signature, hasher) if signature is not None else None
        self._reader = BodyReader(signature) if signature is not None else None
        self._tally = tally
        self._ring: Ring[_Kept] = Ring(
            RING_BYTES, _CHUNK_BYTES, lambda kept: kept.held_bytes, lambda _: counts.answering("capture_lost", 1)
        )
        self.attach = self._ring.attach

    # -- on the hot path

    def body(self) -> Body:
        """Return an empty copy of a body."""
        return Body(self._hasher.start)

    def add(self, exchange: Exchange) -> None:
        """Keep an exchange, or drop and count it."""
        if exchange.recorded is None or exchange.answer_body is None:
            return
        kept = _Kept(exchange, exchange.recorded, exchange.answer_body)
        self._ring.add(kept, kept.held_bytes)

    # -- off the hot path

    def drain(self) -> Iterator[Part]:
        """Yield what the ring holds, by chunks, each within one hour (UTC)."""
        return self._ring.parts(lambda kept: kept.now_ns, self._parts, lambda same: self.lost(len(same)))

    def _parts(self, hour: int, kept: list[_Kept]) -> Iterator[Part]:
        records: list[Record] = []
        opaque: list[_Kept] = []
        for one in kept:
            rows = self._records(one)
            records += rows
            if not rows:
                opaque.append(one)
        if records and self._layout is not None:
            yield from self._layout.parts(hour, records)
        if opaque:
            date, of_day = hour_name(hour)
            folder = keys.captures(self._document.namespace, self._document.service, date, of_day, OPAQUE)
            yield Part(folder, self._opaque(opaque))

    def _records(self, kept: _Kept) -> list[Record]:
        """Return the rows of an exchange; none where its request is not of the signature."""
        request = kept.request.whole()
        if self._reader is None or not request:
            return []
        rows = self._reader.rows(read_json(request))
        if rows is None:
            return []
        answer = kept.answer.whole()
        answers = self._reader.answers(read_json(answer) if answer else None, len(rows))
        self._tally.add(answers)
        ids = [kept.id] if len(rows) == 1 else [f"{kept.id}.{i}" for i in range(len(rows))]
        return [(own, kept.now_ns, row, out) for own, row, out in zip(ids, rows, answers, strict=True)]

    def _opaque(self, kept: list[_Kept]) -> pa.RecordBatch:
        import pyarrow as pa  # noqa: PLC0415

        version = self._document.artifact.version
        arrays: dict[str, Any] = {
            "id": pa.array([one.id for one in kept], pa.string()),
            "time": pa.array([one.now_ns // 1000 for one in kept], pa.int64()).cast(pa.timestamp("us", "UTC")),
            "version": pa.array([version] * len(kept), pa.string()),
            "path": pa.array([_text(one.path) for one in kept], pa.string()),
            "status": pa.array([one.status for one in kept], pa.int32()),
        }
        for name in ("request", "answer"):
            bodies = [one.request if name == "request" else one.answer for one in kept]
            types = [one.request_type if name == "request" else one.answer_type for one in kept]
            arrays[f"{name}.type"] = pa.array([_text(value) for value in types], pa.string())
            arrays[f"{name}.bytes"] = pa.array([body.size for body in bodies], pa.int64())
            arrays[f"{name}.hash"] = pa.array([body.hash() for body in bodies], pa.string())
        return pa.RecordBatch.from_pydict(arrays)

    def wrote(self, rows: int) -> None:
        """Count rows that are in the store."""
        self._counts.flusher("captured", rows)

    def lost(self, rows: int) -> None:
        """Count rows that were given up."""
        self._counts.flusher("capture_lost", rows)


def _number(answer: Answer) -> float | None:
    """Return what is histogrammed: the score, or of a regression the number."""
    label, score = answer
    value = score if score is not None else label
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _text(value: bytes) -> str:
    return value[:512].decode("utf-8", "backslashreplace")
