"""The chart as people use it: its own test passes, and what it installs keeps restricted pod security."""

from __future__ import annotations

import json
import subprocess

from hack.demo.cluster import CONTEXT, PLURALS
from tests.e2e.conftest import HelmAlone
from tests.e2e.team import SYSTEM, kubectl


def test_helm_test_passes(operator: str, helm_alone: HelmAlone) -> None:
    command = ["helm", "test", "fairlead", "-n", SYSTEM, "--kube-context", CONTEXT, "--timeout", "2m"]
    with helm_alone():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Phase:          Succeeded" in done.stdout


def test_the_operators_pods_are_restricted(operator: str) -> None:
    words = ("label", "--dry-run=server", "--overwrite", "namespace", SYSTEM)
    said = subprocess.run(
        ["kubectl", "--context", CONTEXT, *words, "pod-security.kubernetes.io/enforce=restricted"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "violate" not in said.stderr, said.stderr


def test_the_operator_may_do_no_more_than_it_needs(operator: str) -> None:
    account = f"system:serviceaccount:{SYSTEM}:fairlead"
    for verb, what in (
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("delete", "modelversions.fairlead.dev"),
    ):
        answer = kubectl("auth", "can-i", verb, what, "-A", "--as", account, check=False).strip()
        assert answer == "no", f"the operator may {verb} {what}"
    found = json.loads(kubectl("get", "crds", "-o", "json"))["items"]
    ours = [crd for crd in found if crd["spec"]["group"] == "fairlead.dev"]
    assert len(ours) == 5
    assert {"fairlead"} == {category for crd in ours for category in crd["spec"]["names"]["categories"]}


def test_view_edit_and_admin_of_the_cluster_gain_our_kinds_and_view_decides_nothing(operator: str) -> None:
    def verbs(role: str, plural: str) -> set[str]:
        rules = json.loads(kubectl("get", "clusterrole", role, "-o", "json"))["rules"]
        ours = (rule for rule in rules if "fairlead.dev" in rule.get("apiGroups", ()))
        return {verb for rule in ours if plural in rule["resources"] for verb in rule["verbs"]}

    for plural in PLURALS.values():
        assert verbs("view", plural) == {"get", "list", "watch"}
        assert verbs("edit", plural) > verbs("view", plural)
        assert not verbs("edit", plural) & {"approve", "override", "approve-as", "override-as"}
    assert "approve" in verbs("admin", "modelversions")
    assert "override" in verbs("admin", "inferenceservices")
