"""A Dataset's very first Job: born before status is written, found again when that never happened."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.controllers.test_loop import Bench

from fairlead.api.names import DATASET, JOB, TRAINING_RUN, Resource
from fairlead.controllers.dataset import DatasetController
from fairlead.controllers.types import OperatorSettings, World
from fairlead.kube.errors import UnreachableError
from fairlead.kube.store import Store
from fairlead.plan.types import Key


def apply_dataset(bench: Bench, name: str = "a") -> None:
    spec = {"source": {"configMap": {"name": "rows", "key": "rows.csv"}}, "format": "CSV"}
    metadata = {"name": name, "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z"}
    bench.store.observe(DATASET, bench.api.put(DATASET, {"metadata": metadata, "spec": spec}))


def attempt(bench: Bench) -> Any:
    return bench.api.objects[("datasets", "ns", "a")]["status"]["attempt"]


async def test_the_first_job_takes_two_writes_and_comes_first() -> None:
    bench = Bench(DatasetController())
    apply_dataset(bench)
    await bench.turn()
    assert [write.split()[0] for write in bench.api.writes] == ["create", "status"], bench.api.writes
    [job] = bench.store.list(JOB)
    assert (attempt(bench)["job"], attempt(bench)["uid"]) == (job["metadata"]["name"], job["metadata"]["uid"])


async def test_a_job_whose_status_was_never_written_is_found_again() -> None:
    bench = Bench(DatasetController())
    apply_dataset(bench)
    bench.api.fail("status", UnreachableError("gone"))
    await bench.turn()
    [job] = bench.store.list(JOB)
    bench.clock.advance(10)
    await bench.turn()
    assert [job["metadata"]["uid"] for job in bench.store.list(JOB)] == [job["metadata"]["uid"]]
    assert attempt(bench)["uid"] == job["metadata"]["uid"]
    assert sum(write.startswith("create jobs") for write in bench.api.writes) == 1


async def test_in_a_crowd_every_job_comes_before_any_status_but_the_last() -> None:
    bench = Bench(DatasetController())
    for name in "abcd":
        apply_dataset(bench, name)
    await bench.turn()
    verbs = [write.split()[0] for write in bench.api.writes]
    assert verbs == ["create"] * 4 + ["status"] * 4


class Counting(Store):
    """A store that counts how often runs are looked through."""

    looks = 0

    def list(self, resource: Resource, namespace: str | None = None) -> Any:
        self.looks += resource is TRAINING_RUN
        return super().list(resource, namespace)


@pytest.mark.parametrize(("held", "looks"), [(0, 0), (2, 0), (3, 1), (4, 1)])
async def test_runs_are_looked_through_only_where_a_revision_may_go(held: int, looks: int) -> None:
    bench = Bench(DatasetController())
    apply_dataset(bench)
    raw = bench.api.objects["datasets", "ns", "a"]
    revisions = [{"revision": f"sha256:{n}", "at": "2026-01-01T00:00:00Z", "rows": 1} for n in range(held)]
    raw |= {"spec": {**raw["spec"], "keepRevisions": 3}, "status": {"revisions": revisions}}
    store = Counting()
    store.observe(DATASET, raw)
    await bench.controller.gather(Key("Dataset", "ns", "a"), World(store, None, None, OperatorSettings("s", "j")))  # type: ignore[arg-type]
    assert store.looks == looks
