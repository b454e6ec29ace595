"""The Open Inference Protocol v2 as NVIDIA's clients ask it: REST with the binary extension, gRPC, and bad requests.

Run as a program in an environment that has the clients: `checks_triton.py TARGET.json`; see `listed`.
Specification: https://github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from listed import GRPC, MODEL, REST, ROWS, TARGET, VERSION, check, main, same
from tritonclient.utils import InferenceServerException

RT, GT, RAW = "tritonclient http", "tritonclient grpc", "urllib"
WRONG = ROWS[:, :-1].copy()  # a column short
INFER = f"/v2/models/{MODEL}/infer"
rest = triton_http.InferenceServerClient(REST, connection_timeout=20, network_timeout=20)


def http_input(rows: Any, datatype: str = "FP32", *, binary: bool) -> Any:
    kinds = {"FP32": "f4", "FP64": "f8", "INT32": "i4", "INT64": "i8", "UINT8": "u1", "FP16": "f2"}
    given = triton_http.InferInput(TARGET["input"], list(rows.shape), datatype)
    given.set_data_from_numpy(rows.astype(kinds[datatype]), binary_data=binary)
    return given


def labels(result: Any) -> list[str]:
    found = result.as_numpy(TARGET["output"]).reshape(-1)
    return [value.decode() if isinstance(value, bytes) else str(value) for value in found]


@check(RT, "server live and ready")
def _() -> None:
    assert rest.is_server_live()
    assert rest.is_server_ready()


@check(RT, "model ready, with and without its version")
def _() -> None:
    assert rest.is_model_ready(MODEL)
    assert rest.is_model_ready(MODEL, VERSION)


@check(RT, "a model and a version that are not there are not ready")
def _() -> None:
    assert not rest.is_model_ready("nobody")
    assert not rest.is_model_ready(MODEL, "none")


@check(RT, "server metadata: name, version, extensions")
def _() -> None:
    found = rest.get_server_metadata()
    assert isinstance(found["name"], str)
    assert isinstance(found["version"], str)
    assert all(isinstance(name, str) for name in found["extensions"])


@check(RT, "model metadata: name, versions, platform, inputs, outputs")
def _() -> None:
    for version in ("", VERSION):
        found = rest.get_model_metadata(MODEL, version)
        assert found["name"] == MODEL
        assert VERSION in found.get("versions", [VERSION])
        assert isinstance(found["platform"], str)
        tensors = [*found["inputs"], *found["outputs"]]
        assert tensors
        assert all(set(tensor) >= {"name", "datatype", "shape"} for tensor in tensors)


@check(RT, "infer: JSON in, JSON out")
def _() -> None:
    wanted = [triton_http.InferRequestedOutput(TARGET["output"], binary_data=False)]
    same(labels(rest.infer(MODEL, [http_input(ROWS, binary=False)], outputs=wanted)))


@check(RT, "infer: JSON in, the version in the path")
def _() -> None:
    wanted = [triton_http.InferRequestedOutput(TARGET["output"], binary_data=False)]
    same(labels(rest.infer(MODEL, [http_input(ROWS, binary=False)], VERSION, outputs=wanted)))


for datatype in ("FP64", "INT32", "INT64", "UINT8"):

    @check(RT, f"infer: JSON {datatype}")
    def _(datatype: str = datatype) -> None:
        wanted = [triton_http.InferRequestedOutput(TARGET["output"], binary_data=False)]
        rest.infer(MODEL, [http_input(ROWS.round(), datatype, binary=False)], outputs=wanted)


@check(RT, "binary extension: raw in, JSON out")
def _() -> None:
    wanted = [triton_http.InferRequestedOutput(TARGET["output"], binary_data=False)]
    same(labels(rest.infer(MODEL, [http_input(ROWS, binary=True)], outputs=wanted)))


@check(RT, "binary extension: JSON in, raw out")
def _() -> None:
    wanted = [triton_http.InferRequestedOutput(TARGET["output"], binary_data=True)]
    result = rest.infer(MODEL, [http_input(ROWS, binary=False)], outputs=wanted)
    same(labels(result))
    assert "binary_data_size" in result.get_output(TARGET["output"])["parameters"]


@check(RT, "binary extension: raw in, all outputs raw by binary_data_output")
def _() -> None:
    result = rest.infer(MODEL, [http_input(ROWS, binary=True)])
    same(labels(result))
    assert "binary_data_size" in result.get_output(TARGET["output"])["parameters"]


@check(RT, "binary extension: FP16, which JSON lacks")
def _() -> None:
    rest.infer(MODEL, [http_input(ROWS, "FP16", binary=True)])


@check(RT, "binary extension: 1,000 rows")
def _() -> None:
    many = np.tile(ROWS, (1000 // len(ROWS) + 1, 1))[:1000]
    assert len(labels(rest.infer(MODEL, [http_input(many, binary=True)]))) == 1000


@check(RT, "the request's id comes back")
def _() -> None:
    assert rest.infer(MODEL, [http_input(ROWS, binary=False)], request_id="my-id").get_response()["id"] == "my-id"


@check(RT, "only the requested outputs come back")
def _() -> None:
    wanted = [triton_http.InferRequestedOutput(TARGET["output"], binary_data=False)]
    found = rest.infer(MODEL, [http_input(ROWS, binary=False)], outputs=wanted).get_response()["outputs"]
    assert [output["name"] for output in found] == [TARGET["output"]]


@check(RT, "parameters of the request are taken")
def _() -> None:
    result = rest.infer(MODEL, [http_input(ROWS, binary=False)], parameters={"note": "x", "number": 5})
    same(labels(result))


def refused(status: int, ask: Callable[[], Any]) -> None:
    try:
        ask()
    except InferenceServerException as error:
        found = error
    else:
        raise AssertionError("it was answered as if nothing were wrong")
    assert found.status() in (str(status), "400"), f"{found.status()}: {found.message()}"
    assert found.message()


@check(RT, "errors: an unknown model is a 4xx with a message")
def _() -> None:
    refused(404, lambda: rest.infer("nobody", [http_input(ROWS, binary=False)]))


@check(RT, "errors: an unknown version is a 4xx with a message")
def _() -> None:
    refused(404, lambda: rest.infer(MODEL, [http_input(ROWS, binary=False)], "none"))


@check(RT, "errors: an unknown output is a 4xx with a message")
def _() -> None:
    wanted = [triton_http.InferRequestedOutput("nothing", binary_data=False)]
    refused(400, lambda: rest.infer(MODEL, [http_input(ROWS, binary=False)], outputs=wanted))


@check(RT, "errors: a shape that does not fit is a 4xx with a message")
def _() -> None:
    refused(400, lambda: rest.infer(MODEL, [http_input(WRONG, binary=False)]))


def post(body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://{REST}{INFER}", body, {"content-type": "application/json", **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def bad(body: bytes, headers: dict[str, str] | None = None) -> None:
    status, said = post(body, headers)
    assert 400 <= status < 500, f"{status}: {said}"
    assert isinstance(said, dict), said
    assert isinstance(said.get("error"), str), f"no `error` text: {said}"


ONE = {"name": TARGET["input"], "shape": [1, ROWS.shape[1]], "datatype": "FP32"}


@check(RAW, "errors: what is no JSON is a 4xx with `error`")
def _() -> None:
    bad(b"{")


@check(RAW, "errors: no inputs is a 4xx with `error`")
def _() -> None:
    bad(b"{}")


@check(RAW, "errors: fewer values than the shape says is a 4xx with `error`")
def _() -> None:
    bad(json.dumps({"inputs": [{**ONE, "data": [1.0]}]}).encode())


@check(RAW, "errors: text for FP32 is a 4xx with `error`")
def _() -> None:
    bad(json.dumps({"inputs": [{**ONE, "data": ["x"] * ROWS.shape[1]}]}).encode())


@check(RAW, "errors: an unknown datatype is a 4xx with `error`")
def _() -> None:
    bad(json.dumps({"inputs": [{**ONE, "datatype": "FP99", "data": ROWS[0].tolist()}]}).encode())


@check(RAW, "errors: raw bytes cut short are a 4xx with `error`")
def _() -> None:
    tensor = {**ONE, "parameters": {"binary_data_size": 4 * ROWS.shape[1]}}
    head = json.dumps({"inputs": [tensor]}).encode()
    bad(head + b"\0" * 5, {"Inference-Header-Content-Length": str(len(head))})


@check(RAW, "infer: data flat or nested as the shape")
def _() -> None:
    for data in (ROWS[0].tolist(), ROWS[:1].tolist()):
        status, said = post(json.dumps({"inputs": [{**ONE, "data": data}]}).encode())
        assert status == 200, said
        assert said["model_name"] == MODEL


# -- gRPC by tritonclient

calls = triton_grpc.InferenceServerClient(GRPC)


def grpc_input(rows: Any) -> Any:
    given = triton_grpc.InferInput(TARGET["input"], list(rows.shape), "FP32")
    given.set_data_from_numpy(rows)
    return given


@check(GT, "server live and ready, model ready with and without its version")
def _() -> None:
    assert calls.is_server_live()
    assert calls.is_server_ready()
    assert calls.is_model_ready(MODEL)
    assert calls.is_model_ready(MODEL, VERSION)


@check(GT, "metadata of server and model")
def _() -> None:
    assert calls.get_server_metadata().name
    found = calls.get_model_metadata(MODEL)
    assert found.name == MODEL
    assert len(found.inputs) + len(found.outputs) > 0


@check(GT, "infer: raw contents")
def _() -> None:
    same(labels(calls.infer(MODEL, [grpc_input(ROWS)], client_timeout=20)))


@check(GT, "infer: the request's id, its version, a requested output")
def _() -> None:
    wanted = [triton_grpc.InferRequestedOutput(TARGET["output"])]
    result = calls.infer(MODEL, [grpc_input(ROWS)], VERSION, wanted, request_id="my-id", client_timeout=20)
    answer = result.get_response()
    assert (answer.id, answer.model_name) == ("my-id", MODEL)
    assert [output.name for output in answer.outputs] == [TARGET["output"]]


@check(GT, "infer: 10,000 rows in one message")
def _() -> None:
    many = np.tile(ROWS, (10_000 // len(ROWS) + 1, 1))[:10_000]
    assert len(labels(calls.infer(MODEL, [grpc_input(many)], client_timeout=60))) == 10_000


def failed(codes: tuple[str, ...], ask: Callable[[], Any]) -> None:
    try:
        ask()
    except InferenceServerException as error:
        found = error
    else:
        raise AssertionError("it was answered as if nothing were wrong")
    assert found.status() in [f"StatusCode.{code}" for code in codes], f"{found.status()}: {found.message()}"
    assert found.message()


@check(GT, "errors: an unknown model is NOT_FOUND")
def _() -> None:
    failed(("NOT_FOUND",), lambda: calls.infer("nobody", [grpc_input(ROWS)], client_timeout=20))


@check(GT, "errors: an unknown version is NOT_FOUND")
def _() -> None:
    failed(("NOT_FOUND",), lambda: calls.infer(MODEL, [grpc_input(ROWS)], "none", client_timeout=20))


@check(GT, "errors: a shape that does not fit is INVALID_ARGUMENT")
def _() -> None:
    failed(("INVALID_ARGUMENT",), lambda: calls.infer(MODEL, [grpc_input(WRONG)], client_timeout=20))


@check(GT, "errors: an unknown output is INVALID_ARGUMENT")
def _() -> None:
    wanted = [triton_grpc.InferRequestedOutput("nothing")]
    failed(("INVALID_ARGUMENT",), lambda: calls.infer(MODEL, [grpc_input(ROWS)], outputs=wanted, client_timeout=20))


if __name__ == "__main__":
    main()
