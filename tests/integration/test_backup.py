"""`kubectl fairlead backup` and `restore` against a real API server: everything deleted, and back as it was.

The operator runs all the time. There is no kubelet and no garbage collector, so the test plays them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import Audit, Start
from tests.integration.test_inferenceservice import (
    NAME,
    READY,
    approve,
    crashed,
    deployment_of,
    put_pods,
    service_of,
    wait_for,
)
from tests.integration.test_process import DATASET_SPEC, own
from tests.integration.test_shell import settled
from tests.support.eventually import eventually

from fairlead.api import names
from fairlead.api.conditions import find_condition
from fairlead.api.dataset import DatasetSpec
from fairlead.api.names import DATASET, DRIFT_MONITOR, INFERENCE_SERVICE, MODEL_VERSION, TRAINING_RUN, Resource
from fairlead.app.main import CONTROLLERS
from fairlead.cli import commands
from fairlead.cli.saved import REPORT_UNKNOWN
from fairlead.kube.client import Client
from fairlead.kube.errors import ConflictError, NotFoundError, UnreachableError
from fairlead.plan.dataset import spec_digest
from fairlead.plan.versions import LABEL_OWNER_UID

REPORT = f"rollouts/x/{NAME}/20260101T000000Z-fraud-2/report.html"
REVISION = f"sha256:{7:064x}"
AT = "2026-01-01T00:00:00Z"
CHILDREN = (names.JOB, names.CRON_JOB, names.POD, names.SERVICE, names.DEPLOYMENT, names.AUTOSCALER,
            names.DISRUPTION_BUDGET)  # fmt: skip
RUN_SPEC = {
    "dataset": {"name": "tx"},
    "model": NAME,
    "trainer": {"sklearn": {"estimator": "sklearn.linear_model.LogisticRegression"}},
}


async def given(api: Client, kind: Resource, namespace: str, name: str, spec: Any, status: Any, **labels: str) -> None:
    """Make an object as the operator left it long ago."""
    body = own(kind, name, namespace, spec)
    body["metadata"] |= {"annotations": {names.ANNOTATION_RESTORING: AT}, "labels": labels}
    made = await api.create(kind, namespace, body)
    place = {"name": name, "namespace": namespace}
    head = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": place}
    await api.apply(kind, namespace, {**head, "status": {"observedGeneration": 1, **status}}, status=True)
    await api.patch(kind, namespace, name, {"metadata": {"annotations": {names.ANNOTATION_RESTORING: None}}})
    assert made["metadata"]["uid"]


def ready(reason: str, status: str = "True", **others: str) -> list[dict[str, Any]]:
    said = {"reason": reason, "message": "m", "observedGeneration": 1, "lastTransitionTime": AT}
    return [{"type": t, "status": s, **said} for t, s in {"Ready": status, **others}.items()]


async def given_a_past(api: Client, namespace: str) -> None:
    """A Dataset that was read, a run that succeeded, one that failed, a version that a gate refused."""
    tick = f"{spec_digest(DatasetSpec.model_validate(DATASET_SPEC))}//"
    check = {"at": AT, "tick": tick, "valid": True, "reason": "Valid", "message": ""}
    read = {"revision": REVISION, "rows": 10, "tick": tick, "tickAt": AT, "lastCheck": check}
    known = [{"revision": REVISION, "at": AT, "rows": 10}]
    await given(api, DATASET, namespace, "tx", DATASET_SPEC, {**read, "revisions": known, "conditions": ready("Valid")})
    pinned = {"dataset": {"name": "tx", "revision": REVISION}}
    ended = {**pinned, "outcome": "Succeeded", "modelVersion": "fraud-1", "conditions": ready("Succeeded")}
    ended["artifact"] = {"digest": f"sha256:{1:064x}", "format": "onnx", "sizeBytes": 10}
    await given(api, TRAINING_RUN, namespace, "fraud-1", RUN_SPEC, ended)
    failed = {"reason": "ProgramFailed", "message": "exit code 3"}
    lost = {**pinned, "outcome": "Failed", "failure": failed}
    conditions = ready("ProgramFailed", "False", Stalled="True")
    await given(api, TRAINING_RUN, namespace, "broken", RUN_SPEC, {**lost, "conditions": conditions})
    refusal = {"reason": "GateFailed", "message": "accuracy 0.5 is under 0.9", "at": AT}
    version = {"model": NAME, "source": {"trainingRun": {"name": "fraud-1"}}}
    conditions = ready("GateFailed", "False", Stalled="True")
    status = {"refusal": refusal, "stage": "Rejected", "conditions": conditions}
    run = await api.get(TRAINING_RUN, namespace, "fraud-1")
    label = {LABEL_OWNER_UID: run["metadata"]["uid"]}
    await given(api, MODEL_VERSION, namespace, "unfit", version, status, **label)


async def given_a_service_that_refused(api: Client, namespace: str) -> dict[str, Any]:
    """Version 1 serves, version 2 crashed and was refused; return the Deployment that serves."""
    spec = {"model": {"name": NAME}, "scaling": {"minReplicas": 1, "maxReplicas": 2}}
    await api.create(INFERENCE_SERVICE, namespace, own(INFERENCE_SERVICE, NAME, namespace, spec))
    await approve(api, namespace, 1)
    first = await deployment_of(api, namespace, "canary")
    await put_pods(api, namespace, first, READY)
    await wait_for(api, namespace, "Serving")
    await approve(api, namespace, 2)
    baseline, canary = [await deployment_of(api, namespace, role) for role in ("baseline", "canary")]
    await put_pods(api, namespace, baseline, READY)
    await put_pods(api, namespace, canary, crashed(restarts=2))
    await wait_for(api, namespace, "RolledBack")
    monitor = {"inferenceService": {"name": NAME}, "schedule": "0 0 1 1 *", "window": "24h"}
    await api.create(DRIFT_MONITOR, namespace, own(DRIFT_MONITOR, NAME, namespace, monitor))

    async def refused() -> bool:
        version = await api.get(MODEL_VERSION, namespace, "fraud-2")
        monitor = await api.get(DRIFT_MONITOR, namespace, NAME)
        return bool(version["status"].get("rejectedBy") and find_condition(monitor, "Ready"))

    await eventually(refused, 20)
    return first


async def report_written(api: Client, namespace: str) -> None:
    """Be Job controller and kubelet: the Job of the rollout's report ends well, and the service says where it lies."""

    async def begun() -> dict[str, Any] | None:
        jobs = await all_of(api, names.JOB, namespace)
        return next((job for job in jobs if job["metadata"]["labels"][names.LABEL_ROLE] == "report"), None)

    job = await eventually(begun, 20, what="the report's Job is there")
    assert job is not None
    await end_well(api, namespace, job, {"kind": "Report", "version": 1, "reportKey": REPORT})

    async def recorded() -> bool:
        status = (await service_of(api, namespace))["status"]
        return any(line.get("report") == REPORT for line in status["history"]) and not status.get("reports")

    await eventually(recorded, 20, what="the report is on record")


