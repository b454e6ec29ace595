"""A toy kind with one child of each sort, for tests of the shell: its planner is as plain as a planner can be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fairlead.api import names
from fairlead.api.conditions import merge_conditions, ready, working
from fairlead.api.names import Resource
from fairlead.controllers.types import Controller, Watch, World, owner_key
from fairlead.plan.types import Action, Apply, Create, Delete, Key, Obj, Plan, Scale

TOY = Resource("test.fairlead.dev/v1", "Toy", "toys")

_CONDITION = {
    "type": "object",
    "properties": {
        name: {"type": "integer" if name == "observedGeneration" else "string"}
        for name in ("type", "status", "reason", "message", "lastTransitionTime", "observedGeneration")
    },
    "required": ["type", "status"],
}
TOY_CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "toys.test.fairlead.dev"},
    "spec": {
        "group": "test.fairlead.dev",
        "names": {"kind": "Toy", "plural": "toys"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "port": {"type": "integer"},
                                    "replicas": {"type": "integer"},
                                    "job": {"type": "boolean"},
                                    "bug": {"type": "boolean"},
                                    "badPort": {"type": "boolean"},
                                },
                            },
                            "status": {
                                "type": "object",
                                "default": {"observedGeneration": -1},
                                "properties": {
                                    "observedGeneration": {"type": "integer"},
                                    "jobSeen": {"type": "boolean"},
                                    "conditions": {
                                        "type": "array",
                                        "items": _CONDITION,
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["type"],
                                    },
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}


@dataclass(frozen=True)
class ToySnapshot:
    toy: Obj
    job: Obj | None
    service: Obj | None
    deployment: Obj | None


class ToyController(Controller[ToySnapshot]):
    """Wants a Service, a Deployment of `replicas`, and a Job if `job`."""

    resource = TOY
    watches = (
        Watch(names.JOB, owner_key(TOY)),
        Watch(names.SERVICE, owner_key(TOY)),
        Watch(names.DEPLOYMENT, owner_key(TOY)),
    )

    async def gather(self, key: Key, world: World) -> ToySnapshot | None:
        toy = world.view.get(TOY, key.namespace, key.name)
        if toy is None:
            return None
        return ToySnapshot(
            toy,
            *(
                next(iter(world.view.owned_by(resource, toy["metadata"]["uid"])), None)
                for resource in (names.JOB, names.SERVICE, names.DEPLOYMENT)
            ),
        )

    def plan(self, snapshot: ToySnapshot, now: datetime) -> Plan:
        toy, spec = snapshot.toy, snapshot.toy.get("spec") or {}
        if spec.get("bug"):
            raise KeyError("a planner's bug with the token hunter2")
        actions: list[Action] = [Apply(service_of(toy), snapshot.service)]
        if snapshot.deployment is None:
            actions.append(Create(deployment_of(toy)))
        else:
            actions.append(Scale(snapshot.deployment, spec.get("replicas", 1)))
        if spec.get("job") and snapshot.job is None:
            actions.append(Create(job_of(toy)))
        if not spec.get("job") and snapshot.job is not None:
            actions.append(Delete(snapshot.job))
        done = snapshot.service is not None and snapshot.deployment is not None
        said = ready("AsAsked", "all is there") if done else working("Making", "children are made")
        generation = toy["metadata"]["generation"]
        before = (toy.get("status") or {}).get("conditions") or ()
        status = {
            "observedGeneration": generation,
            "jobSeen": snapshot.job is not None,
            "conditions": merge_conditions(before, said, generation=generation, now=now),
        }
        return Plan(tuple(actions), status)


def build_toy(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": TOY.api_version,
        "kind": TOY.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def child_metadata(toy: Obj) -> dict[str, Any]:
    metadata = toy["metadata"]
    return {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "labels": {
            names.LABEL_MANAGED_BY: names.MANAGED_BY,
            names.LABEL_OWNER_KIND: TOY.kind,
            names.LABEL_OWNER: metadata["name"],
        },
        "ownerReferences": [
            {
                "apiVersion": TOY.api_version,
                "kind": TOY.kind,
                "name": metadata["name"],
                "uid": metadata["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def _pod_template(toy: Obj, **spec: Any) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "example.com/toy:1",
        "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}},
    }
    return {
        "metadata": {"labels": child_metadata(toy)["labels"]},
        "spec": {"containers": [container], **spec},
    }


def service_of(toy: Obj) -> dict[str, Any]:
    port = -5 if toy["spec"].get("badPort") else toy["spec"].get("port", 80)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(toy),
        "spec": {"selector": {names.LABEL_OWNER: toy["metadata"]["name"]}, "ports": [{"name": "http", "port": port}]},
    }


def job_of(toy: Obj) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": child_metadata(toy),
        "spec": {"backoffLimit": 0, "template": _pod_template(toy, restartPolicy="Never")},
    }


def deployment_of(toy: Obj) -> dict[str, Any]:
    labels = {names.LABEL_OWNER: toy["metadata"]["name"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": child_metadata(toy),
        "spec": {
            "replicas": toy["spec"].get("replicas", 1),
            "selector": {"matchLabels": labels},
            "template": _pod_template(toy),
        },
    }
