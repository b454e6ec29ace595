"""Ways to hurt one operator: what `proxy.py` lets happen to its requests and to its watch events."""

from __future__ import annotations

import asyncio
import copy
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from .canon import plain
from .proxy import Answer, Call, ConnectionCut, Json, Rule, status_answer

Kill = Callable[[], None]


def label_of(call: Call) -> str:
    """Return what a write is, the same in every run: verb, place, and for a status what it says."""
    namespace, plural, name, subresource = call.parts
    what = f"{call.method} {plural}{'/' + subresource if subresource else ''} "
    body = call.body or {}
    name = name or (body.get("metadata") or {}).get("name", "")
    if plural == "events":
        return f"{what}{body.get('reason', '')} of {(body.get('regarding') or {}).get('kind', '')}"
    what += plain(name, namespace)
    status = body.get("status") if subresource == "status" else None
    return f"{what} {_gist(status)}" if status else what


def _gist(status: Json) -> str:
    ready: Json = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), {})
    rollout = status.get("rollout") or {}
    stage = " ".join(str(rollout.get(key, "")) for key in ("kind", "state", "step", "nextWeight") if key in rollout)
    return f"[{ready.get('reason', '')}{': ' + stage if stage else ''}]"


class Writes(Rule):
    """Remembers every write in order, by label and how often it came: the cut points of a scenario."""

    def __init__(self) -> None:
        self.points: list[tuple[str, int]] = []
        self._seen: Counter[str] = Counter()

    async def before(self, call: Call) -> Answer | None:
        """Count a write."""
        if call.is_write and not call.is_lease:
            label = label_of(call)
            self._seen[label] += 1
            call.notes["point"] = (label, self._seen[label])
            self.points.append(call.notes["point"])
        return None


class Cut(Writes):
    """Kills the operator at one write: before it is forwarded, or after, before the answer."""

    def __init__(self, point: tuple[str, int], *, forwarded: bool) -> None:
        super().__init__()
        self._point, self._forwarded = point, forwarded
        self.kill: Kill = lambda: None
        self.at: float | None = None

    async def before(self, call: Call) -> Answer | None:
        """Kill before forwarding."""
        await super().before(call)
        if not self._forwarded and self._is_meant(call):
            self._strike()
        return None

    async def after(self, call: Call, answer: Answer) -> Answer:
        """Kill after forwarding."""
        if self._forwarded and self._is_meant(call):
            self._strike()
        return answer

    def _is_meant(self, call: Call) -> bool:
        return self.at is None and call.notes.get("point") == self._point

    def _strike(self) -> None:
        self.at = time.monotonic()
        self.kill()
        raise ConnectionCut