async def end_well(api: Client, namespace: str, job: dict[str, Any], summary: dict[str, Any]) -> None:
    template, name = job["spec"]["template"], job["metadata"]["name"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}
    labels = {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": name}
    metadata = {"name": f"{name}-x", "namespace": namespace, "labels": labels, "ownerReferences": [owner]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    await api.create(names.POD, namespace, pod)
    ended = {"exitCode": 0, "reason": "Completed", "message": json.dumps(summary)}
    state = {"name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    said = {"phase": "Succeeded", "containerStatuses": [{**state, "state": {"terminated": ended}}]}
    head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}-x"}}
    await api.apply(names.POD, namespace, {**head, "status": said}, status=True)
    conditions = [{"type": type_, "status": "True", "reason": "Done"} for type_ in ("SuccessCriteriaMet", "Complete")]
    done = {"startTime": AT, "completionTime": AT, "succeeded": 1, "conditions": conditions}
    head = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}}
    await api.apply(names.JOB, namespace, {**head, "status": done}, status=True)


async def all_of(api: Client, resource: Resource, namespace: str) -> list[dict[str, Any]]:
    return [item async for page in api.pages(resource, namespace) for item in page.items]


async def delete_all(api: Client, resource: Resource, namespace: str) -> bool:
    """Delete what there is of a resource, and say whether nothing was; what changes meanwhile goes the next time."""
    left = await all_of(api, resource, namespace)
    for obj in left:
        with contextlib.suppress(ConflictError, NotFoundError):
            await api.delete(resource, obj)
    return not left


