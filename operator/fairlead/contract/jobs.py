"""The input document of each Job and server, and the summary each leaves as its termination message.

The input is the pod annotation `fairlead.dev/input`, mounted as a file; its digest is the Job's identity,
so a Job that finds the result of the same input emits it again and ends. Full results lie in the store.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Digest, Model, Name, Text
from .compare import CompareInput, CompareSummary
from .data import Check, CheckResult, DatasetRevision, Format, Source, Split, TableSchema
from .drift import DataDrift, FeatureDrift, Performance, PerformanceResult, PredictionDrift, PredictionDriftResult
from .gates import Gate, GateResult
from .rollouts import RolloutRecord
from .training import Code, Search, Task, Trainer


class SnapshotInput(Model):
    """Read a source, check it, freeze a revision."""

    kind: Literal["Snapshot"] = "Snapshot"
    version: Literal[1] = 1
    namespace: Name
    name: Name
    tick: str = Field(description="Which refresh this is; the same tick is the same attempt.")
    source: Source
    format: Format
    target: str | None = None
    timestamp: str | None = None
    identifiers: list[str] = Field(default_factory=list)
    sensitive: list[str] = Field(default_factory=list)
    table_schema: TableSchema = Field(default_factory=TableSchema)
    checks: list[Check] = Field(default_factory=list)
    split: Split = Split()
    previous_revision: str | None = Field(None, description="Under Infer, the revision whose columns must be kept.")


class TrainInput(Model):
    """Train one model; for a container trainer the same document drives fetch and publish around it."""

    kind: Literal["Train"] = "Train"
    version: Literal[1] = 1
    namespace: Name
    name: Name
    uid: str
    dataset: DatasetRevision
    model: Name
    task: Task
    trainer: Trainer
    search: Search | None = None
    seed: int = 0
    code: Code | None = None


class CollectInput(Model):
    """Look for the result of a Job that is gone; ends with its summary or with ErrorInfo ResultLost."""

    kind: Literal["Collect"] = "Collect"
    version: Literal[1] = 1
    result_key: str


class ArtifactRef(Model):
    """Bytes known by digest: in our store under models/<namespace>/<model>/, or at `uri`."""

    namespace: Name
    model: Name
    version: Name = Field(description="The ModelVersion's name.")
    digest: Digest
    uri: str | None = None
    format: str | None = None
    trust_pickle: bool = False


class EvaluateInput(Model):
    """Measure a version on a frozen split and hold it against its gates."""

    kind: Literal["Evaluate"] = "Evaluate"
    version: Literal[1] = 1
    namespace: Name
    name: Name
    artifact: ArtifactRef
    dataset: DatasetRevision
    split: Literal["Train", "Validation", "Test"] = "Test"
    gates: list[Gate] = Field(default_factory=list)
    champion: ArtifactRef | None = None


class MonitorInput(Model):
    """Compare captured requests of one window with a version's training profile."""

    kind: Literal["Monitor"] = "Monitor"
    version: Literal[1] = 1
    namespace: Name
    name: Name
    inference_service: Name
    artifact: ArtifactRef
    window_s: float
    not_before: str | None = Field(None, description="RFC 3339: the last promotion; no window starts earlier.")
    min_rows: int = 500
    data: DataDrift | None = None
    predictions: PredictionDrift | None = None
    performance: Performance | None = None
    reference_metric: float | None = Field(None, description="The performance metric in the version's own evaluation.")


class TrainedOn(Model):
    """Whose lineage names revisions that must stay: the artifacts under a folder that were trained on a Dataset."""

    models: str = Field(description="A folder that ends in /.")
    dataset: Name


class Sweep(Model):
    """Remove folders right under `prefix` that are old enough."""

    prefix: str
    keep_newest: int | None = Field(None, description="So many folders that are last by name stay, however old.")
    older_than_days: float | None = None


