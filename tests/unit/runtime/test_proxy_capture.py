"""What is captured of a user's own server: rows of the signature in every form that is read, else size and hash."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.support.eventually import eventually
from tests.support.graphs import MIXED, SIGNATURE
from tests.support.proxied import Played, Talk, proxied
from tests.support.wire_client import Wire

from fairlead.contract.jobs import Capture
from fairlead.contract.training import Task
from fairlead_runtime.proxy.bodies import BodyReader

ROWS = [(12, 1.5), (7, None)]
BY_NAME = [{"age": age, "mean radius": radius} for age, radius in ROWS]
FORMS = {
    "plain rows": {"rows": BY_NAME},
    "a list of rows": BY_NAME,
    "instances": {"instances": BY_NAME},
    "instances by place": {"instances": [list(row) for row in ROWS]},
    "a list by place": [list(row) for row in ROWS],
    "MLflow's records": {"dataframe_records": BY_NAME},
    "MLflow's split": {
        "dataframe_split": {"columns": ["mean radius", "age"], "data": [[radius, age] for age, radius in ROWS]}
    },
    "tensors by column": {
        "inputs": [
            {"name": "mean radius", "shape": [2, 1], "datatype": "FP64", "data": [[1.5], [None]]},
            {"name": "age", "shape": [2], "datatype": "INT64", "data": [12, 7]},
        ]
    },
    "one tensor": {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [[12, 1.5], [7, None]]}]},
    "one flat tensor": {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [12, 1.5, 7, None]}]},
}
FOREIGN = {
    "no JSON": None,
    "text": "rows",
    "another column": {"rows": [{"age": 1}]},
    "text for a number": {"rows": [{"age": "1", "mean radius": 2}]},
    "too few values": {"instances": [[1]]},
    "no row": {"instances": []},
    "a wrong shape": {"inputs": [{"name": "x", "shape": [3, 2], "data": [1, 2]}]},
    "not null": {"rows": [{"age": None, "mean radius": 2}]},
    "a list that is no row": [[[1, 2]], [[3, 4]]],
    "columns of two lengths": {
        "inputs": [
            {"name": "age", "shape": [1], "data": [1]},
            {"name": "mean radius", "shape": [2], "data": [1, 2]},
        ]
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_a_request_in_this_form_is_rows(form: str) -> None:
    assert BodyReader(SIGNATURE).rows(json.loads(json.dumps(FORMS[form]))) == ROWS


@pytest.mark.parametrize("form", FOREIGN)
def test_a_request_that_does_not_fit_is_none(form: str) -> None:
    assert BodyReader(SIGNATURE).rows(FOREIGN[form]) is None


def test_one_row_alone() -> None:
    assert BodyReader(SIGNATURE).rows(BY_NAME[0]) == ROWS[:1]


B, M = "benign", "malign"
ANSWERS: dict[str, tuple[Any, list[tuple[Any, Any]]]] = {
    "ours": ({"predictions": [B, M], "probabilities": [[0.75, 0.25], [0.25, 0.75]]}, [(B, 0.25), (M, 0.75)]),
    "labels": ({"predictions": [M, B]}, [(M, None), (B, None)]),
    "a list": ([M, B], [(M, None), (B, None)]),
    "scores": ({"predictions": [0.25, 0.75]}, [(None, 0.25), (None, 0.75)]),
    "scores in lists": ({"predictions": [[0.25], [0.75]]}, [(None, 0.25), (None, 0.75)]),
    "probabilities": ({"predictions": [[0.75, 0.25], [0.25, 0.75]]}, [(B, 0.25), (M, 0.75)]),
    "objects": ({"predictions": [{"label": B, "score": 0.5}, {"label": M, "score": 1}]}, [(B, 0.5), (M, 1.0)]),
    "tensors": (
        {
            "outputs": [
                {"name": "probabilities", "shape": [2, 2], "data": [0.75, 0.25, 0.25, 0.75]},
                {"name": "label", "shape": [2], "data": [B, M]},
            ]
        },
        [(B, 0.25), (M, 0.75)],
    ),
    "another number of them": ({"predictions": [B]}, [(None, None), (None, None)]),
    "another thing": ({"ok": True}, [(None, None), (None, None)]),
    "nothing": (None, [(None, None), (None, None)]),
    "words of no class": ({"predictions": ["unknown", B]}, [(None, None), (B, None)]),
}


@pytest.mark.parametrize("form", ANSWERS)
def test_an_answer_is_read_where_it_can_be_told(form: str) -> None:
    value, expected = ANSWERS[form]
    assert BodyReader(SIGNATURE).answers(value, 2) == expected


def test_a_single_answer_and_numbers() -> None:
    reader = BodyReader(SIGNATURE)
    assert reader.answers({"prediction": M, "probability": 0.9}, 1) == [(M, 0.9)]
    assert reader.answers({"prediction": M, "probabilities": [[0.25, 0.75]]}, 1) == [(M, 0.75)]
    assert reader.answers({"label": "?", "score": True}, 1) == [(None, None)]
    numbers = BodyReader(SIGNATURE.model_copy(update={"task": Task.REGRESSION, "classes": []}))
    assert numbers.answers({"predictions": [1, 2.5]}, 2) == [(1.0, None), (2.5, None)]
    assert numbers.answers({"predictions": [[1], ["x"]]}, 2) == [(1.0, None), (None, None)]


def test_classes_that_are_numbers_or_booleans() -> None:
    coded = BodyReader(SIGNATURE.model_copy(update={"classes": ["0", "1"]}))
    assert coded.answers({"predictions": [1, 0.0, 0.4]}, 3) == [(1, None), (0.0, None), (None, 0.4)]
    assert BodyReader(MIXED).answers({"predictions": [True, "FALSE"]}, 2) == [(True, None), ("FALSE", None)]


def test_a_pipelines_own_labels_are_places_in_the_classes() -> None:
    told = {"predictions": [1, 0], "probabilities": [[0.25, 0.75], [0.75, 0.25]]}
    assert BodyReader(MIXED).answers(told, 2) == [("true", 0.75), ("false", 0.25)]
    assert BodyReader(MIXED).answers({"predictions": [2, 1.0]}, 2) == [(None, None), (None, 1.0)]
    named = BodyReader(MIXED.model_copy(update={"labels": "Value"}))
    assert named.answers(told, 2) == [(None, 0.75), (None, 0.25)]


def captured(folder: Path, pattern: str) -> list[dict[str, Any]]:
    files = sorted((folder / "store").glob(f"captures/test/risk/*/*/{pattern}/*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def judge(talk: Talk) -> None:
    """A server that answers rows, and anything else with what came."""
    while True:
        head, body = talk.read_request()
        if b"/fail" in head:
            talk.answer(b"{}", "500 Internal Server Error")
        elif b"/predict" in head:
            rows = json.loads(body)["rows"]
            labels = [M if row["age"] > 10 else B for row in rows]
            talk.answer(json.dumps({"predictions": labels}).encode(), more=b"content-type: application/json\r\n")
        else:
            talk.answer(body[::-1], more=b"content-type: image/png\r\n")


def counted(arm: dict[str, Any]) -> int:
    """Return how many answers the judge may count."""
    return sum(sum(bins["counts"]) for bins in arm.get("predictions") or ())


def test_answers_are_counted_for_the_judge(tmp_path: Path) -> None:
    def score(talk: Talk) -> None:
        while True:
            _, body = talk.read_request()
            talk.answer(json.dumps({"predictions": [row["age"] / 20 for row in json.loads(body)["rows"]]}).encode())

    with Played(score) as server:
        proxy = proxied(tmp_path, server.port, capture=Capture(percent=100)).start()
        with Wire(proxy.port) as wire:
            for _ in range(5):
                wire.post("/predict", {"rows": BY_NAME})
        asyncio.run(eventually(lambda: counted(proxy.arm()) == 5, 10))  # one of each request, not of each row
        (bins,) = proxy.arm()["predictions"]
        assert bins["counts"].index(5) == 6, "0.6 lies between 0.6 and 0.7"
        assert proxy.stop() == 0, proxy.log()


def test_rows_go_where_a_monitor_finds_them_and_all_else_is_size_and_hash(tmp_path: Path) -> None:
    with Played(judge) as server:
        capture = Capture(percent=100, drop=["mean radius"], hash=["age"])
        proxy = proxied(tmp_path, server.port, capture=capture).start()
        with Wire(proxy.port) as wire:
            answer = wire.post("/predict", {"rows": BY_NAME})
            assert wire.post("/fail", {"rows": BY_NAME}).status == 500
            picture = wire.post("/classify?user=ann", b"\x89PNG" * 10, "content-type: image/png")
            long = wire.post("/classify", b"x" * 600_000)
        with Wire(proxy.control) as control:
            label = {"id": f"{answer.headers['x-fairlead-response-id']}.0", "label": M}
            assert control.post("/feedback", label).json == {"accepted": 1}
        assert proxy.arm()["failed"] == 1
        assert proxy.stop() == 0, proxy.log()
    rows = captured(tmp_path, "tumor-1")
    own = answer.headers["x-fairlead-response-id"]
    assert [row["id"] for row in rows] == [f"{own}.0", f"{own}.1"]
    assert [row["out.label"] for row in rows] == [M, B]
    assert {row["version"] for row in rows} == {"tumor-1"}
    assert "in.mean radius" not in rows[0], "an identifier is never captured"
    assert len({row["in.age"] for row in rows}) == 2
    assert all(len(row["in.age"]) == 16 for row in rows), "a sensitive column is captured as a hash"
    small, big = captured(tmp_path, "_opaque")
    assert (small["id"], big["id"]) == (
        picture.headers["x-fairlead-response-id"],
        long.headers["x-fairlead-response-id"],
    )
    assert (small["path"], small["status"], small["request.type"]) == ("/classify", 200, "image/png")
    assert (small["request.bytes"], small["answer.bytes"], small["answer.type"]) == (40, 40, "image/png")
    assert (big["request.bytes"], big["answer.bytes"]) == (600_000, 600_000)
    assert len({small["request.hash"], small["answer.hash"], big["request.hash"]}) == 3
    assert big["request.hash"] == big["answer.hash"], "the same bytes"
    assert [row["label"] for row in captured(tmp_path, "feedback")] == [M]
