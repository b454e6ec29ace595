"""`kubectl fairlead lineage` and `plan` against a real API server, in a namespace with many services."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.control_plane import ControlPlane
from tests.support.crds import is_known

from fairlead.api.names import HTTP_ROUTE, INFERENCE_SERVICE, MODEL_VERSION
from fairlead.cli.main import main
from fairlead.kube.client import Client
from fairlead_runtime.serve.ids import ResponseIds

SERVICES = 100
LINEAGE_S = 2.0  # promised: from an answer to everything that made it


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def service(number: int) -> dict[str, Any]:
    metadata = {"name": f"shop-{number}"}
    body = {"apiVersion": INFERENCE_SERVICE.api_version, "kind": "InferenceService", "metadata": metadata}
    return {**body, "spec": {"model": {"name": f"model-{number}"}}}


def stable(number: int) -> dict[str, Any]:
    revision = digest(number + (number << 220))
    return {"revision": revision, "name": f"shop-{number}-r", "version": f"model-{number}-1", "digest": digest(number)}


async def given_services(api: Client, namespace: str) -> None:
    async def make(number: int) -> None:
        body = service(number)
        await api.create(INFERENCE_SERVICE, namespace, body)
        await api.apply(INFERENCE_SERVICE, namespace, {**body, "status": {"stable": stable(number)}}, status=True)

    for first in range(0, SERVICES, 10):
        await asyncio.gather(*(make(number) for number in range(first + 1, first + 11)))


async def given_version(api: Client, namespace: str, number: int) -> None:
    name = f"model-{number}-1"
    body = {"apiVersion": MODEL_VERSION.api_version, "kind": "ModelVersion", "metadata": {"name": name}}
    spec = {"model": f"model-{number}", "source": {"trainingRun": {"name": name}}}
    await api.create(MODEL_VERSION, namespace, {**body, "spec": spec})
    lineage = {"dataset": "tx", "dataRevision": digest(7), "commit": "3f2a91c", "parameters": '{"max_iter": 200}'}
    status = {"artifact": {"digest": digest(number), "format": "onnx"}, "lineage": lineage, "stage": "Production"}
    await api.apply(MODEL_VERSION, namespace, {**body, "status": status}, status=True)


async def test_an_answer_is_traced_in_two_seconds_among_many_services(
    plane: ControlPlane, api: Client, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await given_services(api, namespace)
    await given_version(api, namespace, 42)
    answer = ResponseIds(stable(42)["revision"]).next(time.time_ns())
    words = ["lineage", answer, "-n", namespace, "--kubeconfig", str(plane.kubeconfig()), "-o", "json"]
    began = time.monotonic()
    assert await asyncio.to_thread(main, words) == 0
    took_s = time.monotonic() - began
    said = json.loads(capsys.readouterr().out)
    assert said["Served by"][0] == f"InferenceService {namespace}/shop-42: stable"
    assert said["Data"][0] == f"Dataset tx revision {digest(7)}"
    assert said["Parameters"] == ['{"max_iter": 200}']
    assert took_s < LINEAGE_S, f"{took_s:.2f} s"


async def test_a_plan_writes_nothing(
    plane: ControlPlane, api: Client, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = await api.create(INFERENCE_SERVICE, namespace, service(1))
    manifest = tmp_path / "service.yaml"
    manifest.write_text(yaml.safe_dump({**service(1), "spec": {"model": {"version": "absent"}}}))
    words = ["plan", "-f", str(manifest), "-n", namespace, "--kubeconfig", str(plane.kubeconfig())]
    assert await asyncio.to_thread(main, words) == 0
    said = capsys.readouterr().out
    assert f"InferenceService {namespace}/shop-1: Working VersionNotFound" in said
    assert ("not seen: httproutes" in said) != await is_known(api, HTTP_ROUTE)
    after = await api.get(INFERENCE_SERVICE, namespace, "shop-1")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
