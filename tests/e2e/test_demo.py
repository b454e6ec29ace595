"""The demo's story, told whole: it ends well, and no user saw a failure that version 3 did not make."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.e2e.bundle import write_bundle
from tests.e2e.team import Team, kubectl
from tests.support.status_laws import breaches

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 900  # a hang is not waited for; the bar of 6 minutes is measured, not asserted on a shared machine


@pytest.mark.timeout(LIMIT_S + 60)
def test_the_demo_ends_as_told() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "hack.demo"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    print(done.stdout)
    team = Team("flights")
    if done.returncode:
        folder = ROOT / "artifacts" / "e2e" / "demo"
        write_bundle(team, folder)
        pytest.fail(
            f"the demo ended with {done.returncode}; its objects and logs lie in {folder}\n{done.stderr[-3000:]}"
        )
    print(f"the demo took {time.monotonic() - began:.0f} s")
    found = [breach for obj in team.all_objects() for breach in breaches(obj, secrets=[team.secret_key])]
    assert not found
    kubectl("delete", "namespace", "flights", "--wait=false")
