"""A leader is stopped past its Lease, a standby takes over, and then the old one goes on where it was.

It is stopped at random moments, right between the check of its Lease and the sending of a write, and while a write of
its is held up on the way. Shown from the audit log: what it sends late is refused or changes nothing.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest
from tests.faults.proxy import Answer, Call, Rule, proxied
from tests.support.control_plane import ControlPlane
from tests.support.eventually import eventually

from .audit import Write
from .conftest import Groups, repetitions
from .figures import report, tell
from .group import Group, now
from .replica import Replica

MOST_UNPLANNED = 10  # in one group
ENDS_WITHIN_S = 30.0  # a leader that goes on after its Lease was taken notices at its next look or write
# Each write with what the user wants when it is decided, and what the user wants when it is sent.
WRITES = (
    ("POST jobs", {"job": False}, {"job": True}, {"job": False}),
    ("DELETE jobs", {"job": True}, {"job": False}, {"job": True}),
    ("PATCH services", {"port": 80}, {"port": 81}, {"port": 80}),
    ("PATCH services", {"port": 80}, {"port": 81}, {"port": 82}),
    ("PATCH deployments", {"replicas": 1}, {"replicas": 4}, {"replicas": 1}),
    ("PATCH toys", {"port": 80}, {"port": 81}, {"port": 82}),
)


class HeldUp(Rule):
    """Keeps the next write of one sort on the way until it is released."""

    def __init__(self) -> None:
        self.write, self.held, self.release = "", asyncio.Event(), asyncio.Event()

    def arm(self, write: str) -> None:
        """Hold the next such write, such as `POST jobs`."""
        self.write, self.held, self.release = write, asyncio.Event(), asyncio.Event()

    async def before(self, call: Call) -> Answer | None:
        if self.write and f"{call.method} {call.plural}" == self.write:
            self.write = ""
            self.held.set()
            await self.release.wait()
        return None


async def take_over(group: Group, old: Replica, new: Replica, since: float) -> None:
    """Wait until the standby writes in the old one's place; a further standby is started meanwhile."""
    await group.first_write(new, since, 60)
    if not old.is_frozen():
        old.is_hurt = False
        raise AssertionError(f"{old.name} ended by itself just before it was stopped")


async def go_on(group: Group, old: Replica, new: Replica, since: float) -> list[Write]:
    """Let the old leader go on; it has to end by itself. Return what it asked for after the new one's first write."""
    old.signal(signal.SIGCONT)
    code = await old.ended(ENDS_WITHIN_S)
    assert code == 1, old.said()[-2000:]
    await group.settled()
    return group.late_writes(old, new, since)


async def stop_anywhere(group: Group) -> list[Write]:
    """Stop the leader at a random moment of its work, while the user is restless."""
    old, new = await group.pair()
    async with group.restless():
        await asyncio.sleep(group.rand.uniform(0.05, 0.5))
        since = now()
        old.signal(signal.SIGSTOP)
        await take_over(group, old, new, since)
        await asyncio.sleep(group.rand.choice((0, 0, 0.3)))
    return await go_on(group, old, new, since)


async def stop_before_sending(group: Group, number: int) -> list[Write]:
    """Stop the leader between check and send of one write; meanwhile the user changes the wish."""
    write, before, decided, after = WRITES[number % len(WRITES)]
    old, new = await group.pair()
    toy = await prepared(group, before)
    old.set_trap(write)
    await group.wish(toy, **decided)
    await eventually(old.is_frozen, 30, what=f"the leader stops itself before {write}")
    since = now()
    await group.wish(toy, **after)
    await group.wish(toy + 1, port=group.rand.randint(100, 60000))  # so that the new leader has something to write
    await take_over(group, old, new, since)
    await group.settled()
    return await go_on(group, old, new, since)


async def stop_on_the_way(group: Group, rule: HeldUp, number: int) -> list[Write]:
    """Stop the leader while a write of its is held up; the write arrives after the standby took over."""
    write, before, decided, after = WRITES[number % len(WRITES)]
    old, new = await group.pair()
    toy = await prepared(group, before)
    rule.arm(write)
    await group.wish(toy, **decided)
    await asyncio.wait_for(rule.held.wait(), 30)
    since = now()
    old.signal(signal.SIGSTOP)
    await group.wish(toy, **after)
    await group.wish(toy + 1, port=group.rand.randint(100, 60000))
    await take_over(group, old, new, since)
    await group.settled()
    rule.release.set()
    await eventually(lambda: group.late_writes(old, new, since), 10, what="the held write arrives")
    return await go_on(group, old, new, since)