class CleanupInput(Model):
    """Remove what nothing refers to: folders under `prefix` but for `keep`, captures and reports older than `days`."""

    kind: Literal["Cleanup"] = "Cleanup"
    version: Literal[1] = 1
    prefix: str
    keep: list[str] = Field(default_factory=list, description="Folder names under prefix that stay.")
    keep_trained_on: TrainedOn | None = Field(None, description="The store refers to folders too: by lineage.")
    keep_newest: int | None = Field(None, description="So many folders that are last by name stay, however old.")
    older_than_days: float | None = None
    also: list[Sweep] | None = Field(None, description="Further prefixes, each by its own age alone.")


class ReplayLimits(Model):
    """What the candidate may be worse by than the stable revision when both answer the same captured requests."""

    max_disagreement_percent: float
    max_more_errors_points: float
    slow_ms: float | None = None
    max_more_slow_points: float | None = None
    confidence_percent: float = 95


class ReplayInput(Model):
    """Send captured requests to the candidate and to the stable revision, before the candidate's first user."""

    kind: Literal["Replay"] = "Replay"
    version: Literal[1] = 1
    namespace: Name
    name: Name = Field(description="The InferenceService.")
    rollout: str = Field(description="RFC 3339: when the rollout began; only requests before it are replayed.")
    stable: ArtifactRef
    stable_url: str
    candidate: ArtifactRef
    candidate_url: str
    requests: int
    min_requests: int
    slices: list[str] = Field(default_factory=list)
    limits: ReplayLimits


class ReportInput(Model):
    """Write the report of a rollout that is over."""

    kind: Literal["Report"] = "Report"
    version: Literal[1] = 1
    namespace: Name
    name: Name
    rollout: RolloutRecord


class Capture(Model):
    """Which requests are kept for drift and retraining."""

    percent: Annotated[int, Field(ge=0, le=100)] = 100
    drop: list[str] = Field(default_factory=list, description="Columns never captured (identifiers).")
    hash: list[str] = Field(default_factory=list, description="Columns captured as salted hashes (sensitive).")


class Upstream(Model):
    """A user's own server in the same pod, in front of which our proxy stands."""

    port: int
    readiness_path: str | None = Field(None, description="Answers 2xx when it is ready; without it: the port is open.")
    timeout_s: float = Field(60, description="Without any progress for so long a request failed.")


class ServeInput(Model):
    """Serve one artifact."""

    kind: Literal["Serve"] = "Serve"
    version: Literal[1] = 1
    namespace: Name
    service: Name
    revision: str = Field(description="Revision digest; the first 10 digits begin each response id.")
    artifact: ArtifactRef
    workers: int = 1
    latency_threshold_ms: float | None = None
    capture: Capture = Capture(percent=0)
    compared_with: ArtifactRef | None = Field(
        None, description="The version before: its profile's bins are those that both count predictions by."
    )
    labels: bool = Field(False, description="Remember answers for a while, so that feedback is held against them.")
    upstream: Upstream | None = None


class ErrorInfo(Model):
    """Why a Job ended without its result; exit code 10 or 20."""

    kind: Literal["Error"] = "Error"
    version: Literal[1] = 1
    reason: Annotated[str, Field(max_length=64, description="PascalCase.")]
    message: Text


class SnapshotSummary(Model):
    """A revision, or why the source did not become one."""

    kind: Literal["Snapshot"] = "Snapshot"
    version: Literal[1] = 1
    valid: bool
    reason: str = Field("", description="When not valid: SchemaMismatch, ChecksFailed, MalformedSource, ...")
    message: Text = ""
    revision: str | None = None
    rows: int = 0
    columns: int = 0
    bytes: int = 0
    train_rows: int = 0
    validation_rows: int = 0
    test_rows: int = 0
    checks: int = 0
    failed_checks: list[CheckResult] = Field(default_factory=list, max_length=10)


class TrainSummary(Model):
    """The artifact that training made."""

    kind: Literal["Train"] = "Train"
    version: Literal[1] = 1
    digest: str
    format: str = Field(description="onnx, skops, joblib, xgboost or lightgbm: what the server loads.")
    size_bytes: int
    metrics: dict[str, float] = Field(default_factory=dict)
    trials: int = 1
    parameters: str = Field("", description="The chosen parameters as JSON, cut at 512 characters.")
    parity: Text = ""
    lineage: dict[str, str] = Field(default_factory=dict, description="Digests and versions, at most 12 entries.")
    train_rows: int = 0
    duration_s: float = 0


