"""`lineage`: from what a client has of an answer back to the data."""

from __future__ import annotations

import argparse
import io
import json
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from fairlead.api import names
from fairlead.cli.lineage import UnknownAnswerError, find_answer, read_answer
from fairlead.cli.tracing import lineage
from fairlead_runtime.serve.ids import ResponseIds

from .objects import R1, Obj, dataset, digest, run, service, version
from .test_commands import Api, session

REVISION = "sha256:" + "ab" * 32
AT = datetime(2026, 11, 21, 12, 0, 1, tzinfo=UTC)
ID = ResponseIds(REVISION).next(int(AT.timestamp() * 1e9))
PARAMETERS = '{"max_iter": 200}'
MADE = {
    "dataset": "tx", "dataRevision": R1, "repository": "https://git.example.com/fraud.git", "commit": "3f2a91c",
    "image": "fairlead-jobs:1", "imageDigest": digest("9"), "seed": "7", "parameters": PARAMETERS,
    "trainingRun": "fraud-2",
}  # fmt: skip
GATE = {"name": "floor", "outcome": "Passed", "message": "accuracy 0.91, limit 0.85"}
APPROVAL = {"required": True, "decision": "Approved", "by": "alice", "reason": "read the card"}


def revision(**more: Any) -> Obj:
    known = {"version": "fraud-2", "digest": digest("b"), "revision": REVISION, "name": "fraud-abababababab"}
    return {**known, "image": "fairlead-server:1", **more}


def approved() -> Obj:
    return version("fraud-2", "b", APPROVAL, lineage=MADE, gates=[GATE], approvedAt="2026-11-21T11:40:00Z")


class Cluster(Api):
    async def find(self, resource: names.Resource, _namespace: str, name: str) -> Obj | None:
        return self.objects.get((resource.kind, name))

    async def pages(self, resource: names.Resource, _namespace: str | None = None) -> Any:
        found = [obj for (kind, _), obj in self.objects.items() if kind == resource.kind]
        yield argparse.Namespace(items=found)


def given(answer: str, output: str = "text") -> argparse.Namespace:
    return argparse.Namespace(answer=answer, all_namespaces=False, output=output)


async def told(answer: str, *objects: Obj) -> str:
    here, said = session(Cluster(*objects))
    await lineage(here, given(answer))
    return said[0]


async def test_from_a_response_id_to_data_code_parameters_image_gates_and_approver() -> None:
    page = await told(ID, service(stable=revision()), approved(), run("fraud-2"), dataset())
    for words in (
        "Made at 2026-11-21T12:00:01Z", REVISION, "InferenceService fraud/fraud: stable", "fairlead-server:1",
        "ModelVersion fraud-2 of model fraud", digest("b"), "Passed floor: accuracy 0.91", "Approved by alice: read",
        f"Dataset tx revision {R1}", "commit: 3f2a91c", PARAMETERS, f"imageDigest: {digest('9')}", "seed: 7",
    ):  # fmt: skip
        assert words in page, page


async def test_all_headers_of_an_answer_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = f"HTTP/1.1 200 OK\r\nServer: x\r\nX-Fairlead-Response-Id: {ID}\r\nx-fairlead-model-version: fraud-2\r\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(headers))
    assert "InferenceService fraud/fraud: stable" in await told("-", service(stable=revision()), approved())


async def test_an_answer_of_a_users_own_container_names_its_image() -> None:
    own = revision(predictor={"container": {"image": "example.com/fraud@sha256:11"}})
    page = await told(ID, service(stable=own), approved())
    assert "Container image example.com/fraud@sha256:11" in page
    assert "Proxy image fairlead-server:1" in page


async def test_a_row_of_a_batch_names_its_answer() -> None:
    assert read_answer(f"{ID}.17").at == AT


async def test_a_version_that_a_later_rollout_replaced_is_remembered() -> None:
    line = {"version": "fraud-2", "digest": digest("b"), "revision": REVISION, "outcome": "Promoted", "endedAt": "then"}
    page = await told(ID, service(history=[line]), approved())
    assert "InferenceService fraud/fraud: Promoted at then" in page
    assert "Dataset is gone" in page


async def test_a_version_made_again_with_other_bytes_is_a_mismatch() -> None:
    page = await told(ID, service(stable=revision(digest=digest("a"))), approved())
    assert f"MISMATCH: the answer's bytes were {digest('a')}" in " ".join(page.split())


async def test_json_for_programs() -> None:
    here, said = session(Cluster(service(stable=revision()), approved()))
    await lineage(here, given("fraud-2", "json"))
    assert json.loads(said[0])["Parameters"] == [PARAMETERS]


async def test_an_answer_that_nobody_remembers_says_where_to_look() -> None:
    with pytest.raises(UnknownAnswerError, match="no service here remembers revision abababababab"):
        find_answer([service()], read_answer("ab" * 6))
    with pytest.raises(UnknownAnswerError, match="nothing in namespace fraud is called fraud-9"):
        await told("fraud-9", service())


@pytest.mark.parametrize("words", ["", "What?", "../../etc", "ABABABABAB-01JABCDEFGHJKMNPQRSTVWXYZ0"])
def test_other_words_are_refused(words: str) -> None:
    with pytest.raises(UnknownAnswerError, match="is no answer of ours"):
        read_answer(words)
