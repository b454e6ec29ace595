"""Which version a service should serve: the newest approved one of a family, or one by name, minus what was refused.

It must never look at pods or traffic. Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fairlead.api.inferenceservice import InferenceService, InferenceServiceStatus, Rejection, RevisionStatus
from fairlead.api.modelversion import ModelVersion, Stage
from fairlead.api.names import ANNOTATION_OVERRIDE

from .revision import content_of, model_of, rank_of

NO_APPROVED_VERSION = "NoApprovedVersion"
VERSION_NOT_FOUND = "VersionNotFound"
VERSION_NOT_APPROVED = "VersionNotApproved"
VERSION_REJECTED = "VersionRejected"

_SERVABLE = (Stage.APPROVED, Stage.PRODUCTION, Stage.ARCHIVED)
_LISTED = 5  # versions named in a message
HANDLED_WIDTH = 256  # of an annotation that status keeps
WHO_WIDTH, WHY_WIDTH = 64, 160  # of what ModelVersion.status.overrides keeps

Refusal = Callable[[ModelVersion], Rejection | None]


@dataclass(frozen=True)
class Lack:
    """Why no version can be chosen; `final` when only a person can change it."""

    reason: str
    message: str
    final: bool = False


@dataclass(frozen=True)
class Selection:
    """The version to serve; what stands against the version that the spec asks for, if that is another one."""

    version: ModelVersion | None = None
    lack: Lack | None = None
    refused: Rejection | None = None
    asked: str = ""  # the refused version's name as it is asked for: the same bytes may have been refused under another


def is_approved(version: ModelVersion) -> bool:
    """Say whether a version may serve: approved, with its bytes known, not being deleted."""
    status = version.status
    has_bytes = status.artifact is not None and bool(status.artifact.digest)
    return has_bytes and bool(status.approved_at) and status.stage in _SERVABLE and not version.deleting


def select_version(
    service: InferenceService, versions: Sequence[ModelVersion], stable: RevisionStatus | None, refusal: Refusal
) -> Selection:
    """Return the version that should serve.

    By family: the newest approved one that was not refused, and never one older than the stable revision's.
    By name: that one, whatever its age.
    """
    name = service.spec.model.version
    if name:
        return _select_named(name, versions, refusal)
    family = service.spec.model.name or ""
    return _select_newest(family, [v for v in versions if v.spec.model == family], stable, refusal)


def _select_named(name: str, versions: Sequence[ModelVersion], refusal: Refusal) -> Selection:
    version = next((v for v in versions if v.name == name), None)
    if version is None:
        message = f"spec.model.version names ModelVersion {name}, which does not exist in this namespace; create it."
        return Selection(lack=Lack(VERSION_NOT_FOUND, message))
    if version.status.stage is Stage.REJECTED:
        message = f"ModelVersion {name} was rejected by a gate or an approver; name another version."
        return Selection(lack=Lack(VERSION_REJECTED, message, final=True))
    if not is_approved(version):
        stage = version.status.stage.value
        message = f"ModelVersion {name} is {stage}; it serves once its gates passed and it is approved."
        return Selection(lack=Lack(VERSION_NOT_APPROVED, message))
    refused = refusal(version)
    return Selection(refused=refused, asked=name) if refused else Selection(version)


def _select_newest(
    family: str, versions: Sequence[ModelVersion], stable: RevisionStatus | None, refusal: Refusal
) -> Selection:
    approved = sorted((v for v in versions if is_approved(v)), key=rank_of, reverse=True)
    newer = [v for v in approved if not _older(v, stable, family)]
    if not approved and (stable is None or model_of(stable) != family):
        return Selection(lack=_nothing_approved(family, versions))
    asked = next(iter(newer), None)
    refused = refusal(asked) if asked else None
    chosen = next((v for v in newer if refusal(v) is None), None)
    return Selection(chosen, refused=refused, asked=asked.name if asked else "")


def _older(version: ModelVersion, stable: RevisionStatus | None, family: str) -> bool:
    return stable is not None and model_of(stable) == family and rank_of(version) < stable.rank


def _nothing_approved(family: str, versions: Sequence[ModelVersion]) -> Lack:
    if not versions:
        message = (
            f"There is no ModelVersion of model {family} in this namespace; a TrainingRun with that model makes one."
        )
        return Lack(NO_APPROVED_VERSION, message)
    found = ", ".join(f"{v.name} ({v.status.stage.value})" for v in versions[:_LISTED])
    more = f" and {len(versions) - _LISTED} more" if len(versions) > _LISTED else ""
    return Lack(NO_APPROVED_VERSION, f"No version of model {family} is approved yet: {found}{more}. Approve one.")


@dataclass(frozen=True)
class Override:
    """A person's word that a refused digest may be tried again: `<model digest> by <who>: <why>`."""

    text: str
    digest: str = ""
    who: str = ""
    why: str = ""

    @classmethod
    def of(cls, text: str) -> Override:
        """Read an annotation; what is missing stays empty."""
        digest, _, rest = text.partition(" by ")
        who, _, why = rest.partition(": ")
        return cls(text, digest.strip(), who.strip(), why.strip())

    @property
    def valid(self) -> bool:
        """Whether digest, who and why are all there."""
        return self.digest.startswith("sha256:") and bool(self.who and self.why)


