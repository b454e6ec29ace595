"""Builders for tests of snapshots and trainings: a ConfigMap's folder, inputs with defaults, a small mixed table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairlead.contract.data import ConfigMapSource, Format, Source
from fairlead.contract.jobs import SnapshotInput, SnapshotSummary
from fairlead_runtime.snapshot.job import run
from fairlead_runtime.store import LocalStore


class World:
    """A store and a ConfigMap's folder below one temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = root / "configmap"
        self.source.mkdir()
        (root / "store").mkdir()
        self.store = LocalStore(root / "store")
        self.ticks = 0

    def environment(self) -> dict[str, str]:
        return {"FAIRLEAD_SOURCE_CONFIG_MAP_DIR": str(self.source), "FAIRLEAD_WORK_DIR": str(self.root)}

    def input(self, data: str | bytes, **fields: Any) -> SnapshotInput:
        (self.source / "rows").write_bytes(data.encode() if isinstance(data, str) else data)
        self.ticks += 1
        defaults: dict[str, Any] = {
            "namespace": "team",
            "name": "rows",
            "tick": str(self.ticks),
            "source": Source(config_map=ConfigMapSource(name="c", key="rows")),
            "format": Format.CSV,
        }
        return SnapshotInput.model_validate(defaults | fields)

    def snapshot(self, data: str | bytes, **fields: Any) -> SnapshotSummary:
        return run(self.input(data, **fields), self.store)


def mixed_frame(rows: int = 600, seed: int = 0) -> pd.DataFrame:
    """Numbers with nulls, a category, a boolean, times and an id; `late` depends on `delay` and `carrier`."""
    rng = np.random.default_rng(seed)
    delay = np.round(rng.normal(size=rows), 3)
    carrier = rng.choice(["UA", "AA", "B6"], rows)
    late = delay + (carrier == "UA") + rng.normal(scale=0.5, size=rows) > 0.5
    times = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(rows), unit="h")
    return pd.DataFrame(
        {
            "id": [f"f{i:05d}" for i in range(rows)],
            "departs": times.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "delay": np.where(rng.random(rows) < 0.05, np.nan, delay),
            "stops": rng.integers(0, 3, rows),
            "carrier": carrier,
            "weekend": rng.random(rows) < 0.3,
            "late": late,
        }
    )


def mixed_csv(rows: int = 600, seed: int = 0) -> str:
    return mixed_frame(rows, seed).to_csv(index=False)
