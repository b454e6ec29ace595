"""What the pods of one arm say: how many are ready, what keeps them from it, and facts that need no statistics.

It must never decide what follows: that is `rollout.py`. Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fairlead.api.conditions import parse_time
from fairlead.api.inferenceservice import RevisionStatus
from fairlead.contract import env
from fairlead.contract.jobs import ErrorInfo

from .children import MAIN
from .container_pods import PROXY, is_proxied
from .jobs import OUT_OF_MEMORY, STORE_SILENT, STORE_UNREACHABLE, parse_summary
from .pending_pods import Problem, pending_problem
from .revision import LABEL_ARM
from .status import sentence
from .types import Obj

CANARY_CRASHED = "CanaryCrashed"
CANARY_UNAVAILABLE = "CanaryUnavailable"
CANARY_NOT_READY = "CanaryNotReady"
PODS_REFUSED = "PodsRefused"

CRASHES = 2  # container restarts that make a crash; one may be bad luck
# What a server says when it ends with exit code 10. The model itself, whatever serves it:
_OF_BYTES = ("DigestMismatch", "SignatureMismatch", "SignatureInvalid", "ModelUnreadable", "TypesNotTrusted")
# Something around it, that a person puts right; everything else is the revision's:
_ELSEWHERE = ("ArtifactNotFound", "ArtifactDenied", "ObjectNotFound", "InputInvalid", "UnsupportedUri")


@dataclass(frozen=True)
class Fault:
    """A fact that fails a revision at once; `of_bytes` when the model itself is at fault, in any predictor."""

    reason: str
    message: str
    of_bytes: bool = False


@dataclass(frozen=True)
class ArmFacts:
    """One arm as its Deployment and pods say it; a hindrance says nothing against the revision."""

    exists: bool = False
    replicas: int = 0  # asked for
    ready: int = 0
    fault: Fault | None = None
    hindrance: Problem | None = None


def pods_of(pods: Sequence[Obj], revision: RevisionStatus) -> list[Obj]:
    """Return the pods of one arm, by their label."""
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(LABEL_ARM) == revision.name]


def is_ready(pod: Obj) -> bool:
    """Say whether a pod takes requests: ready and not going away."""
    return _condition(pod, "Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def arm_facts(deployment: Obj | None, pods: Sequence[Obj], served_since: datetime | None) -> ArmFacts:
    """Return what an arm's Deployment and pods say; `served_since` is when the arm got its present share, if any."""
    present = [pod for pod in pods if not _leaving(pod)]
    ready = sum(is_ready(pod) for pod in present)
    replicas = int(((deployment or {}).get("spec") or {}).get("replicas", 0))
    return ArmFacts(
        exists=deployment is not None,
        replicas=replicas,
        ready=ready,
        fault=_first(_fault(pod) for pod in present) or _crashes(present) or _unavailable(present, ready, served_since),
        hindrance=_first(_hindrance(pod) for pod in present if not is_ready(pod))
        or (_refused(deployment) if deployment and ready < replicas else None),
    )


def _first(found: Any) -> Any:
    return next((entry for entry in found if entry is not None), None)


