"""The entry of every pod: kinds, exit codes, the termination message, and no secret in either."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from fairlead.contract.data import CheckResult
from fairlead.contract.gates import GateOutcome, GateResult
from fairlead.contract.jobs import CleanupSummary, CollectInput, EvaluateSummary, SnapshotSummary
from fairlead_runtime import __main__ as entry
from fairlead_runtime.collect import run as collect
from fairlead_runtime.errors import BadInput, StoreError
from fairlead_runtime.store import open_store, put_json
from fairlead_runtime.summary import encode_summary

SECRET = "very-s3cret"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "input.json").write_text(json.dumps({"kind": "Cleanup", "prefix": "a/b/c/"}))
    monkeypatch.setenv("FAIRLEAD_INPUT", str(tmp_path / "input.json"))
    monkeypatch.setenv("FAIRLEAD_STORE_ENDPOINT", f"file://{tmp_path}/store")
    monkeypatch.setenv("FAIRLEAD_STORE_SECRET_KEY", SECRET)
    monkeypatch.setenv("FAIRLEAD_TERMINATION_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def _let_cleanup(monkeypatch: pytest.MonkeyPatch, body: Any) -> None:
    module = types.ModuleType("fake_job")
    module.run = body  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_job", module)
    monkeypatch.setitem(entry.RUNNERS, "Cleanup", "fake_job:run")


def test_a_job_leaves_its_summary(log: Path) -> None:
    assert entry.main() == 0
    assert json.loads(log.read_text()) == {"kind": "Cleanup", "version": 1, "removed": 0, "bytes": 0}


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (BadInput("SingleClass", f"bad {SECRET}"), 10, "SingleClass"),
        (StoreError("StoreDenied", f"no {SECRET}"), 20, "StoreDenied"),
        (RuntimeError(f"broke {SECRET}"), 1, "ProgramFailed"),
    ],
)
def test_errors_become_exit_codes_without_a_secret(
    log: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    reason: str,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    _let_cleanup(monkeypatch, fail)
    assert entry.main() == code
    info = json.loads(log.read_text())
    assert (info["kind"], info["reason"]) == ("Error", reason)
    assert SECRET not in log.read_text() + capsys.readouterr().err


def test_a_failing_program_shows_its_last_line_and_trace(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _let_cleanup(monkeypatch, lambda *_: {}[1])
    assert entry.main() == 1
    assert json.loads(log.read_text())["message"] == "KeyError: 1"
    assert "Traceback" in capsys.readouterr().err


def test_a_kind_without_summary_writes_none(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _let_cleanup(monkeypatch, lambda *_: None)
    assert entry.main() == 0
    assert not log.exists()


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "Cleanup"}', '{"kind": "Nothing"}'])
def test_an_input_that_is_none_is_refused(log: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "input.json").write_text(text)
    assert entry.main() == 10
    assert json.loads(log.read_text())["reason"] == "InputInvalid"


def test_an_absent_input_is_refused(log: Path, tmp_path: Path) -> None:
    (tmp_path / "input.json").unlink()
    assert entry.main() == 10
    assert "cannot be read" in json.loads(log.read_text())["message"]


def test_every_runner_of_the_jobs_exists() -> None:
    for kind in ("Snapshot", "Train", "Collect", "Cleanup", "fetch", "publish"):
        assert callable(entry._runner(kind))
    with pytest.raises(BadInput, match="none of"):
        entry._runner("Nothing")


def test_the_longest_summary_fits_and_keeps_every_outcome() -> None:
    gates = [GateResult(name=f"gate-{i}", outcome=GateOutcome.FAILED, value=0.5, message="ä" * 1000) for i in range(15)]
    summary = EvaluateSummary(input_digest="sha256:" + "0" * 64, rows=1, gates=gates)
    encoded = encode_summary(summary)
    assert len(encoded) <= 3072
    assert len(EvaluateSummary.model_validate_json(encoded).gates) == 15
    failed = [CheckResult(name="c" * 200, passed=False, count=9, rows=[1, 2], message="m" * 900) for _ in range(10)]
    encoded = encode_summary(
        SnapshotSummary(valid=False, reason="ChecksFailed", message="m" * 1024, failed_checks=failed)
    )
    assert len(encoded) <= 3072
    assert SnapshotSummary.model_validate_json(encoded).reason == "ChecksFailed"


def test_what_cannot_be_cut_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_summary(CleanupSummary(), limit=10)


def test_collect_says_the_result_again_or_that_it_is_lost(log: Path) -> None:
    store = open_store()
    put_json(store, "runs/a/b/c/result.json", CleanupSummary(removed=3))
    assert collect(CollectInput(result_key="runs/a/b/c/result.json"), store) == CleanupSummary(removed=3)
    store.put_bytes("bad", b"{}")
    for key in ("runs/a/b/d/result.json", "bad"):
        with pytest.raises(BadInput, match="ResultLost"):
            collect(CollectInput(result_key=key), store)
