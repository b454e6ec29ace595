"""What keeps a pod from starting, as people have to know it: a node, an image, or something that it is to read.

One reader for the pods of Jobs and of servers, so that both say the same words. None of this is the program's fault,
and all of it goes on by itself once the cause is gone. It must never say what a pod that started did. Used by
`plan/jobs.py` and `plan/serving_pods.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.contract import env

from .status import sentence
from .types import Obj

STORE_SECRET_MISSING = "StoreSecretMissing"
SECRET_MISSING = "SecretMissing"
IMAGE_PULL_FAILED = "ImagePullFailed"
UNSCHEDULABLE = "Unschedulable"

_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_CONFIG = "CreateContainerConfigError"
_QUOTED = 300  # characters of the cluster's own words; conditions stay short
_ROOM = "Add or free a node, or ask for less in resources.requests."
_PULLABLE = "Correct its name, or let the nodes reach its registry; then it is pulled by itself."


@dataclass(frozen=True)
class Problem:
    """What stands in the way of a Job or a server, for people."""

    reason: str
    message: str


def pending_problem(pod: Obj) -> Problem | None:
    """Return what keeps the containers of a pod from starting, or None when nothing is said."""
    refusal = scheduler_refusal(pod)
    if refusal is not None:
        message = f"No node takes pod {pod['metadata']['name']}: {sentence(refusal)} {_ROOM}"
        return Problem(UNSCHEDULABLE, message)
    problems = (_waiting_problem(state) for state in waiting_states(pod))
    return next((problem for problem in problems if problem is not None), None)


def scheduler_refusal(pod: Obj) -> str | None:
    """Return the scheduler's message while no node takes the pod."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return str(condition.get("message", "")) if condition.get("status") == "False" else None
    return None


def waiting_states(pod: Obj) -> Iterator[Mapping[str, Any]]:
    """Yield the waiting states of a pod's containers, init containers first."""
    status = pod.get("status") or {}
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting")
        if waiting:
            yield waiting


def _waiting_problem(state: Mapping[str, Any]) -> Problem | None:
    reason, message = str(state.get("reason") or ""), str(state.get("message") or "")
    if reason == _CONFIG:
        return _missing(message[:_QUOTED])
    if reason in _PULL:
        return Problem(
            IMAGE_PULL_FAILED, f"The image cannot be pulled: {sentence(message[:_QUOTED] or reason)} {_PULLABLE}"
        )
    return None


def _missing(message: str) -> Problem:
    if env.STORE_SECRET not in message:
        remedy = "Create what is missing; the pod starts by itself then."
        return Problem(SECRET_MISSING, f"The pod waits for something that it reads: {message}. {remedy}")
    required = [key for key, needed in env.STORE_ENV.values() if needed]
    optional = [key for key, needed in env.STORE_ENV.values() if not needed]
    remedy = (
        f"Create the Secret {env.STORE_SECRET} in this namespace with the keys {', '.join(required)} "
        f"(optional: {', '.join(optional)}); the pod starts by itself then."
    )
    return Problem(STORE_SECRET_MISSING, f"{message}. {remedy}")
