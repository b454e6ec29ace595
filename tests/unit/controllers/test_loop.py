"""The loop with the toy kind on an API in memory: what each error does, to its object and to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.clock import FakeClock
from tests.support.eventually import eventually
from tests.support.memory_api import MemoryApi
from tests.support.status_laws import StatusLaws
from tests.support.toy import TOY, ToyController, build_toy, job_of

from fairlead.api import names
from fairlead.api.conditions import find_condition, is_true
from fairlead.api.names import DEPLOYMENT, JOB, SERVICE
from fairlead.controllers.execute import Executor
from fairlead.controllers.loop import Loop, Surroundings
from fairlead.controllers.types import OperatorSettings, Watch, World, owner_key, referrer_keys
from fairlead.kube.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    LeadershipLostError,
    ServerError,
    ThrottledError,
)
from fairlead.kube.queue import Backoff, WorkQueue
from fairlead.kube.store import Store
from fairlead.plan.types import Key, Plan

KEY = Key("Toy", "ns", "a")


class Bench:
    """A loop without workers: `turn` works off what is ready, time stands still."""

    def __init__(self, controller: Any = None) -> None:
        self.api, self.store, self.clock, self.laws = MemoryApi(), Store(), FakeClock(), StatusLaws()
        self.events: list[tuple[str, str]] = []
        self.results: list[str] = []
        self.queue: WorkQueue[Key] = WorkQueue(Backoff(1.0, 300.0), monotonic=self.clock.monotonic, rand=lambda: 0.5)
        around = Surroundings(
            self.store,
            Executor(self.api, self.store),
            self.queue,
            lambda: World(self.store, None, None, OperatorSettings("s", "j")),  # type: ignore[arg-type]
            self,
            self.clock.now,
            self,
            self.clock.monotonic,
        )
        self.controller = controller or ToyController()
        self.loop = Loop([self.controller], around)
        self.loop.wake()
        self.store.listen(lambda resource, obj: self.laws.see(obj) if resource is TOY else None)

    def record(self, _obj: Any, type_: str, reason: str, _note: str) -> None:
        self.events.append((type_, reason))

    def on_reconcile(self, _controller: str, result: str, _seconds: float) -> None:
        self.results.append(result)

    def user(self, name: str = "a", **spec: Any) -> None:
        """Apply a toy, and let the watch tell it."""
        held = self.api.objects.get(("toys", "ns", name), build_toy(name, "ns"))
        self.store.observe(TOY, self.api.put(TOY, {**held, "spec": spec}))

    def toy(self, name: str = "a") -> dict[str, Any]:
        return self.api.objects[("toys", "ns", name)]

    async def turn(self, most: int = 20) -> int:
        """Reconcile until nothing is ready; fail if that takes more than `most`."""
        done = 0
        self.queue.promote()
        while len(self.queue):
            key = await self.queue.get()
            await self.loop.reconcile(key)
            self.queue.done(key)
            done += 1
            assert done <= most, f"hot loop: {self.api.calls[-10:]}"
        return done


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_an_object_becomes_ready_and_then_nothing_is_written(bench: Bench) -> None:
    bench.user(job=True)
    await bench.turn()
    assert is_true(bench.toy(), "Ready")
    assert set(bench.api.writes) == {"apply services a", "create deployments a", "create jobs a", "status toys a"}
    assert bench.events == [("Normal", "Making"), ("Normal", "AsAsked")]
    before = len(bench.api.calls)
    bench.loop.enqueue_all()
    await bench.turn()
    assert len(bench.api.calls) == before
    bench.laws.assert_kept()


async def test_a_passing_error_is_retried_with_backoff_and_not_shown(bench: Bench) -> None:
    bench.user()
    bench.api.fail("create", ServerError("down"), ServerError("down"))
    await bench.turn()
    assert bench.results[-1] == "error"
    for delay in (1, 2):
        assert await bench.turn() == 0
        bench.clock.advance(delay + 0.01)
        await bench.turn()
    assert is_true(bench.toy(), "Ready")
    assert [reason for _, reason in bench.events] == ["Making", "AsAsked"]
    assert bench.queue.failures(KEY) == 0


async def test_a_lasting_error_is_shown_without_flicker_and_goes_when_it_ends(bench: Bench) -> None:
    bench.user()
    bench.api.fail("create", *[ForbiddenError("quota", reason="QuotaExceeded")] * 99)
    for _ in range(8):
        await bench.turn()
        bench.clock.advance(301)
    condition = find_condition(bench.toy(), "Reconciling")
    assert condition is not None
    assert condition["reason"] == "QuotaExceeded"
    assert bench.api.writes.count("status toys a") == 2, "making, and the error: once each"
    bench.api.failures.clear()
    await bench.turn()
    assert is_true(bench.toy(), "Ready")
    assert [reason for _, reason in bench.events] == ["Making", "QuotaExceeded", "Making", "AsAsked"]
    bench.laws.assert_kept()


async def test_a_terminal_error_stalls_at_once_and_is_tried_again_seldom_and_silently(bench: Bench) -> None:
    bench.user()
    bench.api.fail("create", *[InvalidError("spec.x: Invalid value")] * 50)
    await bench.turn()
    writes = bench.api.writes.count("status toys a")
    condition = find_condition(bench.toy(), "Stalled")
    assert condition is not None
    assert condition["reason"] == "Invalid"
    bench.clock.advance(299)
    assert await bench.turn() == 0
    bench.clock.advance(2)
    assert await bench.turn() == 1
    assert bench.api.writes.count("status toys a") == writes
    assert bench.events[-1] == ("Warning", "Invalid")


async def test_an_error_whose_words_change_each_time_is_written_once(bench: Bench) -> None:
    """A write is an event, an event a further attempt: words that differ each time would make a hot loop."""
    bench.user(job=True)
    bench.api.fail("create", *(InvalidError(f"refused, request {number}") for number in range(100)))
    await bench.turn()
    assert find_condition(bench.toy(), "Stalled")["message"].startswith("refused, request 0. ")  # type: ignore[index]
    bench.clock.advance(61)
    bench.queue.add(KEY)
    await bench.turn()
    assert "refused, request 0." not in find_condition(bench.toy(), "Stalled")["message"]  # type: ignore[index]
    shown = find_condition(bench.toy(), "Stalled")
    bench.user(job=True, replicas=2)
    await bench.turn()
    assert find_condition(bench.toy(), "Stalled")["message"] != shown["message"]  # type: ignore[index]
    bench.laws.assert_kept()


async def test_a_change_of_spec_ends_the_wait_of_a_stalled_object(bench: Bench) -> None:
    bench.user()
    bench.api.fail("create", *[InvalidError("no")] * 3)
    await bench.turn()
    bench.api.failures.clear()
    bench.user(replicas=2)
    await bench.turn()
    assert is_true(bench.toy(), "Ready")
    bench.laws.assert_kept()


async def test_a_planners_bug_is_shown_and_hurts_nobody_else(bench: Bench) -> None:
    bench.user(bug=True)
    bench.user("b")
    await bench.turn()
    condition = find_condition(bench.toy(), "Reconciling")
    assert condition is not None
    assert condition["reason"] == "InternalError"
    assert is_true(bench.toy("b"), "Ready")
    assert bench.queue.failures(KEY) >= 1
    bench.user()
    await bench.turn()
    assert is_true(bench.toy(), "Ready")
    bench.laws.assert_kept()


async def test_a_status_that_is_refused_is_told_in_the_status_that_was(bench: Bench) -> None:
    bench.user()
    plain = bench.api.apply

    async def strict(resource: Any, namespace: str, body: Any, **how: Any) -> Any:
        if how.get("status") and "jobSeen" in body["status"]:
            raise InvalidError("status.jobSeen: unknown field")
        return await plain(resource, namespace, body, **how)

    bench.api.apply = strict  # type: ignore[method-assign]
    await bench.turn()
    condition = find_condition(bench.toy(), "Stalled")
    assert condition is not None
    assert "unknown field" in condition["message"]


async def test_nothing_is_written_over_a_final_state() -> None:
    class Final(ToyController):
        def is_terminal(self, obj: Any) -> bool:
            return True

    bench = Bench(Final())
    bench.user(bug=True)
    await bench.turn()
    assert bench.api.writes == []


async def test_throttling_is_obeyed(bench: Bench) -> None:
    bench.user()
    bench.api.fail("status", ThrottledError("slow down", retry_after_s=40, status=429))
    await bench.turn()
    bench.clock.advance(39)
    assert await bench.turn() == 0
    bench.clock.advance(2)
    await bench.turn()
    assert is_true(bench.toy(), "Ready")


async def test_a_status_conflict_is_read_again_and_tried_again(bench: Bench) -> None:
    bench.user()
    bench.api.put(TOY, {**bench.toy(), "spec": {"replicas": 4}})  # no watch has told it yet
    await bench.turn()
    assert bench.results[0] == "error"
    assert bench.api.calls[:2] == ["status toys a", "get toys a"]
    assert is_true(bench.toy(), "Ready")
    assert bench.toy()["status"]["observedGeneration"] == 2


async def test_a_status_that_is_outdated_again_and_again_is_not_told_over_what_changed(bench: Bench) -> None:
    bench.user()
    bench.api.fail("status", *[ConflictError("modified", status=409)] * 3)
    for _ in range(5):
        await bench.turn()
        bench.clock.advance(60)
    assert is_true(bench.toy(), "Ready")
    assert [reason for _, reason in bench.events] == ["Making", "AsAsked"], "each look said what it saw, or nothing"
    bench.laws.assert_kept()


async def test_objects_that_are_deleted_are_left_alone(bench: Bench) -> None:
    toy = build_toy("a", "ns")
    toy["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    bench.store.observe(TOY, bench.api.put(TOY, toy))
    await bench.turn()
    assert bench.api.calls == []


async def test_objects_that_wait_for_their_restoration_are_left_alone(bench: Bench) -> None:
    toy = build_toy("a", "ns")
    toy["metadata"]["annotations"] = {"fairlead.dev/restoring": "2026-01-01T00:00:00Z"}
    bench.store.observe(TOY, bench.api.put(TOY, toy))
    await bench.turn()
    assert bench.api.calls == []


async def test_after_a_scale_the_loop_waits_for_its_echo(bench: Bench) -> None:
    bench.user(replicas=1)
    await bench.turn()
    bench.user(replicas=3)
    await bench.turn(60)
    assert bench.api.writes.count("scale deployments a") == 1
    assert bench.store.is_behind(DEPLOYMENT, "ns", "a")
    bench.clock.advance(0.06)
    await bench.turn()
    assert bench.api.writes.count("scale deployments a") == 1, "it did not act on the old state"
    bench.store.observe(DEPLOYMENT, bench.api.objects[("deployments", "ns", "a")])
    await bench.turn()
    assert bench.api.writes.count("scale deployments a") == 1


async def test_an_echo_that_never_comes_is_fetched(bench: Bench) -> None:
    bench.user(replicas=1)
    await bench.turn()
    bench.user(replicas=3)
    for _ in range(3):
        await bench.turn(60)
        bench.clock.advance(6)
    await bench.turn()
    held = bench.store.get(DEPLOYMENT, "ns", "a")
    assert held is not None
    assert held["spec"]["replicas"] == 3
    assert not bench.store.is_behind(DEPLOYMENT, "ns", "a")


async def test_a_childs_change_and_its_loss_bring_the_owner_back(bench: Bench) -> None:
    bench.user(job=True)
    await bench.turn()
    job = bench.api.objects.pop(("jobs", "ns", "a"))
    bench.store.forget(JOB, job)
    await bench.turn()
    assert bench.api.writes.count("create jobs a") == 2


async def test_a_bug_in_a_mapping_costs_no_other_mapping_its_event() -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("oops")

    class Broken(ToyController):
        watches = (Watch(SERVICE, broken), Watch(SERVICE, owner_key(TOY)))

    bench = Bench(Broken())
    bench.loop.on_change(
        SERVICE, {**job_of({**build_toy("a", "ns"), "metadata": {"name": "a", "namespace": "ns", "uid": "u"}})}
    )
    assert len(bench.queue) == 1


async def test_a_standby_queues_nothing_until_it_leads() -> None:
    bench = Bench()
    bench.loop._is_awake = False
    bench.user()
    bench.loop.enqueue_all()
    assert len(bench.queue) == 0
    bench.loop.wake()
    assert len(bench.queue) == 1


async def test_a_plan_that_asks_to_look_again_is_looked_at_again() -> None:
    class Patient(ToyController):
        def plan(self, snapshot: Any, now: Any) -> Plan:
            return Plan(requeue_after_s=30)

    bench = Bench(Patient())
    bench.user()
    await bench.turn()
    assert bench.results == ["requeue_after"]
    bench.clock.advance(31)
    assert await bench.turn() == 1


async def test_status_comes_after_the_actions_when_asked() -> None:
    class Late(ToyController):
        def plan(self, snapshot: Any, now: Any) -> Plan:
            plan = super().plan(snapshot, now)
            return Plan(plan.actions, plan.status, status_first=False)

    bench = Bench(Late())
    bench.user()
    await bench.turn()
    assert bench.api.writes[0] == "apply services a"
    assert is_true(bench.toy(), "Ready")


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(bench.loop.run(4))
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_lost_leadership_ends_the_loop(bench: Bench) -> None:
    bench.api.fail("status", LeadershipLostError("lost"))
    async with running(bench) as task:
        bench.user()
        await eventually(task.done)
        error = task.exception()
        assert isinstance(error, BaseExceptionGroup)
        assert error.split(LeadershipLostError)[1] is None


async def test_a_cancelled_loop_finishes_what_it_began(bench: Bench) -> None:
    plain, began, go_on = bench.api.create, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> Any:
        began.set()
        await go_on.wait()
        return await plain(*arguments)

    bench.api.create = slow  # type: ignore[method-assign]
    async with running(bench) as task:
        bench.user()
        await began.wait()
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(task, return_exceptions=True)
    assert "create deployments a" in bench.api.writes


def test_referrers_are_found_by_the_names_in_them() -> None:
    store = Store()
    for name, port in (("a", 80), ("b", 81)):
        store.observe(
            TOY, {**build_toy(name, "ns", port=port), "metadata": {"name": name, "namespace": "ns", "uid": name}}
        )
    to_keys = referrer_keys(TOY, lambda toy: [f"service-{toy['spec']['port']}"])
    service = {"metadata": {"name": "service-81", "namespace": "ns"}}
    assert to_keys(service, store) == [Key("Toy", "ns", "b")]


def test_owners_are_found_by_reference_then_by_label() -> None:
    to_keys, store = owner_key(TOY), Store()
    reference = {"apiVersion": TOY.api_version, "kind": "Toy", "name": "a", "uid": "u"}
    labels = {names.LABEL_OWNER_KIND: "Toy", names.LABEL_OWNER: "b"}
    referred = {"metadata": {"name": "x", "namespace": "ns", "ownerReferences": [reference], "labels": labels}}
    labelled = {"metadata": {"name": "x", "namespace": "ns", "labels": labels}}
    foreign = {
        "metadata": {"name": "x", "namespace": "ns", "ownerReferences": [{**reference, "apiVersion": "other/v1"}]}
    }
    assert to_keys(referred, store) == [KEY]
    assert to_keys(labelled, store) == [Key("Toy", "ns", "b")]
    assert to_keys(foreign, store) == []
