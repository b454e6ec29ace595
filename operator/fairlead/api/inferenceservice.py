"""InferenceService: what answers requests, and how a new version reaches them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from fairlead.contract.base import ColumnName, Digest, Duration, Model, Name, Text
from fairlead.contract.env import PROXY_PORTS
from fairlead.contract.schema import FREE_FORM, LIST_SET, cel, list_map
from fairlead.contract.training import EnvVar

from . import meta
from .judge import Judge
from .meta import KindStatus, PodOverrides
from .strategies import ABTest, Comparison, Shadow


class ModelReference(Model):
    """The newest approved version of a family, or one version by name."""

    model_config = {
        "json_schema_extra": cel(("has(self.name) != has(self.version)", "model: set exactly one of name, version"))
    }
    name: Name | None = None
    version: Name | None = None


class Runtime(Model):
    """Our server."""

    workers: Annotated[int, Field(ge=1, le=32)] = 1


class ContainerPredictor(Model):
    """Any HTTP server, behind our proxy in the same pod; it finds the model's files in /mnt/models."""

    model_config = {
        "json_schema_extra": cel(
            (
                f"!(self.port in {list(PROXY_PORTS)})",
                f"predictor.container.port: {', '.join(map(str, PROXY_PORTS))} are the proxy's in the same pod; "
                "let the server listen on another port",
            ),
            ("self.timeout.matches('[1-9]')", "predictor.container.timeout: is more than nothing, for instance 60s"),
        )
    }
    image: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^[!-~]+$")] = Field(
        description="Name it by digest: a tag may be another image for the next pod."
    )
    command: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=32)] | None = None
    args: Annotated[list[Annotated[str, Field(max_length=16384)]], Field(max_length=64)] | None = None
    env: Annotated[list[EnvVar], Field(max_length=64)] | None = Field(None, json_schema_extra=list_map("name"))
    port: Annotated[int, Field(ge=1, le=65535)] = Field(8080, description="What the server listens on.")
    readiness_path: Annotated[str, Field(max_length=256, pattern=r"^/[!-~]*$")] | None = Field(
        None, description="A GET that answers 2xx when it is ready; without it, ready is who listens."
    )
    timeout: Duration = Field("60s", description="A request that makes no progress for so long has failed.")
    run_as_user: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(
        None, description="The user that the image needs; default 65532. Never root."
    )


class Predictor(PodOverrides):
    """What runs in the pods of a revision."""

    model_config = {
        "json_schema_extra": cel(
            (
                "!has(self.container) || !has(self.runtime) || !has(self.runtime.workers) || self.runtime.workers == 1",
                "predictor.runtime: is our own server; leave it out beside predictor.container",
            )
        )
    }
    runtime: Runtime = Runtime()
    container: ContainerPredictor | None = None


class Scaling(Model):
    """A HorizontalPodAutoscaler per revision."""

    model_config = {
        "json_schema_extra": cel(
            ("self.minReplicas <= self.maxReplicas", "scaling: minReplicas must not be over maxReplicas"),
            (
                "self.minReplicas > 0",
                "scaling.minReplicas: write 1 or more; nothing would wake a service that is scaled to zero, "
                "and its requests would fail",
            ),
        )
    }
    min_replicas: Annotated[int, Field(ge=0, le=1000)] = Field(1, description="At least 1.")
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 10
    target_cpu_percent: Annotated[int, Field(ge=1, le=1000)] = Field(70, alias="targetCPUPercent")


class StepRules(Model):
    """What a step must have had before the next."""

    min_requests: Annotated[int, Field(ge=0, le=1_000_000)] = 200
    min_duration: Duration = "30s"


class Bake(Model):
    """After promotion the previous revision keeps a share, as the baseline."""

    duration: Duration = "10m"
    holdback_percent: Annotated[int, Field(ge=0, le=50)] = 5


class Replay(Model):
    """Captured requests run against a new revision, and against the stable one, before its first user."""

    model_config = {
        "json_schema_extra": cel(
            ("self.minRequests <= self.requests", "rollout.replay: minRequests must not be over requests"),
        )
    }
    requests: Annotated[int, Field(ge=30, le=10_000)] = Field(500, description="At most so many, the newest.")
    min_requests: Annotated[int, Field(ge=30, le=10_000)] = Field(
        100, description="With fewer that are captured, it is not possible."
    )
    max_disagreement_percent: Annotated[float, Field(gt=0, le=100)] = Field(
        10, description="Answers that may differ from the stable revision's. More errors and slow ones: as judge says."
    )
    slices: Annotated[list[ColumnName], Field(max_length=3)] | None = Field(
        None, json_schema_extra=LIST_SET, description="Columns whose values are compared each by itself, too."
    )
    on_not_possible: Literal["Proceed", "RollBack"] = Field(
        "Proceed", description="When too few requests are captured: on to the first step, or back and Inconclusive."
    )


