"""What a Job and its pods say, as one state: absent, running (and what stands in its way), succeeded or failed.

It reads what the API server gave and interprets it, once for all kinds. It must never decide what follows:
that is each planner's part. Used by every `plan/<kind>.py` that starts Jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fairlead.api.conditions import parse_time
from fairlead.contract import env
from fairlead.contract.jobs import ErrorInfo, Summary

from .children import MAIN
from .pending_pods import UNSCHEDULABLE, Problem, pending_problem, scheduler_refusal, waiting_states
from .types import Obj

# Reasons of a Job in trouble, beside those of `pending_pods.py`. While it runs it recovers once the cause is gone:
VOLUME_NOT_READY = "VolumeNotReady"
STORE_UNREACHABLE = "StoreUnreachable"
STORE_DENIED = "StoreDenied"
QUEUED = "Queued"
# It ended:
OUT_OF_MEMORY = "OutOfMemory"
TIMED_OUT = "TimedOut"
PROGRAM_FAILED = "ProgramFailed"
RESULT_LOST = "ResultLost"

STORE_SILENT = f"The object store cannot be reached; check the endpoint in Secret {env.STORE_SECRET} and that it is up."
VOLUME_WAIT = timedelta(seconds=20)  # mounting takes a second or two; beyond this a volume is probably missing
PODS_WAIT = timedelta(seconds=5)  # how long the pods of an ended Job may come later than the Job itself
TAIL_LINES, TAIL_WIDTH = 20, 512
_SUMMARY: TypeAdapter[Summary] = TypeAdapter(Summary)


@dataclass(frozen=True)
class Counts:
    """How many pods of a Job failed, by whose fault: the program's, the store's (exit code 20), the cluster's."""

    program: int = 0
    store: int = 0
    disrupted: int = 0


@dataclass(frozen=True)
class Absent:
    """There is no such Job."""


@dataclass(frozen=True)
class Running:
    """The Job has not ended; `pod` is its newest pod, whether or not that runs already."""

    problem: Problem | None = None
    counts: Counts = Counts()
    pod: str = ""


@dataclass(frozen=True)
class Succeeded:
    """The Job is done; `summary` is None when its pod or termination message is lost."""

    summary: Summary | None


@dataclass(frozen=True)
class Failed:
    """The Job ended without its result; `tail` is the last lines of the program (at most 20 of 512 characters).

    `problem` is what its last pods suffered from, if that was not the program's fault: a time-out behind a store
    that was down is the store's.
    """

    reason: str
    message: str
    exit_code: int | None = None
    tail: tuple[str, ...] = ()
    counts: Counts = Counts()
    problem: Problem | None = None


JobState = Absent | Running | Succeeded | Failed


def observe_job(job: Obj | None, pods: Sequence[Obj], now: datetime) -> JobState:
    """Return the state of a Job from the Job and the pods that carry its name.

    Pods of an earlier Job of the same name are ignored, and a Job that is being deleted counts as it is.
    `now` decides only since when a pod waits for its volumes.
    """
    if job is None:
        return Absent()
    own = [Pod(pod) for pod in pods if _belongs(pod, job["metadata"].get("uid"))]
    own.sort(key=lambda pod: pod.born)
    failed = _condition(job, "Failed")
    if _is_told(job, own, now):
        return _failed(job, failed, own) if failed is not None else Succeeded(_newest_summary(own))
    return Running(
        problem=_problem(job, own, now),
        counts=_count(own),
        pod=own[-1].name if own else "",
    )


def _is_told(job: Obj, pods: Sequence[Pod], now: datetime) -> bool:
    """Say whether the Job has ended and its pods say so too.

    Jobs and pods come by separate watches: a Job may be seen to end before its last pod is. Pods that are gone for
    good never tell, so the wait is short.
    """
    if not is_finished(job):
        return False
    if (_condition(job, "Failed") or {}).get("reason") == "DeadlineExceeded":
        return True  # its pods are removed, and would have nothing to say
    if any(pod.phase in ("Succeeded", "Failed") for pod in pods):
        complete = _has_condition(job, "Complete")
        return not complete or any(pod.phase == "Succeeded" for pod in pods) or _is_long_ago(job, now)
    return _is_long_ago(job, now)


def _is_long_ago(job: Obj, now: datetime) -> bool:
    ended = finished_at(job)
    return not ended or now - parse_time(ended) >= PODS_WAIT


def is_finished(job: Obj) -> bool:
    """Say whether a Job has ended, well or not."""
    return _has_condition(job, "Complete") or _has_condition(job, "Failed")


