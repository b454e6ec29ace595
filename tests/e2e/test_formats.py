"""Formats beside ONNX on the real cluster: from the lake through evaluation to a service, asked over REST and gRPC."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import lightgbm
import numpy as np
import pandas as pd
import skops.io
import xgboost
from hack.demo.cluster import CONTEXT
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tests.e2e import asking, misbehaving
from tests.e2e.team import Team
from tests.support.graphs import SIGNATURE

from fairlead.contract import env, keys
from fairlead_runtime.artifact import MODEL_FILES
from fairlead_runtime.serve.protocol import PROTO, load_messages

MESSAGES = load_messages(PROTO.read_text())
ASKED = misbehaving.rows(20)


def trained(form: str, path: Path) -> Any:
    """Write a model to `path` and return its predictions of the classes' positions."""
    frame = pd.DataFrame(misbehaving.rows(200, seed=2), dtype=float)
    target = (frame["age"] > 10).astype(int)
    if form == "skops":
        model = make_pipeline(SimpleImputer(), LogisticRegression()).fit(frame, target)
        skops.io.dump(model, path)
        return model.predict(pd.DataFrame(ASKED, dtype=float))
    kind = xgboost.XGBClassifier if form == "xgboost" else lightgbm.LGBMClassifier
    model = kind(n_estimators=5, n_jobs=1).fit(frame.rename(columns=lambda name: name.replace(" ", "_")), target)
    booster = model.get_booster() if form == "xgboost" else model.booster_
    booster.save_model(path)
    return model.predict(pd.DataFrame(ASKED, dtype=float).rename(columns=lambda name: name.replace(" ", "_")))


@contextmanager
def forwarded(namespace: str, service: str) -> Iterator[int]:
    """Forward a local port to the gRPC port of a Service's pod and yield it."""
    words = ["port-forward", "-n", namespace, f"svc/{service}", f":{env.PORT_GRPC}"]
    command = ["kubectl", "--context", CONTEXT, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            yield int(re.findall(r":(\d+) ->", said)[0])
        finally:
            process.terminate()


def by_grpc(port: int) -> tuple[list[str], dict[str, str]]:
    """Return the labels of the asked rows and the answer's metadata."""
    rows = np.array([[row["age"], row["mean radius"]] for row in ASKED], dtype="<f8")
    tensor = {"name": "x", "datatype": "FP64", "shape": rows.shape}
    request = MESSAGES["ModelInferRequest"](model_name="tumor", inputs=[tensor], raw_input_contents=[rows.tobytes()])
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        message, call = infer.with_call(request.SerializeToString(), timeout=30)
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=30) == b"\x08\x01"
    raw = MESSAGES["ModelInferResponse"].FromString(message).raw_output_contents[0]
    labels = [text.decode() for text in re.findall(rb"benign|malign", raw)]
    return labels, dict(call.initial_metadata())


def test_each_format_is_evaluated_served_and_asked_over_rest_and_grpc(team: Team, tmp_path: Path) -> None:
    expected: dict[str, list[str]] = {}
    misbehaving.given_patients(team)
    for form in ("skops", "xgboost", "lightgbm"):
        path = tmp_path / MODEL_FILES[form]
        expected[form] = [SIGNATURE.classes[position] for position in trained(form, path)]
        datatype = "FP32" if form == "xgboost" else "FP64"
        inputs = [column.model_copy(update={"datatype": datatype}) for column in SIGNATURE.inputs]
        signature = SIGNATURE.model_copy(update={"inputs": inputs})
        files = {path.name: path.read_bytes(), keys.SIGNATURE: json.dumps(signature.to_json_object()).encode()}
        team.apply(misbehaving.version_of(team, form, form, files))
    for form in expected:
        team.until_ready("ModelVersion", form, 300)
        team.apply(misbehaving.service(form, name=f"{form}-tumor"))
    for form, labels in expected.items():
        team.until_ready("InferenceService", f"{form}-tumor", 180)
        rest = asking.until_answered(asking.by_service(team.namespace, f"{form}-tumor"), ASKED)
        assert json.loads(rest.text)["predictions"] == labels
        with forwarded(team.namespace, f"{form}-tumor") as port:
            found, metadata = by_grpc(port)
        assert found == labels
        assert metadata[asking.VERSION] == form
