"""What a failing e2e test leaves behind: objects, events and logs, without Secrets."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.team import Team, kubectl

KINDS = "fairlead,jobs,cronjobs,pods,deployments,services,hpa,httproutes,pdb"


def write_bundle(team: Team, folder: Path, failure: str = "") -> None:
    """Write failure.txt, objects.yaml, describe.txt, events.txt and a log per container into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failure.txt").write_text(failure.replace(team.secret_key, "***"))
    ns = team.namespace
    for name, words in {
        "objects.yaml": ("get", KINDS, "-n", ns, "-o", "yaml"),
        "table.txt": ("get", KINDS, "-n", ns, "-o", "wide"),
        "describe.txt": ("describe", "fairlead", "-n", ns),
        "events.txt": ("get", "events", "-n", ns, "--sort-by=.metadata.creationTimestamp"),
        "operator.log": ("logs", "-n", "fairlead-system", "deploy/fairlead", "--tail=2000"),
    }.items():
        (folder / name).write_text(kubectl(*words, check=False))
    pods = json.loads(kubectl("get", "pods", "-n", ns, "-o", "json", check=False) or '{"items": []}')
    for pod in pods["items"]:
        name = pod["metadata"]["name"]
        words = ("logs", "-n", ns, name, "--all-containers", "--prefix", "--tail=500")
        (folder / f"{name}.log").write_text(kubectl(*words, check=False))
