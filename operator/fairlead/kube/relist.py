"""Own lists of everything watched: at start-up, and every five minutes after, compared with the store.

What is deleted just before a watch begins, or begins anew after a 410, no watch ever tells: kopf lists what is and
does not say what is gone. So what the operator believes is checked against what is, per resource, shortly after each
list of its watch, and every `period_s` plus jitter. It also finds out which optional resources (Gateway API) are
served. It never writes. Run by `app/main.py`; `app/health.py` asks for the age of its last success.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fairlead.api import names
from fairlead.api.names import Resource

from .client import Client, Page
from .errors import ExpiredError, KubeError, NotFoundError, ServerError, ThrottledError, UnreachableError
from .queue import Backoff
from .store import Place, Store, place_of

log = logging.getLogger(__name__)
P = TypeVar("P", bound=Hashable)
T = TypeVar("T")
SELECTOR = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"


def selector_of(resource: Resource) -> str:
    """Return the label selector with which lists and watches of a resource are made."""
    return SELECTOR if resource.label_selected else ""


PAGES = Backoff(base_s=0.2, max_s=2.5, jitter=0.5)  # eight tries of one page: 10 s of pauses


@dataclass(frozen=True)
class RelistSettings:
    """`jitter` is the share of the period added at random, so that kinds and replicas do not list together.

    `settle_s` is how long after the last object of a watch's own list that watch is taken to be under way.
    """

    period_s: float = 300.0
    settle_s: float = 3.0
    jitter: float = 0.2
    retry_s: float = 5.0
    discovery_s: float = 60.0
    at_once: int = 4
    pages: Backoff = PAGES
    page_tries: int = 8  # with a third of all requests failing, 200 pages come in 97 of 100 times


class Relist:
    """Lists resources into the store."""

    def __init__(
        self,
        client: Client,
        store: Store,
        namespaces: Sequence[str] = (),
        settings: RelistSettings = RelistSettings(),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._client, self._store, self._namespaces, self._settings = client, store, tuple(namespaces), settings
        self._monotonic, self._rand = monotonic, rand
        self._slots = asyncio.Semaphore(settings.at_once)
        self._last: dict[str, float] = {}
        self._discovered: dict[str, frozenset[str]] = {}
        self._listed: dict[Resource, int] = {}
        self._begun: dict[str, asyncio.Event] = {}
        self._begun_at: dict[str, float] = {}

    def watch_begins(self, resource: Resource) -> None:
        """Take note that a watch has listed an object: what was deleted before that is yet to be found."""
        self._begun_at[resource.kind] = self._monotonic()
        self._begun.setdefault(resource.kind, asyncio.Event()).set()

    async def discover(self, resources: Iterable[Resource]) -> tuple[Resource, ...]:
        """Return those of the resources that the API server serves; after an error, ask again only for the rest."""
        wanted = tuple(resources)
        versions = sorted({resource.api_version for resource in wanted})
        served = await _ask_all(self._client.served, versions, self._discovered)
        return tuple(resource for resource in wanted if resource.plural in served[resource.api_version])

    async def relist(self, resource: Resource) -> int:
        """List one resource into the store and return how many changes no watch had told."""
        missed = 0
        async with self._slots:
            for namespace in self._namespaces or (None,):
                missed += await self._list(resource, namespace)
        self._last[resource.kind] = self._monotonic()
        return missed

    async def _list(self, resource: Resource, namespace: str | None) -> int:
        """List in chunks; start over once when the position expires between two of them."""
        try:
            return await self._take_pages(resource, namespace)
        except ExpiredError:
            return await self._take_pages(resource, namespace)

    async def _take_pages(self, resource: Resource, namespace: str | None) -> int:
        missed, present = 0, set[Place]()
        page = await self._client.page(resource, namespace, selector_of(resource))
        while True:
            missed += sum(self._store.observe(resource, obj) for obj in page.items)
            present.update(map(place_of, page.items))
            if not page.token:
                break
            page = await self._next_page(resource, namespace, page.token)
        scope = (namespace,) if namespace else ()
        return missed + self._store.prune(resource, present, page.version, scope)

    async def _next_page(self, resource: Resource, namespace: str | None, token: str) -> Page:
        """Ask for a page until it comes: a long list that began anew at each error would never be whole."""
        settings = self._settings
        for failures in range(1, settings.page_tries):
            try:
                return await self._client.page(resource, namespace, selector_of(resource), token)
            except (UnreachableError, ThrottledError, ServerError) as error:
                asked_s = min(error.retry_after_s, settings.retry_s)
                await asyncio.sleep(max(settings.pages.delay_s(failures, self._rand), asked_s))
        return await self._client.page(resource, namespace, selector_of(resource), token)

    async def fill(self, resources: Iterable[Resource]) -> None:
        """List all resources; the caches are filled when this returns. After an error, list again only the rest."""
        await _ask_all(self.relist, resources, self._listed)

    async def run(self, resources: Iterable[Resource]) -> None:
        """Relist each resource for ever, each on its own beat; failures are logged and tried again."""
        async with asyncio.TaskGroup() as group:
            for resource in resources:
                group.create_task(self._repeat(resource), name=f"relist {resource.plural}")

    async def _repeat(self, resource: Resource) -> None:
        delay = self._settings.settle_s  # the watch begins now, and lists nothing where nothing is left
        while True:
            await self._pause(resource, delay)
            delay = await self._relist_safely(resource)

    async def _pause(self, resource: Resource, delay_s: float) -> None:
        """Wait, but only until a watch that begins meanwhile is under way."""
        begun = self._begun.setdefault(resource.kind, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await begun.wait()
        left_s = self._settles_in_s(resource)
        while left_s > 0:
            await asyncio.sleep(left_s)
            left_s = self._settles_in_s(resource)
        begun.clear()

    def _settles_in_s(self, resource: Resource) -> float:
        begun_at = self._begun_at.get(resource.kind, -math.inf)
        return begun_at + self._settings.settle_s - self._monotonic()

    async def _relist_safely(self, resource: Resource) -> float:
        try:
            missed = await self.relist(resource)
        except NotFoundError:
            log.warning("%s are no longer served", resource.plural)
            return self._period_s()
        except KubeError as error:
            log.warning("relist of %s failed: %s", resource.plural, error.message)
            return self._settings.retry_s * (1 + self._rand())
        if missed:
            log.info("relist of %s found %d changes that no watch told", resource.plural, missed)
        return self._period_s()

    def _period_s(self) -> float:
        return self._settings.period_s * (1 + self._settings.jitter * self._rand())

    def oldest_age_s(self, resources: Iterable[Resource]) -> float:
        """Return how long ago the least recently listed of the resources was listed; infinite when never."""
        now = self._monotonic()
        return max((now - self._last.get(resource.kind, float("-inf")) for resource in resources), default=0.0)


async def _ask_all(ask: Callable[[P], Awaitable[T]], parts: Iterable[P], kept: dict[P, T]) -> dict[P, T]:
    """Return the answer to every part; raise the first error once all have ended, and keep the answers till then.

    With 20 parts and a third of all requests failing, to begin anew after each error would take for ever.
    """
    wanted = tuple(parts)
    missing = [part for part in wanted if part not in kept]
    answers = await asyncio.gather(*map(ask, missing), return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    kept.update(
        {part: answer for part, answer in zip(missing, answers, strict=True) if not isinstance(answer, BaseException)}
    )
    if errors:
        raise errors[0]
    found = {part: kept[part] for part in wanted}
    kept.clear()
    return found
