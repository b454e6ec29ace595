"""The order of the files: `make test-unit` has three workers, some of which wait while others compute."""

from __future__ import annotations

import pytest
from tests.support.longest_first import longest_first

LONGEST = (
    "test_replay.py",
    "test_serve_bad_input.py",
    "test_judge.py",
    "test_proxy.py",
    "test_serve_formats.py",
    "test_store_hangs.py",
    "plan/test_deletion.py",
    "test_restored.py",
    "test_stats_drift.py",
    "test_evaluate_",
    "test_serve_",
    "unit/runtime/",
    "unit/plan/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items, LONGEST)
