"""`kubectl fairlead gather` against a real API server: what it holds, and what must never be in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tarfile
import time
from pathlib import Path
from typing import Any

from tests.integration.test_process import ONE_OF_EACH, own
from tests.support.control_plane import ControlPlane
from tests.support.crds import is_known

from fairlead.api.names import DATASET, DEPLOYMENT, HTTP_ROUTE, POD, TRAINING_RUN, Resource
from fairlead.cli import commands
from fairlead.cli.gather import Scope, gather
from fairlead.cli.main import FAILED, main
from fairlead.kube.client import Client
from fairlead.kube.errors import KubeError

SECRET = Resource("v1", "Secret", "secrets")
CONFIG_MAP = Resource("v1", "ConfigMap", "configmaps")
CANARY = "Zx81-canary-value"
OPERATOR = {"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "operator"}


async def given_objects(api: Client, namespace: str) -> None:
    """Make one object of each kind, and plant the canary wherever somebody might have put a credential."""
    for kind, spec in ONE_OF_EACH:
        await api.create(kind, namespace, own(kind, "one", namespace, spec))
    run = dict(ONE_OF_EACH[1][1])
    container = {"image": "example.com/train", "args": ["--password", CANARY]}
    container["env"] = [{"name": "DB_PASSWORD", "value": CANARY}, {"name": "MODE", "value": "fast"}]  # type: ignore[assignment]
    planted = own(TRAINING_RUN, "planted", namespace, {**run, "trainer": {"container": container}})
    applied = json.dumps({"spec": {"note": CANARY}})
    planted["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": applied,
        "example.com/note": f"password={CANARY}",
    }
    await api.create(TRAINING_RUN, namespace, planted)
    await api.create(SECRET, namespace, {"metadata": {"name": "fairlead-store"}, "stringData": {"secretKey": CANARY}})
    await api.create(CONFIG_MAP, namespace, {"metadata": {"name": "rows"}, "data": {"rows.csv": CANARY}})
    pods = {"containers": [{"name": "operator", "image": "fairlead-operator:test"}]}
    template = {"metadata": {"labels": OPERATOR}, "spec": pods}
    body: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment"}
    body["metadata"] = {"name": "fairlead", "labels": OPERATOR}
    body["spec"] = {"selector": {"matchLabels": OPERATOR}, "template": template}
    await api.create(DEPLOYMENT, namespace, body)


def unpacked(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            held = archive.extractfile(member)
            assert held is not None
            found[member.name.partition("/")[2]] = held.read().decode()
        return found


async def test_a_bundle_has_what_support_asks_for_and_no_secret(api: Client, namespace: str, tmp_path: Path) -> None:
    await given_objects(api, namespace)
    said: list[str] = []
    session = commands.Session(api, namespace, said.append)
    given = type("Given", (), {"all_namespaces": False, "operator_namespace": namespace})()
    given.output = str(tmp_path / "bundle.tar.gz")
    began = time.monotonic()
    assert await commands.gather(session, given) == commands.OK
    assert time.monotonic() - began < 60
    files = unpacked(tmp_path / "bundle.tar.gz")
    assert [path for path, text in files.items() if CANARY in text] == []
    for kind, _ in ONE_OF_EACH:
        listed = json.loads(files[f"objects/{kind.plural}.json"])["items"]
        assert "one" in [obj["metadata"]["name"] for obj in listed]
        assert f"{kind.kind} {namespace}/one" in files["index.html"]
    planted = next(o for o in json.loads(files["objects/trainingruns.json"])["items"] if o["metadata"]["name"] != "one")
    assert planted["spec"]["trainer"]["container"]["env"][1] == {"name": "MODE", "value": "fast"}
    assert "fairlead-operator:test" in files["index.html"]
    assert "CRD datasets" in files["index.html"]
    # a kind that this API server does not know is said, and the rest is there
    assert ("httproutes" in " ".join(said)) != await is_known(api, HTTP_ROUTE)
    assert (tmp_path / "bundle.tar.gz").stat().st_mode & 0o077 == 0


async def test_it_asks_for_no_secret_and_writes_nothing(
    api: Client, namespace: str, plane: ControlPlane, tmp_path: Path
) -> None:
    await given_objects(api, namespace)
    seen = plane.audit_log.stat().st_size
    await gather(api, Scope(namespace, namespace), commands.datetime.now(commands.UTC))
    with plane.audit_log.open() as log:
        log.seek(seen)
        asked = []
        for line in log:
            with contextlib.suppress(ValueError):  # the last line may still be in the writing
                asked.append(json.loads(line))
    mine = [entry for entry in asked if entry.get("userAgent") == "user"]
    assert mine
    assert {entry["verb"] for entry in mine} <= {"get", "list"}
    assert {(entry.get("objectRef") or {}).get("resource") for entry in mine}.isdisjoint({"secrets", "configmaps"})


async def test_what_may_not_be_read_is_said_and_the_rest_is_there(
    api: Client, namespace: str, monkeypatch: Any
) -> None:
    await given_objects(api, namespace)
    pages = Client.pages

    def forbidden(self: Client, resource: Resource, *args: Any, **more: Any) -> Any:
        if resource == POD:
            raise KubeError("pods is forbidden")
        return pages(self, resource, *args, **more)

    monkeypatch.setattr(Client, "pages", forbidden)
    bundle = await gather(api, Scope(namespace, namespace), commands.datetime.now(commands.UTC))
    assert bundle.missing["objects/pods.json"] == "pods is forbidden"
    assert "objects/datasets.json" in bundle.files


async def test_a_list_that_does_not_end_in_time_is_there_as_far_as_it_came(
    api: Client, namespace: str, monkeypatch: Any
) -> None:
    await api.create(DATASET, namespace, own(DATASET, "one", namespace, dict(ONE_OF_EACH[0][1])))
    pages, never = Client.pages, asyncio.Event()

    async def endless(self: Client, resource: Resource, *args: Any, **more: Any) -> Any:
        async for page in pages(self, resource, *args, **more):
            yield page
        if resource == DATASET:
            await never.wait()

    monkeypatch.setattr(Client, "pages", endless)
    bundle = await gather(api, Scope(namespace, namespace), commands.datetime.now(commands.UTC), limit_s=3)
    assert bundle.missing["objects/datasets.json"] == "time was up"
    assert '"name": "one"' in bundle.files["objects/datasets.json"]


async def test_a_bundle_ends_in_time_with_what_there_is(api: Client, namespace: str, monkeypatch: Any) -> None:
    await api.create(DATASET, namespace, own(DATASET, "one", namespace, dict(ONE_OF_EACH[0][1])))
    began = time.monotonic()
    slow = asyncio.Event()

    async def hangs(*_: Any, **__: Any) -> str:
        await slow.wait()
        return ""

    monkeypatch.setattr(Client, "get", hangs)
    bundle = await gather(api, Scope(namespace, namespace), commands.datetime.now(commands.UTC), limit_s=3)
    assert time.monotonic() - began < 6
    assert bundle.missing["versions/crds"] == "time was up"
    assert "objects/datasets.json" in bundle.files


def test_without_a_cluster_it_says_so(tmp_path: Path, capsys: Any) -> None:
    assert main(["gather", "--kubeconfig", str(tmp_path / "absent")]) == FAILED
    assert "kubectl fairlead gather" in capsys.readouterr().err
