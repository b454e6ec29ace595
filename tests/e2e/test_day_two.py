"""Day two on the real cluster: everything lost and restored, old data removed, a support bundle.

What `helm uninstall` leaves is tested on a control plane of its own (tests/integration/test_uninstall.py): here it
would take the cluster away from every other test.
"""

from __future__ import annotations

import json
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from minio.commonconfig import CopySource
from tests.e2e import flights
from tests.e2e.team import ACCESS_KEY, BUCKET, CONTEXT, ENDPOINT, Obj, Team, eventually, kubectl, manifest

from fairlead.api.conditions import find_condition
from fairlead.cli.main import main
from fairlead.contract.jobs import CleanupInput
from fairlead_runtime.cleanup import run as clean_up
from fairlead_runtime.s3 import S3Settings
from fairlead_runtime.store import S3Store

UNFIT = [{"name": "perfect", "metric": "accuracy", "min": 0.9999}]
REMEMBERED = (
    "revision", "revisions", "artifact", "lineage", "evaluation", "refusal", "approvedAt", "approvedBy", "stage",
    "outcome", "metrics", "finishedAt", "dataset", "rejectedBy", "history", "lastCheck",
)  # fmt: skip
LATER_S = 7200.0  # a folder that was written to within the last hour is never removed


def fairlead(team: Team, *words: str, namespace: bool = True) -> int:
    where = ("--namespace", team.namespace) if namespace else ()
    return main([words[0], "--context", CONTEXT, *where, *words[1:]])


def until_reason(team: Team, kind: str, name: str, reason: str) -> Obj:
    return team.until(kind, name, lambda obj: (find_condition(obj, "Ready") or {}).get("reason") == reason, 240)


def given_a_past(team: Team) -> None:
    """A version that a person approved and that serves, one that a gate refused, and a monitor."""
    flights.given_dataset(team)
    asked = flights.run_spec(versionTemplate={"approval": {"required": True}})
    unfit = flights.run_spec(versionTemplate={"approval": {"required": False}, "gates": UNFIT})
    monitor = {"inferenceService": {"name": "flights"}, "schedule": "0 0 1 1 *", "resources": flights.MODEST}
    spec = {**flights.service_spec(), "model": {"name": "flights"}, "capture": {"percent": 100}}
    team.apply(
        manifest("TrainingRun", "flights-v1", asked),
        manifest("TrainingRun", "flights-v2", unfit),
        manifest("InferenceService", "flights", spec),
        manifest("DriftMonitor", "flights", monitor),
    )
    until_reason(team, "ModelVersion", "flights-v1", "ApprovalRequired")
    assert fairlead(team, "approve", "flights-v1", "--reason", "read the card") == 0
    until_reason(team, "ModelVersion", "flights-v2", "GateFailed")
    team.until_ready("InferenceService", "flights", 120)
    team.until_ready("DriftMonitor", "flights", 60)
    until_reason(team, "ModelVersion", "flights-v1", "InProduction")


def truth(team: Team) -> dict[str, Any]:
    """Return what must survive: digests, evaluations, decisions, who serves."""
    found = {}
    for obj in team.all_objects():
        status, kind, name = obj["status"], obj["kind"], obj["metadata"]["name"]
        said: dict[str, Any] = {"reason": (find_condition(obj, "Ready") or {}).get("reason")}
        for key in REMEMBERED:
            said[key] = status.get(key)
        if kind == "InferenceService":
            stable = status["stable"]
            said["serves"] = {key: stable[key] for key in ("revision", "version", "digest", "image", "name")}
        found[f"{kind} {name}"] = said
    return found


def delete_everything(team: Team) -> None:
    for kinds in (("inferenceservices", "driftmonitors"), ("modelversions", "trainingruns", "datasets")):
        qualified = ",".join(f"{kind}.fairlead.dev" for kind in kinds)
        eventually(lambda what=qualified: deleted(team, what), f"{kinds} cannot be deleted", 60)
    team.until_gone("jobs,cronjobs,deployments,pods", timeout_s=90)


def deleted(team: Team, kinds: str) -> bool:
    """Delete all of some kinds; a version stays refused until the service it served in is seen to be gone."""
    kubectl("delete", kinds, "--all", "-n", team.namespace, "--timeout=30s", check=False)
    return not json.loads(team.kubectl("get", kinds, "-o", "json"))["items"]


def move_bucket(team: Team) -> str:
    """Copy the team's part of the bucket elsewhere and remove it, as if restored from a copy; return the new prefix."""
    old, new = f"e2e/{team.namespace}/", f"e2e/{team.namespace}-restored/"
    for entry in list(team.store.list_objects(BUCKET, prefix=old, recursive=True)):
        name = str(entry.object_name)
        team.store.copy_object(BUCKET, name.replace(old, new, 1), CopySource(BUCKET, name))
        team.store.remove_object(BUCKET, name)
    team.apply(team.secret(prefix=new.strip("/")))
    return new.strip("/")


