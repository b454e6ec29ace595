"""Leadership by a coordination.k8s.io Lease: one process writes, others stand by.

A holder renews every `retry_s`, and tries again sooner after a failure; whoever sees no renewal for the Lease's
duration takes it. A holder that could not renew for `renew_s` stops writing (`check`), and `hold` raises at that
moment, also while a renewal hangs. Since `renew_s` plus a write's timeout is within the duration, its last write is
over before anyone else may take the Lease.
Times are monotonic and count suspension; the clock only fills fields that people read. Used by `app/main.py`;
`client.py` calls `check` before each write.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fairlead.api.names import Resource

from .client import Client, Timeouts
from .errors import KubeError, LeadershipLostError

log = logging.getLogger(__name__)
LEASE = Resource("coordination.k8s.io/v1", "Lease", "leases")
HURRY = 4  # a renewal is two requests: where a third of all fail, the four tries that fit at `retry_s` are too few


def boot_time() -> float:
    """Return seconds since boot, with the time a suspended machine slept (plain monotonic time leaves it out)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class LeaseSettings:
    """Seconds, as controller-runtime has them; `renew_s` must be less than `duration_s`, `retry_s` less than that."""

    namespace: str
    name: str
    identity: str
    duration_s: float = 15.0
    renew_s: float = 10.0
    retry_s: float = 2.0

    @property
    def request_timeouts(self) -> Timeouts:
        """Timeouts of the Lease's own client: one request that hangs leaves time for another try."""
        each_s = self.renew_s / 2
        return Timeouts(connect_s=each_s, read_s=each_s, write_s=each_s)

    @property
    def write_timeout_s(self) -> float:
        """How long a write may take that began when the Lease was barely fresh: until others may take it."""
        return min(Timeouts.write_s, self.duration_s - self.renew_s)


class Lease:
    """One process's hold on one Lease. `client` must be its own, without a guard, so that renewals never queue."""

    def __init__(
        self,
        client: Client,
        settings: LeaseSettings,
        now: Callable[[], datetime],
        *,
        monotonic: Callable[[], float] = boot_time,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._client, self._settings, self._now = client, settings, now
        self._monotonic, self._rand = monotonic, rand
        self._renewed: float | None = None
        self._seen: tuple[str, float] | None = None  # resourceVersion of someone's Lease, and since when we know it
        self._seen_for_s = math.inf  # how long that one is valid without renewal

    @property
    def is_leader(self) -> bool:
        """Say whether the Lease is surely ours at this moment."""
        return self._renewed is not None and self._monotonic() - self._renewed < self._settings.renew_s

    def check(self) -> None:
        """Raise LeadershipLostError unless the Lease is surely ours."""
        if not self.is_leader:
            raise LeadershipLostError(f"the Lease {self._settings.name} was not renewed in time; nothing is written")

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        while True:
            if await self._try_safely():
                break
            await asyncio.sleep(min(self._settings.retry_s * (1 - 0.2 * self._rand()), self._free_in_s()))
        log.info("leading by Lease %s/%s", self._settings.namespace, self._settings.name)

    async def hold(self) -> None:
        """Renew for ever; raise LeadershipLostError when the Lease is lost."""
        ours = True
        while True:
            await asyncio.sleep(self._pause_s(renewed=ours))
            ours = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._fresh_for_s()):
                    ours = await self._try_safely()
            self.check()

    async def release(self) -> None:
        """Give the Lease up, so that a standby need not wait for it to run out; failing to is no harm."""
        if not self.is_leader:
            return
        self._renewed = None
        try:
            lease = await self._client.find(LEASE, self._settings.namespace, self._settings.name)
            if lease is not None and lease["spec"].get("holderIdentity") == self._settings.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._client.replace(LEASE, self._settings.namespace, lease)
                log.info("released Lease %s/%s", self._settings.namespace, self._settings.name)
        except KubeError as error:
            log.warning("the Lease could not be released: %s", error.message)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _pause_s(self, *, renewed: bool) -> float:
        """Return the wait before the next renewal: after a failure a quarter or less, with jitter."""
        return self._settings.retry_s if renewed else self._settings.retry_s / HURRY * (1 - 0.5 * self._rand())

    def _fresh_for_s(self) -> float:
        return 0.0 if self._renewed is None else self._renewed + self._settings.renew_s - self._monotonic()

    def _free_in_s(self) -> float:
        """Return when another's Lease that we saw runs out; looking then finds it free at once."""
        left_s = self._seen[1] + self._seen_for_s - self._monotonic() if self._seen is not None else 0.0
        return left_s if left_s > 0 else math.inf  # it ran out and could not be taken: no hurry

    async def _try_safely(self) -> bool:
        began = self._monotonic()
        try:
            ours = await self._try()
        except KubeError as error:
            log.warning("Lease: %s", error.message)
            return False
        if ours:
            self._renewed = began
        elif self._renewed is not None:
            self._renewed = None  # someone holds it: it is lost at once, not after renew_s
        return ours

    async def _try(self) -> bool:
        lease = await self._client.find(LEASE, self._settings.namespace, self._settings.name)
        if lease is None:
            metadata = {"name": self._settings.name, "namespace": self._settings.namespace}
            await self._client.create(LEASE, self._settings.namespace, self._build({"metadata": metadata}))
            return True
        if not self._may_take(lease):
            return False
        await self._client.replace(LEASE, self._settings.namespace, self._build(lease))
        return True

    def _may_take(self, lease: dict[str, Any]) -> bool:
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") in ("", None, self._settings.identity):
            return True
        version = lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, self._monotonic())
        self._seen_for_s = float(spec.get("leaseDurationSeconds") or self._settings.duration_s)
        return self._monotonic() - self._seen[1] >= self._seen_for_s

    def _build(self, lease: dict[str, Any]) -> dict[str, Any]:
        before = lease.get("spec") or {}
        stamp = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = before.get("holderIdentity") == self._settings.identity
        transitions = int(before.get("leaseTransitions") or 0)
        spec = {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": max(1, math.ceil(self._settings.duration_s)),
            "acquireTime": before.get("acquireTime") if ours else stamp,
            "renewTime": stamp,
            "leaseTransitions": transitions if ours or not before else transitions + 1,
        }
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": lease["metadata"],  # labels and annotations are others': Helm knows its own by them
            "spec": spec,
        }
