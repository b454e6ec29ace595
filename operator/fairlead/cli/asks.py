"""What people ask of an object, as the merge patch that asks it, and the sentence that says so.

Decisions are fields of spec and name the one who decides; everything else is an annotation whose new value is the
request. Pure: who asks and when come from outside. Called by `commands.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.plan.selection import HANDLED_WIDTH, Override, recorded
from fairlead.plan.stops import PROMOTION_REQUIRED

Obj = Mapping[str, Any]
Decision = Literal["Approved", "Rejected"]


class CannotAskError(Exception):
    """The object is not in a state in which this can be asked; the message says what to do instead."""


@dataclass(frozen=True)
class Ask:
    """One merge patch and what to tell the person once the API server took it."""

    resource: Resource
    name: str
    patch: Mapping[str, Any]
    said: str


@dataclass(frozen=True)
class Signature:
    """Who asks, and when (RFC 3339)."""

    who: str
    at: str

    def __str__(self) -> str:
        """Return the value of an annotation that asks for something."""
        return f"{self.at} by {self.who}"


def build_decision(version: Obj, decision: Decision, who: str, reason: str) -> Ask:
    """Return the decision about a ModelVersion, bound to the evaluation in its status. Raises CannotAskError."""
    name, status = str(version["metadata"]["name"]), version.get("status") or {}
    digest = (status.get("evaluation") or {}).get("inputDigest") or ""
    if decision == "Approved" and not digest:
        raise CannotAskError(f"ModelVersion {name} is not evaluated yet; `kubectl fairlead why mver/{name}` says why")
    if status.get("stage") == "Rejected":
        raise CannotAskError(f"ModelVersion {name} is rejected for good; make a new version")
    approval: dict[str, Any] = {"decision": decision, "by": who, "reason": reason}
    # null takes an older digest away: a rejection needs none
    approval["evaluationDigest"] = digest or None
    gates = f" ({status['gatesSummary']})" if status.get("gatesSummary") else ""
    return Ask(
        names.MODEL_VERSION,
        name,
        {"spec": {"approval": approval}},
        f"ModelVersion {name}{gates} {decision.lower()} by {who}: {reason}",
    )


_REQUESTS = {
    "rollback": (names.INFERENCE_SERVICE, names.ANNOTATION_ROLLBACK, "goes back to its last good revision"),
    "retry": (names.INFERENCE_SERVICE, names.ANNOTATION_RETRY, "tries again what ended without a verdict"),
    "retrain": (names.DRIFT_MONITOR, names.ANNOTATION_RETRAIN, "retrains now"),
    "refresh": (names.DATASET, names.ANNOTATION_REFRESH, "reads its source again"),
}


def resource_of(verb: str) -> Resource:
    """Return the kind that a verb is for."""
    return _REQUESTS[verb][0]


def build_request(verb: str, obj: Obj, by: Signature) -> Ask:
    """Return a request by annotation: rollback, retry, retrain, refresh. Raises CannotAskError."""
    resource, annotation, effect = _REQUESTS[verb]
    name, status = str(obj["metadata"]["name"]), obj.get("status") or {}
    if verb == "rollback" and not (status.get("previous") or status.get("rollout")):
        raise CannotAskError(f"InferenceService {name} has no earlier revision to go back to")
    if verb == "retry" and not (status.get("inconclusive") or status.get("rollout")):
        raise CannotAskError(f"InferenceService {name} has nothing to retry: no rollout of it ended without a verdict")
    patch = {"metadata": {"annotations": {annotation: str(by)}}}
    return Ask(resource, name, patch, f"{resource.kind} {name} {effect}")


def build_promotion(service: Obj) -> Ask:
    """Return the word that a revision which is ready and waits for a person may serve. Raises CannotAskError."""
    name, status = str(service["metadata"]["name"]), service.get("status") or {}
    version = str((status.get("canary") or {}).get("version") or "")
    if (status.get("rollout") or {}).get("heldFor") != PROMOTION_REQUIRED or not version:
        raise CannotAskError(f"InferenceService {name} waits for no promotion; `kubectl fairlead why infsvc/{name}`")
    patch = {"metadata": {"annotations": {names.ANNOTATION_PROMOTE: version}}}
    return Ask(names.INFERENCE_SERVICE, name, patch, f"InferenceService {name} promotes ModelVersion {version} now")


def build_override(service: Obj, version: Obj, by: Signature, reason: str) -> Ask:
    """Return the recorded wish to try refused bytes again. Raises CannotAskError."""
    name, refused = str(service["metadata"]["name"]), str(version["metadata"]["name"])
    digest = ((version.get("status") or {}).get("artifact") or {}).get("digest") or ""
    if not _is_refused(service, version, digest):
        raise CannotAskError(f"InferenceService {name} did not refuse ModelVersion {refused}; there is nothing to lift")
    text = f"{digest} by {by.who}: {reason}"
    if _is_spent(service, version, text):
        raise CannotAskError(
            f"InferenceService {name} tried ModelVersion {refused} again for this very reason, and refused it again; "
            "say in --reason what is new since"
        )
    patch = {"metadata": {"annotations": {names.ANNOTATION_OVERRIDE: text}}}
    return Ask(
        names.INFERENCE_SERVICE, name, patch, f"InferenceService {name} may try ModelVersion {refused} again: {reason}"
    )


def _is_spent(service: Obj, version: Obj, text: str) -> bool:
    """Say whether these words were carried out before: the operator takes them once."""
    handled = ((service.get("status") or {}).get("handled") or {}).get("override")
    asked = (service["metadata"]["name"], *recorded(Override.of(text)))
    kept = ((version.get("status") or {}).get("overrides")) or ()
    by_version = any((one.get("inferenceService"), one.get("by"), one.get("why")) == asked for one in kept)
    return text[:HANDLED_WIDTH] == handled or by_version


def _is_refused(service: Obj, version: Obj, digest: str) -> bool:
    rejected = (service.get("status") or {}).get("rejected") or ()
    remembered = (version.get("status") or {}).get("rejectedBy") or ()
    by_status = any(entry.get("digest") == digest for entry in rejected)
    open_ones = (entry for entry in remembered if not entry.get("overriddenAt"))
    by_version = any(entry.get("inferenceService") == service["metadata"]["name"] for entry in open_ones)
    return bool(digest) and (by_status or by_version)