class Events(Rule):
    """Numbers watch events by kind, as they come; subclasses hurt some of them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.hurt: Counter[str] = Counter()

    async def events(self, call: Call, event: Json) -> Sequence[Json]:
        """Number an event and let the subclass decide."""
        if event["type"] == "ERROR":
            return (event,)
        number = self.counts[call.plural]
        self.counts[call.plural] += 1
        return await self.hurt_event(call, event, number)

    async def hurt_event(self, call: Call, event: Json, number: int) -> Sequence[Json]:
        """Return what is delivered instead of the n-th event of its kind."""
        return (event,)


class Some(Events):
    """Hurts every n-th event, beginning with one: in `every` runs each event is hurt once."""

    def __init__(self, every: int, first: int) -> None:
        super().__init__()
        self._every, self._first = every, first

    async def hurt_event(self, call: Call, event: Json, number: int) -> Sequence[Json]:
        """Hurt the event if it is its turn."""
        if number % self._every != self._first:
            return (event,)
        self.hurt[call.plural] += 1
        return await self.instead(event)

    async def instead(self, event: Json) -> Sequence[Json]:
        """Return what is delivered instead."""
        return (event,)


class Drop(Some):
    """Loses events."""

    async def instead(self, event: Json) -> Sequence[Json]:
        """Deliver nothing."""
        return ()


class Duplicate(Some):
    """Delivers events twice."""

    async def instead(self, event: Json) -> Sequence[Json]:
        """Deliver it twice."""
        return (event, copy.deepcopy(event))


class Delay(Some):
    """Delivers events late, and with them all that follow on the same stream."""

    def __init__(self, every: int, first: int, delay_s: float = 5.0) -> None:
        super().__init__(every, first)
        self._delay_s = delay_s

    async def instead(self, event: Json) -> Sequence[Json]:
        """Wait, then deliver."""
        await asyncio.sleep(self._delay_s)
        return (event,)


class Reorder(Events):
    """Delivers the events of one resource in groups of three, each group the wrong way round."""

    GROUP = 3

    def __init__(self, plural: str) -> None:
        super().__init__()
        self._plural, self._held = plural, list[Json]()

    async def hurt_event(self, call: Call, event: Json, number: int) -> Sequence[Json]:
        """Hold an event until its group is whole; of what is left over at the end only a list tells."""
        if call.plural != self._plural:
            return (event,)
        self._held.append(event)
        if len(self._held) < self.GROUP:
            return ()
        self.hurt[call.plural] += len(self._held)
        turned, self._held = self._held[::-1], []
        return turned


class Gap(Rule):
    """Holds back all events of a resource from `open` on; `close` ends the streams with 410 Gone."""

    def __init__(self, plurals: Sequence[str]) -> None:
        self._plurals = frozenset(plurals)
        self.is_open = False
        self.lost: list[Json] = []
        self._expired: set[str] = set()

    def close(self) -> None:
        """From now on each of the streams ends with 410, once."""
        self.is_open = False
        self._expired = set(self._plurals)

    async def before(self, call: Call) -> Answer | None:
        """Refuse to go on from an old version, as the API server does once it is compacted."""
        if call.is_watch and call.plural in self._expired:
            self._expired.discard(call.plural)
            return status_answer(410, "Expired", "too old resource version")
        return None

    async def events(self, call: Call, event: Json) -> Sequence[Json]:
        """Lose events while the gap is open, and end the stream with the first one after it."""
        if call.plural not in self._plurals:
            return (event,)
        if self.is_open:
            self.lost.append(event)
            return ()
        if call.plural in self._expired:
            self._expired.discard(call.plural)
            status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            return ({"type": "ERROR", "object": {"apiVersion": "v1", "metadata": {}, **status}},)
        return (event,)


class StaleReads(Rule):
    """Answers every other read as it was before: an API server that lags behind the one that we wrote to."""

    def __init__(self) -> None:
        self._before: dict[str, Answer] = {}
        self._turns: Counter[str] = Counter()
        self.stale = 0

    async def after(self, call: Call, answer: Answer) -> Answer:
        """Keep this answer for the next time and give the one of the last time, or 404 for what is new."""
        if call.is_write or call.is_lease or call.plural == "" or answer.status not in (200, 404):
            return answer
        self._turns[call.path] += 1
        earlier = self._before.get(call.path)
        self._before[call.path] = answer
        if self._turns[call.path] % 2 == 1:
            return answer
        self.stale += 1
        return earlier or answer


class Noise(Rule):
    """Hurts a share of all requests while it is on: 429, 500, 503, a reset, or an answer cut in mid-body."""

    def __init__(self, share: float, seed: int = 1) -> None:
        self._share, self._random = share, random.Random(seed)
        self.is_on = False
        self.hurt: Counter[str] = Counter()

    async def before(self, call: Call) -> Answer | None:
        """Draw what becomes of a request; one that is cut or reset late is forwarded first."""
        if not self.is_on or self._random.random() >= self._share:
            return None
        how = self._random.choice(("429", "500", "503", "reset", "cut"))
        self.hurt[how] += 1
        if how == "reset":
            raise ConnectionCut
        if how == "cut":
            call.notes["cut"] = True
            return None
        reasons = {"429": "TooManyRequests", "500": "InternalError", "503": "ServiceUnavailable"}
        headers = {"Retry-After": "1"} if how == "429" else {}
        return status_answer(int(how), reasons[how], "made by the fault harness", headers)

    async def after(self, call: Call, answer: Answer) -> Answer:
        """Cut what was drawn to be cut."""
        return Answer(answer.status, answer.body, answer.headers, cut=0.5) if call.notes.get("cut") else answer

    async def events(self, call: Call, event: Json) -> Sequence[Json]:
        """End a stream in mid-body, a tenth of the time that it has something to say."""
        if self.is_on and self._random.random() < self._share / 3:
            self.hurt["stream"] += 1
            raise ConnectionCut
        return (event,)


class NoLists(Rule):
    """Refuses every list while it is on; watches and single reads go on."""

    def __init__(self) -> None:
        self.is_on = False

    async def before(self, call: Call) -> Answer | None:
        """Refuse a list."""
        is_list = call.method == "GET" and not call.is_watch and call.plural != "" and call.parts[2] == ""
        if self.is_on and is_list and not call.is_lease:
            return status_answer(503, "ServiceUnavailable", "made by the fault harness")
        return None


class ConflictOnce(Rule):
    """Answers each apply with 409 the first time it is sent: every second apply to an object goes through."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self.refused = 0

    async def before(self, call: Call) -> Answer | None:
        """Refuse, unless the one before to the same object was refused."""
        if call.method != "PATCH" or call.is_lease or call.plural == "events":
            return None
        if call.path in self._waiting:
            self._waiting.discard(call.path)
            return None
        self._waiting.add(call.path)
        self.refused += 1
        return status_answer(409, "Conflict", "the object has been modified; made by the fault harness")
