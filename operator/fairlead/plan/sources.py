"""Where a ModelVersion's bytes and its evaluation rows come from; what is found once stays.

Must never trust a pickle but one that our own trainer made, or that a spec allows. Used by
`plan/modelversion.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.api.conditions import READY, Condition, find_condition, stalled, working
from fairlead.api.dataset import Dataset
from fairlead.api.modelversion import ModelVersion, VersionArtifact
from fairlead.api.trainingrun import TrainingRun
from fairlead.contract.data import DatasetRevision

from .status import sentence

TRAINING_RUN_MISSING = "TrainingRunMissing"
TRAINING_RUN_NOT_FINISHED = "TrainingRunNotFinished"
TRAINING_RUN_FAILED = "TrainingRunFailed"
MODEL_MISMATCH = "ModelMismatch"
DATASET_MISSING = "DatasetMissing"
DATASET_NOT_READY = "DatasetNotReady"


@dataclass(frozen=True)
class Waiting:
    """It is not known yet, and these conditions say why."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Found:
    """The bytes, and what made them."""

    artifact: VersionArtifact
    lineage: dict[str, str] | None = None


def find_artifact(version: ModelVersion, run: TrainingRun | None) -> Found | Waiting:
    """Return the version's bytes: what status holds, what spec says, or what the training run made."""
    if version.status.artifact is not None:
        return Found(version.status.artifact, version.status.lineage)
    external = version.spec.source.artifact
    if external is not None:
        said = external.model_dump(include={"digest", "format", "uri", "trust_pickle"})
        return Found(VersionArtifact(**said))
    name = version.spec.source.training_run.name if version.spec.source.training_run else ""
    if run is None:
        message = f"TrainingRun {name} does not exist in this namespace; create it, and the version follows its result."
        return Waiting(working(TRAINING_RUN_MISSING, message))
    return _made_by(version, run)


def _made_by(version: ModelVersion, run: TrainingRun) -> Found | Waiting:
    made, status = run.status.artifact, run.status
    if run.spec.model != version.spec.model:
        message = f"spec.model is {version.spec.model}, but TrainingRun {run.name} trained {run.spec.model}."
        return Waiting(stalled(MODEL_MISMATCH, f"{message} Make a version whose spec.model is {run.spec.model}."))
    if status.outcome == "Failed":
        reason = status.failure.reason if status.failure else "Failed"
        message = f"TrainingRun {run.name} ended without a model ({reason}); make a new run, and a version for it."
        return Waiting(stalled(TRAINING_RUN_FAILED, message))
    if made is None:
        message = f"TrainingRun {run.name} has not ended yet; the version is evaluated when it has."
        return Waiting(working(TRAINING_RUN_NOT_FINISHED, message))
    # Its digest is known from our own run, so what loading it executes is what our trainer wrote, or whoever made the
    # image of a container trainer: that one never had the store's keys, and its pickle would get them.
    container = run.spec.trainer.container
    artifact = VersionArtifact(
        digest=made.digest,
        format=made.format,
        size_bytes=made.size_bytes,
        trust_pickle=container is None or bool(container.trust_pickle),
    )
    origin = {"trainingRun": run.name} | ({"parameters": status.parameters} if status.parameters else {})
    lineage = dict(sorted({**(status.lineage or {}), **origin}.items())[:20])
    return Found(artifact, lineage)


def find_dataset(version: ModelVersion, run: TrainingRun | None, dataset: Dataset | None) -> DatasetRevision | Waiting:
    """Return the frozen rows to evaluate on: the named revision, the run's own, or the dataset's current one."""
    if version.status.dataset is not None:
        return version.status.dataset
    said = version.spec.evaluation.dataset if version.spec.evaluation else None
    if said is not None and said.revision:
        return DatasetRevision(name=said.name, revision=said.revision)
    trained = run.status.dataset if run is not None else None
    if trained is not None and (said is None or said.name == trained.name):
        return DatasetRevision(name=trained.name, revision=trained.revision)
    name = said.name if said is not None else ""
    return _current_revision(name, dataset)


def _current_revision(name: str, dataset: Dataset | None) -> DatasetRevision | Waiting:
    if dataset is None:
        message = f"Dataset {name} of spec.evaluation does not exist in this namespace; create it."
        return Waiting(working(DATASET_MISSING, message))
    if not dataset.status.revision:
        why = find_condition(dataset.raw, READY)
        detail = f" It says {why['reason']}: {sentence(str(why.get('message', '')))}" if why else ""
        return Waiting(
            working(
                DATASET_NOT_READY,
                f"Dataset {name} has no valid revision yet; the evaluation starts when it has one.{detail}",
            )
        )
    return DatasetRevision(name=name, revision=dataset.status.revision)
