"""Labels that come back are held against the answers that this pod still knows, each once."""

import json
import urllib.request
from pathlib import Path

from tests.support.graphs import SIGNATURE, linear
from tests.support.served import Served, store_artifact
from tests.support.wire_client import Wire

from fairlead_runtime.serve.answered import PLACES, Answered
from fairlead_runtime.signature import Input, Signature

INPUTS = [Input(name="x", type="Float", datatype="FP32")]
NUMBERS = Signature(task="Classification", inputs=INPUTS, classes=["0", "1"], class_type="Integer")


def test_a_label_counts_once_and_only_for_a_known_answer() -> None:
    answered = Answered(2, NUMBERS)
    answered.writer(0).add("a", 1)
    answered.writer(1).add("b", 0)
    assert [answered.is_wrong(*pair) for pair in (("a", 1), ("b", "1"), ("c", 1))] == [False, True, None]
    assert [answered.is_wrong(*pair) for pair in (("a", 1), ("b", "1"))] == [None, None]


def test_a_label_that_is_no_class_was_not_predicted() -> None:
    answered = Answered(1, NUMBERS)
    answered.writer(0).add("a", 1)
    assert answered.is_wrong("a", "fraud") is True


def test_labels_are_compared_as_the_store_keeps_them() -> None:
    answered = Answered(1, Signature(task="Classification", inputs=INPUTS, classes=["False", "True"]))
    writer = answered.writer(0)
    for i, (predicted, label) in enumerate([(True, 1.0), (True, "true"), (False, "False")]):
        writer.add(str(i), predicted)
        assert answered.is_wrong(str(i), label) is (i == 0)  # 1.0 is the text of no class


def test_most_of_the_latest_answers_are_known_and_memory_is_bounded() -> None:
    answered = Answered(1, NUMBERS)
    writer = answered.writer(0)
    for i in range(3 * PLACES):
        writer.add(f"id-{i}", 1)
    latest = range(3 * PLACES - PLACES // 10, 3 * PLACES)
    known = sum(answered.is_wrong(f"id-{i}", 1) is False for i in latest)
    assert known > 0.9 * len(latest)  # exp(-0.05) of them


def _send(server: Served, labels: list[dict[str, object]]) -> None:
    url, body = f"http://127.0.0.1:{server.control}/feedback", json.dumps(labels).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, method="POST")) as answer:
        assert answer.status == 202


def test_arm_counts_labels_of_all_workers(tmp_path: Path) -> None:
    artifact = store_artifact(tmp_path / "store", linear(), SIGNATURE)
    server = Served.of(tmp_path, artifact, workers=2, labels=True).start()
    answers = []
    for _ in range(20):
        with Wire(server.port) as wire:
            answers.append(json.loads(wire.post("/predict", {"age": 12, "mean radius": 1.5}).body))
            many = json.loads(wire.post("/predict", {"rows": [{"age": 12, "mean radius": 1.5}] * 3}).body)
    labels = [{"id": each["id"], "label": each["predictions"][0]} for each in answers]
    labels[0]["label"] = "something else"
    _send(server, labels)
    _send(server, labels)  # a client that tries again
    _send(server, [{"id": f"{many['id']}.{i}", "label": many["predictions"][i]} for i in range(3)])
    arm = server.arm()
    assert (arm["labelled"], arm["wrong"]) == (21, 1)  # of the batch its first row
    assert server.stop() == 0, server.log()


def test_a_server_that_was_not_asked_to_remember_says_so(tmp_path: Path) -> None:
    artifact = store_artifact(tmp_path / "store", linear(), SIGNATURE)
    server = Served.of(tmp_path, artifact).start()
    assert server.arm().get("labelled") is None
    assert server.stop() == 0, server.log()