def finished_at(job: Obj) -> str:
    """Return when a Job ended (RFC 3339), or "" while it runs."""
    ended = _condition(job, "Complete") or _condition(job, "Failed")
    return str(ended.get("lastTransitionTime", "")) if ended else ""


def _condition(obj: Obj, type_: str) -> Mapping[str, Any] | None:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == type_ and c.get("status") == "True"), None)


def _has_condition(obj: Obj, type_: str) -> bool:
    return _condition(obj, type_) is not None


def _belongs(pod: Obj, job_uid: Any) -> bool:
    return any(ref.get("uid") == job_uid for ref in pod["metadata"].get("ownerReferences") or ())


class Pod:
    """One pod of a Job, read."""

    def __init__(self, obj: Obj) -> None:
        self._obj = obj
        status = obj.get("status") or {}
        self.name = str(obj["metadata"]["name"])
        self.phase = status.get("phase", "Pending")
        self.born = (str(obj["metadata"].get("creationTimestamp", "")), self.name)
        containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        self.waiting = list(waiting_states(obj))
        ended = [(str(c.get("name")), c["state"]["terminated"]) for c in containers if _terminated(c)]
        failed = [(name, state) for name, state in ended if state.get("exitCode") != 0]
        self.container, self.ended = (failed or [("", {})])[0]
        self.main_message = next((str(state.get("message") or "") for name, state in ended if name == MAIN), "")

    @property
    def failed(self) -> bool:
        """Whether the pod ended and not well."""
        return bool(self.phase == "Failed")

    @property
    def disrupted(self) -> bool:
        """Whether the cluster took the pod away: eviction, preemption, node loss."""
        return self.failed and (_has_condition(self._obj, "DisruptionTarget") or not self.ended)

    @property
    def exit_code(self) -> int | None:
        """The exit code of the container that failed first."""
        code = self.ended.get("exitCode")
        return None if code is None else int(code)

    @property
    def store_failure(self) -> bool:
        """Whether a container of ours gave up on the store or the network."""
        return self.failed and not self.disrupted and self.exit_code == env.EXIT_STORE

    @property
    def program_failure(self) -> bool:
        """Whether the program failed by itself: this is what uses up a retry."""
        return self.failed and not self.disrupted and not self.store_failure

    @property
    def message(self) -> str:
        """The termination message of the container that failed: an ErrorInfo or the last lines."""
        return str(self.ended.get("message") or "")

    @property
    def unschedulable(self) -> str | None:
        """The scheduler's message while no node takes the pod."""
        return scheduler_refusal(self._obj)

    @property
    def pending_problem(self) -> Problem | None:
        """What keeps its containers from starting."""
        return pending_problem(self._obj)

    @property
    def evicted(self) -> str:
        """Why the pod was taken away."""
        status = self._obj.get("status") or {}
        return f"{status.get('reason') or 'Disrupted'}: {status.get('message') or 'the pod was taken away'}"

    def mounting_since(self, now: datetime) -> timedelta:
        """How long containers have waited to be created; zero when they do not."""
        started = (self._obj.get("status") or {}).get("startTime")
        creating = self.waiting and all(state.get("reason") in _CREATING for state in self.waiting)
        return now - parse_time(started) if started and creating else timedelta()

    def limit(self, resource: str) -> str:
        """The limit of the container that failed, or "not set"."""
        spec = self._obj.get("spec") or {}
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
            if container.get("name") == self.container:
                return str(((container.get("resources") or {}).get("limits") or {}).get(resource, "not set"))
        return "not set"

    def volumes(self) -> str:
        """The volumes that have to exist before a container starts, for a message."""
        found = []
        for volume in (self._obj.get("spec") or {}).get("volumes") or ():
            if "configMap" in volume:
                found.append(f"ConfigMap {volume['configMap'].get('name')}")
            if "persistentVolumeClaim" in volume:
                found.append(f"PersistentVolumeClaim {volume['persistentVolumeClaim'].get('claimName')}")
        return ", ".join(found)


_CREATING = ("ContainerCreating", "PodInitializing")


def _terminated(container: Mapping[str, Any]) -> bool:
    return bool((container.get("state") or {}).get("terminated"))


def parse_summary(text: str) -> Summary | None:
    """Return the summary that a termination message holds, or None."""
    try:
        return _SUMMARY.validate_json(text)
    except ValidationError:
        return None


