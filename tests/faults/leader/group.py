"""Replicas of one installation, the user whose wishes they carry out, and the judgement of what they wrote.

The chart's own leader policy is installed, and each replica speaks with the token of a pod of its own, as in a cluster:
so the API server knows the replicas apart, and its audit log says who wrote what.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from tests.support.control_plane import ControlPlane
from tests.support.eventually import eventually
from tests.support.running import free_ports
from tests.support.toy import TOY, build_toy

from fairlead.api.names import DATASET, DEPLOYMENT, JOB, SERVICE, Resource
from fairlead.app.rbac import RULES
from fairlead.kube.client import Client, Timeouts
from fairlead.kube.connection import connect
from fairlead.kube.errors import AlreadyExistsError, KubeError, NotFoundError
from fairlead.kube.lease import LEASE

from .audit import Audit, Write
from .replica import Replica

ROOT = Path(__file__).resolve().parents[3]
RBAC = "rbac.authorization.k8s.io"
NAMESPACE = Resource("v1", "Namespace", "namespaces")
ACCOUNT = Resource("v1", "ServiceAccount", "serviceaccounts")
POD = Resource("v1", "Pod", "pods")
CLUSTER_ROLE = Resource(f"{RBAC}/v1", "ClusterRole", "clusterroles")
CLUSTER_BINDING = Resource(f"{RBAC}/v1", "ClusterRoleBinding", "clusterrolebindings")
ADMISSION = "admissionregistration.k8s.io/v1"
POLICY = Resource(ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
POLICY_BINDING = Resource(ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
TOYS = 4


@dataclass(frozen=True)
class Times:
    """Lease times in seconds."""

    duration_s: float
    renew_s: float
    retry_s: float

    @property
    def arguments(self) -> tuple[str, ...]:
        named = (("duration", self.duration_s), ("renew-deadline", self.renew_s), ("retry-period", self.retry_s))
        return tuple(part for name, s in named for part in (f"--lease-{name}", f"{round(s * 1000)}ms"))


REAL = Times(15, 10, 2)
SCALED = Times(3, 2, 0.4)


@dataclass
class Group:
    """One installation in a namespace of its own."""

    plane: ControlPlane
    audit: Audit
    api: Client  # the user's hands
    folder: Path
    times: Times
    namespace: str
    release: str
    server: str = ""  # a proxy; empty: the API server itself
    replicas: list[Replica] = field(default_factory=list)
    rand: random.Random = field(default_factory=lambda: random.Random(5))

    # Replicas

    async def start(self) -> Replica:
        """Start a replica and return when it is ready: its caches are filled."""
        pod = f"{self.release}-{len(self.replicas)}"
        config = await self._kubeconfig(pod)
        (port,) = free_ports(1)
        arguments = (
            "--kubeconfig", str(config), "--namespaces", self.namespace,
            "--lease-namespace", self.namespace, "--lease-name", self.release,
            "--identity", f"{pod}_{secrets.token_hex(4)}", *self.times.arguments,
            "--server-image", "example.com/server@sha256:0", "--jobs-image", "example.com/jobs@sha256:0",
            "--bind-address", "127.0.0.1", "--health-port", str(port), "--metrics-port", "0", "--log-format", "text",
        )  # fmt: skip
        replica = Replica(pod, arguments, self.folder, port)
        self.replicas.append(replica)
        await eventually(lambda: self.probe(replica, "readyz"), 120, every_s=0.1, what=f"{pod} is ready")
        return replica

    async def probe(self, replica: Replica, path: str) -> bool:
        """Say whether a probe is answered by 200."""
        return (await self.asked(replica, path))[0] == 200

    async def asked(self, replica: Replica, path: str) -> tuple[int, str]:
        """Return a probe's status and text; 0 when there is no answer."""
        if not replica.is_alive:
            return 0, f"{replica.name} ended ({replica.exit_code}): {replica.said()[-2000:]}"
        timeout = aiohttp.ClientTimeout(total=2)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"http://127.0.0.1:{replica.health_port}/{path}") as answer,
            ):
                return answer.status, await answer.text()
        return 0, ""

    async def holder(self) -> str:
        """Return the pod that holds the Lease, or ""."""
        lease = await self.api.find(LEASE, self.namespace, self.release)
        held = (lease or {}).get("spec", {}).get("holderIdentity") or ""
        return str(held.rpartition("_")[0])

    async def leader(self) -> Replica:
        """Return the replica that leads; wait until one does."""

        async def look() -> Replica | None:
            holder = await self.holder()
            return next((one for one in self.replicas if one.name == holder and one.is_alive), None)

        return await eventually(look, 30, what="a replica leads")  # type: ignore[return-value]

    @property
    def unplanned(self) -> list[str]:
        """Replicas that ended though nobody hurt them: on a busy machine a leader may not get to renew in time."""
        return [one.name for one in self.replicas if not one.is_alive and not one.is_hurt]

    async def supervise(self) -> None:
        """Keep two replicas, as a Deployment does; for ever."""
        while True:
            if sum(one.is_alive for one in self.replicas) < 2:
                await self.start()
            await asyncio.sleep(0.05)

    async def pair(self) -> tuple[Replica, Replica]:
        """Return a leader and a standby, as soon as there are both and both are ready."""

        async def look() -> tuple[Replica, Replica] | None:
            alive = [one for one in self.replicas if one.is_alive]
            holder = await self.holder()
            leader = [one for one in alive if one.name == holder]
            standby = [one for one in alive if one.name != holder]
            if len(leader) != 1 or len(standby) != 1 or not await self.probe(standby[0], "readyz"):
                return None
            return leader[0], standby[0]

        return await eventually(look, 180, every_s=0.05, what="a leader and a standby")  # type: ignore[return-value]

    def token_of(self, replica: Replica) -> str:
        """Return what a replica shows to the API server: how a proxy knows it."""
        config = yaml.safe_load((self.folder / f"{replica.name}.kubeconfig").read_text())
        return str(config["users"][0]["user"]["token"])

    async def _kubeconfig(self, pod: str) -> Path:
        body = {
            "metadata": {"name": pod},
            "spec": {
                "serviceAccountName": self.release,
                "containers": [{"name": "operator", "image": "example.com/x"}],
            },
        }
        made = await self.api.create(POD, self.namespace, body)
        reference = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": made["metadata"]["uid"]}
        token = await _bound_token(self.plane, self.namespace, self.release, reference)
        cluster: dict[str, Any] = {"server": self.server or self.plane.server}
        if not self.server:
            cluster["certificate-authority"] = str(self.plane.ca)
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": pod, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": pod}}],
            "current-context": "test",
        }
        path = self.folder / f"{pod}.kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    # The user

    async def make_objects(self) -> None:
        """Make the toys and a Dataset."""
        for number in range(TOYS):
            await self.api.create(TOY, self.namespace, build_toy(f"toy-{number}", self.namespace, port=80, replicas=1))
        spec = {"source": {"configMap": {"name": "rows", "key": "rows.csv"}}, "format": "CSV", "target": "y"}
        metadata = {"name": "rows", "namespace": self.namespace}
        body = {"apiVersion": DATASET.api_version, "kind": DATASET.kind, "metadata": metadata, "spec": spec}
        await self.api.create(DATASET, self.namespace, body)

    async def change_something(self) -> None:
        """Change one wish of the user at random."""
        if self.rand.random() < 0.15:
            target = {"spec": {"target": self.rand.choice("abcdefgh")}}
            await self.api.patch(DATASET, self.namespace, "rows", target)
            return
        wishes = (
            {"port": self.rand.randint(80, 99)},
            {"replicas": self.rand.randint(0, 5)},
            {"job": self.rand.random() < 0.5},
        )
        await self.wish(self.rand.randrange(TOYS), **self.rand.choice(wishes))

    async def wish(self, toy: int, **spec: Any) -> None:
        """Change a toy's spec."""
        await self.api.patch(TOY, self.namespace, f"toy-{toy}", {"spec": spec})

    @contextlib.asynccontextmanager
    async def restless(self, every_s: float = 0.08) -> Any:
        """Let the user change something all the time while the block runs."""

        async def go_on() -> None:
            while True:
                await self.change_something()
                await asyncio.sleep(every_s)

        task = asyncio.create_task(go_on())
        try:
            yield
        finally:
            await stop(task)

    async def settled(self, timeout_s: float = 60) -> None:
        """Wait until every child is as its owner wants it, and status says so."""

        async def look() -> bool:
            try:
                return await self._is_settled()
            except NotFoundError as error:
                raise AssertionError(error.message) from error

        await eventually(look, timeout_s, every_s=0.1, what=f"{self.namespace} is as asked")

    async def _is_settled(self) -> bool:
        for number in range(TOYS):
            toy = await self.api.get(TOY, self.namespace, f"toy-{number}")
            name, spec = toy["metadata"]["name"], toy["spec"]
            assert toy["status"].get("observedGeneration") == toy["metadata"]["generation"], name
            service = await self.api.get(SERVICE, self.namespace, name)
            assert service["spec"]["ports"][0]["port"] == spec["port"], name
            deployment = await self.api.get(DEPLOYMENT, self.namespace, name)
            assert deployment["spec"]["replicas"] == spec["replicas"], name
            job = await self.api.find(JOB, self.namespace, name)
            assert (job is not None) == bool(spec.get("job")), f"{name}: Job {job is not None}, {spec}"
        dataset = await self.api.get(DATASET, self.namespace, "rows")
        assert dataset["status"].get("observedGeneration") == dataset["metadata"]["generation"]
        jobs = [
            job["metadata"]["name"]
            async for page in self.api.pages(JOB, self.namespace)
            for job in page.items
            if job["metadata"]["name"].startswith("rows-")
        ]
        assert jobs == [dataset["status"]["attempt"]["job"]], jobs
        return True

    # The judgement

    def writes_of(self, *replicas: Replica, since: float = 0.0) -> list[Write]:
        """Return the writes of replicas, Lease and events aside."""
        names = {one.name for one in replicas}
        return [
            one
            for one in self.audit.writes(self.namespace)
            if one.user in names and one.at > since and not one.is_lease and not one.is_event
        ]

    async def first_write(self, replica: Replica, since: float, timeout_s: float) -> Write:
        """Wait for a replica's first accepted write after a moment."""
        return await self._first_write(lambda: [replica], since, timeout_s)

    async def first_write_without(self, leader: Replica, since: float, timeout_s: float) -> Write:
        """Wait for the first accepted write of any other replica: the one begun in its place may be the quickest."""
        return await self._first_write(lambda: [one for one in self.replicas if one is not leader], since, timeout_s)

    async def _first_write(self, who: Callable[[], list[Replica]], since: float, timeout_s: float) -> Write:
        def look() -> Write | None:
            return next((one for one in self.writes_of(*who(), since=since) if 200 <= one.code < 300), None)

        return await eventually(look, timeout_s, what=f"one of {[one.name for one in who()]} writes")

    def late_writes(self, old: Replica, new: Replica, since: float) -> list[Write]:
        """Return what the old leader asked for after the first accepted write of the new one."""
        first = next(one for one in self.writes_of(new, since=since) if 200 <= one.code < 300)
        return [one for one in self.writes_of(old) if one.at > first.at]

    def assert_one_writer(self) -> None:
        """Nobody changed anything after a later leader's first accepted write."""
        order: list[str] = []
        pods = {one.name for one in self.replicas}
        for write in self.audit.writes(self.namespace):
            if write.user not in pods or write.is_event or write.is_lease or not write.changed:
                continue
            if write.user not in order:
                order.append(write.user)
            assert write.user == order[-1], f"{write} after writes of {order[-1]}"

    def end(self) -> None:
        """End every replica."""
        for one in self.replicas:
            one.end()


