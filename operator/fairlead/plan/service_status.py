"""The parts of a service's status that are read by people and other kinds: shares, signals, address.

It must never decide anything. Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.api.inferenceservice import InferenceService, InferenceServiceStatus, RevisionStatus, TrafficShare

from .analysis import Evidence, Finding, describe_signals
from .route import RouteFacts
from .serving_pods import ArmFacts
from .sizes import ROLLING_BACK, active_state
from .traffic import Share
from .types import Obj

_TEXT = 280
_PORTS = {"HTTP": 80, "HTTPS": 443, "TLS": 443}


def traffic_of(
    shares: Sequence[Share], route: RouteFacts, finding: Finding | None, *, by_ratio: bool
) -> list[TrafficShare]:
    """Return requested, programmed and measured shares per arm."""
    measured = finding.shares if finding else {}
    return [
        TrafficShare(
            revision=share.arm.name,
            role=share.role,
            requested=share.percent,
            programmed=None if by_ratio or route.programmed is None else route.programmed.get(share.arm.name, 0),
            measured=round(measured[share.role], 1) if share.role in measured else None,
        )
        for share in shares
    ]


def describe_rollout(
    status: InferenceServiceStatus, evidence: Evidence | None, finding: Finding | None, awaited: str
) -> InferenceServiceStatus:
    """Return the status with what the judge says now, as far as the rollout is still judged, or what it waits for."""
    rollout = status.rollout
    if rollout is None or evidence is None or finding is None or active_state(rollout) == ROLLING_BACK:
        return status
    said: dict[str, Any] = {
        "verdict": finding.decision.value,
        "signals": describe_signals(finding),
    }
    if rollout.state != "Held":
        said["message"] = (awaited or finding.verdict.reason)[:_TEXT]
    return status.model_copy(update={"rollout": rollout.model_copy(update=said)})


def with_ready(status: InferenceServiceStatus, arms: Mapping[str, ArmFacts]) -> dict[str, RevisionStatus | None]:
    """Return the roles of a status with the ready pods of each."""
    roles = {"stable": status.stable, "canary": status.canary, "baseline": status.baseline, "previous": status.previous}
    return {
        role: arm.model_copy(update={"ready_replicas": arms.get(arm.name, ArmFacts()).ready}) if arm else None
        for role, arm in roles.items()
    }


def url_of(service: InferenceService, gateway: Obj | None, *, in_sight: bool) -> str:
    """Return where requests go: hostname (or the Gateway's address) and listener, or the Service in the cluster.

    Nothing for a Gateway that the operator may not see: whether it speaks HTTP or HTTPS, and at which port, is its own.
    """
    traffic = service.spec.traffic
    if traffic.gateway is None:
        return f"http://{service.name}.{service.namespace}.svc"
    if gateway is None and not in_sight:
        return ""
    addresses = ((gateway or {}).get("status") or {}).get("addresses") or ()
    host = traffic.hostname or next((str(entry.get("value", "")) for entry in addresses), "")
    if not host:
        return ""
    listener = _listener(gateway, traffic.gateway.section_name)
    protocol = str(listener.get("protocol", "HTTP"))
    scheme = "http" if protocol == "HTTP" else "https"
    port = int(listener.get("port") or _PORTS.get(protocol, 80))
    suffix = "" if port == _PORTS[scheme.upper()] else f":{port}"
    return f"{scheme}://{host}{suffix}{traffic.path.rstrip('/')}"


def _listener(gateway: Obj | None, section: str | None) -> Mapping[str, Any]:
    listeners: Sequence[Mapping[str, Any]] = ((gateway or {}).get("spec") or {}).get("listeners") or ({},)
    return next((entry for entry in listeners if section in (None, entry.get("name"))), {})
