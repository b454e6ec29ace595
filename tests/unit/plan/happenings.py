"""What a story may let happen in the world, by name: pods run, fail, wait; people create, change and delete.

Each happening is one mapping in a story's `observe` list; README.md of the stories' folder lists them.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Mapping
from typing import Any

from fairlead.contract.base import duration_s
from fairlead.plan.jobs import PODS_WAIT, is_finished

from .simulation import Address, Simulation, seconds

Happening = Callable[[Simulation, Any, Mapping[str, Any]], None]


def _create(world: Simulation, body: Any, _more: Mapping[str, Any]) -> None:
    world.create(body)


def _change(world: Simulation, reference: str, more: Mapping[str, Any]) -> None:
    world.update(world.find(reference), _resolved(world, more["to"]))


def _resolved(world: Simulation, value: Any) -> Any:
    """Return the value with every text `$Kind/name.path.to.field` replaced by what stands there."""
    if isinstance(value, Mapping):
        return {key: _resolved(world, item) for key, item in value.items()}
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    reference, *path = value[1:].split(".")
    found: Any = world.objects[world.find(reference)]
    for step in path:
        found = found[step]
    return found


def _delete(world: Simulation, reference: str, _more: Mapping[str, Any]) -> None:
    world.remove(world.find(reference))


def _time(world: Simulation, span: str, _more: Mapping[str, Any]) -> None:
    world.now += seconds(duration_s(span))


def _clock(world: Simulation, span: str, _more: Mapping[str, Any]) -> None:
    step_s = duration_s(span.lstrip("+-"))
    world.now += seconds(-step_s if span.startswith("-") else step_s)


def _terminated(container: str, exit_code: int, message: Any, reason: str = "") -> dict[str, Any]:
    text = message if isinstance(message, str) else json.dumps(message)
    state = {"exitCode": exit_code, "message": text, "reason": reason or ("Error" if exit_code else "Completed")}
    return {"name": container, "state": {"terminated": state}}


def _job(world: Simulation, pattern: str) -> Address:
    """Return the newest Job of this name that has not ended, else the newest."""
    found = [address for address in world.objects if address[0] == "Job" and fnmatch.fnmatch(address[2], pattern)]
    assert found, f"there is no Job {pattern} among {sorted(world.objects)}"
    open_ones = [address for address in found if not is_finished(world.objects[address])]
    return (open_ones or found)[-1]


def _runs(world: Simulation, pattern: str, more: Mapping[str, Any]) -> None:
    job = _job(world, pattern)
    world.end_pods(job)
    pod = world.add_pod(job, {"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]})
    world.log_lines[pod["metadata"]["name"]] = list(more.get("saying") or ())


def _waits(world: Simulation, pattern: str, more: Mapping[str, Any]) -> None:
    job = _job(world, pattern)
    world.end_pods(job)
    if "unschedulable" in more:
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": more["unschedulable"],
        }
        world.add_pod(job, {"phase": "Pending", "conditions": [condition]})
        return
    waiting = {"reason": more["because"], "message": more.get("message", "")}
    world.add_pod(job, {"phase": "Pending", "containerStatuses": [{"name": "main", "state": {"waiting": waiting}}]})


def _succeeds(world: Simulation, pattern: str, more: Mapping[str, Any]) -> None:
    job = _job(world, pattern)
    world.end_pods(job)
    world.add_pod(job, {"phase": "Succeeded", "containerStatuses": [_terminated("main", 0, more.get("with", ""))]})
    world.end_job(job, "Complete")


def _pod_fails(world: Simulation, pattern: str, more: Mapping[str, Any]) -> None:
    job = _job(world, pattern)
    for _ in range(more.get("times", 1)):
        world.end_pods(job)
        ended = _terminated(more.get("container", "main"), more["exit"], more.get("with", ""), more.get("because", ""))
        field = "containerStatuses" if ended["name"] == "main" else "initContainerStatuses"
        world.add_pod(job, {"phase": "Failed", field: [ended]})


def _fails(world: Simulation, pattern: str, more: Mapping[str, Any]) -> None:
    _pod_fails(world, pattern, more)
    world.end_job(_job(world, pattern), "Failed", "PodFailurePolicy" if more["exit"] == 10 else "BackoffLimitExceeded")


def _evicted(world: Simulation, pattern: str, more: Mapping[str, Any]) -> None:
    job = _job(world, pattern)
    world.end_pods(job)
    for _ in range(more.get("times", 1)):
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
        world.add_pod(
            job, {"phase": "Failed", "reason": "Evicted", "message": "low on disk", "conditions": [condition]}
        )


def _times_out(world: Simulation, pattern: str, _more: Mapping[str, Any]) -> None:
    job = _job(world, pattern)
    world.end_pods(job)
    world.end_job(job, "Failed", "DeadlineExceeded")


def _loses_pods(world: Simulation, pattern: str, _more: Mapping[str, Any]) -> None:
    job = _job(world, pattern)
    for pod in list(world.pods_of_job(job[1], job[2])):
        world.remove(("Pod", job[1], pod["metadata"]["name"]))
    world.now += PODS_WAIT


HAPPENINGS: dict[str, Happening] = {
    "create": _create,
    "change": _change,
    "delete": _delete,
    "clock is set": _clock,
    "time passes": _time,
    "job runs": _runs,
    "job waits": _waits,
    "job succeeds": _succeeds,
    "job fails": _fails,
    "pod fails": _pod_fails,
    "pod evicted": _evicted,
    "job times out": _times_out,
    "job loses its pods": _loses_pods,
}


def happen(world: Simulation, said: Mapping[str, Any]) -> None:
    """Let one thing happen: the mapping's first key says what, its value to whom, the other keys how."""
    (name, subject), *more = said.items()
    HAPPENINGS[name](world, subject, dict(more))
