"""A server's life: what it refuses to load, draining without a failed request, workers, capture, feedback, a model
that fails.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.support.eventually import eventually
from tests.support.graphs import MIXED, SIGNATURE, fragile, linear
from tests.support.served import REVISION, Served, store_artifact
from tests.support.wire_client import Wire

from fairlead.contract import keys
from fairlead.contract.jobs import ArtifactRef, Capture

GOOD = {"age": 12, "mean radius": 1.5}


def refused(folder: Path, artifact: ArtifactRef) -> dict[str, Any]:
    """Return the termination message of a server that ends with exit code 10."""
    server = Served.of(folder, artifact)
    with pytest.raises(RuntimeError, match="ended with 10"):
        server.start()
    return dict(json.loads((folder / "termination.json").read_text()))


def test_other_bytes_are_refused_with_both_digests(tmp_path: Path) -> None:
    artifact = store_artifact(tmp_path / "store", linear(), SIGNATURE)
    model = tmp_path / "store" / keys.model("test", "tumor", artifact.digest) / "model.onnx"
    model.write_bytes(model.read_bytes().replace(b"LinearClassifier", b"LinearClassifies"))
    said = refused(tmp_path, artifact)
    assert said["reason"] == "DigestMismatch"
    assert artifact.digest in said["message"]
    assert said["message"].count("sha256:") == 2


def test_a_pickle_needs_trust(tmp_path: Path) -> None:
    artifact = store_artifact(tmp_path / "store", b"no pickle at all", SIGNATURE, "joblib")
    assert refused(tmp_path, artifact.model_copy(update={"trust_pickle": False}))["reason"] == "PickleNotTrusted"


def test_a_graph_that_is_not_the_signatures_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, store_artifact(tmp_path / "store", linear(), MIXED))
    assert said["reason"] == "SignatureMismatch"
    assert "carrier: graph nothing, signature BYTES" in said["message"]


def captured(folder: Path, pattern: str) -> list[dict[str, Any]]:
    """Return the rows of all files that match, in the order of their names."""
    files = sorted((folder / "store").glob(pattern))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_a_model_that_raises_fails_its_own_requests_only_and_all_is_captured(tmp_path: Path) -> None:
    artifact = store_artifact(tmp_path / "store", fragile(), MIXED)
    server = Served.of(tmp_path, artifact, capture=Capture(percent=100, hash=["carrier"])).start()
    with Wire(server.port) as wire:
        good = wire.post("/predict", {"delay": None, "carrier": "UA"})
        assert (good.status, good.json["predictions"]) == (200, [True])
        lost = wire.post("/predict", {"delay": 1.5, "carrier": None})
        assert lost.status == 500
        assert "the model failed on this input" in lost.json["error"]
        assert lost.headers["x-fairlead-response-id"] in lost.json["error"]
        assert wire.post("/predict", {"delay": 1.5, "carrier": 7}).status == 400
        many = wire.post("/predict", {"rows": [{"delay": 1.0, "carrier": "AA"}, {"delay": 2.0, "carrier": "UA"}]})
        assert many.json["predictions"] == [False, True]
    with Wire(server.control) as control:
        sent = [{"id": good.json["id"], "label": True}, {"id": f"{many.json['id']}.0", "label": "FALSE"}]
        assert control.post("/feedback", sent).json == {"accepted": 2}
        outcomes = [{"id": good.json["id"], "outcome": True}, {"id": many.json["id"], "outcome": False}]
        assert control.post("/feedback", outcomes).json == {"accepted": 2}
        assert control.post("/feedback", {"id": 5, "outcome": True}).status == 400
        assert control.post("/feedback", {"id": 5, "label": True}).status == 400
        assert control.post("/feedback", {"id": "x", "label": None}).status == 400
    arm = server.arm()
    assert (arm["requests"], arm["failed"]) == (4, 1)
    assert arm["outcomes"] == {REVISION.removeprefix("sha256:")[:10]: [2, 1]}
    assert server.stop() == 0, server.log()
    rows = captured(tmp_path, "captures/test/risk/*/*/tumor-1/*.parquet")
    assert [row["id"] for row in rows] == [good.json["id"], f"{many.json['id']}.0", f"{many.json['id']}.1"]
    assert [row["in.delay"] for row in rows] == [None, 1.0, 2.0]
    assert [row["out.label"] for row in rows] == ["true", "false", "true"]
    assert rows[0]["out.probability"] == pytest.approx(0.75)
    assert rows[0]["in.carrier"] == rows[2]["in.carrier"] != "UA"
    assert rows[0]["version"] == "tumor-1"
    labels = captured(tmp_path, "captures/test/risk/*/*/feedback/*.parquet")
    assert [(row["id"], row["label"]) for row in labels] == [
        (good.json["id"], "true"),
        (f"{many.json['id']}.0", "false"),
    ]


class Load(threading.Thread):
    """Asks over and over on connections that it opens anew when they are closed after an answer."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.good = 0
        self.closes = 0
        self.problems: list[str] = []
        self.ending = threading.Event()

    def run(self) -> None:
        wire: Wire | None = None
        while not self.ending.is_set():
            try:
                wire = wire or Wire(self.port)
                answer = wire.post("/predict", GOOD)
            except ConnectionRefusedError:
                break  # nobody listens any more: what endpoints see long before in a cluster
            except OSError as error:
                self.problems.append(repr(error))
                break
            self.good += answer.status == 200
            if answer.headers.get("connection") == "close":
                self.closes += 1
                wire.close()
                wire = None
        if wire is not None:
            wire.close()


def test_a_drain_fails_no_request(tmp_path: Path) -> None:
    artifact = store_artifact(tmp_path / "store", linear(), SIGNATURE)
    server = Served.of(tmp_path, artifact, {"FAIRLEAD_DRAIN_S": "1"}, capture=Capture(percent=50)).start()
    load = [Load(server.port) for _ in range(4)]
    for one in load:
        one.start()
    asyncio.run(eventually(lambda: server.arm()["requests"] > 100, 10))
    began = time.monotonic()
    server.terminate()
    asyncio.run(eventually(lambda: b"draining" in _unready(server), 5))
    asyncio.run(eventually(lambda: all(one.closes for one in load), 5))  # answers now end their connections
    for one in load:
        one.ending.set()
        one.join(10)
    assert server.stop() == 0, server.log()
    assert time.monotonic() - began >= 1
    assert [one.problems for one in load] == [[], [], [], []]
    good = sum(one.good for one in load)
    rows = captured(tmp_path, "captures/test/risk/*/*/tumor-1/*.parquet")
    assert len(rows) == good // 2
    assert len({row["id"] for row in rows}) == len(rows)


def _unready(server: Served) -> bytes:
    with Wire(server.control) as wire:
        answer = wire.get("/readyz")
        return answer.body if answer.status == 503 else b""


def test_workers_share_the_port_and_the_counters(tmp_path: Path) -> None:
    artifact = store_artifact(tmp_path / "store", linear(), SIGNATURE)
    server = Served.of(tmp_path, artifact, workers=2).start()
    for _ in range(40):
        with Wire(server.port) as wire:
            assert wire.post("/predict", GOOD).status == 200
    asyncio.run(eventually(lambda: server.arm()["requests"] == 40, 5))
    assert server.stop() == 0, server.log()