NO_OVERRIDE = Override("")


def read_override(service: InferenceService) -> Override | None:
    """Return the override annotation of a service, read; None when there is none."""
    text = service.annotations.get(ANNOTATION_OVERRIDE, "").strip()
    return Override.of(text) if text else None


def is_spent(override: Override, service: str, versions: Iterable[ModelVersion]) -> bool:
    """Say whether an override was carried out by an earlier service of this name: one in Git comes back with it."""
    asked = recorded(override)
    return any(
        (entry.by, entry.why) == asked and entry.inference_service == service
        for version in versions
        if version.status.artifact and version.status.artifact.digest == override.digest
        for entry in version.status.overrides or ()
    )


def recorded(override: Override) -> tuple[str, str]:
    """Return who and why as a ModelVersion keeps them: of what the service kept of the annotation."""
    kept = Override.of(override.text[:HANDLED_WIDTH])
    return kept.who[:WHO_WIDTH], kept.why[:WHY_WIDTH]


def refusal_by(service: InferenceService, status: InferenceServiceStatus, versions: Iterable[ModelVersion]) -> Refusal:
    """Return the question "was this version refused by this service's judge?".

    Both records are consulted: the status, and what the versions remember of a service of this name, which
    outlives it. A digest that was overridden counts as refused again only by what came after the override.
    """
    handled = status.handled or {}
    lifted, since = handled.get("overrideDigest", ""), handled.get("overrideAt", "")
    remembered = [entry for version in versions for entry in _remembered(service.name, version)]
    entries = [
        *(status.rejected or ()),
        *(entry for entry in remembered if not (entry.digest == lifted and entry.at <= since)),
    ]

    def refusal(version: ModelVersion) -> Rejection | None:
        digest = version.status.artifact.digest if version.status.artifact else ""
        if not any(entry.digest == digest for entry in entries):
            return None
        content = content_of(service, digest)
        return next((entry for entry in entries if _concerns(entry, digest, content)), None)

    return refusal


def _concerns(entry: Rejection, digest: str, content: str) -> bool:
    """A refused revision is known by its content, so another image does not make it new; refused bytes by digest."""
    return entry.digest == digest and (not entry.revision or entry.content == content)


def _remembered(service: str, version: ModelVersion) -> list[Rejection]:
    digest = version.status.artifact.digest if version.status.artifact else ""
    return [
        Rejection(
            digest=digest,
            revision=said.get("revision") or "",
            content=said.get("content") or "",
            version=version.name,
            reason=said.get("reason") or "",
            message=said.get("message") or "",
            at=said.get("at") or "",
        )
        for said in (version.raw.get("status") or {}).get("rejectedBy") or ()
        if said.get("inferenceService") == service and not said.get("overriddenAt")
    ]
