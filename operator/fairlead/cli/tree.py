"""A namespace's objects and how they hand over to each other, as a tree of lines.

Data to training to version; what serves, and what watches it. Pure: takes objects, gives text. Called by `commands.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.api import names
from fairlead.contract.base import short

from .states import state_of

Obj = Mapping[str, Any]
Objects = Mapping[str, Sequence[Obj]]
DIGITS = 12
MISSING = "Missing"


@dataclass(frozen=True)
class Node:
    """One line: what it is, where it stands, what it hands over; and what follows from it."""

    title: str
    state: str
    note: str
    children: tuple[Node, ...] = ()


def render_tree(objects: Objects) -> str:
    """Return the tree of all objects by kind; objects that refer to something absent hang under `Missing`."""
    roots = [*_data(objects), *_loose_versions(objects), *_serving(objects)]
    if not roots:
        return "No objects of Fairlead in this namespace."
    lines = [line for root in roots for line in _lines(root, "", "")]
    title_width = max(len(title) for title, _, _ in lines)
    state_width = max(len(state) for _, state, _ in lines)
    return "\n".join(f"{title:{title_width}}  {state:{state_width}}  {note}".rstrip() for title, state, note in lines)


def _lines(node: Node, head: str, tail: str) -> list[tuple[str, str, str]]:
    lines = [(head + node.title, node.state, node.note)]
    for child in node.children:
        last = child is node.children[-1]
        lines += _lines(child, tail + ("└─ " if last else "├─ "), tail + ("   " if last else "│  "))
    return lines


def _node(obj: Obj, notes: Iterable[str], children: Iterable[Node] = ()) -> Node:
    title = f"{obj['kind']} {obj['metadata']['name']}"
    return Node(title, str(state_of(obj)), "; ".join(note for note in notes if note), tuple(children))


def _by_age(objects: Iterable[Obj]) -> list[Obj]:
    return sorted(objects, key=lambda obj: (obj["metadata"].get("creationTimestamp", ""), obj["metadata"]["name"]))


def _status(obj: Obj) -> Mapping[str, Any]:
    return obj.get("status") or {}


def _name(obj: Obj) -> str:
    return str(obj["metadata"]["name"])


def _of(objects: Objects, resource: names.Resource) -> list[Obj]:
    return _by_age(objects.get(resource.kind) or ())


def _data(objects: Objects) -> list[Node]:
    datasets, runs = _of(objects, names.DATASET), _of(objects, names.TRAINING_RUN)
    nodes = [
        _node(dataset, (_rows(dataset),), [_run(run, objects) for run in runs if _dataset_of(run) == _name(dataset)])
        for dataset in datasets
    ]
    known = {_name(dataset) for dataset in datasets}
    absent = sorted({_dataset_of(run) for run in runs} - known)
    for name in absent:
        waiting = tuple(_run(run, objects) for run in runs if _dataset_of(run) == name)
        nodes.append(Node(f"Dataset {name}", MISSING, "", waiting))
    return nodes


def _rows(dataset: Obj) -> str:
    status = _status(dataset)
    if not status.get("revision"):
        return "no valid revision yet"
    return f"{status.get('rows', 0):,} rows, revision {short(status['revision'], DIGITS)}"


def _dataset_of(run: Obj) -> str:
    return str(run["spec"]["dataset"]["name"])


def _run(run: Obj, objects: Objects) -> Node:
    status = _status(run)
    pinned = (status.get("dataset") or {}).get("revision")
    notes = (
        f"on revision {short(pinned, DIGITS)}" if pinned else "",
        str((status.get("progress") or {}).get("message") or "") if not status.get("outcome") else "",
        _started_by(run, objects),
    )
    versions = [version for version in _of(objects, names.MODEL_VERSION) if _run_of(version) == _name(run)]
    return _node(run, notes, [_version(version, objects) for version in versions])


def _started_by(run: Obj, objects: Objects) -> str:
    for monitor in _of(objects, names.DRIFT_MONITOR):
        for record in _status(monitor).get("retrainings") or ():
            if record.get("run") == _name(run):
                return f"started by DriftMonitor {_name(monitor)}: {record.get('reason')}"
    return ""


def _run_of(version: Obj) -> str:
    return str((version["spec"]["source"].get("trainingRun") or {}).get("name") or "")


def _loose_versions(objects: Objects) -> list[Node]:
    runs = {_name(run) for run in _of(objects, names.TRAINING_RUN)}
    return [_version(version, objects) for version in _of(objects, names.MODEL_VERSION) if _run_of(version) not in runs]


def _version(version: Obj, objects: Objects) -> Node:
    status = _status(version)
    digest = (status.get("artifact") or {}).get("digest")
    services = _of(objects, names.INFERENCE_SERVICE)
    roles = [
        f"{role} in {_name(service)}"
        for service in services
        for role in ("stable", "canary")
        if (_status(service).get(role) or {}).get("version") == _name(version)
    ]
    open_ones = (entry for entry in status.get("rejectedBy") or () if not entry.get("overriddenAt"))
    refused = [f"refused by {entry['inferenceService']}" for entry in open_ones]
    notes = (f"gates {status['gatesSummary']}" if status.get("gatesSummary") else "", *roles, *refused)
    return _node(version, (f"bytes {short(digest, DIGITS)}" if digest else "", *notes))


def _serving(objects: Objects) -> list[Node]:
    services, monitors = _of(objects, names.INFERENCE_SERVICE), _of(objects, names.DRIFT_MONITOR)
    nodes = [
        _node(service, _serves(service), [_monitor(each) for each in monitors if _watched(each) == _name(service)])
        for service in services
    ]
    known = {_name(service) for service in services}
    for name in sorted({_watched(monitor) for monitor in monitors} - known):
        waiting = tuple(_monitor(each) for each in monitors if _watched(each) == name)
        nodes.append(Node(f"InferenceService {name}", MISSING, "", waiting))
    return nodes


def _serves(service: Obj) -> tuple[str, ...]:
    status, model = _status(service), service["spec"]["model"]
    stable, canary = status.get("stable") or {}, status.get("canary") or {}
    weight = (status.get("rollout") or {}).get("weight", 0)
    asked = f"version {model['version']}" if model.get("version") else f"the newest approved {model.get('name')}"
    return (
        f"serves {stable['version']}" if stable.get("version") else "serves nothing yet",
        f"canary {canary['version']} at {weight} %" if canary.get("version") else "",
        f"asked for {asked}",
    )


def _watched(monitor: Obj) -> str:
    return str(monitor["spec"]["inferenceService"]["name"])


def _monitor(monitor: Obj) -> Node:
    status = _status(monitor)
    found = [
        condition["type"]
        for condition in status.get("conditions") or ()
        if condition["type"] not in ("Ready", "Reconciling", "Stalled") and condition["status"] == "True"
    ]
    retrained = [f"retrained by {record['run']}" for record in status.get("retrainings") or ()][:1]
    return _node(monitor, (", ".join(found), *retrained))
