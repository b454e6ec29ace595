"""Where a module's source is found, also after Go's own cache was cleaned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hack.cluster import golang
from hack.cluster.settings import Settings
from hack.cluster.shell import StepError


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    return Settings(cache=tmp_path, cluster="any", source="build", ports=False)


def test_a_modules_source_is_downloaded_when_it_is_not_there(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def ask(command: list[str], **_: Any) -> str:
        asked.append(command)
        return json.dumps({"Path": "sigs.k8s.io/kind", "Dir": "/modules/kind"})

    monkeypatch.setattr(golang, "ask", ask)
    assert golang.module_folder(config, golang.tools(), "sigs.k8s.io/kind") == Path("/modules/kind")
    # `go list` knows only what is there already
    assert asked[0][3:] == ["mod", "download", "-json", "sigs.k8s.io/kind"]


def test_a_module_that_cannot_be_had_is_named(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golang, "ask", lambda *_, **__: None)
    with pytest.raises(StepError, match=r"module sigs\.k8s\.io/kind; `go -C .* says why"):
        golang.module_folder(config, golang.tools(), "sigs.k8s.io/kind")
