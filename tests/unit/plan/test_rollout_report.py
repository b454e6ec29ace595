"""The report of a rollout while it is on its way: its Job is made once, and nothing waits for it for ever."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.unit.plan.simulation import START

from fairlead.api import meta
from fairlead.api.conditions import format_time
from fairlead.api.inferenceservice import InferenceService, InferenceServiceSpec, InferenceServiceStatus
from fairlead.plan.children import Image
from fairlead.plan.rollout_report import AT_ONCE, LEFT, NOT_TAKEN, OVERTAKEN, Reported, ReportJobs, plan_reports
from fairlead.plan.service_children import cleanup_of
from fairlead.plan.types import Create, Delete

IMAGE = Image("fairlead-jobs:test")
ROLLOUT = {"state": "Step", "kind": "Canary", "startedAt": format_time(START), "message": "worse"}
ENDED = START + timedelta(minutes=5)
LINE = {
    "version": "fraud-2", "digest": "sha256:bbbb", "revision": "sha256:cccc", "outcome": "RolledBack",
    "reason": "ErrorRate", "startedAt": format_time(START), "endedAt": format_time(ENDED),
}  # fmt: skip
NEXT = {**LINE, "version": "fraud-3", "revision": "sha256:dddd", "startedAt": format_time(ENDED)}


def service(**status: Any) -> InferenceService:
    raw = {
        "metadata": {"name": "fraud", "namespace": "shop", "uid": "u"},
        "spec": {"model": {"name": "fraud"}},
        "status": {"observedGeneration": 1, **status},
    }
    return meta.read(raw, InferenceServiceSpec, InferenceServiceStatus)


def look(before: InferenceService, at: datetime, *jobs: dict[str, Any], **after: Any) -> Reported:
    status = before.status.model_copy(update=after)
    return plan_reports(before, status, ReportJobs(jobs, (), IMAGE), at)


def begun(line: dict[str, Any] = LINE, at: datetime = ENDED, jobs: Sequence[Any] = (), **known: Any) -> Reported:
    """Return what is planned when the rollout of a line ends; `known` are other parts of status."""
    status = {"rollout": {**ROLLOUT, "startedAt": line["startedAt"]}, "history": [line], **known}
    before = service(canary=canary(line), **status)
    return look(before, at, *jobs, rollout=None)


def canary(line: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"fraud-{line['version']}",
        "content": line["revision"],
        **{k: line[k] for k in ("version", "digest", "revision")},
    }


def following(status: InferenceServiceStatus) -> InferenceService:
    """Return the service at its next look."""
    return service(**status.to_json_object())


def reports(status: InferenceServiceStatus) -> list[str]:
    return [line.report for line in status.history or ()]


def job_of(status: InferenceServiceStatus, place: int = 0, **conditions: str) -> dict[str, Any]:
    assert status.reports
    name = status.reports[place].job
    said = [{"type": type_, "status": "True", "lastTransitionTime": at} for type_, at in conditions.items()]
    return {
        "metadata": {"name": name, "uid": name, "labels": {"fairlead.dev/role": "report"}},
        "status": {"conditions": said},
    }


def test_the_end_of_a_rollout_makes_one_job_and_remembers_what_of() -> None:
    reported = begun()
    (action,) = reported.actions
    assert isinstance(action, Create)
    assert reported.status.reports is not None
    assert [action.body["metadata"]["name"]] == [pending.job for pending in reported.status.reports]
    again = look(following(reported.status), ENDED)
    assert again.actions == reported.actions, "the operator died between status and Job: the same Job again"


def test_a_first_version_and_a_return_have_no_report() -> None:
    for kind in ("First", "Return"):
        known = service(rollout={**ROLLOUT, "kind": kind}, canary=canary(LINE), history=[LINE])
        assert look(known, ENDED, rollout=None).actions == ()


def test_a_rollout_that_fails_in_its_bake_is_of_the_revision_that_was_promoted() -> None:
    rollout = {**ROLLOUT, "state": "Baking"}
    known = service(rollout=rollout, stable=canary(LINE), history=[LINE])
    reported = look(known, ENDED, rollout=None)
    assert [pending.revision for pending in reported.status.reports or ()] == [LINE["revision"]]


def test_a_job_that_nobody_takes_is_given_up() -> None:
    reported = look(following(begun().status), ENDED + timedelta(minutes=11))
    assert (reported.actions, reported.status.reports) == ((), None)
    assert reports(reported.status) == [NOT_TAKEN]


def test_a_job_that_was_deleted_is_not_made_again() -> None:
    status = begun().status
    seen = look(following(status), ENDED, job_of(status)).status
    assert seen.reports
    assert seen.reports[0].document is None, "the Job has it"
    reported = look(following(seen), ENDED)
    assert reported.actions == ()
    assert reports(reported.status) == ["not made: its Job was deleted"]


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


def test_reports_are_removed_by_an_age_of_their_own_and_as_many_stay_as_history_names() -> None:
    raw = {
        "metadata": {"name": "fraud", "namespace": "shop", "uid": "u"},
        "spec": {"model": {"name": "fraud"}, "rollout": {"keepReports": "7d"}, "capture": {"retention": "36h"}},
    }
    asked = cleanup_of(meta.read(raw, InferenceServiceSpec, InferenceServiceStatus))
    sweeps = [(sweep.prefix, sweep.older_than_days, sweep.keep_newest) for sweep in (asked, *(asked.also or ()))]
    assert sweeps == [
        ("captures/shop/fraud/", 1.5, None),
        ("captures/shop/fraud/replays/", 1.5, None),
        ("comparisons/shop/fraud/", 1.5, None),
        ("rollouts/shop/fraud/", 7, 10),
    ]


@pytest.mark.parametrize("newest_first", [True, False])
def test_of_two_rollouts_begun_in_one_second_each_has_its_own_report(newest_first: bool) -> None:
    first = {**LINE, "version": "fraud-1", "revision": "sha256:aaaa", "outcome": "Promoted", "reason": "FirstVersion"}
    lines = [LINE, first] if newest_first else [first, LINE]
    reported = look(following(begun(history=lines).status), ENDED + timedelta(minutes=11))
    assert {line.version: line.report for line in reported.status.history or ()} == {
        "fraud-2": NOT_TAKEN,
        "fraud-1": "",
    }


def test_a_rollout_that_ends_before_the_report_of_the_one_before_is_written_loses_neither() -> None:
    first = begun().status
    earlier = job_of(first)
    seen = look(following(first), ENDED, earlier).status
    at = ENDED + timedelta(seconds=30)
    both = begun(NEXT, at, [earlier], history=[NEXT, LINE], reports=following(seen).status.to_json_object()["reports"])
    assert [pending.started_at for pending in both.status.reports or ()] == [NEXT["startedAt"], LINE["startedAt"]]
    assert len(both.actions) == 1, "the Job of the second report; the first one's goes on"
    later = job_of(both.status)
    failed = job_of(both.status, 1, Failed=format_time(at))
    ended = look(following(both.status), at + timedelta(minutes=1), later, failed).status
    assert [pending.started_at for pending in ended.reports or ()] == [NEXT["startedAt"]]
    assert reports(ended)[0] == ""
    assert reports(ended)[1].startswith("not made: ")
    last = look(following(ended), at + timedelta(minutes=2), failed).status
    assert reports(last) == ["not made: its Job was deleted", reports(ended)[1]]
    assert last.reports is None


def test_status_keeps_what_one_report_is_made_of_and_few_that_are_on_their_way() -> None:
    """Each document has up to 4 KiB, and a status 16: a Job that nobody takes does not make it grow."""
    both = begun(NEXT, history=[NEXT, LINE], reports=begun().status.to_json_object()["reports"]).status
    assert reports(both) == ["", OVERTAKEN]
    assert len(both.reports or ()) == 1
    status, jobs, lines = begun().status, [], [LINE]
    for number in range(1, AT_ONCE + 1):
        jobs.append(job_of(status))
        seen = look(following(status), ENDED, *jobs).status
        line = {**LINE, "startedAt": format_time(START + timedelta(minutes=number))}
        lines = [line, *lines]
        status = begun(line, jobs=jobs, history=lines, reports=seen.to_json_object()["reports"]).status
    assert len(status.reports or ()) == AT_ONCE
    assert reports(status) == [*[""] * AT_ONCE, LEFT]