def _leaving(pod: Obj) -> bool:
    """A pod that the cluster takes away proves nothing about its revision."""
    evicted = (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")
    return "deletionTimestamp" in pod["metadata"] or evicted or _condition(pod, "DisruptionTarget") == "True"


def _conditions(obj: Obj) -> Sequence[Mapping[str, Any]]:
    return (obj.get("status") or {}).get("conditions") or ()


def _condition(pod: Obj, type_: str) -> str:
    return next((str(c.get("status")) for c in _conditions(pod) if c.get("type") == type_), "")


def _main(pod: Obj) -> Mapping[str, Any]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((status for status in statuses if status.get("name") == MAIN), {})


def _ours(pod: Obj) -> Mapping[str, Any]:
    """Return the status of the container whose exit codes and last words are ours: a user's own say what they like."""
    if not is_proxied(pod):
        return _main(pod)
    statuses = (pod.get("status") or {}).get("initContainerStatuses") or ()
    return next((status for status in statuses if status.get("name") == PROXY), {})


def _ended(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a container ended last, or nothing."""
    for state in (status.get("state") or {}, status.get("lastState") or {}):
        if state.get("terminated"):
            return dict(state["terminated"])
    return {}


def _info(ended: Mapping[str, Any]) -> ErrorInfo | None:
    summary = parse_summary(str(ended.get("message") or ""))
    return summary if isinstance(summary, ErrorInfo) else None


def _fault(pod: Obj) -> Fault | None:
    if _ended(_main(pod)).get("reason") == "OOMKilled":
        limit = _memory_limit(pod)
        return Fault(
            OUT_OF_MEMORY,
            f"Pod {pod['metadata']['name']} ran out of memory; its limit is {limit}. "
            "Raise predictor.resources.limits.memory.",
        )
    ended = _ended(_ours(pod))
    info = _info(ended)
    if ended.get("exitCode") == env.EXIT_BAD_INPUT and info is not None and info.reason not in _ELSEWHERE:
        return Fault(info.reason, info.message, of_bytes=info.reason in _OF_BYTES)
    return None


def _has_crashed(pod: Obj) -> bool:
    """Say whether the main container ended of its own; for want of the store or of a person's part it did not."""
    ended = _ended(_main(pod))
    return bool(ended) and (is_proxied(pod) or not _is_blameless(ended))


def _is_blameless(ended: Mapping[str, Any]) -> bool:
    """Say whether a container of ours ended for want of something that is not the revision's to give."""
    info = _info(ended)
    missing = info is not None and info.reason in _ELSEWHERE
    return ended.get("exitCode") == env.EXIT_STORE or (ended.get("exitCode") == env.EXIT_BAD_INPUT and missing)


def _memory_limit(pod: Obj) -> str:
    containers = (pod.get("spec") or {}).get("containers") or ()
    main: Mapping[str, Any] = next((c for c in containers if c.get("name") == MAIN), {})
    return str(((main.get("resources") or {}).get("limits") or {}).get("memory", "not set"))


def _crashes(pods: Sequence[Obj]) -> Fault | None:
    """A second restart within the arm; what the store or a person has to put right is not the revision's fault."""
    crashed = [pod for pod in pods if _has_crashed(pod)]
    restarts = sum(int(_main(pod).get("restartCount", 0)) for pod in crashed)
    if restarts < CRASHES:
        return None
    ended = _ended(_main(crashed[-1]))
    lines = [line for line in str(ended.get("message") or "").splitlines() if line.strip()]
    last = f" Its last line: {lines[-1][:300]}" if lines else ""
    return Fault(
        CANARY_CRASHED,
        f"Its server crashed {restarts} times, the last time with exit code {ended.get('exitCode')}.{last}",
    )


def _unavailable(pods: Sequence[Obj], ready: int, served_since: datetime | None) -> Fault | None:
    """All readiness lost, by pods that had it: the present share began only when all of that time were ready."""
    if served_since is None or ready:
        return None
    lost = [pod for pod in pods if parse_time(pod["metadata"]["creationTimestamp"]) < served_since]
    if not lost:
        return None
    return Fault(CANARY_UNAVAILABLE, f"None of its pods is ready any more (pod {lost[0]['metadata']['name']} was).")


def _hindrance(pod: Obj) -> Problem | None:
    pending = pending_problem(pod)
    if pending is not None:
        return pending
    ended = _ended(_ours(pod))
    if not _is_blameless(ended):
        return None
    info = _info(ended)
    return Problem(info.reason, info.message) if info else Problem(STORE_UNREACHABLE, _UNREACHABLE)


def _refused(deployment: Obj) -> Problem | None:
    """Return why the API server takes no more pods of a Deployment: a quota, a limit range, a policy."""
    said = next((c for c in _conditions(deployment) if c.get("type") == "ReplicaFailure"), {})
    if said.get("status") != "True":
        return None
    why = sentence(str(said.get("message") or said.get("reason") or "")[:_QUOTED])
    return Problem(PODS_REFUSED, f"The API server takes no more of its pods: {why} {_TAKEN}")


_QUOTED = 300  # characters of the cluster's own words
_TAKEN = "Raise the quota, ask for less in predictor.resources, or change what forbids them; then they start."
_UNREACHABLE = f"{STORE_SILENT} The server tries again by itself."
