"""Clean-up removes what is old and not kept, and nothing that may still be in the making."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fairlead.contract.jobs import CleanupInput, Sweep
from fairlead_runtime.cleanup import run
from fairlead_runtime.errors import BadInput
from fairlead_runtime.store import LocalStore

HOUR = 3600


def _store(root: Path, ages_h: dict[str, float]) -> LocalStore:
    store = LocalStore(root)
    for key, age_h in ages_h.items():
        store.put_bytes(key, b"1234")
        os.utime(root / key, (time.time() - age_h * HOUR,) * 2)
    return store


def test_old_folders_go_and_kept_ones_stay(tmp_path: Path) -> None:
    store = _store(
        tmp_path,
        {
            "datasets/a/d/old/manifest.json": 5,
            "datasets/a/d/old/data/1": 5,
            "datasets/a/d/kept/manifest.json": 5,
            "datasets/a/d/attempts/x/result.json": 5,
            "datasets/a/d/making/data/1": 0.5,
            "datasets/a/d/loose.txt": 5,
            "datasets/a/d2/old/manifest.json": 5,
        },
    )
    summary = run(CleanupInput(prefix="datasets/a/d/", keep=["sha256:kept"]), store)
    assert (summary.removed, summary.bytes) == (2, 8)
    left = {entry.key for entry in store.list("")}
    assert "datasets/a/d/old/data/1" not in left
    assert len(left) == 5


def test_a_limit_in_days_keeps_younger_folders(tmp_path: Path) -> None:
    store = _store(tmp_path, {"reports/a/m/t1/report.json": 50, "reports/a/m/t2/report.json": 20})
    assert run(CleanupInput(prefix="reports/a/m/", older_than_days=2), store).removed == 1
    assert [entry.key for entry in store.list("")] == ["reports/a/m/t2/report.json"]


def test_further_prefixes_go_by_their_own_ages(tmp_path: Path) -> None:
    """Replays lie beside the days of captures: the folder of all of them is as young as the youngest."""
    ages_h = {
        "captures/a/s/2026-01-01/00/v1/x.parquet": 50,
        "captures/a/s/replays/old/result.json": 50,
        "captures/a/s/replays/new/result.json": 20,
        "comparisons/a/s/old/report.json": 50,
        "comparisons/a/other/old/report.json": 50,
        "rollouts/a/s/20260101T000000Z-v1/report.json": 50,
        "rollouts/a/s/20260102T000000Z-v2/report.json": 50,
        "rollouts/a/s/20260103T000000Z-v3/report.json": 50,
    }
    store = _store(tmp_path, ages_h)
    made = [Sweep(prefix=prefix, older_than_days=2) for prefix in ("captures/a/s/replays/", "comparisons/a/s/")]
    reports = Sweep(prefix="rollouts/a/s/", older_than_days=1, keep_newest=2)
    assert run(CleanupInput(prefix="captures/a/s/", older_than_days=2, also=[*made, reports]), store).removed == 4
    assert sorted(entry.key for entry in store.list("")) == [
        "captures/a/s/replays/new/result.json",
        "comparisons/a/other/old/report.json",
        "rollouts/a/s/20260102T000000Z-v2/report.json",
        "rollouts/a/s/20260103T000000Z-v3/report.json",
    ]


@pytest.mark.parametrize("prefix", ["", "/", "datasets/", "datasets/a/"])
def test_a_prefix_that_is_too_wide_is_refused(tmp_path: Path, prefix: str) -> None:
    for job in (CleanupInput(prefix=prefix), CleanupInput(prefix="a/b/c/", also=[Sweep(prefix=prefix)])):
        with pytest.raises(BadInput, match="too wide"):
            run(job, LocalStore(tmp_path))
