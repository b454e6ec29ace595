"""Each format answers as its own library does, on the whole test split; and what a file may not hold is refused.

The server's model objects are asked the way the server asks them: by rows of checked values and by columns.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_regression
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from fairlead.contract.data import ColumnType
from fairlead.contract.training import Task
from fairlead_runtime.artifact import MODEL_FILES
from fairlead_runtime.errors import BadInput
from fairlead_runtime.serve.columns import Columns
from fairlead_runtime.serve.loading import Fetched, load
from fairlead_runtime.serve.models import Model
from fairlead_runtime.signature import Input, Signature

CANCER, WINE, DIABETES = (
    loader(as_frame=True) for loader in (load_breast_cancer, load_wine, load_diabetes)
)  # two classes; three; a number
Fit = Callable[[pd.DataFrame, Any], Any]


def parts(data: Any) -> tuple[pd.DataFrame, pd.DataFrame, NDArray[Any]]:
    """Return the training rows, the test rows with some values missing, and the training targets."""
    train, test, target, _ = train_test_split(data.data, data.target, test_size=0.4, random_state=0)
    test = test.mask(np.random.default_rng(0).random(test.shape) < 0.05)
    return train, test, target.to_numpy()


def signature(frame: pd.DataFrame, datatype: str, classes: int, **more: Any) -> Signature:
    inputs = [
        Input(name=name, type=ColumnType.FLOAT, datatype=datatype)
        if frame[name].dtype.kind == "f"
        else Input(name=name, type=ColumnType.CATEGORY, datatype="BYTES", missing="NaN")
        for name in frame.columns
    ]
    task = Task.CLASSIFICATION if classes else Task.REGRESSION
    named = [f"class {i}" for i in range(classes)]
    given = {"labels": "Index", "probability_output": "probabilities" if classes else "", **more}
    return Signature(task=task, inputs=inputs, classes=named, class_type=ColumnType.CATEGORY, **given)


def served(folder: Path, form: str, write: Callable[[Path], Any], described: Signature) -> Model:
    path = folder / MODEL_FILES[form]
    write(path)
    return load(Fetched(path, form, described, None))


def asked(model: Model, described: Signature, frame: pd.DataFrame) -> tuple[list[Any], NDArray[Any] | None]:
    """Return predictions and probabilities of every row, asked as columns; rows one by one must say the same."""
    columns = Columns(described)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    whole = model.predict(columns.rows(rows))
    single = [model.predict_rows([columns.row(row)]) for row in rows[:40]]
    one_by_one = [one.predictions[0] for one in single]
    if described.classes:
        assert one_by_one == whole.predictions[:40]
    else:  # a library may add up many rows in another order than one
        assert np.abs(np.array(one_by_one) - np.array(whole.predictions[:40])).max() < 1e-4
    if whole.probabilities is None:
        return whole.predictions, None
    found = np.asarray(whole.probabilities, dtype=np.float64)
    together = np.concatenate([np.array(one.probabilities) for one in single])
    assert np.abs(together - found[:40]).max() < 1e-6
    return whole.predictions, found


def boosters() -> list[Any]:
    cases = []
    for name, data, classes in (("two", CANCER, 2), ("three", WINE, 3), ("number", DIABETES, 0)):
        tree: dict[str, Any] = {"n_estimators": 30, "n_jobs": 1, "random_state": 0}
        x = xgboost.XGBClassifier(**tree) if classes else xgboost.XGBRegressor(**tree)
        g = lightgbm.LGBMClassifier(**tree, verbose=-1) if classes else lightgbm.LGBMRegressor(**tree, verbose=-1)
        cases.append(pytest.param("xgboost", x, data, classes, id=f"xgboost-{name}"))
        cases.append(pytest.param("lightgbm", g, data, classes, id=f"lightgbm-{name}"))
    return cases


@pytest.mark.parametrize(("form", "estimator", "data", "classes"), boosters())
def test_boosters_answer_as_their_library(tmp_path: Path, form: str, estimator: Any, data: Any, classes: int) -> None:
    train, test, target = parts(data)
    estimator.fit(train, target)
    booster = estimator.get_booster() if form == "xgboost" else estimator.booster_
    shuffled = test[list(reversed(test.columns))]  # the signature's order is not the booster's
    described = signature(shuffled, "FP32" if form == "xgboost" else "FP64", classes)
    model = served(tmp_path, form, booster.save_model, described)
    predictions, probabilities = asked(model, described, shuffled)
    expected = estimator.predict(test)
    if not classes:
        assert np.abs(np.array(predictions) - expected).max() < 1e-4  # of values up to 346, in 32 bits
        return
    assert predictions == [f"class {i}" for i in expected]
    assert np.abs(probabilities - estimator.predict_proba(test)).max() < 1e-6


def test_a_booster_that_stopped_early_predicts_with_its_best_trees(tmp_path: Path) -> None:
    train, test, target = parts(CANCER)
    estimator = xgboost.XGBClassifier(n_estimators=300, early_stopping_rounds=3, learning_rate=0.5, n_jobs=1)
    estimator.fit(train[:200], target[:200], eval_set=[(train[200:], target[200:])], verbose=False)
    assert estimator.best_iteration + 1 < estimator.get_booster().num_boosted_rounds()
    described = signature(test, "FP32", 2)
    model = served(tmp_path, "xgboost", estimator.get_booster().save_model, described)
    assert np.abs(asked(model, described, test)[1] - estimator.predict_proba(test)).max() < 1e-6


def mixed(rows: int) -> pd.DataFrame:
    """Return two numbers and two texts, each with nulls."""
    random = np.random.default_rng(rows)
    frame = pd.DataFrame(
        {
            "amount": random.normal(100, 30, rows),
            "age": random.integers(18, 90, rows).astype(float),
            "country": random.choice(["NL", "DE", "Côte d'Ivoire"], rows),
            "kind": random.choice(["a", "b", "é"], rows),
        }
    ).astype({"country": object, "kind": object})
    return frame.mask(random.random(frame.shape) < 0.1)


def mixed_pipeline(model: Any) -> Any:
    text = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?"), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    )
    number = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    return make_pipeline(ColumnTransformer([("n", number, ["amount", "age"]), ("t", text, ["country", "kind"])]), model)


def dump_skops(model: Any, path: Path) -> None:
    import skops.io  # noqa: PLC0415 - looks through all that is imported, and every worker collects this file

    skops.io.dump(model, path)


WRITERS: dict[str, Callable[[Any, Path], Any]] = {"skops": dump_skops, "joblib": joblib.dump}


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(max_iter=500), RandomForestClassifier(20, random_state=0)],
    ids=["linear", "forest"],
)
def test_pipelines_with_text_and_missing_values(tmp_path: Path, form: str, estimator: Any) -> None:
    train, test = mixed(400), mixed(401)
    target = (train["amount"].fillna(0) > 90).astype(int) + (train["kind"] == "é")
    pipeline = mixed_pipeline(estimator).fit(train, target)
    described = signature(test, "FP64", 3)
    model = served(tmp_path, form, lambda path: WRITERS[form](pipeline, path), described)
    predictions, probabilities = asked(model, described, test)
    assert predictions == [f"class {i}" for i in pipeline.predict(test)]
    assert np.abs(probabilities - pipeline.predict_proba(test)).max() < 1e-12


@pytest.mark.parametrize("form", WRITERS)
def test_what_no_converter_takes_and_regressors(tmp_path: Path, form: str) -> None:
    train, test, target = parts(CANCER)
    histogram = HistGradientBoostingClassifier(max_iter=20).fit(train, target)
    described = signature(test, "FP64", 2)
    model = served(tmp_path, form, lambda path: WRITERS[form](histogram, path), described)
    predictions, probabilities = asked(model, described, test)
    assert predictions == [f"class {i}" for i in histogram.predict(test)]
    assert np.abs(probabilities - histogram.predict_proba(test)).max() < 1e-12
    train, test, target = parts(DIABETES)
    forest = RandomForestRegressor(20, random_state=0).fit(train, target)
    described = signature(test, "FP64", 0)
    model = served(tmp_path, form, lambda path: WRITERS[form](forest, path), described)
    assert np.abs(np.array(asked(model, described, test)[0]) - forest.predict(test)).max() < 1e-9


@pytest.mark.parametrize("form", ["skops", "joblib", "onnx", "xgboost"])
def test_several_numbers_of_a_row(tmp_path: Path, form: str) -> None:
    rows, targets = make_regression(300, 5, n_targets=3, random_state=0)
    frame = pd.DataFrame(rows, columns=[f"x{i}" for i in range(5)])
    targets = targets / targets.std()
    estimator = xgboost.XGBRegressor(n_estimators=20, n_jobs=1) if form == "xgboost" else LinearRegression()
    estimator.fit(frame[:200], targets[:200])
    names = {"targets": ["left", "middle", "right"], "label_output": "variable"}
    datatype = "FP32" if form in ("onnx", "xgboost") else "FP64"
    layout = {"layout": "Matrix", "matrix_input": "X"} if form == "onnx" else {}
    described = signature(frame, datatype, 0, **names, **layout)

    def write(path: Path) -> None:
        if form == "onnx":
            path.write_bytes(to_onnx(estimator, rows[:1].astype(np.float32)).SerializeToString())
        elif form == "xgboost":
            estimator.get_booster().save_model(path)
        else:
            WRITERS[form](estimator, path)

    found = np.array(asked(served(tmp_path, form, write, described), described, frame[200:])[0])
    assert found.shape == (100, 3)
    assert np.abs(found - estimator.predict(frame[200:])).max() < 1e-5


def test_a_graph_that_names_its_classes_in_text(tmp_path: Path) -> None:
    train, test, target = parts(WINE)
    names = np.array([f"class {i}" for i in range(3)])
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(train, names[target])
    test = test.fillna(0.0)
    described = signature(test, "FP32", 3, layout="Matrix", matrix_input="X", labels="Value")

    def write(path: Path) -> None:
        graph = to_onnx(pipeline, train[:1].to_numpy(np.float32), options={"zipmap": False}, target_opset=18)
        path.write_bytes(graph.SerializeToString())

    predictions, probabilities = asked(served(tmp_path, "onnx", write, described), described, test)
    assert predictions == pipeline.predict(test).tolist()
    assert np.abs(probabilities - pipeline.predict_proba(test)).max() < 1e-5


def refused(tmp_path: Path, form: str, write: Callable[[Path], Any], described: Signature) -> str:
    with pytest.raises(BadInput) as error:
        served(tmp_path, form, write, described)
    return str(error.value)


def steal(frame: Any) -> Any:
    return frame


def test_a_skops_file_with_other_types_is_refused_by_their_names(tmp_path: Path) -> None:
    train, _, target = parts(CANCER)
    pipeline = make_pipeline(FunctionTransformer(steal), LogisticRegression(max_iter=1000)).fit(train, target)
    said = refused(tmp_path, "skops", lambda path: dump_skops(pipeline, path), signature(train, "FP64", 2))
    assert said.startswith("TypesNotTrusted: model.skops holds types that are not on the list of skops")
    assert "steal" in said


def test_what_a_file_is_not_is_said(tmp_path: Path) -> None:
    train, _, target = parts(CANCER)
    two = signature(train, "FP32", 2)
    for form in ("skops", "joblib", "xgboost", "lightgbm", "onnx"):
        said = refused(tmp_path, form, lambda path: path.write_bytes(b"no model at all"), two)
        assert said.startswith(f"ModelUnreadable: {MODEL_FILES[form]}"), said
    booster = xgboost.XGBClassifier(n_estimators=2, n_jobs=1).fit(train, target).get_booster()
    cases = [
        (signature(train, "FP32", 3), "the booster has 2 classes, signature.json 3"),
        (signature(train, "FP32", 0), "the booster's objective is binary:logistic; a regression is served with"),
        (signature(train.iloc[:, :5], "FP32", 2), "the booster has 30 features, signature.json 5"),
        (signature(train.rename(columns={"mean area": "area"}), "FP32", 2), "it lacks area"),
        (signature(train.astype({"mean area": object}), "FP32", 2), "a booster takes numbers"),
        (signature(train, "FP32", 2, labels="Value"), "write labels: Index"),
    ]
    for described, message in cases:
        assert message in refused(tmp_path, "xgboost", booster.save_model, described)
    linear = LinearRegression().fit(train, target)
    said = refused(tmp_path, "joblib", lambda path: joblib.dump(linear, path), two)
    assert "the estimator has no predict_proba" in said