def jobs(team: Team) -> list[str]:
    return [job["metadata"]["labels"]["fairlead.dev/role"] for job in team.children("jobs")]


def test_everything_lost_comes_back_from_a_file_and_the_bucket(team: Team, tmp_path: Path) -> None:
    given_a_past(team)
    file = tmp_path / "backup.yaml"
    before = truth(team)
    assert fairlead(team, "backup", "-o", str(file)) == 0
    assert team.secret_key not in file.read_text()
    delete_everything(team)
    prefix = move_bucket(team)
    assert fairlead(team, "restore", "-f", str(file), namespace=False) == 0
    team.until_ready("InferenceService", "flights", 120)
    until_reason(team, "ModelVersion", "flights-v1", "InProduction")
    assert truth(team) == before
    assert jobs(team) == [], "nothing is read, trained or evaluated again"
    assert [one["metadata"]["name"] for one in team.children("deployments")] == [
        before["InferenceService flights"]["serves"]["name"]
    ]
    approval = (team.get("ModelVersion", "flights-v1") or {})["spec"]["approval"]
    assert (approval["decision"], approval["reason"]) == ("Approved", "read the card")
    old_revisions_go_and_what_is_referred_to_stays(team, prefix)


def old_revisions_go_and_what_is_referred_to_stays(team: Team, prefix: str) -> None:
    """Two more revisions, of which one is kept: the first stays, because versions were trained on it."""
    store = S3Store(S3Settings(f"http://{ENDPOINT}", ACCESS_KEY, team.secret_key), BUCKET, prefix)
    folder = f"datasets/{team.namespace}/flights/"
    first = revision(team)
    team.patch("Dataset", "flights", {"spec": {"keepRevisions": 1}})
    second = refreshed(team, 3000)
    third = refreshed(team, 2000)
    document = eventually(lambda: asked_to_clean_up(team), "the operator asks for no clean-up", 120)
    assert revisions(store, folder) == {first, second, third}, "what was written to within the hour stays"
    clean_up(document, store, lambda: time.time() + LATER_S)
    assert revisions(store, folder) == {first, third}
    alone = document.model_copy(update={"keep": [third]})
    clean_up(alone, store, lambda: time.time() + LATER_S)
    assert revisions(store, folder) == {first, third}, "models in the bucket refer to it, without any object"
    store.delete_folder(f"models/{team.namespace}/flights/")
    clean_up(alone, store, lambda: time.time() + LATER_S)
    assert revisions(store, folder) == {third}


def revision(team: Team) -> str:
    return str((team.get("Dataset", "flights") or {})["status"]["revision"]).removeprefix("sha256:")


def refreshed(team: Team, rows: int) -> str:
    before = revision(team)
    team.put("flights.csv", flights.csv(rows))
    assert fairlead(team, "refresh", "flights") == 0
    eventually(lambda: revision(team) != before, "the source is not read again", 120)
    return revision(team)


def revisions(store: S3Store, folder: str) -> set[str]:
    names = {entry.key.removeprefix(folder).split("/")[0] for entry in store.list(folder)}
    return names - {"attempts"}


def asked_to_clean_up(team: Team) -> CleanupInput | None:
    for job in team.children("jobs", "flights"):
        if job["metadata"]["labels"]["fairlead.dev/role"] == "cleanup":
            said = job["spec"]["template"]["metadata"]["annotations"]["fairlead.dev/input"]
            return CleanupInput.model_validate_json(said)
    return None


def test_a_support_bundle_has_logs_and_metrics_and_no_secret(
    team: Team, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = team.put("flights.csv", flights.csv(300))
    team.apply(manifest("Dataset", "flights", flights.dataset_spec(uri)))
    team.until_ready("Dataset", "flights", 120)
    file, began = tmp_path / "bundle.tar.gz", time.monotonic()
    assert fairlead(team, "gather", "-o", str(file)) == 0
    assert time.monotonic() - began < 60
    files = {}
    with tarfile.open(file) as archive:
        for member in archive.getmembers():
            held = archive.extractfile(member)
            files[member.name.partition("/")[2]] = held.read().decode() if held else ""
    assert [path for path, text in files.items() if team.secret_key in text] == []
    assert any(path.startswith("operator/logs/") and "leading by Lease" in text for path, text in files.items())
    assert any(path.startswith("operator/metrics/") and "workqueue_depth" in text for path, text in files.items())
    assert any(path.startswith(f"logs/{team.namespace}/flights-snapshot") for path in files)
    assert "flights" in files["events.txt"]
    assert "fairlead-operator" in files["index.html"]
    assert "not collected" not in capsys.readouterr().out