def _error_info(text: str) -> ErrorInfo | None:
    summary = parse_summary(text)
    return summary if isinstance(summary, ErrorInfo) else None


def _newest_summary(pods: Iterable[Pod]) -> Summary | None:
    messages = [pod.main_message for pod in pods if pod.phase == "Succeeded"]
    return parse_summary(messages[-1]) if messages else None


def _problem(job: Obj, pods: Sequence[Pod], now: datetime) -> Problem | None:
    if (job.get("spec") or {}).get("suspend"):
        return Problem(
            QUEUED, "The Job waits in its queue; Kueue starts it once there is quota. Raise the quota, or wait."
        )
    if not pods:
        return None
    newest = pods[-1]
    return _pending_problem(newest, now) if not newest.failed else _ended_problem(newest)


def _pending_problem(pod: Pod, now: datetime) -> Problem | None:
    if pod.pending_problem is None and pod.volumes() and pod.mounting_since(now) > VOLUME_WAIT:
        return Problem(
            VOLUME_NOT_READY,
            f"Pod {pod.name} waits for its volumes: check that {pod.volumes()} exists and can be used.",
        )
    return pod.pending_problem


def _ended_problem(pod: Pod) -> Problem | None:
    if pod.store_failure:
        info = _error_info(pod.message)
        if info is not None:
            return Problem(info.reason, info.message)
        return Problem(STORE_UNREACHABLE, _last_line(pod.message) or STORE_SILENT)
    return None


def _count(pods: Sequence[Pod]) -> Counts:
    return Counts(
        program=sum(pod.program_failure for pod in pods),
        store=sum(pod.store_failure for pod in pods),
        disrupted=sum(pod.disrupted for pod in pods),
    )


def _failed(job: Obj, condition: Mapping[str, Any], pods: Sequence[Pod]) -> Failed:
    counts = _count(pods)
    if condition.get("reason") == "DeadlineExceeded":
        return _timed_out(job, pods, counts)
    broken = [pod for pod in pods if pod.program_failure]
    if not broken:
        text = str(condition.get("message", "")) or "its pods are gone"
        return Failed(PROGRAM_FAILED, f"The Job failed: {text[:800]}", counts=counts)
    return _program_failed(broken[-1], counts)


def _timed_out(job: Obj, pods: Sequence[Pod], counts: Counts) -> Failed:
    limit = (job.get("spec") or {}).get("activeDeadlineSeconds")
    message = f"It did not end within its timeout of {limit} s; raise spec.timeout or make the work smaller."
    problem = _ended_problem(pods[-1]) if pods else None
    if problem is None and pods and pods[-1].unschedulable is not None:
        problem = Problem(UNSCHEDULABLE, f"No node took pod {pods[-1].name}: {pods[-1].unschedulable}")
    return Failed(TIMED_OUT, message, tail=tail_of(pods[-1].message) if pods else (), problem=problem, counts=counts)


def _program_failed(pod: Pod, counts: Counts) -> Failed:
    info = _error_info(pod.message)
    if info is not None and info.reason != PROGRAM_FAILED:
        return Failed(info.reason, info.message, pod.exit_code, (), counts=counts)
    tail = tail_of(info.message if info else pod.message)
    if pod.ended.get("reason") == "OOMKilled":
        message = f"It ran out of memory; its limit is {pod.limit('memory')}. Raise resources.limits.memory."
        return Failed(OUT_OF_MEMORY, message, pod.exit_code, tail, counts=counts)
    last = f" Its last line: {tail[-1]}" if tail else ""
    message = f"The program ended with exit code {pod.exit_code}.{last}"
    return Failed(PROGRAM_FAILED, message, pod.exit_code, tail, counts=counts)


def image_digest(pods: Sequence[Obj], container: str) -> str:
    """Return the digest of the image that a container of the newest pod ran, or "" when the kubelet did not say."""
    for pod in sorted(pods, key=lambda pod: Pod(pod).born, reverse=True):
        status = pod.get("status") or {}
        for said in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            if said.get("name") == container and said.get("imageID"):
                return str(said["imageID"]).rpartition("@")[2]
    return ""


def tail_of(text: str) -> tuple[str, ...]:
    """Return the last lines of a text that is not empty lines, each cut to 512 characters."""
    lines = [line.rstrip()[:TAIL_WIDTH] for line in text.splitlines() if line.strip()]
    return tuple(lines[-TAIL_LINES:])


def _last_line(text: str) -> str:
    tail = tail_of(text)
    return tail[-1] if tail else ""