async def build_group(
    plane: ControlPlane, audit: Audit, folder: Path, times: Times, *, server: str = "", fence: bool = True
) -> Group:
    """Install a group: namespace, rights, the chart's leader policy; no replica yet."""
    token = secrets.token_hex(3)
    patient = Timeouts(connect_s=60, read_s=60, write_s=60)  # a user's hands are under no test
    api = Client(await connect(str(plane.kubeconfig())), user_agent="user", timeouts=patient)
    group = Group(plane, audit, api, folder, times, f"leader-{token}", f"fairlead-{token}", server)
    await api.create(NAMESPACE, "", {"metadata": {"name": group.namespace}})
    await api.create(ACCOUNT, group.namespace, {"metadata": {"name": group.release}})
    await _grant(api, group)
    for document in _render_policy(group) if fence else ():
        await api.create(POLICY if document["kind"] == POLICY.kind else POLICY_BINDING, "", document)
    await group.make_objects()
    return group


async def _grant(api: Client, group: Group) -> None:
    rules = [
        {"apiGroups": [rule.api_group], "resources": list(rule.resources), "verbs": list(rule.verbs)} for rule in RULES
    ]
    rules.append({"apiGroups": ["test.fairlead.dev"], "resources": ["*"], "verbs": ["*"]})
    with contextlib.suppress(AlreadyExistsError):
        await api.create(CLUSTER_ROLE, "", {"metadata": {"name": "replica"}, "rules": rules})
    binding = {
        "metadata": {"name": group.release},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "replica"},
        "subjects": [{"kind": "ServiceAccount", "name": group.release, "namespace": group.namespace}],
    }
    await api.create(CLUSTER_BINDING, "", binding)


