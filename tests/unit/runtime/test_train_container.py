"""Around a container trainer: what it finds under /opt/ml, and what becomes of what it leaves there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pyarrow.parquet as pq
import pytest
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression, Ridge
from tests.unit.runtime.snapshots import World, mixed_csv

from fairlead.contract.data import DatasetRevision
from fairlead.contract.jobs import ArtifactRef, TrainInput, TrainSummary
from fairlead_runtime.artifact import fetch_artifact
from fairlead_runtime.errors import BadInput, JobError
from fairlead_runtime.profile import ModelProfile
from fairlead_runtime.signature import Signature
from fairlead_runtime.train.container import fetch, publish

ROLES: dict[str, Any] = {"target": "late", "timestamp": "departs", "identifiers": ["id"]}
NUMBERS = ["delay", "stops", "weekend"]


@pytest.fixture
def world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("FAIRLEAD_ML_DIR", str(world.root / "ml"))
    return world


def _job(world: World, task: str = "Classification", trust_pickle: bool | None = None, **roles: Any) -> TrainInput:
    revision = world.snapshot(mixed_csv(), **{**ROLES, **roles}).revision
    given = {"depth": 3, "name": "x", "deep": {"a": True}}
    container = {"image": "team/train:1", "hyperparameters": given, "trustPickle": trust_pickle}
    return TrainInput(
        namespace="team",
        name="run",
        uid="u1",
        dataset=DatasetRevision(name="rows", revision=revision or ""),
        model="fraud",
        task=task,  # type: ignore[arg-type]
        trainer={"container": container},  # type: ignore[arg-type]
    )


def _fetched(world: World, **fields: Any) -> tuple[TrainInput, Path]:
    job = _job(world, **fields)
    fetch(job, world.store)
    return job, world.root / "ml"


def _train_rows(ml: Path) -> pd.DataFrame:
    frame = pd.read_csv(ml / "input" / "data" / "train" / "train.csv").dropna()
    return frame.astype(dict.fromkeys(NUMBERS, "float32"))


def _onnx_model(ml: Path) -> None:
    """What a user's program does: learn from the CSV, leave model.onnx with one matrix as input."""
    frame = _train_rows(ml)
    fitted = LogisticRegression().fit(frame[NUMBERS].to_numpy(), frame["late"].astype(int))
    model = convert_sklearn(
        fitted, initial_types=[("x", FloatTensorType([None, len(NUMBERS)]))], options={id(fitted): {"zipmap": False}}
    )
    (ml / "model" / "anything.onnx").write_bytes(model.SerializeToString())


def _read(world: World, summary: TrainSummary) -> tuple[Signature, ModelProfile, dict[str, Any]]:
    into = world.root / "got"
    into.mkdir()
    fetch_artifact(
        world.store, ArtifactRef(namespace="team", model="fraud", version="run", digest=summary.digest), into
    )
    return (
        Signature.model_validate_json((into / "signature.json").read_bytes()),
        ModelProfile.from_json((into / "profile.json").read_bytes()),
        json.loads((into / "lineage.json").read_bytes()),
    )


def test_fetch_lays_out_rows_and_configuration(world: World) -> None:
    _, ml = _fetched(world)
    for split in ("train", "validation", "test"):
        folder = ml / "input" / "data" / split
        assert len(pd.read_csv(folder / f"{split}.csv")) == pq.read_table(folder / f"{split}-0000.parquet").num_rows
    config = ml / "input" / "config"
    given = json.loads((config / "hyperparameters.json").read_text())
    assert given == {"depth": "3", "name": "x", "deep": '{"a": true}'}
    assert json.loads((config / "resourceconfig.json").read_text())["hosts"] == ["algo-1"]
    described = json.loads((config / "fairlead.json").read_text())
    assert described["features"] == ["delay", "stops", "carrier", "weekend"]
    assert described["target"] == "late"


def test_publish_takes_an_onnx_model_and_reads_its_signature(world: World) -> None:
    job, ml = _fetched(world)
    _onnx_model(ml)
    (ml / "output" / "metrics.json").write_text('{"accuracy": 0.9, "nan": NaN}')
    summary = publish(job, world.store)
    assert (summary.format, summary.metrics) == ("onnx", {"accuracy": 0.9})
    signature, profile, lineage = _read(world, summary)
    assert (signature.layout, signature.matrix_input) == ("Matrix", "x")
    assert [field.name for field in signature.inputs] == NUMBERS
    assert (signature.classes, signature.labels) == (["false", "true"], "Index")
    assert signature.probability_output
    assert profile.predictions.columns["prediction"].categories == ["false", "true"]  # type: ignore[union-attr]
    assert "score" in profile.predictions.columns
    assert lineage["trainerImage"] == "team/train:1"
    assert publish(job, world.store) == summary