class Rollout(Model):
    """How a new revision takes over."""

    model_config = {
        "json_schema_extra": cel(
            (
                "self.stepsPercent.all(s, s > 0 && s < 100)",
                "rollout.stepsPercent: each step is between 1 and 99; 100 is the promotion",
            ),
            ("self.stepsPercent.isSorted()", "rollout.stepsPercent: steps must rise, for instance [5, 25, 50]"),
        )
    }
    strategy: Literal["Canary", "BlueGreen", "Shadow", "ABTest"] = Field(
        "Canary",
        description="Canary: by steps, against a baseline. BlueGreen: all requests at once, and back. "
        "Shadow: a copy of the requests first. ABTest: each user keeps one version.",
    )
    promotion: Literal["Auto", "Manual"] = Field(
        "Auto", description="Manual: not without fairlead.dev/promote that names the version; not read by Canary."
    )
    shadow: Shadow = Shadow()
    ab_test: ABTest = ABTest()
    steps_percent: Annotated[list[int], Field(min_length=1, max_length=10)] = Field(
        [5, 25, 50], json_schema_extra=LIST_SET
    )
    judge: Judge = Judge()
    step: StepRules = StepRules()
    replay: Replay | None = Field(None, description="Set it, if only to {}, to replay captured requests first.")
    deadline: Duration = "2h"
    on_inconclusive: Literal["RollBack", "Hold"] = "RollBack"
    bake: Bake = Bake()
    keep_reports: Duration = Field("90d", description="Reports of rollouts; the last ten stay longer.")


class GatewayReference(Model):
    """The user's Gateway; only referenced, never written."""

    name: Name
    namespace: Name | None = Field(None, description="Default: the service's own.")
    section_name: Name | None = None


class Traffic(Model):
    """How requests come in; without a gateway, the Service `<name>` splits by whole pods."""

    model_config = {
        "json_schema_extra": cel(
            ("!has(self.hostname) || has(self.gateway)", "traffic.gateway: name the Gateway of the hostname")
        )
    }
    gateway: GatewayReference | None = None
    hostname: Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9*]([-a-z0-9.]*[a-z0-9])?$")] | None = None
    path: Annotated[str, Field(max_length=256, pattern=r"^/.*")] = "/"


class CaptureSpec(Model):
    """Which requests are kept for drift and retraining."""

    percent: Annotated[int, Field(ge=0, le=100)] = 0
    retention: Duration = "30d"


class InferenceServiceSpec(Model):
    """Which model, how it runs, how it scales, how it rolls out, how it is reached."""

    model_config = {
        "json_schema_extra": cel(
            (
                "!has(self.predictor.container) || !has(self.rollout.replay)",
                "rollout.replay: only our own server takes replays; leave it out beside predictor.container",
            )
        )
    }
    model: ModelReference
    predictor: Predictor = Predictor()
    scaling: Scaling = Scaling()
    rollout: Rollout = Rollout()
    traffic: Traffic = Traffic()
    capture: CaptureSpec = CaptureSpec()
    suspend: bool = False


class RevisionStatus(Model):
    """One revision: digest of (model digest, predictor spec, image), and all that it was born from."""

    revision: Digest
    content: Digest = Field("", description="The revision's digest without the image: what a user asked for.")
    name: str = Field("", description="Name of its Deployment, Service and HorizontalPodAutoscaler.")
    version: str = ""
    rank: str = Field("", description="The version's place among others: approvedAt, creation, name.")
    digest: Digest = Field("", description="The model's digest.")
    image: str = ""
    ready_replicas: int = 0
    predictor: dict[str, Any] | None = Field(None, json_schema_extra=FREE_FORM, description="spec.predictor at birth.")
    serve: dict[str, Any] | None = Field(None, json_schema_extra=FREE_FORM, description="The servers' input document.")


