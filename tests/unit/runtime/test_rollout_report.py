"""The rollout report: one folder in the store, a page that says how it ended, and no markup from names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.runtime.test_report_pages import EVIL, Page

from fairlead.contract.jobs import ReportInput, ReportSummary
from fairlead.contract.rollouts import Look, RolloutRecord, Trail, TrailSignal
from fairlead_runtime.report.job import run
from fairlead_runtime.report.rollout import render_rollout
from fairlead_runtime.store import LocalStore

SIGNALS = [TrailSignal(name="errors", limit_points=0.5, fail_at=3.69, pass_at=3.0)]
STEPS = ((14, 1, 5, None), (40, 1, 5, 5.2), (60, 1, 25, 25.4), (90, 4, 25, 25.1), (120, 1, 25, 24.8), (200, 5, 0, 3.1))
WORSE = (-0.4, 0.2, 1.0, 1.9, 3.1, 3.9)


def looks() -> list[str]:
    found = zip(STEPS, WORSE, strict=True)
    return [
        Look(at_s, state, asked, measured, (60 * i, 55 * i), ((1.0 + i, 1.0),), ((worse, -0.5),)).to_text()
        for i, ((at_s, state, asked, measured), worse) in enumerate(found, 1)
    ]


def record(outcome: str = "RolledBack", points: list[str] | None = None, **more: str) -> RolloutRecord:
    known = {"service": "fraud", "model_version": "fraud-3", "digest": "sha256:aa", "revision": "sha256:bb"}
    ended = {"reason": "ErrorRate", "message": "Canary failed 7 %.", "previous_version": "fraud-2"}
    times = {"started_at": "2026-11-21T11:50:00Z", "ended_at": "2026-11-21T11:53:20Z", "strategy": "Canary"}
    trail = Trail(signals=SIGNALS, points=looks() if points is None else points)
    return RolloutRecord.model_validate(
        known | ended | times | {"outcome": outcome, "steps_percent": [5, 25], "trail": trail} | more
    )


def text(rendered: bytes) -> str:
    return " ".join(" ".join(Page(rendered).texts).split())


def test_the_report_lies_in_the_store_and_is_written_once(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    job = ReportInput(namespace="shop", name="fraud", rollout=record())
    folder = "rollouts/shop/fraud/20261121T115000Z-fraud-3/"
    assert run(job, store) == ReportSummary(report_key=folder + "report.html")
    first = store.get_bytes(folder + "report.html")
    again = job.model_copy(update={"rollout": record(message="other words")})
    assert run(again, store).report_key == folder + "report.html"
    assert store.get_bytes(folder + "report.html") == first
    said = json.loads(store.get_bytes(folder + "report.json"))
    assert said["rollout"]["trail"]["points"] == looks()
    assert said["inputDigest"].startswith("sha256:")


def test_a_page_says_how_it_ended_and_on_what_evidence() -> None:
    said = text(render_rollout(record(), "shop"))
    for words in (
        "fraud-3 was rolled back (ErrorRate)", "Canary failed 7 %.", "3 min took", "Share of the new version",
        "failed requests Worse 7 % 1 % +0.5 points 106%", "Held 25 %", "fraud-2", "5 %, 25 %",
    ):  # fmt: skip
        assert words in said, said


@pytest.mark.parametrize(
    ("outcome", "words"),
    [("Promoted", "was promoted"), ("Inconclusive", "ended without a verdict"), ("Superseded", "gave way")],
)
def test_each_outcome_has_its_words(outcome: str, words: str) -> None:
    assert words in text(render_rollout(record(outcome), "shop"))


@pytest.mark.parametrize("points", [[], looks()[:1]])
def test_a_rollout_that_never_counted_has_a_page_too(points: list[str]) -> None:
    said = text(render_rollout(record(points=points, reason="CanaryCrashed"), "shop"))
    assert "nothing to draw" in said


def test_no_name_becomes_markup() -> None:
    page = Page(render_rollout(record(model_version=EVIL, message=EVIL, reason=EVIL, service=EVIL), EVIL))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not page.open
    assert not [name for name, _ in page.attributes if name.startswith("on")]
