"""The chart's NetworkPolicies, enforced: all that Fairlead does still works, and strangers do not reach our pods.

    make test-network

The cluster of `make cluster` has no CNI that enforces policies. `enforcer.py` stands in for one: it reads the policies
that the chart renders, and no list of what is expected. That nothing is refused when nobody enforces is asked first.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml
from hack.demo.cluster import CONTEXT, ROOT, Obj, restricted_namespace
from tests.e2e import asking, flights
from tests.e2e.rollouts.story import another_version_rolls_out
from tests.e2e.team import SYSTEM, Team, eventually, install_operator, kubectl, manifest
from tests.e2e.test_inferenceservice import LENIENT
from tests.network.enforcer import enforced
from tests.support.status_laws import breaches

# predictions, gRPC, metrics; feedback and /arm
PUBLIC, OWN = (8080, 9000, 9090), 8081
TRY = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()"
JOB = {"app.kubernetes.io/managed-by": "fairlead", "fairlead.dev/role": "try"}
ANSWER = "from http.server import *; HTTPServer(('', 8080), SimpleHTTPRequestHandler).serve_forever()"


@dataclass(frozen=True)
class Place:
    """A pod that may be told to try a connection."""

    namespace: str
    pod: str
    container: str = "main"

    def reaches(self, host: str, port: int) -> bool:
        """Whether a connection is taken within two seconds."""
        where = ["exec", self.pod, "-n", self.namespace, "-c", self.container, "--"]
        program = ["/opt/venv/bin/python", "-c", TRY, host, str(port)]
        command = ["kubectl", "--context", CONTEXT, *where, *program]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "Error" in done.stderr, done.stderr
        assert "ConnectionRefusedError" not in done.stderr, f"nobody listens at {host}:{port}"
        return done.returncode == 0

    def ip(self) -> str:
        """Return its address."""
        return kubectl("get", "pod", self.pod, "-n", self.namespace, "-o", "jsonpath={.status.podIP}")


@pytest.fixture
def team() -> Iterator[Team]:
    """A namespace; the operator of the cluster, whichever it is, is left as it is."""
    if not kubectl("get", "deployment", "fairlead", "-n", SYSTEM, "--ignore-not-found", "-o", "name").strip():
        install_operator()
    team = Team.create("network")
    yield team
    found = [breach for obj in team.all_objects() for breach in breaches(obj, secrets=[team.secret_key])]
    team.delete()
    assert not found, "\n".join(found)


@pytest.fixture
def outside(team: Team) -> Iterator[Place]:
    """A pod in a namespace of its own."""
    namespace = f"{team.namespace}-outside"
    yield place(namespace, "stranger")
    kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


@pytest.fixture
def policies(team: Team) -> Iterator[str]:
    """The chart's policies for the operator and for the team, as helm renders them; applied by the test."""
    chart = ["helm", "template", "fairlead", str(ROOT / "charts/fairlead"), "--namespace", SYSTEM]
    values = ["--set", "networkPolicy.enabled=true", "--set", f"networkPolicy.namespaces={{{team.namespace}}}"]
    only = ["--kube-version", "1.34.0", "--show-only", "templates/network-policies.yaml"]
    done = subprocess.run([*chart, *values, *only], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [policy for policy in yaml.safe_load_all(done.stdout) if policy]
    for policy in found:
        policy["metadata"].setdefault("namespace", SYSTEM)  # as `helm install` puts it
    assert {policy["metadata"]["namespace"] for policy in found} == {SYSTEM, team.namespace}
    text = yaml.safe_dump_all(found)
    yield text
    kubectl("delete", "--ignore-not-found", "-f", "-", given=text)


def test_all_works_under_the_charts_policies_and_strangers_reach_nothing(
    team: Team, outside: Place, policies: str
) -> None:
    hostname = f"{team.namespace}.example.com"
    with enforced():
        nobody_is_refused_without_policies(team, outside)
        kubectl("apply", "-f", "-", given=policies)
        ask = all_kinds_work(team, hostname)
        who_may_reach_what(team, outside)
        another_version_rolls_out(team, ask)


def nobody_is_refused_without_policies(team: Team, outside: Place) -> None:
    """What is refused later is refused by the policies, and by nothing else."""
    job = place(team.namespace, "job", **JOB)
    eventually(lambda: outside.reaches(job.ip(), 8080), "a stranger does not reach an open pod")
    assert operator().reaches("object-store.object-store.svc", 8333)


def all_kinds_work(team: Team, hostname: str) -> asking.Ask:
    """Snapshot, training, evaluation, serving, capture and monitoring get all they need."""
    flights.given_dataset(team)
    flights.given_version(team)
    spec = flights.service_spec(hostname, model={"version": "flights-v1"}, rollout=LENIENT, capture={"percent": 100})
    monitor = {"inferenceService": {"name": "flights"}, "schedule": "* * * * *", "resources": flights.MODEST}
    team.apply(manifest("InferenceService", "flights", spec), manifest("DriftMonitor", "flights", monitor))
    team.until_ready("InferenceService", "flights", 120)
    ask = asking.by_gateway(hostname)
    asking.until_answered(ask, flights.features(3))
    eventually(lambda: team.stored("captures/"), "nothing that was captured reached the store", 120)
    team.until("DriftMonitor", "flights", lambda o: o["status"].get("lastJob"), 180)
    return ask


def who_may_reach_what(team: Team, outside: Place) -> None:
    """The table of docs/security.md, asked of real connections."""
    server = server_of(team)
    inside = place(team.namespace, "colleague")
    job = Place(team.namespace, "job")
    assert [outside.reaches(server.ip(), port) for port in PUBLIC[::2]] == [True, True]
    assert not outside.reaches(server.ip(), OWN)
    assert inside.reaches(server.ip(), OWN)
    assert operator().reaches(server.ip(), OWN)
    assert not outside.reaches(job.ip(), 8080)
    assert not inside.reaches(job.ip(), 8080)
    assert job.reaches(server.ip(), 8080)
    assert not job.reaches(server.ip(), OWN)
    assert job.reaches("object-store.object-store.svc", 8333)
    assert not job.reaches(operator().ip(), 8080)
    assert not operator().reaches("object-store.object-store.svc", 8333)
    assert operator().reaches("kubernetes.default.svc", 443)
    assert outside.reaches(operator().ip(), 8080)


def place(namespace: str, name: str, **labels: str) -> Place:
    """Return a pod that answers on port 8080."""
    rights = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
    program = ["/opt/venv/bin/python", "-c", ANSWER]
    container: Obj = {"name": "main", "image": "fairlead-operator:dev", "command": program}
    container["securityContext"] = rights | {"seccompProfile": {"type": "RuntimeDefault"}}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
    kubectl("apply", "-f", "-", given="\n---\n".join(map(json.dumps, (restricted_namespace(namespace), pod))))
    kubectl("wait", "pod", name, "-n", namespace, "--for=condition=Ready", "--timeout=60s")
    return Place(namespace, name)


def server_of(team: Team) -> Place:
    """Return the serving pod."""
    return running(team.namespace, "fairlead.dev/role=server")


def operator() -> Place:
    """Return the operator's pod."""
    return running(SYSTEM, "app.kubernetes.io/name=fairlead,app.kubernetes.io/component=operator")


def running(namespace: str, selector: str) -> Place:
    """Return a pod that is not about to go."""
    pods = json.loads(kubectl("get", "pods", "-n", namespace, "-l", selector, "-o", "json"))["items"]
    pod = next(pod for pod in pods if "deletionTimestamp" not in pod["metadata"])
    return Place(namespace, pod["metadata"]["name"], pod["spec"]["containers"][0]["name"])
