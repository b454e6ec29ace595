"""The report of a rollout while it is on its way: its Job is made once, and nothing waits for it for ever."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.unit.plan.simulation import START

from fairlead.api import meta
from fairlead.api.conditions import format_time
from fairlead.api.inferenceservice import InferenceService, InferenceServiceSpec, InferenceServiceStatus
from fairlead.plan.children import Image
from fairlead.plan.rollout_report import NOT_TAKEN, Reported, ReportJobs, plan_report
from fairlead.plan.types import Create, Delete

IMAGE = Image("fairlead-jobs:test")
ROLLOUT = {"state": "Step", "kind": "Canary", "startedAt": format_time(START), "message": "worse"}
ENDED = START + timedelta(minutes=5)
LINE = {
    "version": "fraud-2", "digest": "sha256:bbbb", "revision": "sha256:cccc", "outcome": "RolledBack",
    "reason": "ErrorRate", "startedAt": format_time(START), "endedAt": format_time(ENDED),
}  # fmt: skip


def service(**status: Any) -> InferenceService:
    raw = {
        "metadata": {"name": "fraud", "namespace": "shop", "uid": "u"},
        "spec": {"model": {"name": "fraud"}},
        "status": {"observedGeneration": 1, **status},
    }
    return meta.read(raw, InferenceServiceSpec, InferenceServiceStatus)


def look(before: InferenceService, at: datetime, *jobs: dict[str, Any], **after: Any) -> Reported:
    status = before.status.model_copy(update=after)
    return plan_report(before, status, ReportJobs(jobs, (), IMAGE), at)


def begun() -> Reported:
    known = service(rollout=ROLLOUT, history=[LINE])
    return look(known, ENDED, rollout=None)


def test_the_end_of_a_rollout_makes_one_job_and_remembers_what_of() -> None:
    reported = begun()
    (action,) = reported.actions
    assert isinstance(action, Create)
    assert reported.status.report is not None
    assert action.body["metadata"]["name"] == reported.status.report.job
    again = look(service(history=[LINE], report=reported.status.report.to_json_object()), ENDED)
    assert again.actions == reported.actions, "the operator died between status and Job: the same Job again"


def test_a_first_version_and_a_return_have_no_report() -> None:
    for kind in ("First", "Return"):
        known = service(rollout={**ROLLOUT, "kind": kind}, history=[LINE])
        assert look(known, ENDED, rollout=None).actions == ()


def test_a_job_that_nobody_takes_is_given_up() -> None:
    pending = begun().status.report
    assert pending is not None
    known = service(history=[LINE], report=pending.to_json_object())
    reported = look(known, ENDED + timedelta(minutes=11))
    assert (reported.actions, reported.status.report) == ((), None)
    assert [line.report for line in reported.status.history or ()] == [NOT_TAKEN]


def test_a_job_that_was_deleted_is_not_made_again() -> None:
    pending = begun().status.report
    assert pending is not None
    known = service(history=[LINE], report={**pending.to_json_object(), "document": None})
    reported = look(known, ENDED)
    assert reported.actions == ()
    assert [line.report for line in reported.status.history or ()] == ["not made: its Job was deleted"]


def test_of_ended_jobs_the_last_three_stay() -> None:
    jobs = []
    for number in range(5):
        ended = {"type": "Complete", "status": "True", "lastTransitionTime": f"2026-01-01T00:0{number}:00Z"}
        labels = {"fairlead.dev/role": "report"}
        metadata = {"name": f"fraud-report-{number}", "labels": labels}
        jobs.append({"metadata": metadata, "status": {"conditions": [ended]}})
    other = {"metadata": {"name": "x", "labels": {"fairlead.dev/role": "replay"}}, "status": jobs[0]["status"]}
    deleted = [action.observed for action in look(service(), ENDED, *jobs, other).actions if isinstance(action, Delete)]
    assert deleted == jobs[:2]


def test_of_two_rollouts_begun_in_one_second_the_newest_is_told_of_its_report() -> None:
    pending = begun().status.report
    assert pending is not None
    first = {**LINE, "version": "fraud-1", "outcome": "Promoted", "reason": "FirstVersion"}
    known = service(history=[LINE, first], report=pending.to_json_object())
    reported = look(known, ENDED + timedelta(minutes=11))
    assert [line.report for line in reported.status.history or ()] == [NOT_TAKEN, ""]