class EvaluateSummary(Model):
    """Gate results of one evaluation."""

    kind: Literal["Evaluate"] = "Evaluate"
    version: Literal[1] = 1
    input_digest: str
    rows: int
    metrics: dict[str, float] = Field(default_factory=dict)
    gates: list[GateResult] = Field(default_factory=list, max_length=15)
    card_key: str = ""


class MonitorSummary(Model):
    """What one window showed."""

    kind: Literal["Monitor"] = "Monitor"
    version: Literal[1] = 1
    window_start: str
    window_end: str
    rows: int
    enough_rows: bool
    features: int = 0
    drifted_features: int = 0
    worst: list[FeatureDrift] = Field(default_factory=list, max_length=20)
    data_drift: bool = False
    not_compared: Annotated[str, Field(max_length=256, description="Inputs that requests do not show, by name.")] = ""
    label_drift: PredictionDriftResult | None = None
    predictions: PredictionDriftResult | None = None
    performance: PerformanceResult | None = None
    report_key: str = ""


class ReportSummary(Model):
    """Where the report of a rollout lies."""

    kind: Literal["Report"] = "Report"
    version: Literal[1] = 1
    report_key: str


class CleanupSummary(Model):
    """What was removed."""

    kind: Literal["Cleanup"] = "Cleanup"
    version: Literal[1] = 1
    removed: int = 0
    bytes: int = 0


class ReplayCheck(Model):
    """One thing that was compared, of all replayed requests or of a slice of them."""

    signal: Literal["Disagreement", "Errors", "Latency"]
    slice: Annotated[str, Field(max_length=80, description="column=value; empty: all requests.")] = ""
    requests: int
    percent: float = Field(description="Disagreement, or by how many points more of them failed or were slow.")
    limit: float
    low: float = Field(description="Lower bound of percent; over the limit it fails.")
    failed: bool = False


class ReplaySummary(Model):
    """How the candidate answered what users had asked before."""

    kind: Literal["Replay"] = "Replay"
    version: Literal[1] = 1
    outcome: Literal["Passed", "Failed", "NotPossible"]
    message: Text = ""
    requests: int = 0
    compared: int = Field(0, description="Comparisons, slices included; each is made with so much more confidence.")
    checks: list[ReplayCheck] = Field(default_factory=list, max_length=10, description="The worst first.")
    result_key: str = ""


Summary = Annotated[
    SnapshotSummary
    | TrainSummary
    | EvaluateSummary
    | MonitorSummary
    | CleanupSummary
    | ReplaySummary
    | ReportSummary
    | CompareSummary
    | ErrorInfo,
    Field(discriminator="kind"),
]
JobInput = Annotated[
    SnapshotInput
    | TrainInput
    | CollectInput
    | EvaluateInput
    | MonitorInput
    | CleanupInput
    | ReplayInput
    | ReportInput
    | CompareInput
    | ServeInput,
    Field(discriminator="kind"),
]


class PredictionCounts(Model):
    """Answers by bin: one of each request."""

    bins: Annotated[str, Field(max_length=16, pattern="^[0-9a-f]+$", description="Names the edges or classes.")]
    counts: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=10)]


class ArmReport(Model):
    """What a server answers on `/arm`: cumulative counts since `startId` began."""

    start_id: str
    revision: str
    requests: int
    failed: int = Field(description="5xx answers.")
    slow: int = Field(description="Slower than the service's latency threshold.")
    refused: int | None = Field(None, description="Answers 400, 415 and 422; null: an older server does not say.")
    in_flight: int = 0
    captured: int = 0
    capture_lost: int = 0
    labelled: int | None = Field(
        None, description="Answers of this pod whose truth came back while it remembered them; null: it remembers none."
    )
    wrong: int = Field(0, description="Of these, answered otherwise.")
    predictions: Annotated[list[PredictionCounts], Field(max_length=4)] = Field(
        default_factory=list, description="By the server's own bins, then by those of the version before."
    )
    outcomes: dict[str, tuple[int, int]] = Field(
        default_factory=dict, description="Outcomes reported here, by the first 10 digits of the revision: all, bad."
    )
