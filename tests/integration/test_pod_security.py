"""Every pod that any story makes is let in where restricted pod security is enforced, by the real admission plugin."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from tests.support.chart_rights import render
from tests.unit.plan import serving  # noqa: F401  (the happenings of serving)
from tests.unit.plan.simulation import Simulation
from tests.unit.plan.telling import Teller, read_story, story_paths
from tests.unit.plan.test_stories import KINDS

from fairlead.api.names import POD
from fairlead.contract.base import digest_of
from fairlead.kube.client import Client
from fairlead.kube.errors import ForbiddenError

from .conftest import NAMESPACE

PodSpec = dict[str, Any]


@pytest_asyncio.fixture
async def restricted(api: Client) -> str:
    name = f"restricted-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await api.create(NAMESPACE, "", {"metadata": {"name": name, "labels": labels}})
    return name


def pod_specs(objects: Mapping[Any, Mapping[str, Any]]) -> Iterator[tuple[str, PodSpec]]:
    """Yield the role and the pod spec of every Job, CronJob and Deployment."""
    for obj in objects.values():
        spec = obj.get("spec") or {}
        if obj["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        runs_pods = obj["kind"] in ("Job", "CronJob", "Deployment")
        if runs_pods and spec["template"]["spec"].get("containers"):  # a story may give a bare one as somebody else's
            yield obj["metadata"]["labels"]["fairlead.dev/role"], spec["template"]["spec"]


@pytest.fixture(scope="module")
def made_by_stories() -> dict[str, tuple[str, PodSpec]]:
    """Return each different pod spec that some story makes, by digest; its role."""
    found: dict[str, tuple[str, PodSpec]] = {}
    create = Simulation.create

    def noting(world: Simulation, body: Any) -> Any:
        obj = create(world, body)
        found.update({digest_of([role, spec]): (role, spec) for role, spec in pod_specs({0: obj})})
        return obj

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Simulation, "create", noting)
        for path in story_paths():
            Teller(read_story(path), KINDS[path.parent.name]).tell()
    return found


async def admit(api: Client, namespace: str, spec: PodSpec) -> str:
    """Make the pod and return the API server's words when it refuses."""
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p-{secrets.token_hex(4)}"}, "spec": spec}
    try:
        await api.create(POD, namespace, body)
    except ForbiddenError as error:
        return error.message
    return ""


async def test_every_pod_of_every_story_is_admitted(
    api: Client, restricted: str, made_by_stories: dict[str, tuple[str, PodSpec]]
) -> None:
    roles = {role for role, _ in made_by_stories.values()}
    assert roles >= {"snapshot", "train", "evaluate", "monitor", "server", "collect", "cleanup", "captures"}, roles
    sidecars = [spec for _, spec in made_by_stories.values() if spec.get("initContainers")]
    assert any(spec["initContainers"][0].get("restartPolicy") == "Always" for spec in sidecars)
    refused = [(role, await admit(api, restricted, spec)) for role, spec in made_by_stories.values()]
    assert not [(role, words) for role, words in refused if words]


async def test_the_charts_pods_are_admitted(api: Client, restricted: str) -> None:
    objects = render("objectStore.embedded.enabled=true", "objectStore.embedded.secretKey=0123456789abcdef")
    specs = [obj["spec"]["template"]["spec"] for obj in objects if obj["kind"] == "Deployment"]
    specs += [obj["spec"] for obj in objects if obj["kind"] == "Pod"]
    assert len(specs) == 3
    for spec in specs:
        assert await admit(api, restricted, spec) == ""


async def test_the_plugin_is_there_and_refuses(
    api: Client, restricted: str, made_by_stories: dict[str, tuple[str, PodSpec]]
) -> None:
    """Else the tests above would show nothing."""
    spec = next(spec for role, spec in made_by_stories.values() if role == "server")
    loose = {**spec, "securityContext": {}, "containers": [{**spec["containers"][0], "securityContext": {}}]}
    assert "violates PodSecurity" in await admit(api, restricted, loose)
