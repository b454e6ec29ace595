"""Clocks of replicas are set by an hour, each by its own: the Lease is safe, and nothing repeats or is lost."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.eventually import eventually, never

from fairlead.api.conditions import Condition, format_time, merge_conditions, ready, stalled
from fairlead.api.dataset import DatasetSpec
from fairlead.api.names import DATASET, JOB, TRAINING_RUN, Resource
from fairlead.app.clock import LOOK_S
from fairlead.kube.lease import LEASE
from fairlead.plan.dataset import spec_digest

from .conftest import Groups, repetitions
from .figures import report
from .group import SCALED, Group, now

HOUR_S = 3600.0


@pytest.mark.whole
async def test_the_lease_knows_no_clock(groups: Groups) -> None:
    (group,) = await groups(1)
    before = (await group.api.get(LEASE, group.namespace, group.release))["spec"]
    leader, standby = await group.pair()
    async with group.restless():
        for one, other in ((HOUR_S, -HOUR_S), (-HOUR_S, HOUR_S), (0.0, HOUR_S))[: repetitions(3, 1)]:
            leader.set_clock(one)
            standby.set_clock(other)
            await never(lambda: not leader.is_alive, 2 * SCALED.duration_s)
        after = (await group.api.get(LEASE, group.namespace, group.release))["spec"]
        assert after["leaseTransitions"] == before["leaseTransitions"]
    await group.settled()
    since = now()
    leader.signal(signal.SIGKILL)
    await group.wish(0, port=4711)
    first = await group.first_write_without(leader, since, 20)
    report("failover with clocks an hour apart: seconds", [first.at - since], 20 * SCALED.duration_s / 15)
    assert first.at - since <= 20 * SCALED.duration_s / 15
    await group.settled()
    group.assert_one_writer()


async def test_no_refresh_twice_and_none_lost_and_what_ended_stays(groups: Groups) -> None:
    (group,) = await groups(1)
    leader, _ = await group.pair()
    due = datetime.now(UTC) + timedelta(minutes=50)
    await make_read_dataset(group, f"{due.minute} * * * *")
    ended = await make_ended_run(group)
    assert await snapshots(group) == []
    leader.set_clock(HOUR_S)
    made = await eventually(lambda: snapshots(group), LOOK_S + 10, what="what is due by the clock begins")
    await eventually(lambda: _is_recorded(group), 10, what="status tells of the refresh")  # not yet: it would be undone
    for ahead_s in (0.0, HOUR_S, -HOUR_S)[: repetitions(3, 1)]:
        leader.set_clock(ahead_s)
        await eventually(lambda: said_of_the_clock(group) >= 1, LOOK_S + 10)
        await group.wish(0, port=group.rand.randint(100, 60000))
        await group.settled()
        assert await snapshots(group) == made, "a refresh was begun twice"
    run = await group.api.get(TRAINING_RUN, group.namespace, "ended")
    assert run["status"]["outcome"] == ended
    assert [name for name in await jobs(group) if name.startswith("ended")] == []


async def make_read_dataset(group: Group, schedule: str) -> None:
    """Make a Dataset that was read a moment ago and is refreshed by a schedule."""
    spec = {"source": {"configMap": {"name": "a", "key": "a"}}, "format": "CSV", "refresh": {"schedule": schedule}}
    body = _own(group, DATASET.kind, "hourly", {**spec, "suspend": True})
    made = await group.api.create(DATASET, group.namespace, body)
    at, tick = format_time(datetime.now(UTC)), spec_digest(DatasetSpec.model_validate(made["spec"])) + "//"
    status = {"tick": tick, "tickAt": at, "lastCheck": {"at": at, "tick": tick, "valid": True, "reason": "Valid"}}
    status |= {"revision": "sha256:aa", "rows": 10, "revisions": [{"revision": "sha256:aa", "at": at, "rows": 10}]}
    await _say(group, "hourly", DATASET, status, ready("Valid", "It was read."))
    await group.api.patch(DATASET, group.namespace, "hourly", {"spec": {"suspend": False}})
    await eventually(lambda: _is_ready(group), 10, what="the Dataset is Ready")


async def _is_ready(group: Group) -> bool:
    status = (await group.api.get(DATASET, group.namespace, "hourly"))["status"]
    return status.get("observedGeneration") == 2 and any(
        one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ()
    )


async def _is_recorded(group: Group) -> bool:
    """Whether status holds the refresh that was begun: its Job comes first, and goes again if the clock is set back."""
    status = (await group.api.get(DATASET, group.namespace, "hourly"))["status"]
    return bool(status["tick"] != status["lastCheck"]["tick"])


async def make_ended_run(group: Group) -> str:
    """Make a TrainingRun that failed for good."""
    spec = {
        "dataset": {"name": "hourly"},
        "model": "m",
        "task": "Classification",
        "trainer": {"sklearn": {"estimator": "sklearn.linear_model.LogisticRegression"}},
    }
    body = _own(group, TRAINING_RUN.kind, "ended", {**spec, "dataset": {"name": "absent"}})
    await group.api.create(TRAINING_RUN, group.namespace, body)
    status = {"outcome": "Failed", "failure": {"reason": "ProgramFailed", "message": "no"}}
    await _say(group, "ended", TRAINING_RUN, status, stalled("ProgramFailed", "No."))
    return "Failed"


def _own(group: Group, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": group.namespace}
    return {"apiVersion": DATASET.api_version, "kind": kind, "metadata": metadata, "spec": spec}


async def _say(
    group: Group, name: str, resource: Resource, status: dict[str, Any], said: tuple[Condition, ...]
) -> None:
    conditions = merge_conditions((), said, generation=1, now=datetime.now(UTC))
    status = {**status, "observedGeneration": 1, "conditions": conditions}
    metadata = {"name": name, "namespace": group.namespace}
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "status": status}
    await group.api.apply(resource, group.namespace, body, status=True)


async def jobs(group: Group) -> list[str]:
    return [job["metadata"]["name"] async for page in group.api.pages(JOB, group.namespace) for job in page.items]


async def snapshots(group: Group) -> list[str]:
    return sorted(name for name in await jobs(group) if name.startswith("hourly-snapshot"))


def said_of_the_clock(group: Group) -> int:
    return sum(one.said().count("the clock was set") for one in group.replicas)
