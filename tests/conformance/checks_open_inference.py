"""The Open Inference Protocol v2 as its working group's clients ask it: REST read strictly, gRPC with typed contents.

Run as a program in an environment that has the clients: `checks_open_inference.py TARGET.json`; see `listed`.
By itself, because the messages of two gRPC clients have the same names, which one process cannot hold.
"""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
from listed import GRPC, MODEL, REST, ROWS, TARGET, VERSION, check, main, same
from open_inference.grpc import protocol as pb
from open_inference.grpc.service import GRPCInferenceServiceStub
from open_inference.openapi import client as openapi
from open_inference.openapi.types import InferenceRequest, RequestInput, RequestOutput

RO, GO = "open-inference openapi", "open-inference grpc"


# -- REST by open-inference-openapi, which reads answers strictly

strict = openapi.OpenInferenceClient(base_url=f"http://{REST}", timeout=20)


@check(RO, "health of server and model")
def _() -> None:
    strict.check_server_liveness()
    strict.check_server_readiness()
    strict.check_model_readiness(MODEL)
    strict.check_model_version_readiness(MODEL, VERSION)


@check(RO, "metadata of server and model")
def _() -> None:
    assert strict.read_server_metadata().name
    assert strict.read_model_metadata(MODEL).name == MODEL
    assert strict.read_model_version_metadata(MODEL, VERSION).name == MODEL


@check(RO, "infer")
def _() -> None:
    given = RequestInput(name=TARGET["input"], shape=list(ROWS.shape), datatype="FP32", data=ROWS.reshape(-1).tolist())
    request = InferenceRequest(id="mine", inputs=[given], outputs=[RequestOutput(name=TARGET["output"])])
    answer = strict.model_infer(MODEL, request=request)
    assert (answer.model_name, answer.id) == (MODEL, "mine")
    found = answer.outputs[0]
    data = found.data if isinstance(found.data, list) else found.data.__root__
    same([str(value) for value in np.array(data).reshape(-1)])


# -- gRPC by open-inference-grpc

stub = GRPCInferenceServiceStub(grpc.insecure_channel(GRPC))


def asked(datatype: str, **contents: Any) -> Any:
    tensor = pb.ModelInferRequest.InferInputTensor(name=TARGET["input"], datatype=datatype, shape=ROWS.shape)
    tensor.contents.CopyFrom(pb.InferTensorContents(**contents))
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name=TARGET["output"])]
    return pb.ModelInferRequest(model_name=MODEL, inputs=[tensor], outputs=wanted)


@check(GO, "infer: typed contents, FP32 and FP64")
def _() -> None:
    flat = ROWS.reshape(-1).tolist()
    for request in (asked("FP32", fp32_contents=flat), asked("FP64", fp64_contents=flat)):
        answer = stub.ModelInfer(request, timeout=20)
        found = answer.outputs[0].contents.bytes_contents
        same([value.decode() for value in found])


@check(GO, "infer: typed contents, INT64 and UINT8")
def _() -> None:
    flat = [int(value) for value in ROWS.reshape(-1)]
    stub.ModelInfer(asked("INT64", int64_contents=flat), timeout=20)
    stub.ModelInfer(asked("UINT8", uint_contents=flat), timeout=20)


@check(GO, "errors: fewer values than the shape says is INVALID_ARGUMENT")
def _() -> None:
    try:
        stub.ModelInfer(asked("FP32", fp32_contents=[1.0]), timeout=20)
    except grpc.RpcError as error:
        found = error
    else:
        raise AssertionError("it was answered as if nothing were wrong")
    assert found.code() is grpc.StatusCode.INVALID_ARGUMENT, f"{found.code()}: {found.details()}"


if __name__ == "__main__":
    main()
