"""A Dataset's very first Job: born before status is written, found again when that never happened."""

from __future__ import annotations

from typing import Any

from tests.unit.controllers.test_loop import Bench

from fairlead.api.names import DATASET, JOB
from fairlead.controllers.dataset import DatasetController
from fairlead.kube.errors import UnreachableError


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