def test_publish_takes_a_trusted_pickle_unread(world: World) -> None:
    job, ml = _fetched(world, task="Regression", target="stops", trust_pickle=True)
    frame = _train_rows(ml)
    joblib.dump(Ridge().fit(frame[["delay"]], frame["stops"]), ml / "model" / "model.joblib")
    summary = publish(job, world.store)
    signature, profile, _ = _read(world, summary)
    assert (summary.format, signature.classes) == ("joblib", [])
    assert profile.predictions.rows == 0


def test_publish_prefers_the_programs_own_signature(world: World) -> None:
    job, ml = _fetched(world)
    _onnx_model(ml)
    own = Signature(task=job.task, inputs=[], layout="Matrix", matrix_input="x", target="late", classes=["no", "yes"])
    (ml / "model" / "signature.json").write_text(own.model_dump_json(by_alias=True))
    with pytest.raises(BadInput, match="ModelUnreadable"):
        publish(job, world.store)
    (ml / "model" / "signature.json").write_text('{"task": "Dancing"}')
    with pytest.raises(BadInput, match=r"InvalidSignature.*task"):
        publish(job, world.store)


def test_publish_tells_the_containers_own_failure(world: World) -> None:
    job, ml = _fetched(world)
    (ml / "output" / "failure").write_text("ran out of ideas\n")
    with pytest.raises(JobError, match="ran out of ideas") as caught:
        publish(job, world.store)
    assert (caught.value.reason, caught.value.exit_code) == ("ProgramFailed", 1)


@pytest.mark.parametrize(
    ("files", "reason", "word"),
    [
        ({}, "NoModel", "there is none"),
        ({"model/a.onnx": b"x", "model/b.joblib": b"x"}, "NoModel", "a.onnx, b.joblib"),
        ({"model/a.onnx": b"x"}, "ModelUnreadable", "ONNX"),
        ({"model/a.joblib": b"x"}, "PickleNotTrusted", "spec.trainer.container.trustPickle: true"),
        ({"model/a.skops": b"x", "output/metrics.json": b"[1]"}, "InvalidMetrics", "numbers by name"),
    ],
)
def test_publish_refuses_what_it_cannot_use(world: World, files: dict[str, bytes], reason: str, word: str) -> None:
    job, ml = _fetched(world)
    for name, content in files.items():
        (ml / name).write_bytes(content)
    with pytest.raises(BadInput) as caught:
        publish(job, world.store)
    assert caught.value.reason == reason
    assert word in caught.value.message
    assert not world.store.list("models/")


@pytest.mark.parametrize(
    "name", ["model/model.skops", "model/signature.json", "output/failure", "output/metrics.json", "model/inner"]
)
def test_publish_follows_no_link_out_of_its_folder(world: World, name: str) -> None:
    """It runs with the keys of the store, and the program that leaves the files must not get them."""
    job, ml = _fetched(world)
    _onnx_model(ml)
    secret = world.root / "environ"
    secret.write_text('{"task": "FAIRLEAD_STORE_SECRET_KEY=hunter2-hunter2"}')
    (ml / name).symlink_to(secret if name != "model/inner" else world.root)
    with pytest.raises(BadInput, match="is a link; leave the file itself there") as caught:
        publish(job, world.store)
    assert caught.value.reason == "OutputIsLink"
    assert "hunter2" not in caught.value.message
    assert not world.store.list("models/")


CANARY = "c4n4ry-Zx9-never-shown"


def test_what_a_container_was_told_in_secret_is_in_no_file_of_the_store(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lineage, and with it the model card and status, say how a model was made, not with which credentials."""
    monkeypatch.setenv("FAIRLEAD_STORE_SECRET_KEY", CANARY)
    job, ml = _fetched(world)
    assert job.trainer.container is not None
    told = job.trainer.container.to_json_object() | {
        "env": [{"name": "HUB", "value": CANARY}],
        "args": ["--api-key", CANARY, f"--token={CANARY}", f"https://{CANARY}@hub.example.com/"],
        "hyperparameters": {"depth": 3, "hub_token": CANARY},
    }
    code = {"repository": f"https://{CANARY}@git.example.com/x.git", "commit": "3f2a91c"}
    secret = TrainInput.model_validate(job.to_json_object() | {"trainer": {"container": told}, "code": code})
    _onnx_model(ml)
    summary = publish(secret, world.store)
    assert CANARY not in summary.model_dump_json()
    holders = [entry.key for entry in world.store.list("") if CANARY.encode() in world.store.get_bytes(entry.key)]
    assert not holders
    _, _, lineage = _read(world, summary)
    assert lineage["trainer"]["container"]["hyperparameters"]["depth"] == 3
    assert lineage["code"]["repository"] == "https://***@git.example.com/x.git"
