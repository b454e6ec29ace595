"""The programs that judge a status as users' tools do: kstatus, Flux and Argo CD in one, Helm 4, kubectl.

It builds them once, by the project's own tooling, and must never fetch anything else. Called by integration tests.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def find_judges() -> Path:
    """Return the folder with `verdict`, `helm4` and, unless PATH has it, `kubectl`."""
    made = subprocess.run(
        [sys.executable, "-m", "hack.cluster", "judges"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise RuntimeError(f"nothing to judge a status with; `make judges` says more:\n{made.stderr[-2000:]}")
    return Path(made.stdout.strip().splitlines()[-1])
