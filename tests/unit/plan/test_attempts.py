"""When a Job is looked at again without an event: rarely, since a thousand Jobs may wait at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fairlead.api import meta
from fairlead.api.dataset import DatasetSpec, DatasetStatus
from fairlead.plan.attempts import LOOK_AGAIN_S, Pursuit, Seen, Tries, pursue, start
from fairlead.plan.children import Image
from fairlead.plan.datasetjobs import snapshot_order

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RAW = {
    "metadata": {"name": "a", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {"source": {"configMap": {"name": "rows", "key": "rows.csv"}}, "format": "CSV"},
}
PURSUIT = Pursuit(snapshot_order(meta.read(RAW, DatasetSpec, DatasetStatus), "tick", Image("jobs"), None))


def pod(job: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    owner = {"kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"], "controller": True}
    return {"kind": "Pod", "metadata": {"name": "p", "namespace": "ns", "ownerReferences": [owner]}, "status": status}


@pytest.mark.parametrize(
    ("statuses", "again_s"),
    [
        ([], None),
        ([{}], LOOK_AGAIN_S),
        ([{"phase": "Pending"}], LOOK_AGAIN_S),
        ([{"phase": "Running"}], None),
        ([{"phase": "Failed"}, {"phase": "Pending"}], LOOK_AGAIN_S),
    ],
)
def test_only_a_job_with_a_starting_pod_is_looked_at_without_an_event(
    statuses: list[dict[str, Any]], again_s: float | None
) -> None:
    first = start(PURSUIT, 1, 0, NOW)
    assert first.requeue_after_s is None
    job = {"kind": "Job", "metadata": {"name": PURSUIT.order.name, "namespace": "ns", "uid": "j"}}
    seen = Seen(job, tuple(pod(job, status) for status in statuses))
    assert pursue(PURSUIT, Tries(first.tries.attempt), seen, NOW).requeue_after_s == again_s
