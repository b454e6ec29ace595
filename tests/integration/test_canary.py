"""A planted secret, in every place where users put secrets, shows up in nothing that the operator says.

What pods write (store, cards, termination messages) is in tests/unit/runtime; here pods say it aloud, as badly written
programs do, and the operator must not pass it on.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import urllib.request
from typing import Any

import pytest
from tests.support.eventually import eventually
from tests.support.running import free_ports

from fairlead.api.conditions import find_condition
from fairlead.api.names import DATASET, INFERENCE_SERVICE, JOB, MODEL_VERSION, OWN_KINDS, POD, TRAINING_RUN, Resource
from fairlead.kube.client import Client
from fairlead.kube.errors import InvalidError
from fairlead.kube.recorder import EVENT

from .test_process import Begin, begin, own, rights  # noqa: F401  (fixtures)

CANARY = "c4n4ry-Zx9-never-shown"
SECRET = Resource("v1", "Secret", "secrets")
URL = f"https://lena:{CANARY}@lake.example.com/rows.csv?token={CANARY}"
SAID = f"could not read {URL}; Authorization: Bearer {CANARY}; password={CANARY}"
STATUS = {"phase": "Failed", "startTime": "2026-01-01T00:00:00Z"}
TRAINER = {
    "image": "example.com/train:1",
    "args": ["--password", CANARY],
    "env": [{"name": "API_TOKEN", "value": CANARY}],
    "hyperparameters": {"api_key": CANARY},
}
PLACES: tuple[tuple[Resource, str, dict[str, Any]], ...] = (
    (DATASET, "rows", {"source": {"http": {"url": URL}}, "format": "CSV"}),
    (DATASET, "lake", {"source": {"s3": {"uri": "s3://lake/rows/", "secretRef": {"name": "lake"}}}, "format": "CSV"}),
    (
        TRAINING_RUN,
        "run",
        {
            "dataset": {"name": "frozen", "revision": "sha256:" + "a" * 64},
            "model": "m",
            "task": "Classification",
            "trainer": {"container": TRAINER},
            "code": {"repository": f"https://{CANARY}@git.example.com/x.git", "commit": "3f2a91c"},
            "retries": 0,
        },
    ),
    (
        MODEL_VERSION,
        "foreign",
        {
            "model": "m",
            "source": {"artifact": {"uri": "s3://models/m/", "digest": "sha256:" + "b" * 64}},
            "evaluation": {"dataset": {"name": "rows"}},
            "approval": {"required": True},
        },
    ),
    (DATASET, "frozen", {"source": {"configMap": {"name": "a", "key": "a"}}, "format": "CSV", "suspend": True}),
    (INFERENCE_SERVICE, "serving", {"model": {"name": "m"}}),
)


async def test_a_planted_secret_shows_up_nowhere(begin: Begin, api: Client, namespace: str) -> None:  # noqa: F811
    data = {key: base64.b64encode(CANARY.encode()).decode() for key in ("endpoint", "bucket", "accessKey", "secretKey")}
    for name in ("fairlead-store", "lake"):
        await api.create(SECRET, namespace, {"metadata": {"name": name}, "data": data})
    port = free_ports(1)[0]
    process = await begin("--log-level", "debug", "--metrics-port", str(port))
    lines = asyncio.create_task(_read_all(process))
    for kind, name, spec in PLACES:
        await api.create(kind, namespace, own(kind, name, namespace, spec))
    uri = f"https://u:{CANARY}@models.example.com/m/"  # status would repeat it: refused
    foreign = {**PLACES[3][2], "source": {"artifact": {"uri": uri, "digest": "sha256:" + "b" * 64}}}
    with pytest.raises(InvalidError, match=r"artifact\.uri"):
        await api.create(MODEL_VERSION, namespace, own(MODEL_VERSION, "refused", namespace, foreign))

    async def jobs() -> list[dict[str, Any]]:
        found = [job async for page in api.pages(JOB, namespace) for job in page.items]
        return found if len(found) >= 3 else []

    for job in await eventually(jobs, 30, what="Jobs of both Datasets and of the run"):
        await _fail(api, namespace, job)

    async def told() -> bool:
        for kind, name, _ in PLACES[:3]:
            ready = find_condition(await api.get(kind, namespace, name), "Ready")
            if ready is None or "could not read" not in ready["message"]:
                return False
        return True

    await eventually(told, 30, what="each failure is told, with the words of its pod")
    said = await _everything_said(api, namespace)
    metrics = await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/metrics")
    process.terminate()
    log = await lines
    assert "could not read https://lena:***@lake.example.com/rows.csv" in said
    assert "the caches are filled" in log
    for where, text in {"status or events": said, "metrics": metrics, "log": log}.items():
        assert CANARY not in text, f"{where}: {re.findall(f'.{{0,80}}{CANARY}.{{0,20}}', text)[:3]}"


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


async def _read_all(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    return (await process.stderr.read()).decode()


async def _fail(api: Client, namespace: str, job: dict[str, Any]) -> None:
    """Be Job controller and kubelet: the pod ends, and its last words hold the secret."""
    template, name = job["spec"]["template"], job["metadata"]["name"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}
    labels = {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": name}
    metadata = {"name": f"{name}-x", "namespace": namespace, "labels": labels, "ownerReferences": [owner]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    await api.create(POD, namespace, pod)
    words = json.dumps({"kind": "Error", "version": 1, "reason": "SourceDenied", "message": SAID})
    ended = {"exitCode": 10, "reason": "Error", "message": words}
    states = [
        {"name": c["name"], "image": c["image"], "imageID": "", "ready": False, "restartCount": 0,
         "state": {"terminated": ended}}
        for c in template["spec"]["containers"]
    ]  # fmt: skip
    await api.apply(
        POD,
        namespace,
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}-x"},
         "status": {**STATUS, "containerStatuses": states}},
        status=True,
    )  # fmt: skip
    failed = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": SAID}
    target = {"type": "FailureTarget", "status": "True", "reason": "PodFailurePolicy", "message": SAID}
    status = {"startTime": "2026-01-01T00:00:00Z", "failed": 1, "conditions": [target, failed]}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "status": status}
    await api.apply(JOB, namespace, body, status=True)


async def _everything_said(api: Client, namespace: str) -> str:
    """Return every status of ours, and every event, as text."""
    objects = [obj for kind in OWN_KINDS async for page in api.pages(kind, namespace) for obj in page.items]
    events = [event async for page in api.pages(EVENT, namespace) for event in page.items]
    return json.dumps([[obj.get("status") for obj in objects], events])
