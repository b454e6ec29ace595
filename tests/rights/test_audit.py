"""What the operator asked of the real cluster in the end-to-end run, from its audit log: all it may, and nothing more.

    make test-e2e      # runs this last
    make test-rights   # the demo's story with the rights of namespaced mode; that it is refused nothing

The log holds the requests of the operator's service account alone (hack/cluster/manifests/audit-policy.yaml).
`artifacts/e2e-began` says from when on; without it, everything in the log counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hack.demo.cluster import CONTEXT, run
from tests.support.rights import Entry, refused, unused

from fairlead.app.rbac import RULES

BEGAN = Path(__file__).resolve().parents[2] / "artifacts" / "e2e-began"
LOGS = "/api/v1/nodes/fairlead-control-plane/proxy/logs/kubernetes/"
ACCOUNT = "system:serviceaccount:fairlead-system:fairlead"


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    """Return the operator's requests of this run."""
    began = BEGAN.read_text().strip() if BEGAN.exists() else ""
    text = run("kubectl", "--context", CONTEXT, "get", "--raw", LOGS + "audit.log")
    found: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    mine = [e for e in found if e["user"]["username"] == ACCOUNT and e["requestReceivedTimestamp"] >= began]
    assert len(mine) > 100, f"the audit log shows {len(mine)} requests since {began}: nothing was run"
    return mine


def test_nothing_was_refused(entries: list[Entry]) -> None:
    assert not refused(entries), "\n".join(refused(entries))


def test_all_that_is_granted_was_used(entries: list[Entry]) -> None:
    assert not unused(entries, RULES), "\n".join(unused(entries, RULES))


def test_no_secret_and_no_config_map_was_asked_for(entries: list[Entry]) -> None:
    touched = {entry["objectRef"]["resource"] for entry in entries if entry.get("objectRef")}
    assert not touched & {"secrets", "configmaps", "serviceaccounts"}, touched