async def prepared(group: Group, wish: dict[str, object]) -> int:
    """Bring a toy into the state from which the write is decided; return its number."""
    toy = group.rand.randrange(3)
    await group.wish(toy, **wish)
    await group.settled()
    return toy


def judge(what: str, late: Sequence[Write]) -> None:
    """Print what came late and fail unless each was refused or changed nothing."""
    codes = Counter(f"{one.verb} {one.resource} {one.code}" for one in late)
    changed = [one for one in late if one.changed]
    tell(what, late_writes=len(late), of_which_changed_something=len(changed), **dict(sorted(codes.items())))
    assert changed == [], "\n".join(map(str, changed))


async def undisturbed(group: Group, once: Callable[[], Awaitable[list[Write]]]) -> list[Write]:
    """Return what a round finds; begin it again when a replica ended in it that nobody hurt."""
    while True:
        before = len(group.unplanned)
        try:
            return await once()
        except AssertionError:
            if len(group.unplanned) == before or len(group.unplanned) > MOST_UNPLANNED:
                raise
            for one in filter(Replica.is_frozen, group.replicas):
                one.signal(signal.SIGCONT)
                await one.ended(ENDS_WITHIN_S)  # else the next round takes it for its standby


@pytest.mark.whole
async def test_at_random_moments(groups: Groups) -> None:
    made = await groups(repetitions(4, 1))

    async def rounds(group: Group) -> list[Write]:
        each = partial(undisturbed, group, partial(stop_anywhere, group))
        return [one for _ in range(repetitions(25, 4)) for one in await each()]

    found = [one for late in await asyncio.gather(*map(rounds, made)) for one in late]
    judge(f"{len(made) * repetitions(25, 4)} stops at random moments", found)
    end_well(made)


async def test_between_check_and_send(groups: Groups) -> None:
    made = await groups(repetitions(4, 3))
    each = repetitions(18, 2)

    async def rounds(group: Group, begin: int) -> list[Write]:
        stops = [partial(stop_before_sending, group, number) for number in range(begin, begin + each)]
        return [one for stop in stops for one in await undisturbed(group, stop)]

    found = await asyncio.gather(*(rounds(group, place * each) for place, group in enumerate(made)))
    late = [one for some in found for one in some]
    judge(f"{len(made) * each} stops between check and send", late)
    assert len(late) >= len(made), "some writes have to come late, else nothing was tested"
    end_well(made)


@pytest.mark.whole
async def test_without_the_policy_the_next_reconcile_undoes_it(groups: Groups) -> None:
    (group,) = await groups(1, fence=False)
    for number in range(repetitions(20, 1)):
        late = await undisturbed(group, partial(stop_before_sending, group, number))
        leader = await group.leader()
        for write in late:
            if write.is_birth:
                assert_undone_at_once(group, leader, write)
    end_well([group], one_writer=False)


def assert_undone_at_once(group: Group, leader: Replica, late: Write) -> None:
    """Fail unless the first reconcile after a late creation deletes it: at most one status write goes before."""
    after = [one for one in group.writes_of(leader, since=late.at) if one.name == late.name]
    verbs = [f"{one.verb} {one.resource}" for one in after][:2]
    assert "delete jobs" in verbs, f"{late}: then {verbs}"


@pytest.mark.whole
async def test_while_a_write_is_on_its_way(groups: Groups, plane: ControlPlane) -> None:
    rule = HeldUp()
    async with proxied(plane.server, str(plane.ca), rule) as proxy:
        (group,) = await groups(1, server=proxy.url)
        late: list[Write] = []
        for number in range(repetitions(30, 2)):
            late += await undisturbed(group, partial(stop_on_the_way, group, rule, number))
        judge(f"{repetitions(30, 2)} stops while a write is on its way", late)
        end_well([group])


def end_well(made: Sequence[Group], one_writer: bool = True) -> None:
    """One writer at any time, and nobody ended but by our doing."""
    for group in made:
        if one_writer:
            group.assert_one_writer()
    report("replicas that ended by themselves, per group", [len(group.unplanned) for group in made])
