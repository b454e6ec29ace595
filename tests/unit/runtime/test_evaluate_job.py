"""The whole evaluate Job against a local store: gates, champion, idempotence, and everything that must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.frozen import NAMESPACE, freeze, publish, transactions

from fairlead.contract import keys
from fairlead.contract.base import digest_of
from fairlead.contract.env import SUMMARY_MAX_BYTES
from fairlead.contract.gates import Gate, GateOutcome, GateResult
from fairlead.contract.jobs import ArtifactRef, EvaluateInput
from fairlead.contract.training import Task
from fairlead_runtime.errors import BadInput
from fairlead_runtime.evaluate import run
from fairlead_runtime.store import LocalStore
from fairlead_runtime.summary import encode_summary

PASSED, FAILED, UNSURE = GateOutcome.PASSED, GateOutcome.FAILED, GateOutcome.INCONCLUSIVE


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_WORK_DIR", str(tmp_path))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    root = tmp_path / "store"
    root.mkdir()
    return LocalStore(root)


def gate(name: str = "g", **fields: Any) -> Gate:
    return Gate.model_validate({"name": name, **fields})


def job(
    store: LocalStore, *gates: Gate, rows: int = 1200, artifact: ArtifactRef | None = None, **more: Any
) -> EvaluateInput:
    return EvaluateInput(
        namespace=NAMESPACE,
        name="fraud-1",
        artifact=artifact or publish(store, "fraud-1"),
        dataset=freeze(store, transactions(rows)),
        gates=list(gates),
        **more,
    )


def judged(store: LocalStore, *gates: Gate, **more: Any) -> list[GateResult]:
    return run(job(store, *gates, **more), store).gates


def test_a_gate_passes_fails_or_stays_open_by_the_bounds_and_not_by_the_value(store: LocalStore) -> None:
    found = judged(
        store,
        gate("easy", metric="accuracy", min=0.7),
        gate("hard", metric="roc_auc", min=0.97),
        gate("edge", metric="accuracy", min=0.765),
        gate("both", metric="log_loss", min=0.1, max=0.9),
    )
    assert [g.outcome for g in found] == [PASSED, FAILED, UNSURE, PASSED]
    easy, hard, edge, _ = found
    assert easy.low is not None
    assert easy.limit == 0.7
    assert easy.low >= 0.7
    assert hard.high is not None
    assert hard.high < 0.97
    assert edge.low is not None
    assert edge.low < 0.765
    assert edge.missing_rows
    assert "more rows would decide" in edge.message


def test_too_few_rows_are_inconclusive_and_say_how_many_are_missing(store: LocalStore) -> None:
    found = judged(store, gate("a", metric="accuracy", min=0.1), gate("b", metric="roc_auc", min=0.1), rows=18)
    assert [(g.outcome, g.reason) for g in found] == [(UNSURE, "TooFewRows")] * 2
    assert found[0].missing_rows == 12


def test_the_champion_is_compared_on_the_same_rows(store: LocalStore) -> None:
    gates = [gate("auc", metric="roc_auc", versusChampion={"maxLoss": 0.005}),
             gate("acc", metric="accuracy", versusChampion={"maxLoss": 0.02})]  # fmt: skip
    good, poor = publish(store, "good"), publish(store, "poor", noise=4.0)
    better = judged(store, *gates, artifact=good, champion=poor)
    worse = judged(store, *gates, artifact=poor, champion=good)
    alone = judged(store, *gates, artifact=good)
    assert [g.outcome for g in better] == [PASSED, PASSED]
    assert worse[0].outcome == FAILED
    assert worse[0].value is not None
    assert better[0].value is not None
    assert worse[0].value == pytest.approx(-better[0].value, abs=1e-6)
    assert [(g.outcome, g.reason) for g in alone] == [(PASSED, "NoChampion")] * 2


def test_equal_models_lose_nothing(store: LocalStore) -> None:
    same = publish(store, "same")
    limits = (
        gate("auc", metric="roc_auc", versusChampion={}),
        gate("acc", metric="accuracy", versusChampion={"maxLoss": 0.01}),
    )
    assert [g.outcome for g in judged(store, *limits, artifact=same, champion=same)] == [PASSED, PASSED]


def test_slices_and_fairness_name_the_worst(store: LocalStore) -> None:
    found = judged(
        store,
        gate("slices", metric="recall", slices=["channel"], maxGap=0.5),
        gate("tight", metric="accuracy", slices=["channel", "age"], maxGap=0.0),
        gate("auc", metric="roc_auc", slices=["channel"], maxGap=0.2),
        gate("fair", fairness={"metric": "DemographicParityDifference", "attribute": "channel", "max": 0.3}),
        gate("by-age", fairness={"metric": "DemographicParityDifference", "attribute": "age", "max": 0.05}),
    )
    assert [g.outcome for g in found] == [PASSED, UNSURE, PASSED, PASSED, FAILED]
    assert "channel=" in found[0].message
    assert " over " in found[4].message


def test_latency_and_size_are_measured(store: LocalStore) -> None:
    speed, slow, size = judged(
        store,
        gate("speed", latency={"percentile": 50, "maxMs": 1000}),
        gate("slow", latency={"percentile": 99, "maxMs": 1e-6}),
        gate("size", artifactSize={"max": "1Ki"}),
    )
    assert (speed.outcome, slow.outcome, size.outcome) == (PASSED, FAILED, FAILED)
    assert speed.rows >= 300
    assert speed.low is not None
    assert speed.value is not None
    assert speed.low <= speed.value


def test_a_regression_is_measured_too(store: LocalStore) -> None:
    artifact = publish(store, "loss", task=Task.REGRESSION)
    document = job(store, gate(metric="r2", min=0.5), artifact=artifact)
    summary = run(document, store)
    assert summary.gates[0].outcome == PASSED
    assert set(summary.metrics) == {"r2", "mean_absolute_error", "mean_squared_error", "root_mean_squared_error"}


def test_the_same_input_is_evaluated_once_and_gives_the_same_numbers(store: LocalStore) -> None:
    document = job(store, gate(metric="roc_auc", min=0.5))
    first = run(document, store)
    folder = keys.evaluation(NAMESPACE, "fraud-1", digest_of(document))
    assert first.card_key == folder + keys.CARD
    card = json.loads(store.get_bytes(folder + keys.CARD_JSON))
    assert card["gates"][0]["outcome"] == "Passed"
    store.delete(keys.model(NAMESPACE, "fraud", document.artifact.digest) + "model.onnx")
    assert run(document, store) == first  # nothing is fetched or measured again
    assert b"<svg" in store.get_bytes(first.card_key)


def test_bootstrap_numbers_depend_on_the_input_alone(tmp_path: Path) -> None:
    results = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        results.append(run(job(LocalStore(tmp_path / name), gate(metric="f1", min=0.5)), LocalStore(tmp_path / name)))
    assert results[0] == results[1]


def test_changed_bytes_are_refused_with_both_digests(store: LocalStore) -> None:
    document = job(store)
    key = keys.model(NAMESPACE, "fraud", document.artifact.digest) + "model.onnx"
    store.put_bytes(key, store.get_bytes(key) + b" ")
    with pytest.raises(BadInput, match=document.artifact.digest) as refused:
        run(document, store)
    assert refused.value.reason == "DigestMismatch"
    assert refused.value.message.count("sha256:") == 2


def test_changed_rows_are_refused(store: LocalStore) -> None:
    document = job(store)
    key = keys.dataset_revision(NAMESPACE, "transactions", document.dataset.revision) + "data/part-test-0.parquet"
    store.put_bytes(key, store.get_bytes(key) + b" ")
    with pytest.raises(BadInput, match="DigestMismatch"):
        run(document, store)


def test_a_pickle_is_loaded_only_with_trust(store: LocalStore) -> None:
    artifact = publish(store, "pickled", form="joblib")
    with pytest.raises(BadInput, match="trustPickle"):
        run(job(store, artifact=artifact), store)


@pytest.mark.parametrize(
    ("fields", "reason", "said"),
    [
        ({"metric": "acuracy", "min": 0.5}, "UnknownMetric", "accuracy, balanced_accuracy"),
        ({"metric": "r2", "min": 0.5}, "UnknownMetric", "roc_auc"),
        ({"metric": "recall", "slices": ["chanel"], "maxGap": 0.1}, "UnknownColumn", "channel"),
        ({"fairness": {"metric": "DemographicParityDifference", "attribute": "sex", "max": 0}}, "UnknownColumn", "age"),
    ],
)
def test_a_gate_on_what_does_not_exist_is_refused(store: LocalStore, fields: Any, reason: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        run(job(store, gate("floor", **fields), rows=100), store)
    assert refused.value.reason == reason
    assert "floor" in refused.value.message


def test_columns_that_the_data_lacks_are_named(store: LocalStore) -> None:
    document = job(store)
    other = freeze(store, transactions(50).drop_columns(["age"]))
    with pytest.raises(BadInput, match="age") as refused:
        run(document.model_copy(update={"dataset": other}), store)
    assert refused.value.reason == "InputMissing"


def test_fifteen_gates_with_long_names_fit_the_termination_message(store: LocalStore) -> None:
    names = [f"{'a-very-long-name-of-a-gate-' * 3}"[:60] + f"{i:03d}" for i in range(15)]
    document = job(store, *(gate(name, metric="accuracy", min=0.7651234) for name in names))
    summary = run(document.model_copy(update={"name": "n" * 63}), store)
    assert len(encode_summary(summary)) <= SUMMARY_MAX_BYTES
    told = json.loads(encode_summary(summary))
    assert [g["name"] for g in told["gates"]] == names
    assert all(g["outcome"] == "Inconclusive" and g["limit"] for g in told["gates"])
