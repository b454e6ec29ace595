"""The laws of status, asserted over every object at the end of every integration and e2e test."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Obj = Mapping[str, Any]
MAX_BYTES = 16 * 1024
MAX_MESSAGE = 1024
_ONLY_WHILE_TRUE = ("Reconciling", "Stalled")


def breaches(obj: Obj, *, secrets: Iterable[str] = ()) -> list[str]:
    """Return what is against the laws in one object's status; an object never looked at breaks none."""
    status = obj.get("status") or {}
    if not status.get("conditions"):
        return [] if status.get("observedGeneration", -1) == -1 else ["Ready is absent"]
    conditions = {condition["type"]: condition for condition in status["conditions"]}
    found = [*_presence(conditions), *_truth(conditions), *_generations(obj, conditions)]
    found += [
        f"{type_}: no reason or no message" for type_, c in conditions.items() if not (c["reason"] and c["message"])
    ]
    found += [
        f"{type_}: message over {MAX_MESSAGE}" for type_, c in conditions.items() if len(c["message"]) > MAX_MESSAGE
    ]
    text = json.dumps(status)
    found += [f"status is {len(text)} bytes, over {MAX_BYTES}"] if len(text) > MAX_BYTES else []
    found += ["a secret value is in status" for secret in secrets if secret in text]
    if len(conditions) != len(status["conditions"]):
        found.append("a condition type is there twice")
    return found


def _presence(conditions: Mapping[str, Obj]) -> list[str]:
    found = [] if "Ready" in conditions else ["Ready is absent"]
    for type_ in _ONLY_WHILE_TRUE:
        if type_ in conditions and conditions[type_]["status"] != "True":
            found.append(f"{type_} is present though not True")
    return found


def _truth(conditions: Mapping[str, Obj]) -> list[str]:
    is_ready = conditions.get("Ready", {}).get("status") == "True"
    found = [f"Ready=True beside {type_}=True" for type_ in _ONLY_WHILE_TRUE if is_ready and type_ in conditions]
    if all(type_ in conditions for type_ in _ONLY_WHILE_TRUE):
        found.append("Reconciling=True beside Stalled=True")
    if "Ready" in conditions and not is_ready and not any(type_ in conditions for type_ in _ONLY_WHILE_TRUE):
        found.append("Ready is not True, and neither Reconciling nor Stalled says why")
    return found


def _generations(obj: Obj, conditions: Mapping[str, Obj]) -> list[str]:
    generation = obj["metadata"].get("generation", 0)
    observed = {"status": obj["status"].get("observedGeneration", -1)}
    observed |= {type_: condition.get("observedGeneration", -1) for type_, condition in conditions.items()}
    return [
        f"{where}: observedGeneration {seen} is ahead of {generation}"
        for where, seen in observed.items()
        if seen > generation
    ]


class StatusLaws:
    """Collects states of objects over time and checks what must hold between them."""

    def __init__(self) -> None:
        self._last: dict[str, Obj] = {}
        self.found: list[str] = []

    def see(self, obj: Obj, *, secrets: Iterable[str] = ()) -> None:
        """Take one state of one object, in order of time."""
        name = f"{obj.get('kind')} {obj['metadata'].get('namespace')}/{obj['metadata']['name']}"
        self.found += [f"{name}: {breach}" for breach in breaches(obj, secrets=secrets)]
        before = self._last.get(obj["metadata"]["uid"])
        if before is not None:
            self.found += [f"{name}: {breach}" for breach in _moves(before, obj)]
        self._last[obj["metadata"]["uid"]] = obj

    def look_at(self, obj: Obj) -> None:
        """Take the present state of an object, unless it was taken already: older states may still be under way."""
        last = self._last.get(obj["metadata"]["uid"])
        if last is None or last["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            name = f"{obj.get('kind')} {obj['metadata'].get('namespace')}/{obj['metadata']['name']}"
            self.found += [f"{name}: {breach}" for breach in breaches(obj)]

    def assert_kept(self) -> None:
        """Fail with every breach that was seen."""
        assert not self.found, "\n".join(self.found)


def _moves(before: Obj, after: Obj) -> list[str]:
    """Return what a later state may not say after an earlier one."""
    return [*_times(before, after), *_steps_back(before.get("status") or {}, after.get("status") or {})]


def _steps_back(before: Obj, after: Obj) -> list[str]:
    """Return what was final and is not any more, and a generation that was seen and is not any more."""
    found = []
    if before.get("outcome") and after.get("outcome") != before["outcome"]:
        found.append(f"outcome {before['outcome']} became {after.get('outcome')}")
    if _is_refused_for_ever(before) and after.get("stage") != before["stage"]:
        found.append(f"stage {before['stage']} became {after.get('stage')}")
    if after.get("observedGeneration", -1) < before.get("observedGeneration", -1):
        found.append(f"observedGeneration went back to {after.get('observedGeneration', -1)}")
    return found


def _is_refused_for_ever(status: Obj) -> bool:
    reasons = {condition["reason"] for condition in status.get("conditions") or () if condition["type"] == "Ready"}
    return status.get("stage") == "Rejected" and bool(reasons & {"GateFailed", "RejectedByApprover"})


def _times(before: Obj, after: Obj) -> list[str]:
    """Return the conditions whose lastTransitionTime moved without their status."""
    old = {c["type"]: c for c in (before.get("status") or {}).get("conditions") or ()}
    new = {c["type"]: c for c in (after.get("status") or {}).get("conditions") or ()}
    found = []
    for type_ in old.keys() & new.keys():
        if (
            old[type_]["status"] == new[type_]["status"]
            and old[type_]["lastTransitionTime"] != new[type_]["lastTransitionTime"]
        ):
            found.append(f"{type_}: lastTransitionTime moved though the status did not")
    return found
