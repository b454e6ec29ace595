"""What a Job and its pods say where the stories do not reach."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.api.conditions import parse_time
from fairlead.contract.jobs import SnapshotSummary
from fairlead.plan.jobs import Absent, Failed, Running, Succeeded, image_digest, observe_job, tail_of

NOW = parse_time("2026-01-01T00:10:00Z")
DONE = {"kind": "Snapshot", "version": 1, "valid": True, "revision": "sha256:aa"}


def job(*conditions: dict[str, Any], uid: str = "j") -> dict[str, Any]:
    return {"metadata": {"name": "j", "uid": uid}, "spec": {}, "status": {"conditions": list(conditions)}}


def ended(type_: str, reason: str = "") -> dict[str, Any]:
    return {"type": type_, "status": "True", "reason": reason}


def pod(name: str, phase: str, uid: str = "j", **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [{"uid": uid}]}
    return {"metadata": metadata, "spec": {}, "status": {"phase": phase, **status}}


def terminated(code: int, message: str = "") -> list[dict[str, Any]]:
    return [{"name": "main", "state": {"terminated": {"exitCode": code, "message": message}}}]


def test_no_job_is_absent() -> None:
    assert observe_job(None, [], NOW) == Absent()


def test_pods_of_an_earlier_job_of_the_same_name_do_not_count() -> None:
    old = pod("a", "Failed", uid="old", containerStatuses=terminated(1))
    assert observe_job(job(), [old], NOW) == Running()


def test_the_newest_pod_that_succeeded_has_the_summary() -> None:
    pods = [pod("a", "Failed", containerStatuses=terminated(1)), pod("b", "Succeeded")]
    pods[1]["status"]["containerStatuses"] = terminated(0, json.dumps(DONE))
    assert observe_job(job(ended("Complete")), pods, NOW) == Succeeded(SnapshotSummary.model_validate(DONE))


def test_a_job_whose_pods_are_gone_has_failed_all_the_same() -> None:
    state = observe_job(job(ended("Failed", "BackoffLimitExceeded")), [], NOW)
    assert isinstance(state, Failed)
    assert state.reason == "ProgramFailed"


def test_an_ended_job_waits_a_moment_for_its_last_pod() -> None:
    """Jobs and pods come by separate watches."""
    for type_ in ("Complete", "Failed"):
        done = {**ended(type_), "lastTransitionTime": "2026-01-01T00:09:58Z"}
        for pods in ([], [pod("a", "Running")]):
            assert isinstance(observe_job(job(done), pods, NOW), Running)
            assert isinstance(observe_job(job(done), pods, NOW + timedelta(seconds=5)), Succeeded | Failed)
    done = {**ended("Complete"), "lastTransitionTime": "2026-01-01T00:09:58Z"}
    retried = [pod("a", "Failed", containerStatuses=terminated(1)), pod("b", "Running")]
    assert isinstance(observe_job(job(done), retried, NOW), Running)


def test_a_lost_node_is_a_disruption_although_no_condition_says_so() -> None:
    state = observe_job(job(), [pod("a", "Failed", reason="NodeLost")], NOW)
    assert isinstance(state, Running)
    assert (state.counts.disrupted, state.counts.program) == (1, 0)


def test_a_program_that_caught_its_own_error_keeps_exit_code_and_last_line() -> None:
    said = json.dumps({"kind": "Error", "reason": "ProgramFailed", "message": "ValueError: no"})
    state = observe_job(job(ended("Failed")), [pod("a", "Failed", containerStatuses=terminated(1, said))], NOW)
    assert isinstance(state, Failed)
    assert (state.reason, state.exit_code, state.tail) == ("ProgramFailed", 1, ("ValueError: no",))


def test_a_message_that_names_another_secret_is_not_the_stores() -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": "couldn't find key a in Secret demo/lake"}
    status = [{"name": "main", "state": {"waiting": waiting}}]
    state = observe_job(job(), [pod("a", "Pending", containerStatuses=status)], NOW)
    assert isinstance(state, Running)
    assert state.problem is not None
    assert state.problem.reason == "SecretMissing"


def test_a_pod_that_was_scheduled_after_all_has_no_problem() -> None:
    scheduled = [{"type": "PodScheduled", "status": "True", "reason": "Unschedulable"}]
    assert observe_job(job(), [pod("a", "Pending", conditions=scheduled)], NOW) == Running(pod="a")


def test_the_image_is_known_by_the_digest_that_ran() -> None:
    ran = [{"name": "main", "imageID": "docker.io/library/jobs@sha256:aa"}]
    assert image_digest([pod("a", "Succeeded", containerStatuses=ran)], "main") == "sha256:aa"
    assert image_digest([pod("a", "Succeeded", containerStatuses=ran)], "train") == ""


@given(st.text(), st.text(), st.integers(0, 255))
def test_whatever_a_program_leaves_is_read_without_an_error(message: str, reason: str, code: int) -> None:
    broken = pod("a", "Failed", containerStatuses=terminated(code, message), reason=reason)
    assert isinstance(observe_job(job(ended("Failed", reason)), [broken], NOW), Failed)
    assert isinstance(observe_job(job(), [broken], NOW), Running)


@given(st.text())
def test_a_tail_is_at_most_20_lines_of_512_characters(text: str) -> None:
    tail = tail_of(text * 3)
    assert len(tail) <= 20
    assert all(0 < len(line) <= 512 for line in tail)
