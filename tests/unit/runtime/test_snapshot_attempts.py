"""Results of reads in the store: the newest stay, the one just written always does, and a refusal harms nothing."""

from __future__ import annotations

import os

import pytest
from tests.unit.runtime.snapshots import World, mixed_csv

from fairlead.contract import keys
from fairlead.contract.base import digest_of
from fairlead.contract.data import DatasetRevision
from fairlead_runtime.errors import StoreError
from fairlead_runtime.revision import read_manifest
from fairlead_runtime.snapshot.attempts import KEPT
from fairlead_runtime.snapshot.job import run

ATTEMPTS = keys.snapshot_attempts("team", "rows")


def _read_often(world: World, times: int) -> list[str]:
    """Read the same source at as many ticks, a minute apart; return the keys of the results, oldest first."""
    written = []
    for minute in range(times):
        job = world.input(mixed_csv(60))
        run(job, world.store)
        written.append(keys.snapshot_attempt("team", "rows", digest_of(job)) + keys.RESULT)
        os.utime(world.root / "store" / written[-1], (minute * 60.0,) * 2)
    return written


def _results(world: World) -> set[str]:
    return {entry.key for entry in world.store.list(ATTEMPTS)}


def test_only_the_newest_results_stay_and_every_revision_does(world: World) -> None:
    world.store.put_bytes("datasets/team/rows2/attempts/x/result.json", b"{}")  # of a Dataset with a longer name
    written = _read_often(world, KEPT + 5)
    assert _results(world) == set(written[-KEPT:])
    revision = world.snapshot(mixed_csv(60)).revision or ""
    assert read_manifest(world.store, "team", DatasetRevision(name="rows", revision=revision)).rows == 60
    assert world.store.exists("datasets/team/rows2/attempts/x/result.json")


def test_the_result_just_written_stays_whatever_the_stores_clock_says(world: World) -> None:
    for number in range(KEPT + 5):
        key = f"{ATTEMPTS}{number:064d}/{keys.RESULT}"
        world.store.put_bytes(key, b"{}")
        os.utime(world.root / "store" / key, (4e9,) * 2)  # the year 2096
    job = world.input(mixed_csv(60))
    said = run(job, world.store)
    assert len(_results(world)) == KEPT
    assert run(job, world.store) == said, "it is found again"


def test_a_store_that_refuses_to_remove_fails_no_read(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuses(_store: object, key: str) -> None:
        raise StoreError("StoreDenied", f"not allowed to remove {key}")

    with monkeypatch.context() as denied:
        denied.setattr(type(world.store), "delete", refuses)
        _read_often(world, KEPT + 2)
    assert len(_results(world)) == KEPT + 2
    assert "the next read tries again: StoreDenied: not allowed to remove" in capsys.readouterr().out
    _read_often(world, 1)
    assert len(_results(world)) == KEPT
