"""`wait`: exit codes for pipelines, the JUnit report and the Markdown summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fairlead.api import names
from fairlead.cli import waiting
from fairlead.cli.outcome import Outcome, outcome_of
from fairlead.cli.subjects import Subject
from fairlead.cli.waiting import Wish, wait

from .objects import Obj, ready, refusal, service, version
from .test_commands import Api, session

SERVICE = Subject(names.INFERENCE_SERVICE, "fraud")
WORKING = service(conditions=ready("Preparing", "Pods start.", "False", Reconciling="True"))
SERVING = service(conditions=ready("Serving", "It serves."))
UNDECIDED = service(
    conditions=ready("Inconclusive", "No verdict within 2h.", "False", Stalled="True"),
    inconclusive={"version": "fraud-3", "generation": 1, "reason": "DeadlineExceeded"},
    rejected=None,
)
GATES = [
    {"name": "floor", "outcome": "Passed", "message": "accuracy 0.91, limit 0.85"},
    {"name": "speed", "outcome": "Failed", "message": "p99 61 ms | limit 50 ms"},
    {"name": "fair", "outcome": "Inconclusive", "message": "28 rows of <young>"},
]
GATED = version("fraud-3", "c", conditions=ready("GateFailed", "speed failed", "False", Stalled="True"), gates=GATES)


async def _waited(
    monkeypatch: pytest.MonkeyPatch, *states: Obj | None, subject: Subject = SERVICE, **more: Any
) -> tuple[int, list[str]]:
    monkeypatch.setattr(waiting, "POLL_S", 0.0)
    here, said = session(Api(states=states))
    return await wait(here, Wish(subject, 0.05, **more)), said


async def test_ready_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = await _waited(monkeypatch, None, WORKING, WORKING, SERVING)
    assert code == 0
    assert said == [
        "InferenceService fraud does not exist yet",
        "InferenceService fraud: Working, Preparing. Pods start.",
        "InferenceService fraud: Ready, Serving. It serves.",
    ]


async def test_refused_is_1_inconclusive_2_and_time_up_3(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await _waited(monkeypatch, service()))[0] == 1
    assert (await _waited(monkeypatch, UNDECIDED))[0] == 2
    code, said = await _waited(monkeypatch, None)
    assert code == 3
    assert said[-1] == "InferenceService fraud did not get there in 0.05 s"


def test_gates_refuse_or_are_inconclusive() -> None:
    undecided = version("fraud-3", "c", conditions=ready("GateInconclusive", "", "False", Stalled="True"))
    assert outcome_of(GATED) is Outcome.REFUSED
    assert outcome_of(undecided) is Outcome.INCONCLUSIVE


def test_a_refusal_counts_more_than_what_was_inconclusive_before() -> None:
    open_ = {"version": "fraud-2", "generation": 1}
    assert outcome_of(service(inconclusive=open_)) is Outcome.REFUSED


@pytest.mark.parametrize(
    ("obj", "asked", "expected"),
    [
        (SERVING, "fraud-2", Outcome.PASSED),
        (SERVING, "fraud-3", None),  # the operator has not seen yet that fraud-3 was approved
        (service(rejected=[refusal("fraud-3", "c")]), "fraud-3", Outcome.REFUSED),
        (service(rejected=[refusal("fraud-3", "c")]), "fraud-4", None),
        (UNDECIDED, "fraud-3", Outcome.INCONCLUSIVE),
    ],
)
def test_a_version_is_waited_for_by_name(obj: Obj, asked: str, expected: Outcome | None) -> None:
    assert outcome_of(obj, asked) is expected


async def test_a_junit_report_has_gates_and_the_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "report.xml"
    subject = Subject(names.MODEL_VERSION, "fraud-3")
    assert (await _waited(monkeypatch, GATED, subject=subject, junit=file))[0] == 1
    suite = ElementTree.parse(file).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "1")
    found = {case.get("name"): [(child.tag, child.get("message")) for child in case] for case in suite}
    assert found == {
        "ModelVersion fraud-3": [("failure", "speed failed")],
        "gate floor": [],
        "gate speed": [("failure", "p99 61 ms | limit 50 ms")],
        "gate fair": [("error", "28 rows of <young>")],
    }


async def test_a_summary_is_appended_and_forges_no_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    file.write_text("# what others said\n")
    await _waited(monkeypatch, GATED, subject=Subject(names.MODEL_VERSION, "fraud-3"), summary=file)
    text = file.read_text()
    assert text.startswith("# what others said\n### ModelVersion fraud-3: refused\n")
    assert "| gate speed | **refused** | Failed: p99 61 ms \\| limit 50 ms |" in text
    assert "28 rows of &lt;young&gt;" in text
    assert text.endswith("```\n\n</details>\n")


async def test_what_never_existed_is_told_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "report.xml"
    await _waited(monkeypatch, None, junit=file)
    case = ElementTree.parse(file).getroot()[0]
    assert case[0].get("type") == "NotFound"
