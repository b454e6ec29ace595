"""Training: the artifact, its digest and lineage, searches, and each bad input with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
from tests.unit.runtime.snapshots import World, mixed_csv, mixed_frame

from fairlead.contract import keys
from fairlead.contract.data import DatasetRevision
from fairlead.contract.jobs import ArtifactRef, TrainInput
from fairlead.contract.training import Search
from fairlead_runtime.artifact import fetch_artifact
from fairlead_runtime.errors import BadInput
from fairlead_runtime.profile import ModelProfile
from fairlead_runtime.revision import TypedColumn
from fairlead_runtime.signature import Signature
from fairlead_runtime.train import search as search_module
from fairlead_runtime.train.export import onnx_inputs
from fairlead_runtime.train.job import cpu_limit, run
from fairlead_runtime.train.rows import encode_labels, to_frame
from fairlead_runtime.train.search import candidates

ROLES: dict[str, Any] = {"target": "late", "timestamp": "departs", "identifiers": ["id"]}
LOGISTIC = "sklearn.linear_model.LogisticRegression"
TREE = "sklearn.tree.DecisionTreeClassifier"


def _revision(world: World, data: str | None = None, **fields: Any) -> DatasetRevision:
    summary = world.snapshot(data or mixed_csv(), **{**ROLES, **fields})
    assert summary.valid, summary.message
    return DatasetRevision(name="rows", revision=summary.revision or "")


def _input(dataset: DatasetRevision, estimator: str = LOGISTIC, uid: str = "u1", **fields: Any) -> TrainInput:
    sklearn = {
        "estimator": estimator,
        "parameters": fields.pop("parameters", {}),
        "features": fields.pop("features", None),
    }
    defaults = {"namespace": "team", "name": "run", "uid": uid, "dataset": dataset, "model": "fraud"}
    return TrainInput.model_validate({"task": "Classification", "trainer": {"sklearn": sklearn}, **defaults, **fields})


def _fetch(world: World, digest: str, into: Path) -> Signature:
    into.mkdir(exist_ok=True)
    fetch_artifact(world.store, ArtifactRef(namespace="team", model="fraud", version="run", digest=digest), into)
    return Signature.model_validate_json((into / "signature.json").read_bytes())


def test_a_model_is_trained_exported_and_described(world: World) -> None:
    dataset = _revision(world)
    code = {"repository": "https://git.example.com/x.git", "commit": "3f2a91c"}
    summary = run(_input(dataset, code=code), world.store)
    assert summary.format == "onnx"
    assert summary.metrics["roc_auc"] > 0.85
    assert summary.lineage["dataRevision"] == dataset.revision
    assert summary.lineage["commit"] == "3f2a91c"
    signature = _fetch(world, summary.digest, world.root / "got")
    assert [(field.name, field.datatype) for field in signature.inputs] == [
        ("delay", "FP32"),
        ("stops", "FP32"),
        ("carrier", "BYTES"),
        ("weekend", "FP32"),
    ]
    assert signature.inputs[2].categories == ["AA", "B6", "UA"]
    assert (signature.classes, signature.class_type, signature.labels) == (["false", "true"], "Boolean", "Index")
    lineage = json.loads((world.root / "got" / "lineage.json").read_bytes())
    assert "numpy" in lineage["packages"]
    assert lineage["notFeatures"]["departs"].startswith("a time")
    profile = ModelProfile.from_json((world.root / "got" / "profile.json").read_bytes())
    assert list(profile.features.columns) == ["delay", "stops", "carrier", "weekend"]
    assert list(profile.predictions.columns) == ["prediction", "score"]
    assert profile.target.columns["late"].categories == ["false", "true"]  # type: ignore[union-attr]
    assert max(profile.importances, key=lambda name: profile.importances[name]) == "delay"
    assert sum(profile.importances.values()) == pytest.approx(1, abs=1e-4)


def test_the_served_file_answers_new_rows_nulls_and_unknown_values(world: World) -> None:
    summary = run(_input(_revision(world)), world.store)
    signature = _fetch(world, summary.digest, world.root / "got")
    session = onnxruntime.InferenceSession(world.root / "got" / "model.onnx")
    assert [node.name for node in session.get_inputs()] == [field.name for field in signature.inputs]
    frame = mixed_frame(3).assign(carrier=["UA", "??", ""], delay=[9.0, np.nan, -9.0])[
        ["delay", "stops", "carrier", "weekend"]
    ]
    typed = frame.astype({"delay": "float32", "stops": "float32", "weekend": "float32", "carrier": object})
    label, probability = session.run([signature.label_output, signature.probability_output], onnx_inputs(typed))
    assert label.tolist()[0] == 1
    assert label.tolist()[2] == 0
    assert probability.shape == (3, 2)


def test_the_same_input_gives_the_same_digest(world: World) -> None:
    dataset = _revision(world)
    forest = "sklearn.ensemble.RandomForestClassifier"
    parameters = {"n_estimators": 5}
    first, again = (run(_input(dataset, forest, uid, parameters=parameters), world.store) for uid in ("u1", "u2"))
    assert first.digest == again.digest
    assert run(_input(dataset, forest, "u3", parameters=parameters, seed=5), world.store).digest != first.digest


def test_an_attempt_that_has_ended_says_its_result_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = _input(_revision(world), TREE, parameters={"max_depth": 2})
    first = run(job, world.store)
    monkeypatch.setattr("fairlead_runtime.train.job.read_manifest", None)
    assert run(job, world.store) == first
    assert world.store.exists(keys.run("team", "run", "u1") + keys.RESULT)


def test_what_cannot_be_converted_is_kept_as_it_is(world: World) -> None:
    estimator = "sklearn.ensemble.HistGradientBoostingClassifier"
    dataset = _revision(world)
    first, again = (run(_input(dataset, estimator, uid, parameters={"max_iter": 3}), world.store) for uid in "ab")
    assert first.format == "joblib"
    assert first.parity.startswith("no ONNX")
    assert first.digest == again.digest


def test_a_conversion_that_answers_otherwise_is_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead_runtime.train.export.TOLERANCE", -1.0)
    summary = run(_input(_revision(world)), world.store)
    assert summary.format == "joblib"
    assert "probabilities differ" in summary.parity


def test_a_regression(world: World) -> None:
    dataset = _revision(world, target="delay")
    job = _input(dataset, "sklearn.linear_model.Ridge", task="Regression", features=["stops", "carrier", "late"])
    summary = run(job, world.store)
    assert summary.format == "onnx"
    assert set(summary.metrics) == {"r2", "mean_absolute_error", "mean_squared_error", "root_mean_squared_error"}
    signature = _fetch(world, summary.digest, world.root / "got")
    assert (signature.classes, signature.label_output, signature.probability_output) == ([], "variable", "")


def test_three_classes_and_text_labels(world: World) -> None:
    summary = run(_input(_revision(world, target="carrier"), TREE, parameters={"max_depth": 3}), world.store)
    signature = _fetch(world, summary.digest, world.root / "got")
    assert signature.classes == ["AA", "B6", "UA"]
    assert 0 < summary.metrics["roc_auc"] < 1


def test_rows_without_a_target_are_left_out(world: World) -> None:
    frame = mixed_frame().assign(late=lambda f: f["late"].astype(object))
    frame.loc[:99, "late"] = None
    dataset = _revision(world, frame.to_csv(index=False))
    summary = run(_input(dataset, TREE), world.store)
    assert summary.train_rows < 500


def _one_class(world: World) -> DatasetRevision:
    return _revision(world, mixed_frame().assign(late=True).to_csv(index=False))


@pytest.mark.parametrize(
    ("dataset", "fields", "reason", "word"),
    [
        (_one_class, {}, "SingleClass", "late"),
        (lambda w: _revision(w, target=None), {}, "TargetMissing", "spec.target"),
        (lambda w: _revision(w, mixed_csv(15)), {}, "TooFewRows", "20"),
        (lambda w: _revision(w, target="delay"), {}, "TooManyClasses", "Regression"),
        (_revision, {"task": "Regression", "estimator": "sklearn.linear_model.Ridge"}, "TargetNotNumeric", "late"),
        (_revision, {"estimator": "os.system"}, "EstimatorNotAllowed", "sklearn, lightgbm, xgboost"),
        (_revision, {"estimator": "sklearn._config.set_config"}, "EstimatorNotAllowed", "allowed"),
        (_revision, {"estimator": "sklearn.linear_model.Nothing"}, "EstimatorNotFound", "Nothing"),
        (_revision, {"estimator": "sklearn.base.clone"}, "EstimatorNotFound", "class"),
        (_revision, {"estimator": "sklearn.linear_model.Ridge"}, "EstimatorUnfit", "Classification"),
        (_revision, {"parameters": {"depth": 1}}, "InvalidParameters", "max_iter"),
        (_revision, {"parameters": {"max_iter": "many"}}, "InvalidParameters", "max_iter"),
        (_revision, {"features": ["delay", "gone"]}, "FeatureMissing", "gone"),
        (_revision, {"features": ["late"]}, "FeatureMissing", "late"),
        (lambda w: _revision(w, sensitive=["delay", "stops", "carrier", "weekend"]), {}, "NoFeatures", "features"),
        (
            _revision,
            {"search": {"metric": "beauty", "space": {"C": {"choice": [1]}}}},
            "UnknownMetric",
            "roc_auc",
        ),
        (_revision, {"search": {"metric": "accuracy", "space": {}}}, "InvalidSearch", "space"),
        (
            _revision,
            {"search": {"metric": "accuracy", "space": {"C": {"float": [0, 1], "log": True}}}},
            "InvalidSearch",
            "low",
        ),
    ],
)
def test_bad_input_has_a_reason_and_says_what_to_do(
    world: World, dataset: Any, fields: dict[str, Any], reason: str, word: str
) -> None:
    with pytest.raises(BadInput) as caught:
        run(_input(dataset(world), **fields), world.store)
    assert caught.value.reason == reason
    assert word in caught.value.message
    assert not any(entry.key.startswith(("models/", "runs/")) for entry in world.store.list(""))


# --- search -----------------------------------------------------------------------------------------------------------


def test_a_search_keeps_the_best_trial_and_tells_its_progress(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    search = {"method": "Grid", "metric": "roc_auc", "space": {"max_depth": {"choice": [1, 4]}}}
    summary = run(_input(_revision(world), TREE, search=search), world.store)
    assert summary.trials == 2
    assert json.loads(summary.parameters) == {"max_depth": 4}
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIRLEAD ")]
    assert [json.loads(line[9:])["done"] for line in lines[-2:]] == [1, 2]


def _search(**fields: Any) -> Search:
    return Search.model_validate({"metric": "accuracy", **fields})


def test_random_trials_repeat_with_their_seed_and_stay_in_range() -> None:
    space = {"a": {"int": [1, 3]}, "b": {"float": [0.001, 1], "log": True}, "c": {"choice": ["x", "null"]}}
    search = _search(space=space)
    first, again, other = ([next(it) for _ in range(300)] for it in (candidates(search, seed) for seed in (1, 1, 2)))
    assert first == again != other
    counts = [sum(trial["a"] == value for trial in first) for value in (1, 2, 3)]
    assert sum(counts) == 300
    assert min(counts) > 70  # 100 expected, standard deviation 8
    assert all(0.001 <= trial["b"] <= 1 for trial in first)
    assert sum(trial["b"] < 0.0316 for trial in first) > 110  # half of a log range: 150 expected
    assert {trial["c"] for trial in first} == {"x", None}


def test_a_grid_is_every_combination() -> None:
    space = {"a": {"int": [1, 3]}, "b": {"float": [0, 1], "gridPoints": 2}, "c": {"choice": [7]}}
    found = list(candidates(_search(method="Grid", space=space), 0))
    assert len(found) == 6
    assert {trial["a"] for trial in found} == {1, 2, 3}
    assert {trial["b"] for trial in found} == {0.0, 1.0}


def test_no_trial_starts_after_the_budget_but_one_always_runs() -> None:
    times = iter([0.0, 5.0, 11.0])
    search = _search(maxDuration="10s", trials=9, space={"a": {"int": [1, 9]}})

    def fit(parameters: dict[str, Any]) -> search_module.Trial:
        return search_module.Trial(parameters, None, {"accuracy": 0.5})

    best, ran = search_module.run_search(search, 0, fit, lambda: next(times))
    assert ran == 2
    assert best.parameters == next(candidates(search, 0))


def test_lower_is_better_for_losses() -> None:
    search = _search(method="Grid", metric="log_loss", space={"a": {"choice": [3, 1, 2]}})
    best, _ = search_module.run_search(search, 0, lambda p: search_module.Trial(p, None, {"log_loss": float(p["a"])}))
    assert best.parameters == {"a": 1}


# --- pieces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "cpus"), [("", 1), ("2", 2), ("0.5", 1), ("many", 1)])
def test_cpu_limit(monkeypatch: pytest.MonkeyPatch, text: str, cpus: int) -> None:
    monkeypatch.setenv("FAIRLEAD_CPU_LIMIT", text)
    assert cpu_limit() == cpus


def test_rows_as_a_model_takes_them() -> None:
    table = pa.table({"n": [1, None], "c": ["a", None], "b": [True, None]})
    columns = [
        TypedColumn(name=name, type=kind) for name, kind in zip("ncb", ("Integer", "Category", "Boolean"), strict=True)
    ]
    frame = to_frame(table, columns)
    assert [str(dtype) for dtype in frame.dtypes] == ["float32", "object", "float32"]
    assert frame["c"].tolist() == ["a", ""]
    assert encode_labels(pa.chunked_array([pa.array([True, False, None])]), ("false", "true")).tolist() == [1, 0, -1]


def test_changed_bytes_are_refused_with_both_digests(world: World, tmp_path: Path) -> None:
    summary = run(_input(_revision(world), TREE), world.store)
    key = keys.model("team", "fraud", summary.digest) + f"model.{summary.format}"
    world.store.put_bytes(key, b"other")
    with pytest.raises(BadInput, match="DigestMismatch") as caught:
        _fetch(world, summary.digest, tmp_path / "got")
    assert caught.value.message.count("sha256:") == 2
    world.store.delete(key)
    with pytest.raises(BadInput, match="ArtifactNotFound"):
        _fetch(world, summary.digest, tmp_path / "got")
