"""The five kinds as one table: types, short name, printer columns, rules of the whole spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairlead.contract.base import Model

from . import dataset, driftmonitor, inferenceservice, modelversion, names, trainingrun
from .meta import KindStatus


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`; `wide` ones show with -o wide."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the CRD form."""
        column = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return {**column, "priority": 1} if self.wide else column


@dataclass(frozen=True)
class Kind:
    """All that a CRD says of one kind."""

    resource: names.Resource
    short_name: str
    description: str
    spec: type[Model]
    status: type[KindStatus]
    columns: tuple[Column, ...]
    spec_rules: tuple[tuple[str, str], ...] = ()


def _ready(path: str) -> str:
    return f".status.conditions[?(@.type=='Ready')].{path}"


_STATE = (Column("Ready", _ready("status")), Column("State", _ready("reason")))
_TAIL = (Column("Message", _ready("message"), wide=True), Column("Age", ".metadata.creationTimestamp", "date"))

KINDS = (
    Kind(
        names.DATASET,
        "dset",
        "A source, checked and frozen into revisions by content.",
        dataset.DatasetSpec,
        dataset.DatasetStatus,
        (
            *_STATE,
            Column("Rows", ".status.rows", "integer"),
            Column("Revision", ".status.revision", wide=True),
            Column("Checked", ".status.lastCheck.at", "date"),
            *_TAIL,
        ),
    ),
    Kind(
        names.TRAINING_RUN,
        "trun",
        "One training, once: terminal states are sticky.",
        trainingrun.TrainingRunSpec,
        trainingrun.TrainingRunStatus,
        (
            *_STATE,
            Column("Model", ".spec.model"),
            Column("Progress", ".status.progress.message"),
            Column("Digest", ".status.artifact.digest", wide=True),
            *_TAIL,
        ),
        trainingrun.SPEC_RULES,
    ),
    Kind(
        names.MODEL_VERSION,
        "mver",
        "An artifact that may or may not go live: gates, approval, stage.",
        modelversion.ModelVersionSpec,
        modelversion.ModelVersionStatus,
        (
            *_STATE,
            Column("Model", ".spec.model"),
            Column("Stage", ".status.stage"),
            Column("Gates", ".status.gatesSummary"),
            Column("Digest", ".status.artifact.digest", wide=True),
            *_TAIL,
        ),
        modelversion.SPEC_RULES,
    ),
    Kind(
        names.INFERENCE_SERVICE,
        "infsvc",
        "What answers requests: stable, canary and baseline revisions, judged by evidence.",
        inferenceservice.InferenceServiceSpec,
        inferenceservice.InferenceServiceStatus,
        (
            *_STATE,
            Column("Stable", ".status.stable.version"),
            Column("Canary", ".status.canary.version"),
            Column("Weight", ".status.rollout.weight", "integer"),
            Column("URL", ".status.url", wide=True),
            *_TAIL,
        ),
    ),
    Kind(
        names.DRIFT_MONITOR,
        "dmon",
        "Whether the model still fits the world, and what follows when it does not.",
        driftmonitor.DriftMonitorSpec,
        driftmonitor.DriftMonitorStatus,
        (
            *_STATE,
            Column("Drift", ".status.conditions[?(@.type=='DataDrift')].status"),
            Column("Drop", ".status.conditions[?(@.type=='PerformanceDrop')].status"),
            Column("Window", ".status.lastWindow.end", "date"),
            Column("Retrained", ".status.retrainings[0].run"),
            *_TAIL,
        ),
    ),
)
