"""The API server fails where the Lease is concerned, for the leader alone or for all."""

from __future__ import annotations

import asyncio
import signal

import pytest
from tests.faults.proxy import Answer, Call, ConnectionCut, Proxy, Rule, proxied, status_answer
from tests.support.control_plane import ControlPlane
from tests.support.eventually import eventually, never

from fairlead.kube.lease import LEASE

from .conftest import WHOLE, Groups
from .figures import report, tell
from .group import REAL, SCALED, Group, Times, now, stop
from .replica import Replica

CASES = [("hangs", SCALED)]
if WHOLE:
    CASES += [("500", SCALED), ("429", SCALED), ("reset", SCALED), ("hangs", REAL), ("500", REAL)]


class LeaseFails(Rule):
    """Lets requests about the Lease fail: those of one replica, or everybody's."""

    def __init__(self, how: str) -> None:
        self.how, self.token, self.on = how, "", False
        self.delay_s = 0.0

    async def before(self, call: Call) -> Answer | None:
        if not self.on or not call.is_lease or self.token not in call.headers.get("Authorization", ""):
            return None
        if self.how == "hangs":
            await asyncio.sleep(600)
        if self.how == "slow":
            await asyncio.sleep(self.delay_s)
            return None
        if self.how == "reset":
            raise ConnectionCut
        code = int(self.how)
        return status_answer(code, "Oops", "the test says so", {"Retry-After": "1"})


@pytest.mark.parametrize(("how", "times"), CASES, ids=lambda value: value if isinstance(value, str) else None)
async def test_a_leader_that_cannot_renew_ends_before_its_lease_can_be_taken(
    groups: Groups, plane: ControlPlane, how: str, times: Times
) -> None:
    rule = LeaseFails(how)
    async with proxied(plane.server, str(plane.ca), rule) as proxy:
        (group,) = await groups(1, times, server=proxy.url)
        leader, standby = await group.pair()
        async with group.restless():
            rule.token, rule.on = group.token_of(leader), True
            since = now()
            watching = asyncio.create_task(watch_probes(group, standby))
            assert await leader.ended(times.duration_s + 5) == 1, leader.said()[-2000:]
            ended = now()
            first = await group.first_write_without(leader, since, times.duration_s + times.retry_s + 10)
            failed = await stop(watching)
            assert failed is None, failed
        renewed = [one for one in group.audit.writes(group.namespace) if one.is_lease and one.user == leader.name]
        free = renewed[-1].at + times.duration_s
        report(f"Lease {times.duration_s:g} s, its API {how}: seconds that the leader ended before others may take it",
               [free - ended])  # fmt: skip
        assert ended < free, "it was there when its Lease could be taken"
        assert "leadership is lost" in leader.said()
        last = max(one.at for one in group.writes_of(leader))
        assert last < first.at
        await group.settled()
        group.assert_one_writer()


async def watch_probes(group: Group, standby: Replica) -> None:
    """A standby is healthy and ready all the time."""
    await never(lambda: _unwell(group, standby), 600, every_s=0.1)


async def _unwell(group: Group, replica: Replica) -> str:
    said = [await group.asked(replica, path) for path in ("healthz", "readyz")]
    return "" if [code for code, _ in said] == [200, 200] else str(said)


@pytest.mark.whole
async def test_a_slow_lease_api_deposes_nobody_and_a_standby_is_warm(groups: Groups, plane: ControlPlane) -> None:
    rule = LeaseFails("slow")
    async with proxied(plane.server, str(plane.ca), rule) as proxy:
        (group,) = await groups(1, server=proxy.url)
        leader, standby = await group.pair()
        rule.delay_s, rule.on = SCALED.renew_s / 10, True  # at a fifth two renewals in a row would not fit
        before = (await group.api.get(LEASE, group.namespace, group.release))["spec"]
        async with group.restless():
            await never(lambda: not leader.is_alive, 3 * SCALED.duration_s)
        after = (await group.api.get(LEASE, group.namespace, group.release))["spec"]
        assert after["holderIdentity"] == before["holderIdentity"]
        assert after["leaseTransitions"] == before["leaseTransitions"]
        rule.on = False
        await takes_over_without_listing(group, proxy, leader, standby)


async def takes_over_without_listing(group: Group, proxy: Proxy, leader: Replica, standby: Replica) -> None:
    """A standby's caches are filled: it writes before it has read anything but the Lease and what it writes."""
    begin, since = len(proxy.calls), now()
    leader.signal(signal.SIGKILL)
    await group.wish(0, port=4321)
    await group.first_write(standby, since, 20)
    token = group.token_of(standby)
    asked = [call for call in proxy.calls[begin:] if token in call.headers.get("Authorization", "")]
    lists = [call.path for call in asked if call.method == "GET" and not call.is_watch and not call.parts[2]]
    tell("lists of a standby between its leader's death and its first write", lists=len(lists))
    assert lists == []
    await group.settled()


@pytest.mark.whole
async def test_without_any_api_server_it_ends_and_says_when_it_is_not_ready(
    groups: Groups, plane: ControlPlane
) -> None:
    class Dead(Rule):
        on = False

        async def before(self, call: Call) -> Answer | None:
            if self.on:
                raise ConnectionCut
            return None

    rule = Dead()
    async with proxied(plane.server, str(plane.ca), rule) as proxy:
        (group,) = await groups(1, server=proxy.url)
        leader, _ = await group.pair()
        rule.on = True
        assert await leader.ended(SCALED.duration_s + 5) == 1
        reborn = await eventually(lambda: next((one for one in group.replicas[2:] if one.is_alive), None), 20)
        await eventually(lambda: _probes(group, reborn, 200, 503), 20, what="alive, and not ready")
        rule.on = False
        await eventually(lambda: _probes(group, reborn, 200, 200), 60, what="ready again")
        await group.wish(1, port=1234)
        await group.settled(30)


async def _probes(group: Group, replica: Replica, healthz: int, readyz: int) -> bool:
    return [(await group.asked(replica, path))[0] for path in ("healthz", "readyz")] == [healthz, readyz]
