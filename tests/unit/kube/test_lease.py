"""Leadership, with a Lease in memory and time that tests move."""

from __future__ import annotations

import asyncio
import copy
import math
import random
from typing import Any

import pytest
from tests.support.clock import FakeClock
from tests.support.eventually import eventually

from fairlead.kube.errors import AlreadyExistsError, ConflictError, LeadershipLostError, UnreachableError
from fairlead.kube.lease import Lease, LeaseSettings


class LeaseApi:
    """The three requests that a Lease makes, on one object."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.down = False

    def _check(self) -> None:
        if self.down:
            raise UnreachableError("down")

    async def find(self, *_: Any) -> dict[str, Any] | None:
        self._check()
        return copy.deepcopy(self.lease)

    async def create(self, _resource: Any, _namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        self._check()
        if self.lease is not None:
            raise AlreadyExistsError("there")
        return self._store(body)

    async def replace(self, _resource: Any, _namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        self._check()
        assert self.lease is not None
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ConflictError("changed")
        return self._store(body)

    def _store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return self.lease


class FailingApi(LeaseApi):
    """Fails a share of all requests, drawn anew for each."""

    def __init__(self, share: float, seed: int) -> None:
        super().__init__()
        self.share, self.chance, self.asked = share, random.Random(seed), 0

    def _check(self) -> None:
        self.asked += 1
        if self.chance.random() < self.share:
            raise UnreachableError("failed")


class HourIsOverError(Exception):
    """Ends an endless loop."""


def build(api: LeaseApi, clock: FakeClock, identity: str) -> Lease:
    settings = LeaseSettings("ns", "fairlead", identity, duration_s=15, renew_s=10, retry_s=2)
    return Lease(api, settings, clock.now, monotonic=clock.monotonic, rand=lambda: 0.0)  # type: ignore[arg-type]


async def attempt(lease: Lease) -> bool:
    return await lease._try_safely()


async def test_the_first_takes_it_and_the_second_waits_its_whole_duration() -> None:
    api, clock = LeaseApi(), FakeClock()
    one, two = build(api, clock, "one"), build(api, clock, "two")
    assert await attempt(one)
    assert one.is_leader
    assert not await attempt(two)
    clock.advance(14.9)
    assert not await attempt(two)
    clock.advance(0.2)
    assert await attempt(two)
    assert api.lease is not None
    assert api.lease["spec"]["leaseTransitions"] == 1


async def test_a_renewed_lease_is_never_taken() -> None:
    api, clock = LeaseApi(), FakeClock()
    one, two = build(api, clock, "one"), build(api, clock, "two")
    for _ in range(30):
        assert await attempt(one)
        assert not await attempt(two)
        clock.advance(2)
    assert one.is_leader


async def test_a_holder_stops_writing_before_anyone_may_take_the_lease() -> None:
    api, clock = LeaseApi(), FakeClock()
    one = build(api, clock, "one")
    await attempt(one)
    api.down = True
    clock.advance(9.9)
    await attempt(one)
    one.check()
    clock.advance(0.2)
    with pytest.raises(LeadershipLostError):
        one.check()


async def test_freshness_counts_from_before_the_renewal_was_sent() -> None:
    api, clock = LeaseApi(), FakeClock()
    one = build(api, clock, "one")
    plain = api.create

    async def slow(*arguments: Any) -> dict[str, Any]:
        clock.advance(4)
        return await plain(*arguments)

    api.create = slow  # type: ignore[method-assign]
    await attempt(one)
    clock.advance(6.1)
    assert not one.is_leader


async def test_a_holder_that_finds_another_in_its_place_stops_at_once() -> None:
    api, clock = LeaseApi(), FakeClock()
    one, two = build(api, clock, "one"), build(api, clock, "two")
    await attempt(one)
    assert not await attempt(two)
    clock.advance(16)
    await attempt(two)
    await attempt(one)
    assert not one.is_leader
    assert two.is_leader


async def test_a_released_lease_is_free_at_once() -> None:
    api, clock = LeaseApi(), FakeClock()
    one, two = build(api, clock, "one"), build(api, clock, "two")
    await attempt(one)
    await one.release()
    assert not one.is_leader
    assert await attempt(two)


async def test_release_leaves_a_lease_that_is_no_longer_ours() -> None:
    api, clock = LeaseApi(), FakeClock()
    one, two = build(api, clock, "one"), build(api, clock, "two")
    await attempt(one)
    assert api.lease is not None
    api.lease["spec"]["holderIdentity"] = "two"
    await one.release()
    assert api.lease["spec"]["holderIdentity"] == "two"
    assert await attempt(two)


async def test_two_that_race_for_a_free_lease_do_not_both_get_it() -> None:
    api, clock = LeaseApi(), FakeClock()
    one, two = build(api, clock, "one"), build(api, clock, "two")
    await attempt(one)
    await one.release()
    seen = await api.find()

    async def stale(*_: Any) -> dict[str, Any] | None:
        return copy.deepcopy(seen)

    api.find = stale  # type: ignore[method-assign]
    assert [await attempt(one), await attempt(two)] == [True, False]


async def test_hold_ends_when_the_lease_is_lost() -> None:
    api = LeaseApi()
    settings = LeaseSettings("ns", "fairlead", "one", duration_s=0.3, renew_s=0.1, retry_s=0.01)
    lease = Lease(api, settings, FakeClock().now)  # type: ignore[arg-type]
    await lease.acquire()
    holding = asyncio.create_task(lease.hold())
    await eventually(lambda: api.version > 3)
    assert not holding.done()
    api.down = True
    with pytest.raises(LeadershipLostError):
        await asyncio.wait_for(holding, 5)


async def test_hold_ends_in_time_while_a_renewal_hangs() -> None:
    api = LeaseApi()
    settings = LeaseSettings("ns", "fairlead", "one", duration_s=0.4, renew_s=0.2, retry_s=0.05)
    lease = Lease(api, settings, FakeClock().now)  # type: ignore[arg-type]
    await lease.acquire()

    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    api.find = hang  # type: ignore[assignment]
    with pytest.raises(LeadershipLostError):
        await asyncio.wait_for(lease.hold(), 5)


async def test_hold_lasts_while_a_third_of_all_requests_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of fake time; with a try every 2 s alone it was lost within minutes."""
    real_sleep = asyncio.sleep
    for seed in range(3):
        api, clock, chance = FailingApi(0.3, seed), FakeClock(), random.Random(seed)
        settings = LeaseSettings("ns", "fairlead", "one", duration_s=15, renew_s=10, retry_s=2)
        lease = Lease(api, settings, clock.now, monotonic=clock.monotonic, rand=chance.random)  # type: ignore[arg-type]
        while not await attempt(lease):
            pass

        async def skip(delay_s: float, clock: FakeClock = clock) -> None:
            clock.advance(delay_s)
            await real_sleep(0)
            if clock.elapsed_s > 3600:
                raise HourIsOverError

        monkeypatch.setattr(asyncio, "sleep", skip)
        with pytest.raises(HourIsOverError):
            await lease.hold()
        monkeypatch.undo()
        assert api.asked < 3600 / 2 * 6, "tried again sooner, and not in a hot loop"


async def test_a_standby_looks_again_at_the_moment_the_lease_runs_out() -> None:
    api, clock = LeaseApi(), FakeClock()
    one, two = build(api, clock, "one"), build(api, clock, "two")
    await attempt(one)
    assert two._free_in_s() == math.inf, "it has not seen any"
    await attempt(two)
    assert two._free_in_s() == 15
    clock.advance(14)
    assert two._free_in_s() == 1
    clock.advance(2)
    assert two._free_in_s() == math.inf, "it could not be taken for some reason: no hurry"


@pytest.mark.parametrize(("duration_s", "renew_s", "write_s"), [(15, 10, 5), (60, 40, 5), (15, 12, 3), (2, 1, 1)])
def test_a_write_that_began_while_the_lease_was_fresh_is_over_before_it_can_be_taken(
    duration_s: float, renew_s: float, write_s: float
) -> None:
    assert LeaseSettings("ns", "fairlead", "one", duration_s, renew_s, 0.5).write_timeout_s == write_s


def test_a_renewal_that_hangs_leaves_time_for_another() -> None:
    timeouts = LeaseSettings("ns", "fairlead", "one").request_timeouts
    assert (timeouts.read_s, timeouts.write_s) == (5, 5)
