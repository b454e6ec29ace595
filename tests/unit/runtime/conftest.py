"""What the tests of Jobs share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.runtime.snapshots import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A store and a source below one temporary folder, and the environment that a pod has of them."""
    made = World(tmp_path)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made