async def delete_everything(api: Client, namespace: str) -> None:
    """Delete all five kinds, then play the garbage collector."""
    for resource in (*reversed(names.OWN_KINDS), *CHILDREN):
        await eventually(
            lambda resource=resource: delete_all(api, resource, namespace), 20, what=f"{resource.plural} are gone"
        )


def remembered(obj: dict[str, Any]) -> dict[str, Any]:
    """Return what must be the same after a restoration."""
    status = {**obj["status"]}
    for changing in ("observedGeneration", "conditions", "attempt", "rollout", "traffic", "desired"):
        status.pop(changing, None)
    for role in ("stable", "previous"):
        status[role] = {**(status.get(role) or {}), "readyReplicas": 0, "rank": ""}
    return {"spec": obj["spec"], "status": status, "reason": (find_condition(obj, "Ready") or {}).get("reason")}


async def state(api: Client, namespace: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = [obj for resource in names.OWN_KINDS for obj in await all_of(api, resource, namespace)]
    return {(obj["kind"], obj["metadata"]["name"]): remembered(obj) for obj in found}


def words(**given: Any) -> argparse.Namespace:
    return argparse.Namespace(all_namespaces=False, output=None, **given)


async def test_everything_is_deleted_and_comes_back_as_it_was(
    start: Start, api: Client, namespace: str, audit: Audit, tmp_path: Path
) -> None:
    running = await start(CONTROLLERS)
    await given_a_past(api, namespace)
    serving = await given_a_service_that_refused(api, namespace)
    await report_written(api, namespace)
    await settled(running, audit)
    before, said = await state(api, namespace), list[str]()
    session = commands.Session(api, namespace, said.append)
    file = tmp_path / "backup.yaml"
    assert await commands.backup(session, argparse.Namespace(all_namespaces=False, output=str(file))) == commands.OK
    assert file.stat().st_mode & 0o077 == 0
    await delete_everything(api, namespace)
    assert await commands.restore(session, words(file=str(file))) == commands.OK

    again = await eventually(lambda: api.find(names.DEPLOYMENT, namespace, serving["metadata"]["name"]), 20)
    assert again is not None
    assert again["spec"]["template"] == serving["spec"]["template"], "the same bytes, predictor and image"
    await put_pods(api, namespace, again, READY)
    await wait_for(api, namespace, "RolledBack")
    await settled(running, audit)
    after = await state(api, namespace)
    assert after == before
    jobs = [job["metadata"]["name"] for job in await all_of(api, names.JOB, namespace)]
    assert jobs == [], "nothing is read, trained or evaluated again"
    deployments = [obj["metadata"]["name"] for obj in await all_of(api, names.DEPLOYMENT, namespace)]
    assert deployments == [serving["metadata"]["name"]], "what was refused is not tried again"
    run, unfit = await api.get(TRAINING_RUN, namespace, "fraud-1"), await api.get(MODEL_VERSION, namespace, "unfit")
    assert unfit["metadata"]["labels"][LABEL_OWNER_UID] == run["metadata"]["uid"]
    assert names.ANNOTATION_RESTORING not in (run["metadata"].get("annotations") or {})

    said.clear()
    assert await commands.restore(session, words(file=str(file))) == commands.OK
    assert len(said) == len(before)
    assert all("exists and is left alone" in line for line in said), said


async def test_a_file_that_is_applied_by_hand_starts_nothing_until_it_is_restored(
    start: Start, api: Client, namespace: str, audit: Audit, tmp_path: Path
) -> None:
    running = await start(CONTROLLERS)
    await given_a_past(api, namespace)
    await settled(running, audit)
    before, said = await state(api, namespace), list[str]()
    session = commands.Session(api, namespace, said.append)
    file = tmp_path / "backup.yaml"
    await commands.backup(session, argparse.Namespace(all_namespaces=False, output=str(file)))
    await delete_everything(api, namespace)
    for document in commands.saved_form.read(file.read_text()):
        await api.create(commands.saved_form.resource_of(document), namespace, document)
    await settled(running, audit)
    assert await all_of(api, names.JOB, namespace) == []
    assert await commands.restore(session, words(file=str(file))) == commands.OK
    await settled(running, audit)
    assert await state(api, namespace) == before


@pytest.mark.parametrize("cut", [1, 6, 9])
async def test_a_restoration_that_is_cut_off_is_finished_by_the_next(
    start: Start, api: Client, namespace: str, audit: Audit, tmp_path: Path, cut: int
) -> None:
    running = await start(CONTROLLERS)
    await given_a_past(api, namespace)
    await settled(running, audit)
    before, session = await state(api, namespace), commands.Session(api, namespace, lambda _: None)
    file = tmp_path / "backup.yaml"
    await commands.backup(session, argparse.Namespace(all_namespaces=False, output=str(file)))
    await delete_everything(api, namespace)
    left, write = [cut], api._write

    async def limited(*args: Any, **more: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise UnreachableError("the connection broke")
        return await write(*args, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(api, "_write", limited)
        with pytest.raises(UnreachableError):
            await commands.restore(session, words(file=str(file)))
    await settled(running, audit)
    assert await commands.restore(session, words(file=str(file))) == commands.OK
    await settled(running, audit)
    assert await state(api, namespace) == before
    assert await all_of(api, names.JOB, namespace) == []


async def test_a_report_that_was_on_its_way_is_not_made_again(
    start: Start, api: Client, namespace: str, tmp_path: Path, audit: Audit
) -> None:
    running = await start(CONTROLLERS)
    await given_a_service_that_refused(api, namespace)
    await settled(running, audit)
    before = (await service_of(api, namespace))["status"]
    (pending,) = before["reports"]  # its Job has not ended
    file, session = tmp_path / "backup.yaml", commands.Session(api, namespace, lambda _: None)
    await commands.backup(session, argparse.Namespace(all_namespaces=False, output=str(file)))
    await delete_everything(api, namespace)
    assert await commands.restore(session, words(file=str(file))) == commands.OK
    await settled(running, audit)
    after = (await service_of(api, namespace))["status"]
    assert "reports" not in after
    of = (pending["startedAt"], pending["revision"])
    told = {(line["startedAt"], line["revision"]): line.get("report") for line in after["history"]}
    assert told[of] == REPORT_UNKNOWN
    assert [job for job in await all_of(api, names.JOB, namespace) if "report" in job["metadata"]["name"]] == []


async def test_what_runs_is_left_alone(start: Start, api: Client, namespace: str, tmp_path: Path, audit: Audit) -> None:
    running = await start(CONTROLLERS)
    await given_a_service_that_refused(api, namespace)
    await settled(running, audit)
    file, said = tmp_path / "backup.yaml", list[str]()
    session = commands.Session(api, namespace, said.append)
    await commands.backup(session, argparse.Namespace(all_namespaces=False, output=str(file)))
    before = await service_of(api, namespace)
    assert await commands.restore(session, words(file=str(file))) == commands.OK
    await settled(running, audit)
    assert (await service_of(api, namespace))["metadata"]["uid"] == before["metadata"]["uid"]
    assert f"InferenceService {namespace}/{NAME} exists and is left alone" in said
