"""Events (events.k8s.io/v1) for people: what became of an object, said once per transition.

Equal events within ten minutes become one with a series count; a chatty object and a chatty process are rate
limited; a failure to write one is counted and forgotten. An Event is never the only place where something is said:
conditions are. The loop calls `record`; `run` sends in the background.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from fairlead.api.names import Resource
from fairlead.api.redaction import redact

from .client import Client
from .errors import KubeError, NotFoundError
from .objects import Obj, uid_of

log = logging.getLogger(__name__)
EVENT = Resource("events.k8s.io/v1", "Event", "events")
COMPONENT = "fairlead.dev/operator"
NOTE_MAX = 1024
EventType = Literal["Normal", "Warning"]


@dataclass(frozen=True)
class RecorderSettings:
    """Tokens are events that may be sent at once; they come back at `per_s`, per object and for the process."""

    series_s: float = 600.0
    object_tokens: float = 25.0
    object_per_s: float = 1.0 / 30
    process_tokens: float = 100.0
    process_per_s: float = 5.0
    queue: int = 1000
    remembered: int = 2048


@dataclass
class _Bucket:
    tokens: float
    at: float

    def take(self, now: float, limit: float, per_s: float) -> bool:
        self.tokens = min(limit, self.tokens + (now - self.at) * per_s)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass
class _Series:
    name: str
    namespace: str
    count: int
    last: float


@dataclass(frozen=True)
class _Note:
    regarding: dict[str, Any]
    type: EventType
    reason: str
    text: str

    @property
    def digest(self) -> str:
        parts = (self.regarding["uid"], self.type, self.reason, self.text)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


class Recorder:
    """Takes events at once, sends them later, loses them rather than wait."""

    def __init__(
        self,
        client: Client,
        instance: str,
        now: Callable[[], datetime],
        settings: RecorderSettings = RecorderSettings(),
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`instance` is this process's name; `now` gives the time that people read."""
        self._client, self._instance, self._now, self._settings = client, instance, now, settings
        self._monotonic = monotonic
        self._queue: asyncio.Queue[_Note] = asyncio.Queue(settings.queue)
        self._series: OrderedDict[str, _Series] = OrderedDict()
        self._objects: OrderedDict[str, _Bucket] = OrderedDict()
        self._process = _Bucket(settings.process_tokens, monotonic())
        self.dropped = 0

    def record(self, obj: Obj, type_: EventType, reason: str, note: str) -> None:
        """Say that something became of an object; never waits, never raises."""
        metadata = obj["metadata"]
        regarding = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "namespace": metadata.get("namespace", ""),
            "name": metadata["name"],
            "uid": uid_of(obj),
            "resourceVersion": metadata.get("resourceVersion", ""),
        }
        try:
            if self._may_send(regarding["uid"]):
                self._queue.put_nowait(_Note(regarding, type_, reason, redact(note)[:NOTE_MAX]))
                return
        except asyncio.QueueFull:
            pass
        self.dropped += 1

    async def run(self) -> None:
        """Send for ever."""
        while True:
            note = await self._queue.get()
            try:
                await self._send(note)
            except KubeError as error:
                self.dropped += 1
                log.debug("an event was not written: %s", error.message)
            finally:
                self._queue.task_done()

    async def flush(self) -> None:
        """Wait until all that was recorded is sent or lost."""
        await self._queue.join()

    def _may_send(self, uid: str) -> bool:
        now, settings = self._monotonic(), self._settings
        bucket = self._objects.setdefault(uid, _Bucket(settings.object_tokens, now))
        self._objects.move_to_end(uid)
        if len(self._objects) > settings.remembered:
            self._objects.popitem(last=False)
        return bucket.take(now, settings.object_tokens, settings.object_per_s) and self._process.take(
            now, settings.process_tokens, settings.process_per_s
        )

    async def _send(self, note: _Note) -> None:
        series = self._series.get(note.digest)
        if series is not None and self._monotonic() - series.last < self._settings.series_s:
            try:
                await self._continue(series)
                return
            except NotFoundError:
                pass  # it has outlived its time in the cluster: begin a new one
        await self._begin(note)

    async def _continue(self, series: _Series) -> None:
        body = {"series": {"count": series.count + 1, "lastObservedTime": self._stamp()}}
        await self._client.patch(EVENT, series.namespace, series.name, body)
        series.count += 1
        series.last = self._monotonic()

    async def _begin(self, note: _Note) -> None:
        stamp = self._stamp()
        namespace = note.regarding["namespace"] or "default"
        unique = hashlib.sha256(f"{note.digest}{stamp}".encode()).hexdigest()[:16]
        name = f"{note.regarding['name']}.{unique}"
        body = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": stamp,
            "reportingController": COMPONENT,
            "reportingInstance": self._instance[:128],
            "action": "Reconcile",
            "reason": note.reason,
            "type": note.type,
            "note": note.text,
            "regarding": note.regarding,
        }
        await self._client.create(EVENT, namespace, body)
        self._series[note.digest] = _Series(name, namespace, 1, self._monotonic())
        self._series.move_to_end(note.digest)
        if len(self._series) > self._settings.remembered:
            self._series.popitem(last=False)

    def _stamp(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
