"""The verbs, over objects in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from fairlead.api import names
from fairlead.cli import commands
from fairlead.cli.asks import CannotAskError
from fairlead.cli.commands import OK, Session
from fairlead.cli.main import FAILED, main
from fairlead.cli.subjects import Subject, SubjectError, read_subject
from fairlead.kube.client import Client
from fairlead.kube.errors import NotFoundError

from .objects import Obj, digest, service, version, world


class Api:
    """The verbs of the client that the plugin uses; each find takes the next of `states`."""

    def __init__(self, *objects: Obj, states: tuple[Obj | None, ...] = ()) -> None:
        self.objects = {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}
        self.states = list(states)
        self.patches: list[tuple[str, str, Mapping[str, Any]]] = []

    async def get(self, resource: names.Resource, _namespace: str, name: str) -> Obj:
        if (resource.kind, name) not in self.objects:
            raise NotFoundError(f"{name} not found")
        return self.objects[resource.kind, name]

    async def find(self, _resource: names.Resource, _namespace: str, _name: str) -> Obj | None:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    async def create(self, resource: names.Resource, namespace: str, body: Mapping[str, Any]) -> Obj:
        assert (resource.kind, namespace, body["metadata"]) == ("SelfSubjectReview", "", {})
        return {"status": {"userInfo": {"username": "alice"}}}

    async def patch(self, resource: names.Resource, _namespace: str, name: str, body: Mapping[str, Any]) -> Obj:
        self.patches.append((resource.kind, name, body))
        return {}


def session(api: Api) -> tuple[Session, list[str]]:
    said: list[str] = []
    return Session(cast(Client, api), "fraud", said.append, lambda: "2026-11-21T12:00:00Z"), said


async def test_approval_is_signed_with_the_name_that_the_api_server_knows() -> None:
    api = Api(version("fraud-2", "b", evaluation={"inputDigest": digest("e")}))
    here, said = session(api)
    assert await commands.decide(here, "fraud-2", "Approved", "read the card") == OK
    kind, name, body = api.patches[0]
    assert (kind, name, body["spec"]["approval"]["by"]) == ("ModelVersion", "fraud-2", "alice")
    assert said == ["ModelVersion fraud-2 (2/2 passed) approved by alice: read the card"]


async def test_a_request_and_an_override_are_one_patch_each() -> None:
    api = Api(service(previous={"version": "fraud-1"}), version("fraud-3", "c"))
    here, said = session(api)
    assert await commands.request(here, "rollback", "fraud") == OK
    assert await commands.override(here, "fraud", "fraud-3", "mended") == OK
    assert [set(body["metadata"]["annotations"]) for _, _, body in api.patches] == [
        {names.ANNOTATION_ROLLBACK},
        {names.ANNOTATION_OVERRIDE},
    ]
    assert said[0] == "InferenceService fraud goes back to its last good revision"


async def test_a_revision_that_waits_for_a_person_is_promoted_by_name() -> None:
    waiting = service(canary={"version": "fraud-3"}, rollout={"state": "Held", "heldFor": "PromotionRequired"})
    api = Api(waiting)
    here, said = session(api)
    assert await commands.promote(here, "fraud") == OK
    assert api.patches[0][2] == {"metadata": {"annotations": {names.ANNOTATION_PROMOTE: "fraud-3"}}}
    assert said == ["InferenceService fraud promotes ModelVersion fraud-3 now"]
    with pytest.raises(CannotAskError, match="waits for no promotion"):
        await commands.promote(session(Api(service()))[0], "fraud")


async def test_why_prints_the_page() -> None:
    here, said = session(Api(*world()["InferenceService"]))
    assert await commands.show_why(here, Subject(names.INFERENCE_SERVICE, "fraud")) == OK
    assert said[0].startswith("InferenceService fraud: Stalled, RolledBack")


@pytest.mark.parametrize(
    "words", [["infsvc/fraud"], ["InferenceService", "fraud"], ["inferenceservices.fairlead.dev/fraud"]]
)
def test_a_subject_has_many_names(words: list[str]) -> None:
    assert read_subject(words) == Subject(names.INFERENCE_SERVICE, "fraud")


@pytest.mark.parametrize("words", [["fraud"], ["pod/fraud"], ["infsvc/"], ["a", "b", "c"]])
def test_other_words_are_told_what_to_write(words: list[str]) -> None:
    with pytest.raises(SubjectError, match="write"):
        read_subject(words)


def test_errors_are_one_sentence_and_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "pod/fraud"]) == FAILED
    assert capsys.readouterr().err.startswith("kubectl fairlead why: pod is no kind of Fairlead")
    assert main(["tree", "--kubeconfig", "/nowhere/config"]) == FAILED
    assert "check KUBECONFIG" in capsys.readouterr().err


def test_wrong_words_are_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["wait", "infsvc/fraud", "--timeout", "soon"])
    assert ended.value.code == FAILED
    assert "argument --timeout" in capsys.readouterr().err
