"""What a list of checks is made of: the target, the order, and what each check found, as JSON to stdout.

The target names a server's ports, its model, the version, and rows with the labels they must get. A check that raises
has failed; what it raised is kept. Knows nothing of ours. Used by `checks_triton` and `checks_open_inference`.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TARGET: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
MODEL, VERSION, LABELS = TARGET["model"], TARGET["version"], TARGET["labels"]
ROWS = np.array(TARGET["rows"], dtype=np.float32)
REST, GRPC = f"127.0.0.1:{TARGET['rest']}", f"127.0.0.1:{TARGET['grpc']}"
CHECKS: list[tuple[str, str, Callable[[], None]]] = []


def check(client: str, what: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Put a function into the list."""

    def add(function: Callable[[], None]) -> Callable[[], None]:
        CHECKS.append((client, what, function))
        return function

    return add


def same(found: list[str]) -> None:
    """Raise AssertionError unless these are the labels of the rows."""
    assert found == LABELS, f"expected {LABELS[:3]}..., got {found[:3]}..."


def main() -> None:
    """Run the list in its order."""
    results = []
    for client, what, function in CHECKS:
        said = ""
        try:
            function()
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[-1].line
            said = str(error).strip()[:300] or f"{type(error).__name__}: {line}"
        results.append({"client": client, "check": what, "passed": not said, "said": said})
    json.dump(results, sys.stdout)
