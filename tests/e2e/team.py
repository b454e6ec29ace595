"""A team's namespace on the real cluster, and the words in which e2e tests speak: given, when, then."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hack.demo.cluster import CONTEXT, PLURALS, ROOT, Cluster, Obj, condition, is_ready, restricted_namespace
from hack.demo.lake import ACCESS_KEY, BUCKET, ENDPOINT, INSIDE, SECRET_KEY
from minio import Minio

GATEWAY = "http://127.0.0.1:30080"
SYSTEM = "fairlead-system"
POLL_S = 0.3


def kubectl(*words: str, given: str | None = None, check: bool = True) -> str:
    """Run kubectl on the cluster; fail with what it says."""
    done = subprocess.run(
        ["kubectl", "--context", CONTEXT, *words], input=given, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
    return done.stdout


def refused(*words: str, given: Mapping[str, Any] | None = None) -> str:
    """Run kubectl on the cluster; return the API server's words of refusal, or fail when there are none."""
    command = ["kubectl", "--context", CONTEXT, *words]
    text = json.dumps(given) if given is not None else None
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode != 0, f"was not refused: kubectl {' '.join(words)}: {done.stdout}"
    return done.stderr


def install_operator() -> str:
    """Install or upgrade Fairlead by its chart, under restricted pod security, and wait until it is ready.

    Return the value that makes its pods new ones; the same value again changes nothing.
    """
    kubectl("apply", "-f", "-", given=json.dumps(restricted_namespace(SYSTEM)))
    command = ["helm", "upgrade", "--install", "fairlead", str(ROOT / "charts/fairlead"), "--kube-context", CONTEXT]
    where = ["-n", SYSTEM, "--wait", "--timeout", "3m"]
    stamp = f"podAnnotations.fairlead\\.dev/installed=t{int(time.time())}"
    done = subprocess.run([*command, *where, "--set", stamp], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return stamp


def operator_restarts() -> int:
    """Return how often containers of the operator restarted."""
    pods = json.loads(kubectl("get", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator", "-o", "json"))
    return sum(c["restartCount"] for pod in pods["items"] for c in pod["status"].get("containerStatuses", ()))


@dataclass
class Team:
    """One namespace with a store of its own prefix."""

    namespace: str
    secret_key: str = SECRET_KEY
    cluster: Cluster = field(init=False)
    store: Minio = field(
        default_factory=lambda: Minio(ENDPOINT, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False)
    )

    def __post_init__(self) -> None:
        self.cluster = Cluster(self.namespace)

    @classmethod
    def create(cls, test_name: str) -> Team:
        """Make a namespace named after the test."""
        digest = hashlib.sha256(f"{test_name} {time.time_ns()}".encode()).hexdigest()[:5]
        words = re.sub(r"[^a-z0-9]+", "-", test_name.removeprefix("test_").lower()).strip("-")[:40].strip("-")
        team = cls(f"{words}-{digest}")
        team.apply(restricted_namespace(team.namespace, {"fairlead.dev/e2e": "true"}), team.secret())
        return team

    def secret(self, name: str = "fairlead-store", **changes: str) -> Obj:
        """Return the store's Secret, with changes."""
        data = {"endpoint": INSIDE, "bucket": BUCKET, "prefix": f"e2e/{self.namespace}"}
        data |= {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY, **changes}
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}

    def put(self, key: str, body: bytes) -> str:
        """Put a file into the team's lake; return its s3 uri."""
        key = f"lake/{self.namespace}/{key}"
        self.store.put_object(BUCKET, key, io.BytesIO(body), len(body))
        return f"s3://{BUCKET}/{key}"

    def stored(self, prefix: str) -> list[str]:
        """Return the keys in the team's part of the store under a prefix."""
        start = f"e2e/{self.namespace}/"
        found = self.store.list_objects(BUCKET, prefix=start + prefix, recursive=True)
        return [str(entry.object_name).removeprefix(start) for entry in found]

    def read(self, key: str) -> bytes:
        """Return an object of the team's part of the store."""
        answer = self.store.get_object(BUCKET, f"e2e/{self.namespace}/{key}")
        try:
            return answer.read()
        finally:
            answer.close()

    def overwrite(self, key: str, body: bytes) -> None:
        """Replace an object of the team's part of the store, as nobody should."""
        self.store.put_object(BUCKET, f"e2e/{self.namespace}/{key}", io.BytesIO(body), len(body))

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Apply manifests as a person would."""
        kubectl("apply", "-n", self.namespace, "-f", "-", given="\n---\n".join(json.dumps(m) for m in manifests))

    def apply_file(self, path: Path) -> None:
        """Apply an example's manifests in this namespace instead of their own."""
        for manifest in yaml.safe_load_all(path.read_text()):
            if manifest["kind"] != "Namespace":
                manifest["metadata"]["namespace"] = self.namespace
                self.apply(manifest)

    def get(self, kind: str, name: str) -> Obj | None:
        """Return one of Fairlead's objects, or None."""
        return self.cluster.get(kind, name)

    def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> None:
        """Merge a change into an object."""
        self.cluster.patch(kind, name, change)

    def remove(self, kind: str, name: str) -> None:
        """Delete an object and wait until it is gone."""
        kubectl("delete", f"{PLURALS[kind]}.fairlead.dev", name, "-n", self.namespace, "--wait", "--timeout=60s")

    def kubectl(self, *words: str, given: str | None = None) -> str:
        """Run kubectl in the team's namespace."""
        return kubectl(*words, "-n", self.namespace, given=given)

    def children(self, kinds: str, owner: str = "") -> list[Obj]:
        """Return Kubernetes objects of some kinds (as kubectl names them), of one of our objects or of all."""
        chosen = ("-l", f"fairlead.dev/owner={owner}") if owner else ()
        return list(json.loads(self.kubectl("get", kinds, "-o", "json", "--show-managed-fields", *chosen))["items"])

    def all_objects(self) -> list[Obj]:
        """Return all of Fairlead's objects of the namespace."""
        return [item for kind in PLURALS for item in self.cluster.list(kind)]

    def until_gone(self, kinds: str, owner: str = "", timeout_s: float = 60) -> None:
        """Wait until the namespace has none of these Kubernetes objects."""
        eventually(
            lambda: not self.children(kinds, owner), f"there are still {kinds} of {owner or 'anyone'}", timeout_s
        )

    def until(self, kind: str, name: str, holds: Callable[[Obj], Any], timeout_s: float = 60) -> Obj:
        """Return the object once `holds` is true of it; fail with what it says instead."""
        deadline = time.monotonic() + timeout_s
        while True:
            obj = self.get(kind, name)
            if obj and holds(obj):
                return obj
            assert time.monotonic() < deadline, f"{kind} {name} after {timeout_s:.0f} s: {said(obj)}"
            time.sleep(POLL_S)

    def until_ready(self, kind: str, name: str, timeout_s: float = 90) -> Obj:
        """Return the object once Ready is True for its newest spec; fail as soon as that is Stalled."""

        def holds(obj: Obj) -> bool:
            seen = (obj.get("status") or {}).get("observedGeneration") == obj["metadata"]["generation"]
            assert not (seen and is_true(obj, "Stalled")), f"{kind} {name} stalled: {said(obj)}"
            return is_ready(obj)

        return self.until(kind, name, holds, timeout_s)

    def until_says(self, kind: str, name: str, reason: str, timeout_s: float = 60) -> str:
        """Return Ready's message once its reason is this one."""
        obj = self.until(kind, name, lambda o: condition(o, "Ready")["reason"] == reason, timeout_s)
        return str(condition(obj, "Ready")["message"])

    def delete(self) -> None:
        """Remove the namespace, without waiting for its end."""
        kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")


def eventually(holds: Callable[[], Any], otherwise: str, timeout_s: float = 60) -> Any:
    """Return what `holds` returns once it is true; fail with a sentence when the time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, f"after {timeout_s:.0f} s {otherwise}"
        time.sleep(POLL_S)


def is_true(obj: Obj, type_: str) -> bool:
    """Whether a condition is True."""
    return bool(condition(obj, type_).get("status") == "True")


def said(obj: Obj | None) -> str:
    """Return what Ready says, for messages."""
    ready = condition(obj, "Ready")
    return f"{ready['reason']}: {ready['message']}" if obj else "it does not exist"


def manifest(kind: str, name: str, spec: Mapping[str, Any]) -> Obj:
    """Return one of Fairlead's objects."""
    return {"apiVersion": "fairlead.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}
