"""A writer that comes late (paused, partitioned, deposed) is refused by the API server itself: each verb in turn."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from tests.support.toy import TOY, build_toy, deployment_of, job_of, service_of

from fairlead.api.names import DEPLOYMENT, JOB, SERVICE
from fairlead.controllers.execute import Executor
from fairlead.kube.client import Client
from fairlead.kube.errors import ConflictError
from fairlead.kube.store import Store
from fairlead.plan.types import Apply, Create, Delete, Scale


@pytest_asyncio.fixture
async def toy(api: Client, namespace: str) -> Any:
    return await api.create(TOY, namespace, build_toy("one", namespace, port=80))


@pytest.fixture
def executor(api: Client) -> Executor:
    return Executor(api, Store())


def changed(toy: Any) -> dict[str, Any]:
    return service_of({**toy, "spec": {"port": 81}})


async def test_an_apply_to_a_recreated_object(executor: Executor, api: Client, namespace: str, toy: Any) -> None:
    await executor.act(Apply(service_of(toy)))
    old = await api.get(SERVICE, namespace, "one")
    await api.delete(SERVICE, old)
    await executor.act(Apply(service_of(toy)))
    with pytest.raises(ConflictError):
        await executor.act(Apply(changed(toy), old))
    assert (await api.get(SERVICE, namespace, "one"))["spec"]["ports"][0]["port"] == 80


async def test_an_apply_to_a_deleted_object_does_not_make_it(
    executor: Executor, api: Client, namespace: str, toy: Any
) -> None:
    await executor.act(Apply(service_of(toy)))
    old = await api.get(SERVICE, namespace, "one")
    await api.delete(SERVICE, old)
    with pytest.raises(ConflictError):
        await executor.act(Apply(changed(toy), old))
    assert await api.find(SERVICE, namespace, "one") is None


async def test_an_apply_to_a_changed_object(executor: Executor, api: Client, namespace: str, toy: Any) -> None:
    await executor.act(Apply(service_of(toy)))
    old = await api.get(SERVICE, namespace, "one")
    new = await api.patch(SERVICE, namespace, "one", {"metadata": {"annotations": {"theirs": "x"}}})
    with pytest.raises(ConflictError):
        await executor.act(Apply(changed(toy), old))
    await executor.act(Apply(changed(toy), new))
    service = await api.get(SERVICE, namespace, "one")
    assert service["spec"]["ports"][0]["port"] == 81
    assert service["metadata"]["annotations"]["theirs"] == "x"


async def test_a_delete_of_a_changed_or_recreated_object(
    executor: Executor, api: Client, namespace: str, toy: Any
) -> None:
    await executor.act(Create(job_of(toy)))
    old = await api.get(JOB, namespace, "one")
    new = await api.patch(JOB, namespace, "one", {"metadata": {"annotations": {"theirs": "x"}}})
    with pytest.raises(ConflictError):
        await executor.act(Delete(old))
    await executor.act(Delete(new))
    await executor.act(Create(job_of(toy)))
    with pytest.raises(ConflictError):
        await executor.act(Delete(new))
    assert await api.find(JOB, namespace, "one") is not None


async def test_a_scale_of_a_changed_object(executor: Executor, api: Client, namespace: str, toy: Any) -> None:
    await executor.act(Create(deployment_of(toy)))
    old = await api.get(DEPLOYMENT, namespace, "one")
    await api.scale(DEPLOYMENT, old, 7)
    with pytest.raises(ConflictError):
        await executor.act(Scale(old, 3))
    assert (await api.get(DEPLOYMENT, namespace, "one"))["spec"]["replicas"] == 7


async def test_a_status_of_a_changed_or_recreated_object(
    executor: Executor, api: Client, namespace: str, toy: Any
) -> None:
    await api.patch(TOY, namespace, "one", {"spec": {"port": 81}})
    with pytest.raises(ConflictError):
        await executor.write_status(TOY, toy, {"observedGeneration": 1})
    await api.delete(TOY, await api.get(TOY, namespace, "one"))
    await api.create(TOY, namespace, build_toy("one", namespace))
    with pytest.raises(ConflictError):
        await executor.write_status(TOY, toy, {"observedGeneration": 1})
    assert (await api.get(TOY, namespace, "one"))["status"] == {"observedGeneration": -1}


async def test_a_second_birth_is_the_first(executor: Executor, api: Client, namespace: str, toy: Any) -> None:
    await executor.act(Create(job_of(toy)))
    first = await api.get(JOB, namespace, "one")
    await Executor(api, Store()).act(Create(job_of(toy)))
    assert await api.get(JOB, namespace, "one") == first