class ReplayStatus(Model):
    """The replay of captured requests before the first step."""

    attempt: meta.JobAttempt | None = None
    failures: int = 0
    retry_at: str = ""
    outcome: str = Field("", description="Passed, Failed, NotPossible or NotRun; empty while it goes on.")
    refuses: str = Field("", description="When it failed: digest, or revision where only latency did.")
    requests: int = 0
    message: Text = ""
    result_key: str = Field("", description="Every comparison, in the store.")


class RolloutStatus(Model):
    """The rollout in progress."""

    state: str = Field(description="Preparing, Replaying, Step, Promoting, Baking, Held or RollingBack.")
    kind: str = Field(
        "Canary", description="The strategy; First: nothing served before; Return: to the last good revision."
    )
    step: int = Field(0, description="From 1; 0 before the first.")
    weight: int = Field(0, description="The canary's requested share in percent.")
    next_weight: int = Field(0, description="The share that the arms are sized for, before it is requested.")
    size: int = Field(0, description="Replicas that carry all traffic: the stable revision's when it began.")
    started_at: str = ""
    state_since: str = ""
    step_since: str = Field("", description="When the present weight was requested.")
    paused_s: int = Field(0, description="Seconds suspended; they do not count towards the deadline.")
    resume: str = Field("", description="The state that Held goes back to.")
    generation: int = 0
    held_for: str = ""
    verdict: str = ""
    reason: str = ""
    message: Text = ""
    replay: ReplayStatus | None = None
    comparison: Comparison | None = None
    evidence: dict[str, Any] | None = Field(None, json_schema_extra=FREE_FORM, description="The judge's state.")
    signals: Annotated[list[dict[str, Any]], Field(max_length=6)] | None = Field(
        None, description="Per signal: rates, limit, evidence."
    )
    trail: dict[str, Any] | None = Field(
        None, json_schema_extra=FREE_FORM, description="At most 32 looks over time, for the report."
    )


class TrafficShare(Model):
    """One revision's share of requests in percent."""

    revision: str
    role: str
    requested: int = 0
    programmed: int | None = None
    measured: float | None = None


class Rejection(Model):
    """What may not come back: a model digest, or one revision of it."""

    digest: Digest = ""
    revision: Digest = Field("", description="Empty: the model digest itself is refused, in any predictor.")
    content: Digest = Field("", description="The revision's digest without the image.")
    version: str = ""
    reason: str
    message: Text = ""
    at: str = ""


class Inconclusive(Model):
    """A rollout that ended without a verdict; not rejected, tried again on a new spec, version or retry."""

    content: Digest = ""
    version: str = ""
    generation: int = 0
    reason: str
    message: Text = ""
    at: str = ""


class RolloutSummary(Model):
    """One line of history."""

    version: str
    digest: Digest = ""
    revision: Digest = Field("", description="What answered requests: response ids begin with it.")
    outcome: str
    reason: str = ""
    message: Text = ""
    started_at: str = ""
    ended_at: str = ""
    report: Annotated[str, Field(max_length=256)] = Field(
        "", description="Folder of its report in the store, or why there is none."
    )


class PendingReport(Model):
    """The report of a rollout that is over, until its Job wrote it; newest first."""

    job: str
    started_at: str = Field(description="Of the rollout: with `revision`, which line of history it is of.")
    revision: Digest = ""
    document: dict[str, Any] | None = Field(
        None, json_schema_extra=FREE_FORM, description="The Job's input, until the Job is there."
    )


class InferenceServiceStatus(KindStatus):
    """Who serves, how a rollout stands, what was refused."""

    stable: RevisionStatus | None = None
    canary: RevisionStatus | None = None
    baseline: RevisionStatus | None = None
    previous: RevisionStatus | None = Field(None, description="The last good revision before this one.")
    desired: RevisionStatus | None = None
    rollout: RolloutStatus | None = None
    traffic: Annotated[list[TrafficShare], Field(max_length=10)] | None = None
    rejected: Annotated[list[Rejection], Field(max_length=20)] | None = None
    inconclusive: Inconclusive | None = None
    history: Annotated[list[RolloutSummary], Field(max_length=10)] | None = None
    reports: Annotated[list[PendingReport], Field(max_length=4)] | None = None
    promoted_at: str = Field("", description="When the stable revision took all traffic.")
    handled: dict[str, Annotated[str, Field(max_length=256)]] | None = Field(
        None, max_length=8, description="Request annotations that were acted on, by name."
    )
    url: str = ""


InferenceService = meta.Resource[InferenceServiceSpec, InferenceServiceStatus]
