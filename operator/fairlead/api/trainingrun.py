"""TrainingRun: one training, once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fairlead.contract.base import Digest, Duration, Family, Model, Name, ObjectName, RevisionName
from fairlead.contract.gates import Gate
from fairlead.contract.schema import IMMUTABLE, cel, list_map
from fairlead.contract.training import Code, Progress, Search, Task, Trainer

from . import meta
from .meta import JobAttempt, KindStatus, PodOverrides


class DatasetReference(Model):
    """A Dataset of the same namespace; an empty revision means the current one, pinned before the Job starts."""

    name: ObjectName
    revision: RevisionName = ""


class ApprovalTemplate(Model):
    """Whether the version that this run makes needs a person's approval."""

    required: bool = True


class VersionTemplate(Model):
    """What the ModelVersion that this run makes will say."""

    gates: Annotated[list[Gate], Field(max_length=15)] | None = Field(None, json_schema_extra=list_map("name"))
    approval: ApprovalTemplate = ApprovalTemplate()


class TrainingRunSpec(PodOverrides):
    """What to train on what; immutable."""

    model_config = {
        "json_schema_extra": cel(
            (
                "!has(self.search) || !has(self.trainer.container)",
                "search: goes with trainer.sklearn; a container searches by itself",
            )
        )
    }
    dataset: DatasetReference
    model: Family = Field(description="The model family; the ModelVersion gets this run's name.")
    task: Task = Task.CLASSIFICATION
    trainer: Trainer
    search: Search | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    code: Code | None = None
    retries: Annotated[int, Field(ge=0, le=10, description="Further attempts after a failing program.")] = 2
    timeout: Duration = "2h"
    queue_name: Annotated[str, Field(max_length=63, description="Kueue's local queue.")] = ""
    version_template: VersionTemplate = VersionTemplate()


# A rule of the whole spec belongs to the kind, not to the template that a DriftMonitor embeds.
SPEC_RULES = (("self == oldSelf", f"spec {IMMUTABLE[1]}"),)


class PinnedDataset(Model):
    """The revision this run is of."""

    name: Name
    revision: Digest


class Artifact(Model):
    """Bytes known by digest."""

    digest: Digest
    format: str = ""
    size_bytes: int = 0


class Failure(Model):
    """Why the run ended without a model."""

    reason: str
    message: Annotated[str, Field(max_length=1024)] = ""
    exit_code: int | None = None
    tail: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=20)] | None = None


class TrainingRunStatus(KindStatus):
    """How far the run is, or how it ended; once ended it never changes."""

    dataset: PinnedDataset | None = None
    attempt: JobAttempt | None = None
    program_failures: int = Field(0, description="Attempts that ended by a failing program; these use up retries.")
    infrastructure_failures: int = Field(0, description="Attempts lost to the cluster or the store; these do not.")
    failures: int = Field(0, description="Jobs given up in a row because of the store or the cluster.")
    retry_at: str = Field("", description="When the Job that was given up is tried again.")
    progress: Progress | None = None
    metrics: dict[str, float] | None = Field(None, max_length=20)
    trials: int = 0
    parameters: Annotated[str, Field(max_length=512)] = ""
    parity: Annotated[str, Field(max_length=1024)] = ""
    artifact: Artifact | None = None
    lineage: dict[str, Annotated[str, Field(max_length=512)]] | None = Field(None, max_length=20)
    failure: Failure | None = None
    model_version: str = ""
    outcome: str = Field("", description="Succeeded or Failed, once it ended: sticky.")
    started_at: str = ""
    finished_at: str = ""


TrainingRun = meta.Resource[TrainingRunSpec, TrainingRunStatus]
