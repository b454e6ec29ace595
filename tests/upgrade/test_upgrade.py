"""`helm upgrade` on the real cluster: what the previous version serves goes on by the same pods, no request is lost.

    make test-upgrade

It takes the cluster for itself: CRDs are one for all, so Fairlead and all its objects are removed first, and today's
chart is left installed. What is done here with real pods, tests/integration/test_upgrade.py does with played ones in
every state, in `make test`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.demo.cluster import CONTEXT, PLURALS, ROOT, restricted_namespace
from tests.e2e import asking, flights
from tests.e2e.rollouts.story import another_version_rolls_out
from tests.e2e.team import SYSTEM, Obj, Team, condition, eventually, kubectl, manifest
from tests.e2e.test_inferenceservice import LENIENT
from tests.support.status_laws import breaches
from tests.upgrade import previous

NEVER = "0 0 1 1 *"
WORKLOADS = "pods,replicasets,deployments,jobs,cronjobs,services,hpa,pdb,httproutes"


def helm(verb: str, *words: str) -> None:
    where = ["--namespace", SYSTEM, "--kube-context", CONTEXT, "--timeout", "5m"]
    done = subprocess.run(["helm", verb, *words, *where], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    """A namespace under the previous version's operator."""
    clear()
    tree = previous.tree(tmp_path)
    previous.make_images(tree)
    kubectl("apply", "-f", "-", given=json.dumps(restricted_namespace(SYSTEM)))
    images = [f"images.{name}={previous.image(name)}" for name in previous.CODE]
    helm("install", "fairlead", str(tree / "charts/fairlead"), "--wait", "--set", ",".join(images))
    team = Team.create("upgrade")
    yield team
    team.delete()


def clear() -> None:
    """Remove Fairlead, its objects and its CRDs."""
    crds = [f"{plural}.fairlead.dev" for plural in PLURALS.values()]
    helm("uninstall", "fairlead", "--ignore-not-found", "--wait")
    kubectl("delete", "crd", *crds, "--ignore-not-found", "--timeout=120s")


def test_what_the_previous_version_serves_goes_on_by_the_same_pods(team: Team) -> None:
    hostname = f"{team.namespace}.example.com"
    given_all_kinds(team, hostname)
    ask = asking.by_gateway(hostname)
    asking.until_answered(ask, flights.features(3))
    before, reasons = workloads(team), reasons_of(team)
    assert {kind for kind, _ in before} >= {"Pod", "Deployment", "Job", "CronJob", "Service", "HTTPRoute"}
    with asking.all_the_time(ask, flights.features(1)) as answers:
        helm("upgrade", "fairlead", str(ROOT / "charts/fairlead"), "--wait", "--reset-values")
        eventually(lambda: operators() == ["fairlead-operator:dev"], "the previous operator is still there")
        team.patch("InferenceService", "flights", {"spec": {"scaling": {"maxReplicas": 3}}})
        eventually(lambda: team.children("hpa", "flights")[0]["spec"]["maxReplicas"] == 3, "a change is not answered")
        eventually(lambda: reasons_of(team) == reasons, f"it was {reasons}")
    assert {(answer.status, answer.version) for answer in answers} == {(200, "flights-v1")}
    after = workloads(team)
    assert {key: after.get(key) for key in before} == before, "something was made anew"
    breached = [breach for obj in team.all_objects() for breach in breaches(obj, secrets=[team.secret_key])]
    assert not breached
    another_version_rolls_out(team, ask)


def given_all_kinds(team: Team, hostname: str) -> None:
    flights.given_dataset(team)
    flights.given_version(team)
    spec = flights.service_spec(hostname, model={"version": "flights-v1"}, rollout=LENIENT, capture={"percent": 100})
    monitor = {"inferenceService": {"name": "flights"}, "schedule": NEVER, "resources": flights.MODEST}
    team.apply(manifest("InferenceService", "flights", spec), manifest("DriftMonitor", "flights", monitor))
    team.until_ready("InferenceService", "flights", 120)
    team.until_ready("DriftMonitor", "flights", 60)
    in_production = lambda o: o["status"]["stage"] == "Production"  # noqa: E731
    team.until("ModelVersion", "flights-v1", in_production)


def workloads(team: Team) -> dict[tuple[str, str], Any]:
    """Return uid and restarts of all that must not be made anew."""
    return {(obj["kind"], obj["metadata"]["name"]): (obj["metadata"]["uid"], restarts(obj))
            for obj in team.children(WORKLOADS)}  # fmt: skip


def restarts(obj: Obj) -> int:
    containers = (obj.get("status") or {}).get("containerStatuses") or ()
    return sum(int(one["restartCount"]) for one in containers)


def reasons_of(team: Team) -> dict[str, str]:
    return {f"{o['kind']} {o['metadata']['name']}": condition(o, "Ready")["reason"] for o in team.all_objects()}


def operators() -> list[str]:
    """Return the images of the operator's pods."""
    pods = json.loads(kubectl("get", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator", "-o", "json"))
    return [container["image"] for pod in pods["items"] for container in pod["spec"]["containers"]]
