"""A namespace that goes away under a working operator: one attempt is refused, and nothing is tried or said again."""

from __future__ import annotations

import logging

import pytest
from tests.support.eventually import eventually
from tests.support.toy import TOY, build_toy

from fairlead.api.names import JOB, SERVICE
from fairlead.kube.client import Client

from .conftest import NAMESPACE, Audit, Start
from .test_shell import ready_toy


async def test_a_namespace_that_goes_is_left_alone(
    start: Start, api: Client, namespace: str, audit: Audit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fairlead")
    running = await start()
    await api.create(TOY, namespace, build_toy("one", namespace, job=True))
    await ready_toy(api, namespace, "one")
    service = await api.get(SERVICE, namespace, "one")
    job = await api.get(JOB, namespace, "one")
    itself = await api.get(NAMESPACE, "", namespace)
    await api.delete(NAMESPACE, {"metadata": {"namespace": "", **itself["metadata"]}})  # nobody here carries that out
    before = len(_creations(audit))
    await api.delete(SERVICE, service)
    await eventually(lambda: len(_creations(audit)) > before, what="the Service is asked for again, and refused")
    await api.delete(JOB, job)
    for turn in range(3):
        await api.patch(TOY, namespace, "one", {"metadata": {"annotations": {"turn": str(turn)}}})
        seen = (await api.get(TOY, namespace, "one"))["metadata"]["resourceVersion"]
        await eventually(
            lambda seen=seen: running.operator.store.get(TOY, namespace, "one")["metadata"]["resourceVersion"] == seen  # type: ignore[index]
        )
        await eventually(lambda: len(running.operator.queue) == 0 and running.operator.queue.oldest_work_s() == 0)
    assert len(_creations(audit)) == before + 1
    said = [record.message for record in caplog.records if "being terminated" in record.message]
    assert len(said) == 1, said
    assert "nothing more is done" in said[0]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def _creations(audit: Audit) -> list[str]:
    return [write for write in audit.writes() if write.split()[:2] in (["patch", "services"], ["create", "jobs"])]
