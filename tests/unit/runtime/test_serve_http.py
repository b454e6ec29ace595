"""The public port over real sockets: answers, lineage, bad input, limits, and what is counted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.support.graphs import SIGNATURE, linear
from tests.support.served import REVISION, Served, store_artifact
from tests.support.wire_client import Answer, Wire, request

from fairlead_runtime.serve.tensors import FLOATS, INTEGERS

GOOD = {"age": 12, "mean radius": 1.5}
LIMITS = {"FAIRLEAD_MAX_BODY_BYTES": "4096", "FAIRLEAD_REQUEST_S": "1"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    artifact = store_artifact(folder / "store", linear(), SIGNATURE)
    server = Served.of(folder, artifact, LIMITS, latency_threshold_ms=50).start()
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture
def wire(served: Served) -> Iterator[Wire]:
    with Wire(served.port) as connection:
        yield connection


def test_one_row_and_several_rows(wire: Wire) -> None:
    one = wire.post("/predict", GOOD)
    assert (one.status, one.json["predictions"]) == (200, ["malign"])
    assert one.json["probabilities"][0] == pytest.approx([0.1192, 0.8808], abs=1e-4)
    many = wire.post("/predict", {"rows": [GOOD, {"age": 7, "mean radius": None}, {"age": 30, "mean radius": 2}]})
    assert many.json["predictions"] == ["malign", "benign", "malign"]
    assert len(many.json["probabilities"]) == 3
    assert wire.post("/predict", {"rows": [GOOD]}).json["predictions"] == ["malign"]


def test_columns_that_the_model_does_not_take_are_ignored(wire: Wire) -> None:
    assert wire.post("/predict", {**GOOD, "transaction_id": "x"}).status == 200


def test_each_answer_says_who_made_it(served: Served, wire: Wire) -> None:
    answers = [wire.post("/predict", GOOD), wire.post("/predict", {"age": "x"}), wire.get("/nothing")]
    assert [answer.status for answer in answers] == [200, 400, 404]
    for answer in answers:
        assert answer.headers["x-fairlead-model-version"] == "tumor-1"
        assert answer.headers["x-fairlead-model-digest"] == served.document.artifact.digest
        assert answer.headers["x-fairlead-revision"] == REVISION
        assert re.fullmatch(r"5e5e5e5e5e-[0-9A-HJKMNP-TV-Z]{26}", answer.headers["x-fairlead-response-id"])
    assert answers[0].json["id"] == answers[0].headers["x-fairlead-response-id"]
    ids = [wire.post("/predict", GOOD).json["id"] for _ in range(200)]
    assert len(set(ids)) == 200


def test_a_connection_is_used_again_and_pipelined_answers_keep_their_order(wire: Wire) -> None:
    ages = [5, 15, 9, 11] * 10
    wire.send(b"".join(request("POST", "/predict", f'{{"age":{a},"mean radius":0}}'.encode()) for a in ages))
    wire.send(request("GET", "/nothing"))
    answers = [wire.read() for _ in ages]
    assert [a.json["predictions"][0] for a in answers] == ["malign" if age > 10 else "benign" for age in ages]
    assert wire.read().status == 404


def test_chunked_bodies_and_expect_continue(wire: Wire) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    wire.send(head + b'8\r\n{"age":1\r\n')
    wire.send(b'14\r\n2,"mean radius":null\r\n1\r\n}\r\n0\r\n\r\n')
    assert wire.read().json["predictions"] == ["malign"]
    body = b'{"age":12,"mean radius":0}'
    wire.send(request("POST", "/predict", body, "expect: 100-continue")[: -len(body)])
    assert wire.read().status == 100
    wire.send(body)
    assert wire.read().status == 200


BAD_ROWS: list[tuple[Any, str]] = [
    (b"", "empty body"),
    (b"{", "not JSON"),
    (b'{"age": NaN, "mean radius": 1}', "not JSON"),
    (b'{"age": 1, "mean radius": "\xff"}', "not JSON"),
    (b"[" * 3000, "not JSON"),
    (b"5", "a row is an object"),
    (b"null", "a row is an object"),
    ([GOOD], "a row is an object of column names and values, got a list"),
    ({}, "missing columns: 'age', 'mean radius'"),
    ({"age": 1, "mean_radius": 2}, "missing column: 'mean radius'; not columns of this model: 'mean_radius'"),
    ({"age": "12", "mean radius": 1}, "column 'age': expected a number, got text"),
    ({"age": None, "mean radius": 1}, "column 'age': expected a number, got null"),
    ({"age": True, "mean radius": 1}, "column 'age': expected a number, got a boolean"),
    ({"age": [1], "mean radius": 1}, "column 'age': expected a number, got a list"),
    ({"age": 1, "mean radius": {}}, "column 'mean radius': expected a number or null, got an object"),
    ({"age": 1e39, "mean radius": 1}, "column 'age': expected a number of at most 3.4e38"),
    ({"age": 1, "mean radius": -1e300}, "column 'mean radius': expected a number of at most 3.4e38"),
    ({"rows": []}, "rows: expected a list of 1 to 100000 objects, got 0 rows"),
    ({"rows": 5}, "rows: expected a list of 1 to 100000 objects, got a number"),
    ({"rows": [GOOD, 7]}, "rows[1]: a row is an object"),
    ({"rows": [GOOD, {"age": 1}]}, "rows[1]: missing column: 'mean radius'"),
    ({"rows": [GOOD, {"age": "a", "mean radius": 1}]}, "rows[1]: column 'age': expected a number, got text"),
    ({"rows": [GOOD, {"age": 1e39, "mean radius": 1}]}, "rows[1]: column 'age'"),
]


@pytest.mark.parametrize(("value", "message"), BAD_ROWS)
def test_bad_rows_are_refused_with_what_was_wrong(wire: Wire, value: Any, message: str) -> None:
    answer = wire.post("/predict", value)
    assert answer.status == 400
    assert message in answer.json["error"]
    assert wire.post("/predict", GOOD).status == 200  # the connection goes on


def infer(*tensors: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"inputs": list(tensors), **more}


AGE = {"name": "age", "shape": [2, 1], "datatype": "FP32", "data": [5, 15]}
RADIUS = {"name": "mean radius", "shape": [2], "datatype": "FP64", "data": [1.5, None]}
MATRIX = {"name": "input", "shape": [2, 2], "datatype": "FP32", "data": [5, 0, 15, 0]}
INFER = "/v2/models/tumor/infer"


def test_open_inference_protocol_answers(wire: Wire) -> None:
    answer = wire.post(INFER, infer(AGE, RADIUS, id="mine")).json
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tumor", "tumor-1", "mine")
    label, probability = answer["outputs"]
    assert label == {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["benign", "malign"]}
    assert (probability["shape"], len(probability["data"])) == ([2, 2], 4)
    for path in ("/v2/models/risk/infer", "/v2/models/tumor/versions/tumor-1/infer"):
        answer = wire.post(path, infer({**AGE, "data": [[5], [15]]}, RADIUS, outputs=[{"name": "label"}])).json
        assert [output["name"] for output in answer["outputs"]] == ["label"]


def test_one_row_is_the_same_by_every_way_to_write_it(wire: Wire) -> None:
    age, radius = {**AGE, "shape": [1], "data": [15]}, {**RADIUS, "shape": [1, 1], "data": [None]}
    matrix = {**MATRIX, "shape": [1, 2]}
    same = [
        infer(age, radius),
        infer(radius, age),
        infer({**age, "shape": [1, 1], "data": [[15]]}, radius),
        infer({**age, "datatype": "UINT8"}, radius),
        infer({**matrix, "data": [15, None]}),
        infer({**matrix, "data": [[15, None]]}),
    ]
    answers = [wire.post(INFER, value).json["outputs"] for value in same]
    assert answers[0][0]["data"] == ["malign"]
    assert all(answer == answers[0] for answer in answers)
    for wrong in (infer(age, age), infer(age, {**radius, "data": [[["x"]]]}), infer(age, {**radius, "name": ["x"]})):
        assert wire.post(INFER, wrong).status == 400


def test_one_matrix_of_all_numbers(wire: Wire) -> None:
    names = [column.model_copy(update={"nullable": True}) for column in SIGNATURE.inputs]
    assert len(names) == 2
    for data in (MATRIX["data"], [[5, 0], [15, 0]]):
        answer = wire.post(INFER, infer({**MATRIX, "data": data})).json
        assert answer["outputs"][0]["data"] == ["benign", "malign"]


def test_health_and_metadata(wire: Wire) -> None:
    assert wire.get("/v2/health/live").status == wire.get("/v2/health/ready").status == 200
    assert wire.get("/v2/models/tumor/ready").json == {"name": "tumor", "ready": True}
    assert wire.get("/v2").json["name"] == "fairlead"
    metadata = wire.get("/v2/models/tumor").json
    assert metadata["inputs"][1] == {"name": "mean radius", "datatype": "FP32", "shape": [-1, 1]}
    assert metadata["outputs"][1] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}


BAD_TENSORS: list[tuple[Any, str]] = [
    ({}, "inputs: expected a list of tensors, got null"),
    ([], "expected an object with inputs"),
    (infer(), "inputs: expected a list of tensors, got []"),
    (infer(AGE), "inputs: missing mean radius"),
    (infer(AGE, RADIUS, {**AGE, "name": "height"}), "unknown height"),
    (infer(AGE, RADIUS, AGE), "a name occurs twice"),
    (infer({**AGE, "shape": [3]}, RADIUS), "shape [3] needs 3 values, got 2"),
    (infer({**AGE, "shape": [-1]}, RADIUS), "shape: expected [rows] or [rows, columns]"),
    (infer({**AGE, "shape": [10**12, 10**12]}, RADIUS), "shape: expected [rows]"),
    (infer({**AGE, "shape": "x"}, RADIUS), "shape: expected [rows]"),
    (infer({**AGE, "datatype": "COMPLEX"}, RADIUS), "datatype: expected one of"),
    (infer({**AGE, "datatype": "BYTES"}, RADIUS), "input 'age': expected datatype FP32, FP64 or an integer type"),
    (infer({**AGE, "data": ["5", "15"]}, RADIUS), "data[0]: expected a number, got text"),
    (infer({**AGE, "data": [5, None]}, RADIUS), "data[1]: expected a number, got null"),
    (infer({**AGE, "datatype": "INT8", "data": [5, 300]}, RADIUS), "data[1]: 300 is no INT8"),
    (infer({**AGE, "datatype": "UINT64", "data": [5, 1.5]}, RADIUS), "data[1]: 1.5 is no UINT64"),
    (infer({**AGE, "datatype": "BOOL", "data": [True, 2]}, RADIUS), "data[1]: 2 is no BOOL"),
    (infer({**AGE, "data": [[5, 15]]}, RADIUS), "nested lists do not have the shape [2, 1]"),
    (infer({**AGE, "data": [5, 1e39]}, RADIUS), "at most 3.4e38"),
    (infer({**AGE, "shape": [2], "data": 5}, RADIUS), "data: expected a list, got a number"),
    (infer(AGE, {**RADIUS, "shape": [1], "data": [1]}), "expected shape [2] or [2, 1], got [1]"),
    (infer({**MATRIX, "shape": [1, 4]}), "expected shape [rows, 2], got [1, 4]"),
    (infer({**MATRIX, "datatype": "BYTES"}), "expected datatype FP32 or FP64, got BYTES"),
    (infer({**MATRIX, "data": [5, 0, True, 0]}), "data[2]: expected a number, got a boolean"),
    (infer({**MATRIX, "data": [5, 0, "15", 0]}), "data[2]: expected a number, got text"),
    (infer({**MATRIX, "data": [5, 0, [15], 0]}), "data[2]: expected a number, got a list"),
    (infer({**MATRIX, "data": [5, 0, 15, 1e39]}), "at most 3.4e38"),
    (infer({**MATRIX, "data": [5, 0, 15]}), "needs 4 values, got 3"),
    (infer({**MATRIX, "name": 5}), "name: expected text"),
    (infer(AGE, RADIUS, outputs=[{"name": "x"}]), "outputs: unknown x"),
]


@pytest.mark.parametrize(("value", "message"), BAD_TENSORS)
def test_bad_tensors_are_refused_with_what_was_wrong(wire: Wire, value: Any, message: str) -> None:
    answer = wire.post(INFER, value)
    assert answer.status == 400
    assert message in answer.json["error"]


def raw(name: str, datatype: str, shape: list[int], data: bytes) -> tuple[dict[str, Any], bytes]:
    parameters = {"binary_data_size": len(data)}
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}, data


def post_raw(wire: Wire, *tensors: tuple[dict[str, Any], bytes], **more: Any) -> Answer:
    head = json.dumps(infer(*(tensor for tensor, _ in tensors), **more)).encode()
    return wire.post(
        INFER, head + b"".join(data for _, data in tensors), f"Inference-Header-Content-Length: {len(head)}"
    )


RAW_AGE = raw("age", "INT16", [2], np.array([5, 15], "<i2").tobytes())
RAW_RADIUS = raw("mean radius", "FP64", [2, 1], np.array([1.5, np.nan], "<f8").tobytes())


def test_tensors_of_every_number_type_come_as_raw_bytes(wire: Wire) -> None:
    codes = {**FLOATS, **INTEGERS}
    for datatype, code in codes.items():
        bits = np.array([5, 15], np.float32).view("<u4") >> 16
        data = bits.astype("<u2") if datatype == "BF16" else np.array([5, 15], code)
        answer = post_raw(wire, raw("age", datatype, [2], data.tobytes()), RAW_RADIUS)
        assert answer.json["outputs"][0]["data"] == ["benign", "malign"], datatype
    assert post_raw(wire, raw("age", "BOOL", [1], b"\x01"), ({**RADIUS, "shape": [1], "data": [2]}, b"")).status == 200
    matrix = raw("x", "FP32", [3, 2], np.array([[5, 0], [15, np.nan], [9, 1]], "<f4").tobytes())
    assert post_raw(wire, matrix).json["outputs"][0]["data"] == ["benign", "malign", "benign"]
    one = raw("x", "FP32", [1, 2], np.array([[15, np.nan]], "<f4").tobytes())
    assert post_raw(wire, one).json["outputs"][0]["data"] == ["malign"]


def test_raw_and_json_tensors_mix_in_both_directions(wire: Wire) -> None:
    wanted = [{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    answer = post_raw(wire, RAW_AGE, (RADIUS, b""), outputs=wanted, id="mine")
    size = int(answer.headers["inference-header-content-length"])
    head = json.loads(answer.body[:size])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert (head["id"], head["outputs"][0]["data"]) == ("mine", ["benign", "malign"])
    assert head["outputs"][1]["parameters"] == {"binary_data_size": 16}
    json_too = wire.post(INFER, infer(AGE, RADIUS)).json["outputs"][1]["data"]
    assert np.frombuffer(answer.body[size:], "<f4").tolist() == pytest.approx(json_too, abs=1e-7)
    answer = wire.post(INFER, infer(AGE, RADIUS, parameters={"binary_data_output": True}))
    size = int(answer.headers["inference-header-content-length"])
    assert answer.body[size:].startswith(b"\x06\0\0\0benign\x06\0\0\0malign")


BAD_RAW: list[tuple[tuple[Any, ...], str]] = [
    ((RAW_AGE, raw("mean radius", "FP32", [2], b"12345")), "shape [2] of FP32 needs 8 bytes, got 5"),
    ((RAW_AGE, (RADIUS, b"12")), "the body has 6 bytes after its JSON, the inputs' binary_data_size name 4"),
    ((RAW_AGE, (RAW_RADIUS[0], b"")), "binary_data_size: expected 0 to 0"),
    (((RAW_AGE[0] | {"data": [1, 2]}, RAW_AGE[1]), RAW_RADIUS), "both data and binary_data_size"),
    ((raw("age", "FP32", [2], np.array([5, np.nan], "<f4").tobytes()), RAW_RADIUS), "got NaN (null)"),
    ((raw("age", "FP32", [2], np.array([5, np.inf], "<f4").tobytes()), RAW_RADIUS), "at most 3.4e38"),
    ((raw("age", "BOOL", [2], b"\x01\x02"), RAW_RADIUS), "a BOOL is one byte, 0 or 1; got 2"),
    ((raw("age", "BYTES", [2], b"\x09\0\0\0a"), RAW_RADIUS), "expected 2 texts"),
    ((raw("age", "BYTES", [1], b"\x01\0\0\0\xff"), RAW_RADIUS), "data[0]: not UTF-8"),
]


@pytest.mark.parametrize(("tensors", "message"), BAD_RAW)
def test_bad_raw_tensors_are_refused_with_what_was_wrong(wire: Wire, tensors: tuple[Any, ...], message: str) -> None:
    answer = post_raw(wire, *tensors)
    assert (answer.status, message in answer.json["error"]) == (400, True), answer.body
    assert wire.post("/predict", GOOD).status == 200


def test_the_length_of_the_json_before_raw_bytes_is_checked(wire: Wire) -> None:
    for length in ("0", "-1", "x", "99999", "9" * 30):
        answer = wire.post(INFER, infer(AGE, RADIUS), f"inference-header-content-length: {length}")
        assert (answer.status, "Inference-Header-Content-Length" in answer.json["error"]) == (400, True)


def test_parameters_that_would_change_the_answer_are_never_ignored(wire: Wire) -> None:
    shared = {**AGE, "parameters": {"shared_memory_region": "x", "shared_memory_byte_size": 8}}
    cases = [
        (infer(shared, RADIUS), "shared_memory_region is not served"),
        (infer(AGE, RADIUS, outputs=[{"name": "label", "parameters": {"classification": 2}}]), "classification"),
        (infer(AGE, RADIUS, parameters={"binary_data_output": 1}), "expected a boolean"),
        (infer(AGE, RADIUS, parameters=[]), "parameters: expected an object"),
        (infer(AGE, {**RADIUS, "parameters": 5}), "parameters: expected an object"),
    ]
    for value, message in cases:
        answer = wire.post(INFER, value)
        assert (answer.status, message in answer.json["error"]) == (400, True), answer.body
    known = infer({**AGE, "parameters": {"content_type": "np"}}, RADIUS, parameters={"priority": 1})
    assert wire.post(INFER, known).status == 200


def test_paths_methods_and_limits(served: Served) -> None:
    cases = [
        (request("GET", "/predict"), 405),
        (request("DELETE", "/v2"), 405),
        (request("GET", "/arm"), 404),
        (request("POST", "/feedback", b"{}"), 404),
        (request("POST", "/predict", b"x", "content-encoding: gzip"), 415),
        (request("POST", "/predict", b"x" * 5000), 413),
        (request("GET", "/" + "x" * 9000), 414),
        (request("GET", "/v2", b"", "cookie: " + "x" * 80_000), 431),
        (b"HELLO\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n", 400),
    ]
    for data, status in cases:
        with Wire(served.port) as wire:
            for start in range(0, len(data), 16_384):  # in pieces, as a network would
                wire.send(data[start : start + 16_384])
            answer = wire.read()
            assert (answer.status, bool(answer.json["error"])) == (status, True), data[:60]
            if status == 405:
                assert answer.headers["allow"] in ("GET", "POST")


def test_arm_counts_one_prediction_of_each_request_by_bins(served: Served, wire: Wire) -> None:
    before = served.arm()["predictions"][0]
    for value in (GOOD, {"rows": [GOOD] * 30}, {"age": "x"}):
        wire.post("/predict", value)
    after = served.arm()["predictions"][0]
    assert after["bins"] == before["bins"]
    assert sum(after["counts"]) - sum(before["counts"]) == 2  # not 31: rows of one request are one piece of evidence


def test_half_a_request_is_ended_with_408_and_a_reset_is_survived(served: Served) -> None:
    with Wire(served.port) as wire, Wire(served.port) as gone:
        gone.send(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
        gone.socket.close()
        wire.send(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
        answer = wire.read()
        assert answer.status == 408
        assert answer.headers["connection"] == "close"
        assert wire.closed


def test_http_1_0_and_connection_close_end_the_connection(served: Served) -> None:
    body = b'{"age":12,"mean radius":0}'
    head = f"POST /predict HTTP/1.0\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    for data in (head + body, request("POST", "/predict", body, "connection: close")):
        with Wire(served.port) as wire:
            wire.send(data)
            assert wire.read().status == 200
            assert wire.closed


def test_arm_and_metrics_count_predictions(served: Served, wire: Wire) -> None:
    before = served.arm()
    for value in (GOOD, GOOD, {"age": "x"}):
        wire.post("/predict", value)
    wire.get("/v2/health/live")
    after = served.arm()
    assert after["requests"] - before["requests"] == 3
    assert (after["failed"], after["inFlight"], after["revision"]) == (0, 0, REVISION)
    assert after["startId"] == before["startId"]
    text = served.get(served.metrics, "/metrics").decode()
    assert re.search(r'fairlead_requests_total\{service="risk",version="tumor-1",code="400"\} \d+', text)
    assert 'fairlead_request_duration_seconds_bucket{service="risk",version="tumor-1",le="0.05"}' in text
    assert 'fairlead_predictions_bucket{service="risk",version="tumor-1",le="+Inf"}' in text
    assert b"ok" in served.get(served.control, "/healthz")


def test_a_client_gets_a_cookie_for_the_revision_where_the_route_asks_for_one(wire: Wire) -> None:
    kept, odd, plain = (
        wire.post("/predict", GOOD, *headers)
        for headers in (["X-Fairlead-Sticky: /fraud"], ["x-fairlead-sticky: /; Domain=a"], [])
    )
    assert kept.status == 200
    cookie = kept.headers["set-cookie"]
    assert cookie == "fairlead-arm=5e5e5e5e5e; Path=/fraud; Max-Age=7776000; HttpOnly; SameSite=Lax"
    assert "set-cookie" not in odd.headers
    assert "set-cookie" not in plain.headers
