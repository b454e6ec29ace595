"""The whole monitor Job against a local store: windows, drift, labels, performance, and what it must not say."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.frozen import NAMESPACE, publish, transactions

from fairlead.contract import keys
from fairlead.contract.drift import DataDrift, Performance, PredictionDrift
from fairlead.contract.jobs import ArtifactRef, MonitorInput, MonitorSummary
from fairlead_runtime.errors import BadInput
from fairlead_runtime.hashing import MARK
from fairlead_runtime.monitor import run
from fairlead_runtime.monitor.captured import made_at
from fairlead_runtime.monitor.performance import limit_of
from fairlead_runtime.monitor.window import rfc3339, window_of
from fairlead_runtime.serve.ids import ResponseIds
from fairlead_runtime.store import LocalStore

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
END = NOW - timedelta(minutes=10)
JOB_NAME = f"fraud-drift-{int(END.timestamp()) // 60}"


@pytest.fixture(autouse=True)
def _pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("FAIRLEAD_JOB_NAME", JOB_NAME)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    (tmp_path / "store").mkdir()
    return LocalStore(tmp_path / "store")


@pytest.fixture
def artifact(store: LocalStore) -> ArtifactRef:
    return publish(store, "fraud-1")


def job(artifact: ArtifactRef, **more: Any) -> MonitorInput:
    fields: dict[str, Any] = {
        "namespace": NAMESPACE, "name": "fraud-drift", "inference_service": "fraud", "artifact": artifact,
        "window_s": 3600, "min_rows": 200, "data": DataDrift(), "predictions": PredictionDrift(),
    }  # fmt: skip
    return MonitorInput(**{**fields, **more})


def put(store: LocalStore, folder: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    store.put_bytes(f"{folder}part-{len(store.list(folder)):03d}.parquet", buffer.getvalue())


def serve(store: LocalStore, rows: int, shift: float = 0.0, minutes_ago: float = 30, wrong: float = 0.0) -> list[str]:
    """Capture requests at one moment and return their ids; a share of answers is wrong. Labels come with `label`."""
    made, table = END - timedelta(minutes=minutes_ago), transactions(rows, seed=5, shift=shift)
    ids = ResponseIds("sha256:" + "ab" * 32)
    names = [ids.next(int(made.timestamp() * 1e9) + i) for i in range(rows)]
    score = 1 / (1 + np.exp(-(2.0 * np.array(table["amount"]) + np.array(table["age"]) - 0.3)))
    flip = np.random.default_rng(1).uniform(size=rows) < wrong
    said = np.where((score > 0.5) ^ flip, "yes", "no").tolist()
    captured = pa.table({
        "id": names,
        "time": pa.array([made] * rows, pa.timestamp("us", "UTC")),
        "version": ["fraud-1"] * rows,
        "in.amount": table["amount"],
        "in.age": table["age"],
        "out.label": said,
        "out.probability": score,
    })  # fmt: skip
    folder = keys.captures(NAMESPACE, "fraud", f"{made:%Y-%m-%d}", f"{made:%H}", "fraud-1")
    put(store, folder, captured)
    return names


def label(store: LocalStore, ids: list[str], labels: list[str], minutes_ago: float = 5) -> None:
    came = END - timedelta(minutes=minutes_ago)
    table = pa.table({"id": ids, "time": pa.array([came] * len(ids), pa.timestamp("us", "UTC")), "label": labels})
    put(store, keys.feedback(NAMESPACE, "fraud", f"{came:%Y-%m-%d}", f"{came:%H}"), table)


def truth(rows: int, shift: float = 0.0) -> list[str]:
    return [str(v) for v in transactions(rows, seed=5, shift=shift)["is_fraud"].to_pylist()]


def test_requests_like_the_training_have_not_drifted(store: LocalStore, artifact: ArtifactRef) -> None:
    serve(store, 800)
    found = run(job(artifact), store)
    assert (found.enough_rows, found.rows, found.features) == (True, 800, 2)
    assert not found.data_drift
    assert found.predictions is not None
    assert not found.predictions.drifted
    assert found.window_end == rfc3339(END)


@pytest.mark.parametrize("test", ["KS", "PSI", "JS"])
def test_a_shifted_input_and_its_predictions_have_drifted(store: LocalStore, artifact: ArtifactRef, test: str) -> None:
    serve(store, 500, shift=1.0)
    data = DataDrift.model_validate({"numeric": {"test": test, "minEffect": 0.2}})
    found = run(job(artifact, data=data), store)
    assert found.data_drift
    assert [(f.name, f.drifted) for f in found.worst] == [("amount", True), ("age", False)]
    assert (found.worst[0].p_value is None) == (test != "KS")
    assert found.worst[0].importance == 0.8
    assert found.predictions is not None
    assert found.predictions.drifted


def test_an_input_that_cannot_be_compared_is_named_and_counts_for_nothing(
    store: LocalStore, artifact: ArtifactRef
) -> None:
    serve(store, 500, shift=1.0)
    (entry,) = [entry for entry in store.list("captures/") if entry.key.endswith(".parquet")]
    table = pq.read_table(io.BytesIO(store.get_bytes(entry.key)))
    hashed = pa.field("in.amount", pa.string(), metadata={MARK: b"of some salt"})
    where = table.column_names.index("in.amount")
    table = table.set_column(where, hashed, pa.array([f"{i:016x}" for i in range(500)]))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    store.put_bytes(entry.key, buffer.getvalue())
    found = run(job(artifact), store)
    assert (found.features, found.data_drift, found.not_compared) == (1, False, "amount")
    assert b"Not compared: amount, because it is a number that is captured as a hash." in store.get_bytes(
        found.report_key
    )


def test_an_effect_under_its_limit_is_no_drift_however_small_p_is(store: LocalStore, artifact: ArtifactRef) -> None:
    serve(store, 20_000, shift=0.15)
    found = run(job(artifact), store)
    assert found.worst[0].p_value is not None
    assert found.worst[0].p_value < 1e-6
    assert not found.data_drift


def test_too_few_requests_give_no_verdict(store: LocalStore, artifact: ArtifactRef) -> None:
    serve(store, 150, shift=3.0)
    found = run(job(artifact), store)
    assert (found.enough_rows, found.rows, found.data_drift) == (False, 150, False)
    assert found.worst == []
    assert found.predictions is None
    assert b"Too few requests to say" in store.get_bytes(found.report_key)


def test_only_requests_of_the_window_and_after_the_promotion_count(store: LocalStore, artifact: ArtifactRef) -> None:
    serve(store, 300, minutes_ago=30)
    serve(store, 400, minutes_ago=50)
    serve(store, 500, minutes_ago=90)
    serve(store, 600, minutes_ago=-5)  # after the scheduled minute
    promoted = rfc3339(END - timedelta(minutes=40))
    assert run(job(artifact), store).rows == 700
    late = run(job(artifact, name="other", not_before=promoted), store)
    assert (late.rows, late.window_start) == (300, promoted)


def performance(found: MonitorSummary) -> Any:
    assert found.performance is not None
    return found.performance


def test_performance_drops_only_on_the_bound(store: LocalStore, artifact: ArtifactRef) -> None:
    ids = serve(store, 900, wrong=0.3)
    label(store, ids, truth(900))
    asked = {"reference_metric": 0.8, "performance": Performance(metric="accuracy", drop_percent=5)}
    dropped = performance(run(job(artifact, **asked), store))
    assert dropped.dropped
    assert dropped.labels == 900
    assert dropped.high < 0.76
    lenient = Performance(metric="accuracy", drop_percent=25)
    assert not performance(run(job(artifact, name="b", performance=lenient, reference_metric=0.8), store)).dropped


def test_few_labels_prove_nothing(store: LocalStore, artifact: ArtifactRef) -> None:
    ids = serve(store, 300, wrong=1.0)
    label(store, ids[:20], truth(300)[:20])
    found = performance(run(job(artifact, performance=Performance(min=0.9)), store))
    assert (found.dropped, found.value, found.labels) == (False, None, 20)
    assert "more are needed" in found.message


def test_labels_join_requests_of_earlier_windows_and_the_last_label_holds(
    store: LocalStore, artifact: ArtifactRef
) -> None:
    old = serve(store, 200, minutes_ago=600)
    serve(store, 300)
    said = truth(200)
    label(store, old, ["no" if v == "yes" else "yes" for v in said], minutes_ago=20)
    label(store, old, said, minutes_ago=10)
    label(store, ["not-one-of-ours", "abcdefabcd-01ZZZ"], ["yes", "no"])
    found = performance(run(job(artifact, performance=Performance(min=0.5)), store))
    assert found.labels == 200
    assert found.value > 0.7
    after = job(artifact, name="b", performance=Performance(min=0.5), not_before=rfc3339(END - timedelta(hours=2)))
    assert performance(run(after, store)).labels == 0


def test_label_drift_is_told_apart_from_prediction_drift(store: LocalStore, artifact: ArtifactRef) -> None:
    ids = serve(store, 600)
    label(store, ids, ["yes" if i % 10 else "no" for i in range(600)])
    found = run(job(artifact), store)
    assert found.label_drift is not None
    assert found.label_drift.drifted
    assert not found.data_drift


def test_an_unknown_metric_is_refused(store: LocalStore, artifact: ArtifactRef) -> None:
    serve(store, 300)
    with pytest.raises(BadInput, match="balanced_accuracy") as refused:
        run(job(artifact, performance=Performance(metric="acuracy", min=0.5)), store)
    assert refused.value.reason == "UnknownMetric"


def test_a_window_is_reported_once_and_quotes_no_id(store: LocalStore, artifact: ArtifactRef) -> None:
    ids = serve(store, 300, shift=1.0)
    label(store, ids, truth(300, shift=1.0))
    document = job(artifact, performance=Performance(min=0.5))
    first = run(document, store)
    serve(store, 500)
    assert run(document, store) == first
    assert first.report_key == keys.report(NAMESPACE, "fraud-drift", f"{END:%Y%m%dT%H%M}Z") + keys.REPORT_HTML
    told = store.get_bytes(first.report_key) + store.get_bytes(first.report_key.replace("html", "json"))
    assert not any(response_id.encode() in told for response_id in ids)
    assert json.loads(store.get_bytes(first.report_key.replace("html", "json")))["features"][0]["drift"]["drifted"]


def test_an_artifact_without_a_profile_is_refused(store: LocalStore, artifact: ArtifactRef) -> None:
    folder = keys.model(NAMESPACE, "fraud", artifact.digest)
    store.put_bytes(folder + keys.PROFILE, b"{}")
    with pytest.raises(BadInput, match="NoProfile"):
        run(job(artifact), store)


def test_the_window_ends_at_the_scheduled_minute_and_never_before_it_begins() -> None:
    window = window_of(JOB_NAME, NOW, 86400, None)
    assert (window.start, window.end) == (END - timedelta(days=1), END)
    assert len(window.hours()) in (24, 25)
    assert window_of("by-hand", NOW, 60, None).end == NOW
    assert window_of("model-20240101", NOW, 60, None).end == NOW  # a date, not minutes
    empty = window_of(JOB_NAME, NOW, 3600, rfc3339(NOW))
    assert empty.start == empty.end
    assert empty.hours() == []


def test_an_id_tells_when_its_response_was_made() -> None:
    made = made_at(ResponseIds("sha256:" + "cd" * 32).next(1_780_000_000_123_000_000))
    assert made is not None
    assert made.timestamp() == pytest.approx(1_780_000_000.123)
    assert made_at("no id at all") is None
    assert made_at("") is None


@pytest.mark.parametrize(
    ("spec", "limit"),
    [
        (Performance(metric="accuracy", min=0.8), 0.8),
        (Performance(metric="accuracy", drop_percent=5), 0.855),
        (Performance.model_validate({"metric": "accuracy", "dropPercent": 5, "dropIs": "Absolute"}), 0.85),
        (Performance(metric="accuracy", min=0.86, drop_percent=5), 0.86),
        (Performance(metric="log_loss", min=0.5, drop_percent=50), 0.5),
        (Performance(metric="log_loss", drop_percent=10), 0.99),
        (Performance(metric="accuracy"), None),
    ],
)
def test_the_strictest_limit_holds(spec: Performance, limit: float | None) -> None:
    assert limit_of(spec, 0.9) == (limit if limit is None else pytest.approx(limit))
