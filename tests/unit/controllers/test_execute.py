from __future__ import annotations

from typing import Any

import pytest
from tests.support.memory_api import MemoryApi
from tests.support.toy import TOY, build_toy, deployment_of, job_of, service_of

from fairlead.api import names
from fairlead.api.names import DEPLOYMENT, JOB, SERVICE
from fairlead.controllers.execute import Executor
from fairlead.kube.errors import (
    AwaitDeletionError,
    ConflictError,
    NameTakenError,
    NotFoundError,
    UnreachableError,
)
from fairlead.kube.store import Store
from fairlead.plan.types import Apply, Create, Delete, Scale

TOY_A = build_toy("a", "ns", replicas=2)
TOY_A["metadata"] |= {"uid": "toy-1", "generation": 1, "resourceVersion": "1"}


class Bench:
    def __init__(self) -> None:
        self.api, self.store = MemoryApi(), Store()
        self.executor = Executor(self.api, self.store)

    def seen(self, resource: names.Resource, name: str = "a") -> Any:
        return self.store.get(resource, "ns", name)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def owned_by(body: dict[str, Any], uid: str) -> dict[str, Any]:
    references = [{**body["metadata"]["ownerReferences"][0], "uid": uid}]
    return {**body, "metadata": {**body["metadata"], "ownerReferences": references}}


async def test_a_creation_is_in_the_store_at_once(bench: Bench) -> None:
    await bench.executor.act(Create(job_of(TOY_A)))
    assert bench.api.calls == ["create jobs a"]
    assert bench.seen(JOB)["metadata"]["uid"]


async def test_creating_what_is_there_and_ours_is_success(bench: Bench) -> None:
    bench.api.put(JOB, job_of(TOY_A))
    await bench.executor.act(Create(job_of(TOY_A)))
    assert bench.seen(JOB) is not None


async def test_creating_over_a_foreign_object_is_a_terminal_conflict_that_names_it(bench: Bench) -> None:
    bench.api.put(JOB, {"metadata": {"name": "a", "namespace": "ns"}})
    with pytest.raises(NameTakenError, match=r"Job ns/a exists and is not made by Fairlead.*delete or rename"):
        await bench.executor.act(Create(job_of(TOY_A)))
    assert bench.seen(JOB) is None


async def test_the_child_of_an_earlier_owner_of_the_name_is_waited_out(bench: Bench) -> None:
    bench.api.put(JOB, owned_by(job_of(TOY_A), "toy-0"))
    with pytest.raises(AwaitDeletionError, match="deleted object of the same name"):
        await bench.executor.act(Create(job_of(TOY_A)))


async def test_an_object_on_its_way_out_is_waited_out(bench: Bench) -> None:
    leaving = job_of(TOY_A)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    bench.api.put(JOB, leaving)
    with pytest.raises(AwaitDeletionError, match="being deleted"):
        await bench.executor.act(Create(job_of(TOY_A)))


async def test_without_an_owner_the_labels_say_whose_it_is(bench: Bench) -> None:
    body = job_of(TOY_A)
    del body["metadata"]["ownerReferences"]
    bench.api.put(JOB, body)
    await bench.executor.act(Create(body))
    other = {**body, "metadata": {**body["metadata"], "labels": {**body["metadata"]["labels"], names.LABEL_OWNER: "b"}}}
    with pytest.raises(NameTakenError):
        await bench.executor.act(Create(other))


async def test_what_no_watch_would_show_is_refused(bench: Bench) -> None:
    body = job_of(TOY_A)
    body["metadata"]["labels"] = {}
    with pytest.raises(ValueError, match="lacks the label"):
        await bench.executor.act(Create(body))
    assert bench.api.calls == []


async def test_a_second_apply_of_the_same_sends_nothing(bench: Bench) -> None:
    await bench.executor.act(Apply(service_of(TOY_A)))
    assert bench.api.calls == ["get services a", "apply services a"]
    await bench.executor.act(Apply(service_of(TOY_A), bench.seen(SERVICE)))
    assert len(bench.api.calls) == 2


async def test_an_apply_names_the_uid_and_the_version_it_saw(bench: Bench) -> None:
    await bench.executor.act(Apply(service_of(TOY_A)))
    old = bench.seen(SERVICE)
    bench.api.put(SERVICE, {**old, "metadata": {**old["metadata"], "annotations": {"theirs": "x"}}})
    changed = service_of({**TOY_A, "spec": {"port": 81}})
    with pytest.raises(ConflictError):
        await bench.executor.act(Apply(changed, old))
    assert bench.seen(SERVICE)["metadata"]["annotations"] == {"theirs": "x"}, "it was read again"
    await bench.executor.act(Apply(changed, bench.seen(SERVICE)))
    assert bench.seen(SERVICE)["spec"]["ports"][0]["port"] == 81
    recreated = {**bench.seen(SERVICE), "metadata": {**bench.seen(SERVICE)["metadata"], "uid": "another"}}
    bench.api.put(SERVICE, recreated)
    with pytest.raises(ConflictError):
        await bench.executor.act(Apply(service_of({**TOY_A, "spec": {"port": 82}}), bench.seen(SERVICE)))