def _render_policy(group: Group) -> list[dict[str, Any]]:
    command = (
        "helm", "template", group.release, str(ROOT / "charts" / "fairlead"), "--namespace", group.namespace,
        "--kube-version", "1.34.0", "--show-only", "templates/leader-policy.yaml",
    )  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    documents = [obj for obj in yaml.safe_load_all(done.stdout) if obj]
    for document in documents:  # the toy kind stands for any other
        if document["kind"] == POLICY.kind:
            document["spec"]["matchConstraints"]["resourceRules"][0]["apiGroups"].append("test.fairlead.dev")
    return documents


async def _bound_token(plane: ControlPlane, namespace: str, account: str, reference: dict[str, str]) -> str:
    """Return a token as the kubelet asks for one: bound to a pod."""
    url = f"{plane.server}/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": reference}}
    headers = {"Authorization": f"Bearer admin-{plane.token}"}
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(url, json=body, headers=headers) as answer,
    ):
        said = await answer.json()
        if answer.status != 201:
            raise KubeError(f"no token: {said}")
        return str(said["status"]["token"])


async def stop(task: asyncio.Task[Any]) -> BaseException | None:
    """End a task and return what it failed by; a cancellation that meets a time-out inside may get lost."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=1)
    return None if task.cancelled() else task.exception()


def now() -> float:
    """Return the time as the audit log counts it: everything runs on one machine."""
    return time.time()
