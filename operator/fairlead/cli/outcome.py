"""How a wait ended, as an exit code, and for pipelines as JUnit XML and as a summary in Markdown.

Pure, and it judges nothing: the verdict is the one that status holds. Called by `waiting.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from xml.etree import ElementTree

from fairlead.api import names
from fairlead.contract.printable import in_lines, one_line

from .states import Standing, State, state_of
from .why import render_why

Obj = Mapping[str, Any]
_REFUSED = ("RolledBack", "FirstVersionFailed", "VersionRejected", "HostnameConflict")


class Outcome(IntEnum):
    """The exit code of `wait`."""

    PASSED = 0
    REFUSED = 1
    INCONCLUSIVE = 2
    TIMED_OUT = 3

    def __str__(self) -> str:
        """Return it as a word."""
        return {0: "passed", 1: "refused", 2: "inconclusive", 3: "not there in time"}[int(self)]


@dataclass(frozen=True)
class Ended:
    """What was waited for, how that ended, and the object as it was last seen (None: it never existed)."""

    title: str
    outcome: Outcome
    obj: Obj | None
    seconds: float = 0.0

    @property
    def state(self) -> State:
        """Where the object stood in the end."""
        absent = State(Standing.WORKING, "NotFound", f"{self.title} does not exist.")
        return state_of(self.obj) if self.obj else absent


def outcome_of(obj: Obj, version: str = "") -> Outcome | None:
    """Return how it ended, None while it goes on; `version`: only what became of that version of a service counts."""
    state = state_of(obj)
    if state.standing is Standing.WORKING or (version and not _is_about(obj, state, version)):
        return None
    if state.standing is Standing.READY:
        return Outcome.PASSED
    return Outcome.INCONCLUSIVE if _is_inconclusive(obj, state.reason) else Outcome.REFUSED


def _is_about(service: Obj, state: State, version: str) -> bool:
    """Say whether a service's state is an answer about this version: it serves, was refused, or got no verdict."""
    status = service.get("status") or {}
    if state.standing is Standing.READY:
        return bool((status.get("stable") or {}).get("version") == version)
    ended = [*(status.get("rejected") or ()), status.get("inconclusive") or {}, status.get("desired") or {}]
    return any(entry.get("version") == version for entry in ended)


def _is_inconclusive(obj: Obj, reason: str) -> bool:
    if obj["kind"] == names.INFERENCE_SERVICE.kind:
        return bool((obj.get("status") or {}).get("inconclusive")) and reason not in _REFUSED
    return obj["kind"] == names.MODEL_VERSION.kind and reason == "GateInconclusive"


@dataclass(frozen=True)
class _Case:
    """One line of a report: the object itself, a gate of a version, a rollout's signal."""

    name: str
    verdict: str  # passed, failed, unsure
    reason: str
    message: str


_OF_OUTCOME = {Outcome.PASSED: "passed", Outcome.REFUSED: "failed"}
_OF_GATE = {"Passed": "passed", "Failed": "failed"}


def _cases(ended: Ended) -> Iterator[_Case]:
    state = ended.state
    yield _Case(ended.title, _OF_OUTCOME.get(ended.outcome, "unsure"), state.reason, state.message)
    status = (ended.obj or {}).get("status") or {}
    for gate in status.get("gates") or ():
        message = str(gate.get("message") or gate.get("reason") or "")
        verdict = _OF_GATE.get(str(gate.get("outcome")), "unsure")
        yield _Case(f"gate {gate['name']}", verdict, str(gate.get("outcome")), message)
    for line in (status.get("history") or ())[:1]:
        verdict = {"Promoted": "passed", "RolledBack": "failed"}.get(str(line["outcome"]), "unsure")
        reason = str(line.get("reason") or line["outcome"])
        yield _Case(f"rollout of {line['version']}", verdict, reason, str(line.get("message") or ""))


def render_junit(ended: Ended) -> bytes:
    """Return a JUnit report: a failure where something was refused, an error where nothing was proven."""
    cases = list(_cases(ended))
    counts = {kind: sum(case.verdict == kind for case in cases) for kind in ("failed", "unsure")}
    suite = ElementTree.Element(
        "testsuite",
        name="fairlead",
        tests=str(len(cases)),
        failures=str(counts["failed"]),
        errors=str(counts["unsure"]),
        time=f"{ended.seconds:.1f}",
    )
    for case in cases:
        element = ElementTree.SubElement(suite, "testcase", classname="fairlead", name=one_line(case.name))
        if case.verdict != "passed":
            kind = "failure" if case.verdict == "failed" else "error"
            said = ElementTree.SubElement(element, kind, type=one_line(case.reason), message=one_line(case.message))
            said.text = in_lines(case.message)
    text: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def render_summary(ended: Ended) -> str:
    """Return Markdown: the verdict, a table of what it rests on, and the page of `why`."""
    lines = [f"### {ended.title}: {ended.outcome}", "", "| what | verdict | why |", "|---|---|---|"]
    for case in _cases(ended):
        word = {"passed": "passed", "failed": "**refused**", "unsure": "*inconclusive*"}[case.verdict]
        lines.append(f"| {_cell(case.name)} | {word} | {_cell(f'{case.reason}: {case.message}')} |")
    if ended.obj:
        page = in_lines(render_why(ended.obj)).replace("```", "'''")
        lines += ["", "<details><summary>why</summary>", "", "```text", page, "```", "", "</details>"]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    marks = str.maketrans({"|": "\\|", "<": "&lt;", ">": "&gt;"})
    return one_line(text).translate(marks)
