"""The list of checks against our server and against MLServer, as a Markdown table: `python -m tests.conformance`.

Each server is a process with the same logistic regression on text labels (iris). The clients run in an environment of
their own, and so does MLServer; `make conformance` makes both. Ends with 1 when our server fails a check.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from tests.support.served import Served, free_port, store_artifact

from fairlead.contract.data import ColumnType
from fairlead.contract.training import Task
from fairlead_runtime.signature import Input, Signature

CACHE = Path(os.environ.get("FAIRLEAD_CACHE", Path.home() / ".cache" / "fairlead"))
CLIENTS = CACHE / "conformance" / "bin" / "python"
MLSERVER = CACHE / "bench" / "mlserver" / "bin" / "mlserver"
START_S = 90.0
MODEL, VERSION = "tumor", "tumor-1"


def train() -> tuple[Any, Any]:
    """Return a model of text labels and the rows it is asked about."""
    data = load_iris()
    return LogisticRegression(max_iter=1000).fit(data.data, data.target_names[data.target]), data.data[::10]


@contextmanager
def ours(folder: Path, model: Any) -> Iterator[dict[str, Any]]:
    """Run our server and yield the target."""
    names = [f"x{i}" for i in range(model.n_features_in_)]
    signature = Signature(
        task=Task.CLASSIFICATION,
        inputs=[Input(name=name, type=ColumnType.FLOAT, datatype="FP32") for name in names],
        classes=[str(label) for label in model.classes_],
        class_type=ColumnType.CATEGORY,
        layout="Matrix",
        matrix_input="X",
        labels="Value",
        probability_output="probabilities",
    )
    one = np.zeros((1, len(names)), np.float32)
    onnx = to_onnx(model, one, options={"zipmap": False}, target_opset=18).SerializeToString()
    served = Served.of(folder, store_artifact(folder / "store", onnx, signature)).start()
    try:
        yield {"rest": served.port, "grpc": served.grpc, "input": "X", "output": "label"}
    finally:
        served.stop()


@contextmanager
def mlserver(folder: Path, model: Any) -> Iterator[dict[str, Any]]:
    """Run MLServer with its own scikit-learn runtime and yield the target."""
    joblib.dump(model, folder / "model.joblib")
    ports = {"http_port": free_port(), "grpc_port": free_port(), "metrics_port": free_port()}
    settings = {"host": "127.0.0.1", **ports, "parallel_workers": 0, "debug": False}
    described = {
        "name": MODEL,
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib", "version": VERSION},
        "versions": [VERSION],
        "platform": "scikit-learn",
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, model.n_features_in_]}],
        "outputs": [{"name": "predict", "datatype": "BYTES", "shape": [-1, 1]}],
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(described))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([MLSERVER, "start", folder], stdout=log, stderr=log, cwd=folder)
    try:
        _await(f"http://127.0.0.1:{ports['http_port']}/v2/models/{MODEL}/ready", process, folder / "log")
        yield {"rest": ports["http_port"], "grpc": ports["grpc_port"], "input": "X", "output": "predict"}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"MLServer did not become ready:\n{log.read_text()[-2000:]}")


def ask(folder: Path, target: dict[str, Any], model: Any, rows: Any) -> list[dict[str, Any]]:
    """Return what the checks found."""
    labels = [str(label) for label in model.predict(rows)]
    document = {**target, "model": MODEL, "version": VERSION, "rows": rows.tolist(), "labels": labels}
    (folder / "target.json").write_text(json.dumps(document))
    found: list[dict[str, Any]] = []
    for name in ("checks_triton.py", "checks_open_inference.py"):
        command = [CLIENTS, "-W", "ignore", Path(__file__).with_name(name), folder / "target.json"]
        done = subprocess.run(command, check=False, capture_output=True, timeout=600)
        if done.returncode:
            raise RuntimeError(done.stderr.decode()[-4000:])
        found += json.loads(done.stdout)
    return found


def table(own: list[dict[str, Any]], other: list[dict[str, Any]] | None) -> Iterator[str]:
    """Yield the lines of the table, and below it what each failure said."""
    yield "| client | check | Fairlead | MLServer |\n|---|---|---|---|"
    notes = []
    for position, check in enumerate(own):
        cells = []
        for server, found in (("Fairlead", check), ("MLServer", other[position] if other else None)):
            cells.append("-" if found is None else "yes" if found["passed"] else "no")
            if found and not found["passed"]:
                notes.append(f"{server}: {check['check']} ({check['client']}): {' '.join(found['said'].split())[:160]}")
        yield f"| {check['client']} | {check['check']} | {' | '.join(cells)} |"
    passed = [sum(check["passed"] for check in results) for results in (own, other or [])]
    yield f"\nFairlead {passed[0]} of {len(own)}" + (f", MLServer {passed[1]} of {len(own)}." if other else ".")
    yield from ("", *notes)


def main() -> int:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--own", action="store_true", help="our server alone")
    arguments = parser.parse_args()
    model, rows = train()
    found = []
    for serve in (ours,) if arguments.own else (ours, mlserver):
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work)
            with serve(folder, model) as target:
                found.append(ask(folder, target, model, rows))
    print("\n".join(table(found[0], found[1] if len(found) > 1 else None)))
    return int(not all(check["passed"] for check in found[0]))


if __name__ == "__main__":
    sys.exit(main())
