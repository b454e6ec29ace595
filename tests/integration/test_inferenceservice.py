"""InferenceService against a real API server: what its planner builds is valid, and at rest nothing is written.

There is no kubelet and no Deployment controller, so the test plays them: it makes the pods and says how they are.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.support.eventually import eventually

from fairlead.api.conditions import find_condition, merge_conditions, ready
from fairlead.api.names import AUTOSCALER, DEPLOYMENT, DISRUPTION_BUDGET, INFERENCE_SERVICE, MODEL_VERSION, POD, SERVICE
from fairlead.controllers.inferenceservice import InferenceServiceController
from fairlead.kube.client import Client

from .conftest import Audit, Start
from .test_shell import settled

NAME = "fraud"
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def crashed(restarts: int) -> dict[str, Any]:
    """Return the status of a pod whose server crashed."""
    ended = {"exitCode": 1, "reason": "Error", "message": "ValueError: unknown opset"}
    state = {
        "name": "main",
        "image": "i",
        "imageID": "i",
        "ready": False,
        "restartCount": restarts,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": ended},
    }
    return {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [state]}


async def approve(api: Client, namespace: str, number: int) -> None:
    spec = {"model": NAME, "source": {"trainingRun": {"name": f"fraud-{number}"}}}
    version: dict[str, Any] = {
        "apiVersion": MODEL_VERSION.api_version,
        "kind": MODEL_VERSION.kind,
        "metadata": {"name": f"fraud-{number}", "namespace": namespace},
    }
    await api.create(MODEL_VERSION, namespace, {**version, "spec": spec})
    artifact = {"digest": f"sha256:{number:064x}", "format": "onnx", "sizeBytes": 10}
    said = ready("Approved", "Services of its model may roll it out.")
    status = {
        "observedGeneration": 1,
        "conditions": merge_conditions((), said, generation=1, now=datetime(2026, 1, number, tzinfo=UTC)),
        "stage": "Approved",
        "approvedAt": f"2026-01-0{number}T00:00:00Z",
        "artifact": artifact,
    }
    await api.apply(MODEL_VERSION, namespace, {**version, "status": status}, status=True)


async def put_pods(api: Client, namespace: str, deployment: dict[str, Any], status: dict[str, Any]) -> None:
    """Be the Deployment controller and the kubelet: make the pods that are asked for, and say how they are."""
    template = deployment["spec"]["template"]
    for number in range(deployment["spec"]["replicas"]):
        name = f"{deployment['metadata']['name']}-{number}"
        head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}}
        if await api.find(POD, namespace, name) is None:
            metadata = {**head["metadata"], **template["metadata"]}
            await api.create(POD, namespace, {**head, "metadata": metadata, "spec": template["spec"]})
        await api.apply(POD, namespace, {**head, "status": status}, status=True)


async def service_of(api: Client, namespace: str) -> dict[str, Any]:
    return await api.get(INFERENCE_SERVICE, namespace, NAME)


async def wait_for(api: Client, namespace: str, reason: str) -> dict[str, Any]:
    """Return the service once Ready has this reason."""

    async def look() -> dict[str, Any] | None:
        service = await service_of(api, namespace)
        ready = find_condition(service, "Ready")
        return service if ready is not None and ready["reason"] == reason else None

    return await eventually(look, 20, what=f"Ready says {reason}")  # type: ignore[return-value]


async def deployment_of(api: Client, namespace: str, role: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        revision = (await service_of(api, namespace))["status"].get(role)
        return await api.find(DEPLOYMENT, namespace, revision["name"]) if revision else None

    return await eventually(look, 20, what=f"the {role} has its Deployment")  # type: ignore[return-value]


async def test_a_version_serves_a_crashing_one_goes_back_and_rest_writes_nothing(
    start: Start, api: Client, namespace: str, audit: Audit
) -> None:
    running = await start([InferenceServiceController()])
    spec = {"model": {"name": NAME}, "scaling": {"minReplicas": 2, "maxReplicas": 4}}
    body = {"apiVersion": INFERENCE_SERVICE.api_version, "kind": INFERENCE_SERVICE.kind, "metadata": {"name": NAME}}
    await api.create(INFERENCE_SERVICE, namespace, {**body, "spec": spec})
    await wait_for(api, namespace, "NoApprovedVersion")

    await approve(api, namespace, 1)
    first = await deployment_of(api, namespace, "canary")
    await put_pods(api, namespace, first, READY)
    service = await wait_for(api, namespace, "Serving")
    assert service["status"]["stable"]["version"] == "fraud-1"
    for resource in (SERVICE, DISRUPTION_BUDGET):
        assert await api.find(resource, namespace, NAME)
    scaler = await eventually(lambda: api.find(AUTOSCALER, namespace, first["metadata"]["name"]))
    assert scaler["spec"]["minReplicas"] == 2  # type: ignore[index]

    await approve(api, namespace, 2)
    baseline, canary = [await deployment_of(api, namespace, role) for role in ("baseline", "canary")]
    await put_pods(api, namespace, baseline, READY)
    await put_pods(api, namespace, canary, crashed(restarts=2))
    service = await wait_for(api, namespace, "RolledBack")
    assert [entry["reason"] for entry in service["status"]["rejected"]] == ["CanaryCrashed"]
    assert "ValueError: unknown opset" in str(find_condition(service, "Ready"))

    async def only_stable_is_left() -> bool:
        found = [page async for page in api.pages(DEPLOYMENT, namespace)]
        return [obj["metadata"]["name"] for page in found for obj in page.items] == [first["metadata"]["name"]]

    await eventually(only_stable_is_left, 20)
    await settled(running, audit)
    before = audit.writes()
    running.operator.loop.enqueue_all()
    await settled(running, audit)
    assert audit.writes() == before
