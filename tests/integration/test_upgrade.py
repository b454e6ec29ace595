"""Upgrade: what the previous chart version stored keeps working, and no workload restarts.

The previous chart and the previous operator are real: they come out of git at PREVIOUS, are installed by helm on an API
server of their own, and bring objects of all five kinds as far as they get. Then `helm upgrade`, and today's operator.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from tests.support import planted
from tests.support.children import KINDS as CHILD_KINDS
from tests.support.control_plane import ControlPlane, control_plane
from tests.support.eventually import eventually
from tests.support.operator_process import operator_process
from tests.support.status_laws import breaches

from fairlead import __version__
from fairlead.api.conditions import find_condition
from fairlead.api.names import BY_KIND, DEPLOYMENT, INFERENCE_SERVICE, OWN_KINDS, POD, Resource
from fairlead.kube.client import Client
from fairlead.kube.connection import connect

from .conftest import NAMESPACE
from .test_inferenceservice import READY, put_pods

ROOT = Path(__file__).resolve().parents[2]
PREVIOUS = "d21c7c4ddf6eb2f0aabe77629c7d2eb33316351f"  # chart 0.1.0
STORED = Path(__file__).parent / "stored"
SYSTEM, TEAM = "fairlead-system", "team"
NAME = "fraud"
Json = dict[str, Any]
SPECS: dict[str, Json] = {
    "Dataset": {"source": {"configMap": {"name": "rows", "key": "rows.csv"}}, "format": "CSV", "target": "y"},
    "TrainingRun": {
        "dataset": {"name": "rows"},
        "model": "m",
        "trainer": {"sklearn": {"estimator": "sklearn.svm.SVC", "parameters": {"C": 0.5}}},
        "timeout": "2h",
    },
    "ModelVersion": {
        "model": "m",
        "source": {"trainingRun": {"name": "trained"}},
        "evaluation": {"dataset": {"name": "rows"}},
        "gates": [{"name": "good", "metric": "accuracy", "min": 0.7}],
    },
    "InferenceService": {
        "model": {"version": "trained"},
        "scaling": {"minReplicas": 2, "maxReplicas": 4},
        "capture": {"percent": 10, "retention": "30d"},
        "predictor": {"resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}},
    },
    "DriftMonitor": {"inferenceService": {"name": NAME}, "schedule": "0 0 1 1 *", "window": "24h"},
}


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the previous chart version."""
    folder = tmp_path_factory.mktemp("previous")
    archive = subprocess.run(
        ["git", "archive", PREVIOUS, "operator", "charts"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


@pytest.fixture(scope="module")
def own_plane() -> Iterator[ControlPlane]:
    with control_plane() as running:
        yield running


@pytest_asyncio.fixture
async def user(own_plane: ControlPlane) -> AsyncIterator[Client]:
    client = Client(await connect(str(own_plane.kubeconfig())), user_agent="user")
    yield client
    await client.close()


def helm(plane: ControlPlane, *words: str) -> None:
    """Install or upgrade; nothing can become ready here, so it does not wait."""
    home = plane.folder / "helm"
    variables = {f"HELM_{what}_HOME": str(home) for what in ("CACHE", "CONFIG", "DATA")}
    cache = Path(os.environ.get("FAIRLEAD_CACHE", Path.home() / ".cache" / "fairlead"))
    command = [str(cache / "bin" / "helm"), *words, "-n", SYSTEM, "--kubeconfig", str(plane.kubeconfig())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **variables})
    assert done.returncode == 0, done.stdout + done.stderr


@asynccontextmanager
async def operator(plane: ControlPlane, tree: Path, image: str) -> AsyncIterator[None]:
    """Run the operator of a tree as a process, with the images of its chart version."""
    quiet = ("--lease-namespace", SYSTEM, "--leader-elect", "false", "--log-format", "text", "--log-level", "warning")
    async with operator_process(plane.kubeconfig(), *quiet, tree=tree, image=image) as process:
        yield
        assert process.returncode is None, "the operator ended"


def body_of(resource: Resource, spec: Json) -> Json:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": NAME}, "spec": spec}


async def reason_of(user: Client, resource: Resource) -> str:
    obj = await user.get(resource, TEAM, NAME)
    assert breaches(obj) == []
    return str((find_condition(obj, "Ready") or {}).get("reason"))


async def workloads(user: Client) -> dict[tuple[str, str], Json]:
    """Return what must not be made anew: uid, and for what makes pods its template too."""
    found = {}
    for kind in (*CHILD_KINDS, POD):
        async for page in user.pages(kind, TEAM):
            for obj in page.items:
                seen: Json = {"uid": obj["metadata"]["uid"]}
                if kind in (DEPLOYMENT, POD, BY_KIND["Job"]):
                    seen["template"] = (obj["spec"].get("template") or {}).get("spec") or obj["spec"].get("containers")
                found[(kind.kind, obj["metadata"]["name"])] = seen
    return found


async def all_objects(user: Client) -> dict[tuple[str, str], Json]:
    found = {}
    for kind in OWN_KINDS:
        async for page in user.pages(kind, TEAM):
            found |= {(kind.kind, obj["metadata"]["name"]): obj for obj in page.items}
    return found


def asked_by(plane: ControlPlane, version: str) -> list[Json]:
    """Return the requests of an operator of a version about the team's namespace."""
    lines = plane.audit_log.read_text().splitlines()
    entries = [json.loads(line) for line in lines if line.endswith("}") and f"fairlead/{version}" in line]
    return [entry for entry in entries if (entry.get("objectRef") or {}).get("namespace") == TEAM]


async def rests(plane: ControlPlane) -> None:
    """Wait until no operator has asked anything about the team's namespace for over a second."""
    seen: list[int] = []

    def quiet() -> bool:
        seen.append(len(asked_by(plane, "")))
        return len(seen) > 12 and len(set(seen[-12:])) == 1

    await eventually(quiet, 240, every_s=0.1, what="the operator rests")


async def fill(user: Client) -> None:
    """Be a user, and then the cluster: objects of all kinds, and ready servers."""
    for name in (SYSTEM, TEAM):
        if await user.find(NAMESPACE, "", name) is None:
            await user.create(NAMESPACE, "", {"metadata": {"name": name}})
    await planted.plant(user, TEAM)
    for resource in OWN_KINDS:
        await user.create(resource, TEAM, body_of(resource, SPECS[resource.kind]))

    async def serves() -> bool:
        async for page in user.pages(DEPLOYMENT, TEAM):
            for deployment in page.items:
                if deployment["metadata"]["name"].startswith(NAME):
                    await put_pods(user, TEAM, deployment, READY)
        return await reason_of(user, INFERENCE_SERVICE) == "Serving"

    await eventually(serves, 240, every_s=0.5, what="the service serves")

    async def monitored() -> bool:
        return await reason_of(user, BY_KIND["DriftMonitor"]) == "Scheduled"

    await eventually(monitored, 120, what="the monitor is scheduled")


async def test_objects_of_the_previous_version_keep_working_and_nothing_restarts(
    own_plane: ControlPlane, user: Client, previous: Path
) -> None:
    await user.create(NAMESPACE, "", {"metadata": {"name": SYSTEM}})
    helm(own_plane, "install", "fairlead", str(previous / "charts" / "fairlead"))
    await eventually(lambda: _is_served(user), 20, what="the CRDs are served")
    async with operator(own_plane, previous, "sha256:" + "0" * 64):
        await fill(user)
        await rests(own_plane)
    before, objects = await workloads(user), await all_objects(user)
    assert {kind for kind, _ in before} >= {"Deployment", "Job", "CronJob", "Service", "Pod", "HorizontalPodAutoscaler"}
    if os.environ.get("FAIRLEAD_WRITE"):
        _store("0.1.0", objects)

    helm(own_plane, "upgrade", "fairlead", str(ROOT / "charts" / "fairlead"))
    async with operator(own_plane, ROOT, "sha256:" + "1" * 64):
        await eventually(lambda: asked_by(own_plane, __version__), 120, what="the new operator works")
        await rests(own_plane)
        assert await workloads(user) == before
        for key, obj in (await all_objects(user)).items():
            assert breaches(obj) == [], key
            was = find_condition(objects[key], "Ready") or {}
            assert (find_condition(obj, "Ready") or {}).get("reason") == was.get("reason"), key
        await _still_works(user)


async def _is_served(user: Client) -> bool:
    return set(await user.served("fairlead.dev/v1alpha1")) >= {resource.plural for resource in OWN_KINDS}


async def _still_works(user: Client) -> None:
    """A change of an object of the previous version is answered."""
    scaler = next(key for key in await workloads(user) if key[0] == "HorizontalPodAutoscaler" and NAME in key[1])
    await user.patch(INFERENCE_SERVICE, TEAM, NAME, {"spec": {"scaling": {"minReplicas": 3}}})

    async def scaled() -> bool:
        return bool((await user.get(BY_KIND[scaler[0]], TEAM, scaler[1]))["spec"]["minReplicas"] == 3)

    await eventually(scaled, 30, what="a change of an object of the previous version")


def stored(version: str) -> list[Json]:
    """Return the objects that the operator of a chart version left."""
    return list(yaml.safe_load_all((STORED / f"{version}.yaml").read_text()))


def _store(version: str, objects: dict[tuple[str, str], Json]) -> None:
    STORED.mkdir(exist_ok=True)
    kept = []
    for (_, name), obj in sorted(objects.items()):
        metadata = {"name": name, "annotations": obj["metadata"].get("annotations") or {}}
        kept.append({**obj, "metadata": {key: value for key, value in metadata.items() if value}})
    (STORED / f"{version}.yaml").write_text(yaml.safe_dump_all(kept, sort_keys=False, width=110))


def lost(said: Any, found: Any, where: str = "") -> list[str]:
    """Return the fields that are not as they were said; a newer version's defaults may stand beside them."""
    if isinstance(said, dict) and isinstance(found, dict):
        return [each for key in said for each in lost(said[key], found.get(key), f"{where}.{key}")]
    if isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
        return [each for number, item in enumerate(said) for each in lost(item, found[number], f"{where}[{number}]")]
    return [] if said == found else [f"{where}: {said} became {found}"]


@pytest.mark.parametrize("version", sorted(path.stem for path in STORED.glob("*.yaml")))
async def test_todays_crds_accept_what_an_earlier_version_stored(version: str, api: Client, namespace: str) -> None:
    documents = stored(version)
    assert {document["kind"] for document in documents} == {resource.kind for resource in OWN_KINDS}
    for document in documents:
        resource = BY_KIND[document["kind"]]
        status = document.pop("status")
        made = await api.create(resource, namespace, document)
        assert lost(document["spec"], made["spec"]) == [], "fields of an earlier version are dropped or changed"
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        metadata = {"name": document["metadata"]["name"], "namespace": namespace}
        told = await api.apply(resource, namespace, {**head, "metadata": metadata, "status": status}, status=True)
        assert lost(status, told["status"]) == [], "status fields of an earlier version are dropped or changed"


def test_every_earlier_chart_version_has_its_stored_objects() -> None:
    """CHANGELOG.md names the versions; the newest is the one that is being made."""
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    versions = [line.split("[")[1].split("]")[0] for line in lines if line.startswith("## [")]
    assert versions[0] == __version__
    assert {path.stem for path in STORED.glob("*.yaml")} >= set(versions[1:])
