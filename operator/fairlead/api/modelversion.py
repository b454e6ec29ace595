"""ModelVersion: an artifact that may or may not go live."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from fairlead.contract.base import Digest, Family, Model, Name, ObjectName, RevisionName, Text, Uri
from fairlead.contract.data import DatasetRevision
from fairlead.contract.gates import Gate, GateResult
from fairlead.contract.schema import cel, list_map, one_of

from . import meta
from .meta import JobAttempt, KindStatus, PodOverrides


class Stage(StrEnum):
    """Where a version stands; Rejected is by gate or approver only."""

    CANDIDATE = "Candidate"
    PENDING_APPROVAL = "PendingApproval"
    APPROVED = "Approved"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"
    REJECTED = "Rejected"


class RunReference(Model):
    """The TrainingRun that made the artifact."""

    name: Name


class ExternalArtifact(Model):
    """An artifact made elsewhere: all files under `uri`, whose digest must be `digest`."""

    uri: Annotated[Uri, Field(pattern=r"^(s3|https?)://[^/@]+(/.*)?$")]  # status repeats it: no user, no password
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
    format: Literal["onnx", "skops", "joblib", "xgboost", "lightgbm"] = "onnx"
    trust_pickle: bool = Field(False, description="Allow joblib: loading it runs whatever code its maker put there.")


class ModelSource(Model):
    """Exactly one."""

    model_config = {"json_schema_extra": cel(one_of("trainingRun", "artifact", what="source"))}
    training_run: RunReference | None = None
    artifact: ExternalArtifact | None = None


class EvaluationDataset(Model):
    """The frozen rows that gates look at; an empty revision means the run's own."""

    name: ObjectName
    revision: RevisionName = ""


class Evaluation(Model):
    """What the version is measured on."""

    dataset: EvaluationDataset
    split: Literal["Train", "Validation", "Test"] = "Test"


class Approval(Model):
    """A person's decision; guarded by the verb `approve` on modelversions."""

    model_config = {
        "json_schema_extra": cel(
            (
                "!has(self.decision) || (has(self.by) && has(self.reason))",
                "approval: a decision names who (`by`) and why (`reason`)",
            )
        )
    }
    required: bool = True
    decision: Literal["Approved", "Rejected"] | None = None
    by: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    reason: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    evaluation_digest: Digest | None = Field(None, description="status.evaluation.inputDigest: what was looked at.")


class ModelVersionSpec(PodOverrides):
    """Everything but approval is immutable."""

    model_config = {
        "json_schema_extra": cel(
            (
                "!has(self.source.artifact) || has(self.evaluation)",
                "evaluation: name the dataset for an external artifact",
            )
        )
    }
    model: Family = Field(description="The model family that services ask for.")
    source: ModelSource
    evaluation: Evaluation | None = Field(None, description="Default: the training run's own dataset and revision.")
    gates: Annotated[list[Gate], Field(max_length=15)] | None = Field(None, json_schema_extra=list_map("name"))
    approval: Approval = Approval()


_FROZEN = ("model", "source", "evaluation", "gates")
SPEC_RULES = tuple(
    (
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{field} is immutable: create a new ModelVersion instead; only approval may change",
    )
    for field in _FROZEN
)


class VersionArtifact(Model):
    """The bytes, from here on."""

    digest: Digest
    format: str = ""
    size_bytes: int = 0
    uri: str | None = None
    trust_pickle: bool = False


class EvaluationResult(Model):
    """The evaluation that the gate results are of."""

    input_digest: Digest
    dataset: str = ""
    revision: Digest = ""
    split: str = "Test"
    champion: str = Field("", description="The ModelVersion it was compared with.")
    rows: int = 0
    metrics: dict[str, float] | None = Field(None, max_length=20)
    card_key: Annotated[str, Field(max_length=512)] = ""
    at: str = ""


class ServiceRejection(Model):
    """A service whose judge refused these bytes, or one revision of it that serves them."""

    inference_service: Name
    revision: Digest = Field("", description="Empty: the bytes are refused, in any predictor.")
    content: Digest = Field("", description="The refused revision's digest without the image.")
    reason: str
    message: Text = ""
    at: str = ""
    overridden_at: str = Field("", description="When a person lifted it at the service; it stays on record.")


class ServiceOverride(Model):
    """A person's word by which a service tried these bytes again after it had refused them; carried out once."""

    inference_service: Name
    by: Annotated[str, Field(max_length=64)] = ""
    why: Annotated[str, Field(max_length=160)] = ""
    at: str = ""


class EvaluationFailure(Model):
    """Why the evaluation could not be made; tried again when what `inputs` stands for changes."""

    reason: str
    message: Text = ""
    inputs: Digest = Field("", description="Of the evaluation's input and the pod overrides.")


class Refusal(Model):
    """Why the version may never go live; sticky."""

    reason: str
    message: Text = ""
    at: str = ""


class ModelVersionStatus(KindStatus):
    """The bytes, what was found, and where the version stands."""

    artifact: VersionArtifact | None = None
    dataset: DatasetRevision | None = Field(None, description="The frozen rows that gates look at, pinned.")
    lineage: dict[str, Annotated[str, Field(max_length=512)]] | None = Field(
        None, max_length=20, description="The training run's, kept here because the run may be deleted."
    )
    failure: EvaluationFailure | None = None
    refusal: Refusal | None = None
    retry_at: str = Field("", description="When the Job that was given up is tried again.")
    attempt: JobAttempt | None = None
    failures: int = 0
    evaluation: EvaluationResult | None = None
    gates: Annotated[list[GateResult], Field(max_length=15)] | None = Field(None, json_schema_extra=list_map("name"))
    gates_summary: str = Field("", description="Such as 4/5 passed.")
    stage: Stage = Stage.CANDIDATE
    approved_at: str = ""
    approved_by: str = ""
    production_in: Annotated[list[str], Field(max_length=50)] | None = None
    was_production: bool = False
    rejected_by: Annotated[list[ServiceRejection], Field(max_length=20)] | None = None
    overrides: Annotated[list[ServiceOverride], Field(max_length=5)] | None = Field(
        None, description="The last ones; they outlive the service, so one that stands in Git is not carried out again."
    )


ModelVersion = meta.Resource[ModelVersionSpec, ModelVersionStatus]
