"""`plan`: what would happen, from the same planners, with no cluster at hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.plan.serving import gateway_answers, pods_run
from tests.unit.plan.telling import FOLDER, Teller, read_story

from fairlead.api import names
from fairlead.cli.main import FAILED, main
from fairlead.cli.planning import REFUSED

Obj = dict[str, Any]
STORY = FOLDER / "inferenceservice" / "a_canary_fails_on_errors_and_its_digest_is_rejected.yaml"
PROMOTED = FOLDER / "inferenceservice" / "a_second_version_is_canaried_and_promoted.yaml"


def served() -> list[Obj]:
    """A service of which fraud-1 serves, and its children."""
    story = read_story(PROMOTED)
    teller = Teller({**story, "steps": story["steps"][:3]}, "InferenceService")
    teller.tell()
    return [dict(obj) for obj in teller.world.objects.values()]


def refused() -> list[Obj]:
    """A service that refused fraud-2."""
    teller = Teller(read_story(STORY), "InferenceService")
    teller.tell(until=lambda obj: "rejected" in (obj.get("status") or {}) and not obj["status"].get("rollout"))
    pods_run(teller.world)
    gateway_answers(teller.world)
    return [dict(obj) for obj in teller.world.objects.values()]


def approved(name: str, digest: str) -> Obj:
    status = {
        "stage": "Approved",
        "approvedAt": "2026-02-01T00:00:00Z",
        "artifact": {"digest": digest, "format": "onnx"},
    }
    spec = {"model": "fraud", "source": {"artifact": {"uri": "s3://x/y", "digest": digest}}}
    metadata = {"name": name, "namespace": "demo", "uid": name, "creationTimestamp": "2026-02-01T00:00:00Z"}
    return {"apiVersion": names.API_VERSION, "kind": "ModelVersion", "metadata": metadata, "spec": spec,
            "status": status}  # fmt: skip


def manifest(objects: list[Obj], kind: str = "InferenceService", **spec: Any) -> Obj:
    """Return what a person would apply: the object's spec with changes."""
    obj = copy.deepcopy(next(each for each in objects if each["kind"] == kind))
    metadata = {key: obj["metadata"][key] for key in ("name", "namespace")}
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "spec": {**obj["spec"], **spec}}


def planned(tmp_path: Path, capsys: pytest.CaptureFixture[str], objects: list[Obj], *manifests: Obj) -> tuple[int, str]:
    """Run the verb offline and return its exit code and what it said."""
    saved, wanted = tmp_path / "saved.yaml", tmp_path / "wanted.yaml"
    saved.write_text(yaml.safe_dump({"kind": "List", "items": objects}))
    wanted.write_text(yaml.safe_dump_all(manifests))
    before = saved.read_text()
    code = main(["plan", "-f", str(wanted), "--objects", str(saved)])
    assert saved.read_text() == before
    out, err = capsys.readouterr()
    return code, out + err


def test_a_predictor_with_more_memory_is_rolled_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = served()
    wanted = manifest(objects, predictor={"resources": {"requests": {"memory": "512Mi"}}})
    code, said = planned(tmp_path, capsys, objects, wanted)
    assert code == 0, said
    assert "InferenceService demo/fraud: Working Preparing" in said
    assert said.count("create Deployment fraud-") == 2, "a canary and its baseline"
    assert "then: 5 %, 25 %, 50 %, each with 200 requests and 30s or more" in said
    assert "about 6,400 canary requests" in said
    assert "delete" not in said


def test_what_is_so_already_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = served()
    code, said = planned(tmp_path, capsys, objects, manifest(objects))
    assert (code, "nothing to apply: it is so already" in said) == (0, True), said
    assert "create" not in said
    assert "change" not in said


def test_a_refused_version_stays_refused_until_an_override(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = refused()
    again = manifest(objects)
    code, said = planned(tmp_path, capsys, objects, again)
    assert code == REFUSED, said
    assert "Stalled RolledBack" in said
    digest = next(obj for obj in objects if obj["kind"] == "InferenceService")["status"]["rejected"][0]["digest"]
    again["metadata"]["annotations"] = {names.ANNOTATION_OVERRIDE: f"{digest} by alice: the bug was upstream"}
    code, said = planned(tmp_path, capsys, objects, again)
    assert code == 0, said
    assert "Working Preparing" in said


def test_a_new_approved_version_reaches_its_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = [*served(), approved("fraud-9", "sha256:" + "9" * 64)]
    code, said = planned(tmp_path, capsys, objects, manifest(objects))
    assert code == 0, said
    assert "create Deployment" in said


def test_a_rollback_is_told_before_it_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = read_story(PROMOTED)
    teller = Teller(story, "InferenceService")
    teller.tell()
    objects = [dict(obj) for obj in teller.world.objects.values()]
    wanted = manifest(objects)
    wanted["metadata"]["annotations"] = {names.ANNOTATION_ROLLBACK: "now"}
    code, said = planned(tmp_path, capsys, objects, wanted)
    assert code == 0, said
    assert "scale Deployment fraud-" in said


def test_a_whole_flow_from_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        {"kind": "Dataset", "metadata": {"name": "tx"},
         "spec": {"source": {"http": {"url": "https://example.com/tx.csv"}}, "format": "CSV", "target": "fraud"}},
        {"kind": "InferenceService", "metadata": {"name": "fraud"}, "spec": {"model": {"name": "fraud"}}},
    ]  # fmt: skip
    code, said = planned(tmp_path, capsys, [], *({"apiVersion": names.API_VERSION, **each} for each in given))
    assert code == 0, said
    assert "create Job tx-snapshot-" in said
    assert "InferenceService default/fraud: Working NoApprovedVersion" in said


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"rolout": {}}, "there is no field spec.rolout"),
        ({"rollout": {"deadline": "soon"}}, "spec.rollout.deadline: "),
        ({"scaling": {"minReplicas": -1}}, "spec.scaling.minReplicas: "),
    ],
)
def test_a_manifest_that_is_wrong_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: Obj, words: str
) -> None:
    objects = served()
    code, said = planned(tmp_path, capsys, objects, manifest(objects, **spec))
    assert code == FAILED
    assert words in said


def test_what_is_immutable_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = [approved("fraud-9", "sha256:" + "9" * 64)]
    code, said = planned(tmp_path, capsys, objects, manifest(objects, "ModelVersion", model="other"))
    assert code == FAILED
    assert "model is immutable: create a new ModelVersion" in said


def test_other_manifests_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    assert "left out: ConfigMap x" in planned(tmp_path, capsys, served(), manifest(served()), other)[1]
    code, said = planned(tmp_path, capsys, [], other)
    assert (code, "there is no manifest of Fairlead" in said) == (FAILED, True)
