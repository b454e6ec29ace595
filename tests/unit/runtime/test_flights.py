"""The demo's real data through snapshot and training: the schedule, what the delay adds, what summer takes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow as pa
import pytest
from tests.unit.runtime.snapshots import World

from fairlead.contract import keys
from fairlead.contract.data import DatasetRevision
from fairlead.contract.jobs import TrainInput, TrainSummary
from fairlead_runtime.revision import read_manifest
from fairlead_runtime.train.export import onnx_inputs
from fairlead_runtime.train.job import run
from fairlead_runtime.train.rows import to_frame

SCHEDULE = ["hour", "carrier", "origin", "dest", "distance"]
PROGRAM = Path(__file__).parents[3] / "examples" / "flights" / "prepare.py"


def _load_program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare_flights", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def flights() -> dict[str, pd.DataFrame]:
    program = _load_program()
    table = program.read_flights()
    assert len(table) == 336_776
    return {text: program.prepare_flights(table, program.parse_months(text), True) for text in ("1-3", "7")}


def _train(
    world: World, dataset: DatasetRevision, estimator: str, features: list[str], **parameters: Any
) -> TrainSummary:
    trainer = {"sklearn": {"estimator": estimator, "parameters": parameters, "features": features}}
    job = {
        "namespace": "team",
        "name": "run",
        "uid": estimator,
        "model": "flights",
        "task": "Classification",
        "seed": 1,
    }
    return run(TrainInput.model_validate({**job, "dataset": dataset, "trainer": trainer}), world.store)


def test_winter_is_learned_and_summer_is_harder(world: World, flights: dict[str, pd.DataFrame]) -> None:
    winter, summer = flights["1-3"], flights["7"]
    assert winter["late"].mean() == pytest.approx(0.228, abs=0.001)
    assert summer["late"].mean() == pytest.approx(0.315, abs=0.001)
    split = {"method": "Stratified", "seed": 13}
    roles = {"target": "late", "timestamp": "departs", "identifiers": ["flight_id"]}
    snapshot = world.snapshot(winter.to_csv(index=False), **roles, split=split)
    assert (snapshot.valid, snapshot.rows) == (True, 77_911)
    dataset = DatasetRevision(name="rows", revision=snapshot.revision or "")

    schedule = _train(world, dataset, "sklearn.linear_model.LogisticRegression", SCHEDULE, max_iter=50, tol=1e-3)
    assert schedule.metrics["roc_auc"] == pytest.approx(0.65, abs=0.02)
    delay = _train(world, dataset, "sklearn.tree.DecisionTreeClassifier", [*SCHEDULE, "dep_delay"], max_depth=7)
    assert delay.metrics["roc_auc"] == pytest.approx(0.90, abs=0.02)
    assert delay.metrics["accuracy"] == pytest.approx(0.905, abs=0.01)
    assert (schedule.format, delay.format) == ("onnx", "onnx")

    accuracy = _accuracy(world, dataset, delay, summer)
    assert accuracy == pytest.approx(0.877, abs=0.01)
    assert accuracy < delay.metrics["accuracy"] - 0.015


def _accuracy(world: World, dataset: DatasetRevision, summary: TrainSummary, frame: pd.DataFrame) -> float:
    """Return the accuracy of the served file on other rows."""
    data = world.store.get_bytes(keys.model("team", "flights", summary.digest) + "model.onnx")
    columns = {column.name: column for column in read_manifest(world.store, "team", dataset).columns}
    features = [columns[name] for name in columns if name in [*SCHEDULE, "dep_delay"]]
    rows = pa.Table.from_pandas(frame, preserve_index=False)
    label = onnxruntime.InferenceSession(data).run(["label"], onnx_inputs(to_frame(rows, features)))[0]
    return float(np.mean(np.ravel(label) == frame["late"].to_numpy()))