async def test_an_apply_to_a_vanished_object_empties_the_store(bench: Bench) -> None:
    await bench.executor.act(Apply(service_of(TOY_A)))
    old = bench.seen(SERVICE)
    del bench.api.objects[("services", "ns", "a")]
    with pytest.raises(ConflictError):
        await bench.executor.act(Apply(service_of({**TOY_A, "spec": {"port": 81}}), old))
    assert bench.seen(SERVICE) is None


async def test_the_first_apply_takes_over_nothing_foreign(bench: Bench) -> None:
    bench.api.put(SERVICE, {"metadata": {"name": "a", "namespace": "ns"}, "spec": {}})
    with pytest.raises(NameTakenError):
        await bench.executor.act(Apply(service_of(TOY_A)))
    assert bench.api.writes == []


async def test_the_first_apply_finds_what_the_store_has_yet_to_see(bench: Bench) -> None:
    await Executor(bench.api, Store()).act(Apply(service_of(TOY_A)))
    await bench.executor.act(Apply(service_of(TOY_A)))
    assert bench.api.writes == ["apply services a"]
    assert bench.seen(SERVICE) is not None


async def test_an_apply_that_changes_nothing_is_not_repeated(bench: Bench) -> None:
    """Someone added an entry to a list that is a map for the API server: our apply cannot and need not remove it."""
    await bench.executor.act(Apply(service_of(TOY_A)))
    held = bench.seen(SERVICE)
    ports = [*held["spec"]["ports"], {"name": "theirs", "port": 9}]
    theirs = bench.api.put(SERVICE, {**held, "spec": {**held["spec"], "ports": ports}})
    bench.store.observe(SERVICE, theirs)

    async def merge(*_: Any, **__: Any) -> Any:
        bench.api.calls.append("apply without effect")
        return theirs

    bench.api.apply = merge  # type: ignore[method-assign]
    for _ in range(3):
        await bench.executor.act(Apply(service_of(TOY_A), bench.seen(SERVICE)))
    assert bench.api.calls.count("apply without effect") == 1


async def test_a_delete_is_seen_at_once_and_absence_is_success(bench: Bench) -> None:
    await bench.executor.act(Create(job_of(TOY_A)))
    old = bench.seen(JOB)
    await bench.executor.act(Delete(old))
    assert bench.seen(JOB) is None
    await bench.executor.act(Delete(old))
    assert bench.api.writes == ["create jobs a", "delete jobs a", "delete jobs a"]


async def test_a_delete_of_what_has_changed_is_refused_and_read_again(bench: Bench) -> None:
    await bench.executor.act(Create(job_of(TOY_A)))
    old = bench.seen(JOB)
    bench.api.put(JOB, {**old, "status": {"succeeded": 1}})
    with pytest.raises(ConflictError):
        await bench.executor.act(Delete(old))
    assert bench.seen(JOB)["status"] == {"succeeded": 1}


async def test_a_delete_held_by_finalizers_shows_the_mark(bench: Bench) -> None:
    bench.api.finalizers = True
    await bench.executor.act(Create(job_of(TOY_A)))
    await bench.executor.act(Delete(bench.seen(JOB)))
    assert bench.seen(JOB)["metadata"]["deletionTimestamp"]


async def test_a_scale_is_awaited_by_version_and_not_repeated(bench: Bench) -> None:
    await bench.executor.act(Create(deployment_of(TOY_A)))
    seen = bench.seen(DEPLOYMENT)
    assert await bench.executor.act(Scale(seen, 2)) is None
    place = await bench.executor.act(Scale(seen, 5))
    assert place == (DEPLOYMENT, "ns", "a")
    assert bench.store.is_behind(*place)
    bench.store.observe(DEPLOYMENT, bench.api.objects[("deployments", "ns", "a")])
    assert not bench.store.is_behind(*place)


async def test_status_is_written_once_with_what_was_seen(bench: Bench) -> None:
    toy = bench.api.put(
        TOY, {k: v for k, v in TOY_A.items() if k != "metadata"} | {"metadata": {"name": "a", "namespace": "ns"}}
    )
    status = {"observedGeneration": 1, "jobSeen": None}
    after = await bench.executor.write_status(TOY, toy, status)
    assert after["status"] == {"observedGeneration": 1}
    assert await bench.executor.write_status(TOY, after, status) is after
    assert bench.api.writes == ["status toys a"]
    with pytest.raises(ConflictError):
        await bench.executor.write_status(TOY, toy, {"observedGeneration": 2})
    assert bench.seen(TOY)["status"] == {"observedGeneration": 1}


async def test_an_unknown_outcome_is_found_out_by_trying_again(bench: Bench) -> None:
    plain = bench.api.create

    async def cut(*arguments: Any) -> Any:
        await plain(*arguments)
        raise UnreachableError("no whole answer")

    bench.api.create = cut  # type: ignore[method-assign]
    with pytest.raises(UnreachableError):
        await bench.executor.act(Create(job_of(TOY_A)))
    bench.api.create = plain  # type: ignore[method-assign]
    await bench.executor.act(Create(job_of(TOY_A)))
    assert len(bench.api.objects) == 1


async def test_a_missing_namespace_is_retryable(bench: Bench) -> None:
    bench.api.fail("create", NotFoundError("namespaces ns not found"))
    with pytest.raises(NotFoundError):
        await bench.executor.act(Create(job_of(TOY_A)))
