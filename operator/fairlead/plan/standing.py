"""What services say of a version: where it is stable, who refused its bytes; and the stage that follows.

A refusal is never forgotten, also when the service that spoke it is gone. Used by `plan/modelversion.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fairlead.api.modelversion import ModelVersion, ModelVersionStatus, ServiceOverride, ServiceRejection, Stage

from .gates import ServiceFacts
from .selection import recorded

MAX_REJECTIONS = 20
MAX_SERVICES = 50
MAX_OVERRIDES = 5
MESSAGE_WIDTH = 256  # 20 of them stay far under the 16 KiB of a status


def standing(version: ModelVersion, status: ModelVersionStatus, services: Sequence[ServiceFacts]) -> dict[str, Any]:
    """Return the status fields that services decide: production_in, was_production, rejected_by, overrides."""
    digest = status.artifact.digest if status.artifact else ""
    serving = sorted(s.name for s in services if digest and _is_stable_in(version.name, digest, s))[:MAX_SERVICES]
    return {
        "production_in": serving or None,
        "was_production": status.was_production or bool(serving),
        "rejected_by": _refusals(digest, status.rejected_by or (), services),
        "overrides": _overrides(digest, status.overrides or (), services),
    }


def _is_stable_in(name: str, digest: str, service: ServiceFacts) -> bool:
    return service.stable_version == name and service.stable_digest in ("", digest)


def _refusals(
    digest: str, known: Iterable[ServiceRejection], services: Sequence[ServiceFacts]
) -> list[ServiceRejection] | None:
    """Return the refusals with those that services hold now; one of the same service and revision keeps the newest."""
    found = {(entry.inference_service, entry.revision, entry.content): entry for entry in known}
    for service in services:
        for said in service.rejected:
            if not digest or said.digest != digest:
                continue
            entry = ServiceRejection(
                inference_service=service.name,
                revision=said.revision,
                content=said.content,
                reason=said.reason,
                message=said.message[:MESSAGE_WIDTH],
                at=said.at,
            )
            key = (entry.inference_service, entry.revision, entry.content)
            if key not in found or found[key].at < entry.at:
                found[key] = entry
    for key, entry in found.items():
        found[key] = _lifted(entry, digest, services)
    newest = sorted(found.values(), key=lambda e: (e.at, e.inference_service, e.revision))[-MAX_REJECTIONS:]
    return newest or None


def _lifted(entry: ServiceRejection, digest: str, services: Sequence[ServiceFacts]) -> ServiceRejection:
    """Return the refusal, marked when a person lifted it at the service that spoke it."""
    said = next((s for s in services if s.name == entry.inference_service and s.override.digest == digest), None)
    if entry.overridden_at or said is None or entry.at > said.lifted_at:
        return entry
    return entry.model_copy(update={"overridden_at": said.lifted_at})


def _overrides(
    digest: str, known: Sequence[ServiceOverride], services: Sequence[ServiceFacts]
) -> list[ServiceOverride] | None:
    """Return the overrides with those that services carried out since; the oldest go first."""
    found = list(known)
    for service in sorted(services, key=lambda s: s.lifted_at):
        if not digest or service.override.digest != digest:
            continue
        by, why = recorded(service.override)
        if not any((one.inference_service, one.at) == (service.name, service.lifted_at) for one in found):
            found.append(ServiceOverride(inference_service=service.name, by=by, why=why, at=service.lifted_at))
    return found[-MAX_OVERRIDES:] or None


def bytes_refusal(status: ModelVersionStatus) -> ServiceRejection | None:
    """Return a refusal of the bytes themselves, not only of one revision that serves them, that nobody lifted."""
    return next((entry for entry in status.rejected_by or () if not (entry.revision or entry.overridden_at)), None)


def stage_of(status: ModelVersionStatus, *, waiting: bool) -> Stage:
    """Return the stage: what is stable somewhere is in Production, whatever else is said of it."""
    if status.production_in:
        return Stage.PRODUCTION
    if status.refusal is not None:
        return Stage.REJECTED
    if status.approved_at:
        return Stage.ARCHIVED if status.was_production else Stage.APPROVED
    return Stage.PENDING_APPROVAL if waiting else Stage.CANDIDATE
