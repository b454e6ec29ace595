"""How the server and the proxy end: the exit codes that the operator reads, the last words, and no secret in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.served import REVISION

from fairlead.contract import env
from fairlead.contract.jobs import ArtifactRef, ServeInput
from fairlead_runtime.errors import BadInput, StoreError
from fairlead_runtime.proxy import __main__ as proxy
from fairlead_runtime.serve import __main__ as server

SECRET = "very-s3cret"
ARTIFACT = ArtifactRef(namespace="test", model="tumor", version="tumor-1", digest=REVISION)
DOCUMENT = ServeInput(namespace="test", service="risk", revision=REVISION, artifact=ARTIFACT).to_json_object()


@dataclass(frozen=True)
class Entry:
    """One module to run, the function in it that does the work, and what it says of another kind."""

    module: Any
    work: str
    needs: str

    def main(self, work: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> int:
        monkeypatch.setattr(self.module, self.work, work)
        return int(self.module.main())


ENTRIES = pytest.mark.parametrize(
    "entry",
    [Entry(server, "serve", "a server needs Serve"), Entry(proxy, "run", "a proxy needs Serve")],
    ids=lambda entry: entry.work,
)


@dataclass(frozen=True)
class Said:
    """The pod's folder: its input, and its last words."""

    folder: Path

    def give(self, document: Any) -> None:
        (self.folder / "input.json").write_text(json.dumps(document))

    def read(self) -> tuple[str, str]:
        info = json.loads((self.folder / "log").read_text())
        assert info["kind"] == "Error"
        return info["reason"], info["message"]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    monkeypatch.setenv(env.INPUT_FILE, str(tmp_path / "input.json"))
    monkeypatch.setenv("FAIRLEAD_STORE_SECRET_KEY", SECRET)
    monkeypatch.setenv("FAIRLEAD_TERMINATION_LOG", str(tmp_path / "log"))
    return Said(tmp_path)


@ENTRIES
@pytest.mark.parametrize(
    ("error", "code"),
    [(BadInput("DigestMismatch", f"bad {SECRET}"), 10), (StoreError("StoreDenied", f"no {SECRET}"), 20)],
)
def test_errors_become_exit_codes_without_a_secret(
    entry: Entry, error: Any, code: int, said: Said, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> int:
        raise error

    said.give(DOCUMENT)
    assert entry.main(fail, monkeypatch) == code
    reason, message = said.read()
    assert reason == error.reason
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1, "one line: the kubelet shows the last ones"
    assert SECRET not in message + printed


@ENTRIES
@pytest.mark.parametrize("code", [0, 1])  # 1: a worker that ended unasked is a restart of the container
def test_a_drained_process_ends_with_the_code_of_its_work(
    entry: Entry, code: int, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    said.give(DOCUMENT)
    assert entry.main(lambda *_: code, monkeypatch) == code


@ENTRIES
@pytest.mark.parametrize("document", [None, {"kind": "Nothing"}, {"kind": "Cleanup", "prefix": "a/b/c/"}])
def test_an_input_that_is_none_or_of_another_kind_is_refused(entry: Entry, document: Any, said: Said) -> None:
    if document is not None:
        said.give(document)
    assert entry.module.main() == env.EXIT_BAD_INPUT
    reason, message = said.read()
    assert reason == "InputInvalid"
    assert document is None or document["kind"] == "Nothing" or entry.needs in message


@ENTRIES
def test_a_failing_program_is_no_error_of_ours(entry: Entry, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its traceback goes to stderr with exit code 1, and the kubelet keeps the last lines of that."""
    said.give(DOCUMENT)
    with pytest.raises(ZeroDivisionError):
        entry.main(lambda *_: 1 // 0, monkeypatch)
    assert not (said.folder / "log").exists()
