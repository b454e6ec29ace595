"""What the demo asks of the cluster: kubectl and helm as people use them, and reads by the Kubernetes API."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from kubernetes import client, config

CONTEXT = "kind-fairlead"
ROOT = Path(__file__).resolve().parents[2]
PLURALS = {
    "Dataset": "datasets",
    "TrainingRun": "trainingruns",
    "ModelVersion": "modelversions",
    "InferenceService": "inferenceservices",
    "DriftMonitor": "driftmonitors",
}
POLL_S = 0.5
Obj = dict[str, Any]


class StoryBrokenError(Exception):
    """A step did not end as told; the message says how it ended."""


def run(*command: str, given: str | None = None) -> str:
    """Run a command and return what it prints; raise StoryBrokenError with its last words when it fails."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StoryBrokenError(f"{' '.join(command[:6])} failed: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout


class Cluster:
    """One namespace of the cluster, for the story."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        config.load_kube_config(context=CONTEXT)
        self._objects = client.CustomObjectsApi()

    def kubectl(self, *words: str, given: str | None = None) -> str:
        """Run kubectl on the cluster."""
        return run("kubectl", "--context", CONTEXT, *words, given=given)

    def apply(self, *paths: Path) -> None:
        """kubectl apply -f the files."""
        for path in paths:
            self.kubectl("apply", "-f", str(path))

    def apply_objects(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects made by the story, such as the store's Secret."""
        self.kubectl("apply", "-f", "-", given="\n---\n".join(json.dumps(obj) for obj in objects))

    def get(self, kind: str, name: str) -> Obj | None:
        """Return one of Fairlead's objects, or None."""
        try:
            found = self._objects.get_namespaced_custom_object(
                "fairlead.dev", "v1alpha1", self.namespace, PLURALS[kind], name
            )
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise
        return cast(Obj, found)

    def list(self, kind: str) -> list[Obj]:
        """Return all of one kind."""
        answer = self._objects.list_namespaced_custom_object("fairlead.dev", "v1alpha1", self.namespace, PLURALS[kind])
        return list(cast(Obj, answer)["items"])

    def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> None:
        """Merge a change into an object, as `kubectl patch --type merge` does."""
        self._objects.patch_namespaced_custom_object(
            "fairlead.dev", "v1alpha1", self.namespace, PLURALS[kind], name, dict(change)
        )

    def until(
        self,
        subject: tuple[str, str],
        holds: Callable[[Obj], bool],
        timeout_s: float,
        on_change: Callable[[Obj], None] = lambda _obj: None,
        fails: Callable[[Obj], bool] = lambda _obj: False,
    ) -> Obj:
        """Return the object once `holds` is true of it; tell `on_change` of each new Ready message on the way.

        Raises:
            StoryBrokenError: `fails` became true, or the time is up; with what the object says.
        """
        kind, name = subject
        deadline, last = time.monotonic() + timeout_s, ""
        while True:
            obj = self.get(kind, name)
            words = ready_of(obj)["message"] if obj else ""
            if obj and words != last:
                last = words
                on_change(obj)
            if obj and holds(obj):
                return obj
            if (obj and fails(obj)) or time.monotonic() > deadline:
                state = f"{ready_of(obj)['reason']}: {words}" if obj else "it does not exist"
                raise StoryBrokenError(f"{kind} {name} did not get there in {timeout_s:.0f} s; {state}")
            time.sleep(POLL_S)


def restricted_namespace(name: str, labels: Mapping[str, str] | None = None) -> Obj:
    """Return a Namespace that enforces restricted pod security."""
    wanted = {"pod-security.kubernetes.io/enforce": "restricted", **(labels or {})}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": wanted}}


def condition(obj: Obj | None, type_: str) -> Obj:
    """Return a condition, or an Unknown one."""
    conditions = ((obj or {}).get("status") or {}).get("conditions") or ()
    unknown: Obj = {"type": type_, "status": "Unknown", "reason": "", "message": ""}
    return next((dict(each) for each in conditions if each["type"] == type_), unknown)


def ready_of(obj: Obj | None) -> Obj:
    """Return the Ready condition."""
    return condition(obj, "Ready")


def is_ready(obj: Obj) -> bool:
    """Whether Ready is True for the newest spec."""
    found = ready_of(obj)
    return bool(found["status"] == "True" and found.get("observedGeneration") == obj["metadata"]["generation"])


def is_stalled(obj: Obj) -> bool:
    """Whether nothing will happen until somebody changes something."""
    return bool(condition(obj, "Stalled")["status"] == "True")
