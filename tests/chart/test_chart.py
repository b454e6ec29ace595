"""The chart lints, renders for every option, keeps restricted pod security, and refuses values it does not know."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead import __version__
from fairlead.api import names
from fairlead.app.rbac import RULES
from fairlead.plan.revision import ROLE

CHART = Path(__file__).resolve().parents[2] / "charts" / "fairlead"
ROOT = CHART.parents[1]
WRITES = {"create", "update", "patch", "delete"}
RULES_OF_CHILDREN = {
    (rule.api_group, resource)
    for rule in RULES
    for resource in rule.resources
    if rule.where == "served" and WRITES & set(rule.verbs)
    if rule.api_group not in ("events.k8s.io", "fairlead.dev")  # the policy has fairlead.dev as a whole
}
KUBE = ("--kube-version", "1.34.0")  # what `helm template` would ask a cluster for


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["helm", *words], capture_output=True, text=True, check=False)


def render(*settings: str) -> list[dict[str, Any]]:
    flags = [word for setting in settings for word in ("--set", setting)]
    done = helm("template", "fairlead", str(CHART), *KUBE, "--namespace", "fairlead-system", *flags)
    assert done.returncode == 0, done.stderr
    return [obj for obj in yaml.safe_load_all(done.stdout) if obj]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [obj for obj in objects if obj["kind"] == kind]


def pod_specs(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    deployments = [obj["spec"]["template"]["spec"] for obj in of_kind(objects, "Deployment")]
    return [*deployments, *(obj["spec"] for obj in of_kind(objects, "Pod"))]


def test_lint() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("nonsense=1", "nonsense"),
        ("replicas=0", "replicas"),
        ("images.pullPolicy=Sometimes", "pullPolicy"),
        ("store.endpoint=ftp://x", "endpoint"),
        ("operator.lease.duration=soon", "duration"),
    ],
)
def test_values_that_mean_nothing_are_refused(setting: str, words: str) -> None:
    done = helm("template", "fairlead", str(CHART), *KUBE, "--set", setting)
    assert done.returncode != 0
    assert words in done.stderr


def test_the_crds_are_the_generated_ones() -> None:
    rendered = {crd["metadata"]["name"]: crd["spec"] for crd in of_kind(render(), "CustomResourceDefinition")}
    generated = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert rendered == {crd["metadata"]["name"]: crd["spec"] for crd in generated}


def test_crds_are_kept_unless_told_otherwise() -> None:
    policy = "helm.sh/resource-policy"
    kept = of_kind(render(), "CustomResourceDefinition")
    assert all(crd["metadata"]["annotations"][policy] == "keep" for crd in kept)
    free = of_kind(render("crds.keep=false"), "CustomResourceDefinition")
    assert not any(policy in (crd["metadata"]["annotations"] or {}) for crd in free)
    assert not of_kind(render("crds.enabled=false"), "CustomResourceDefinition")


def test_every_pod_keeps_restricted_pod_security() -> None:
    objects = render("objectStore.embedded.enabled=true", "objectStore.embedded.secretKey=0123456789abcdef")
    for spec in pod_specs(objects):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_namespaced_installs_need_no_cluster_role_of_the_operator() -> None:
    objects = render("namespaces={team-a,team-b}")
    bindings = [b for b in of_kind(objects, "ClusterRoleBinding") if b["subjects"][0]["name"] == "fairlead"]
    assert not bindings
    assert {role["metadata"].get("namespace") for role in of_kind(objects, "RoleBinding")} >= {"team-a", "team-b"}


def test_the_operator_may_not_read_secrets_and_has_no_wildcard() -> None:
    for role in [*of_kind(render(), "ClusterRole"), *of_kind(render(), "Role")]:
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert not {"secrets", "configmaps"} & set(rule["resources"])


def test_options_render() -> None:
    objects = render("replicas=2", "podDisruptionBudget.enabled=true", "networkPolicy.enabled=true")
    assert of_kind(objects, "PodDisruptionBudget")
    assert of_kind(objects, "NetworkPolicy")
    assert of_kind(objects, "Deployment")[0]["spec"]["replicas"] == 2


def test_the_store_secret_is_made_where_it_is_asked_for() -> None:
    objects = render("store.namespaces={team-a}", "store.endpoint=https://s3.example.com", "store.secretKey=k")
    secret = of_kind(objects, "Secret")[0]
    assert secret["metadata"]["name"] == "fairlead-store"
    assert secret["metadata"]["namespace"] == "team-a"
    assert secret["stringData"]["endpoint"] == "https://s3.example.com"


def test_an_endpoint_is_asked_for() -> None:
    done = helm("template", "fairlead", str(CHART), *KUBE, "--set", "store.namespaces={team-a}")
    assert done.returncode != 0
    assert "store.endpoint" in done.stderr


def test_only_the_holder_of_the_lease_writes() -> None:
    policies = {obj["metadata"]["name"]: obj for obj in of_kind(render(), "ValidatingAdmissionPolicy")}
    spec = policies["fairlead-leader"]["spec"]
    rules = RULES_OF_CHILDREN - {
        (group, resource)
        for rule in spec["matchConstraints"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert rules == set(), "what the operator writes and the policy leaves out"
    bindings = {obj["metadata"]["name"]: obj for obj in of_kind(render(), "ValidatingAdmissionPolicyBinding")}
    lease = bindings["fairlead-leader"]["spec"]["paramRef"]
    assert (lease["name"], lease["namespace"]) == ("fairlead", "fairlead-system")
    # Failing closed would keep everybody from writing Services and Deployments while the Lease cannot be looked up.
    assert (spec["failurePolicy"], lease["parameterNotFoundAction"]) == ("Ignore", "Allow")
    without = of_kind(render("operator.lease.fence=false"), "ValidatingAdmissionPolicy")
    assert "fairlead-leader" not in {obj["metadata"]["name"] for obj in without}


FENCED = ("networkPolicy.enabled=true", "namespaces={team-a,team-b}")


def policies(*settings: str) -> dict[str, dict[str, Any]]:
    found = of_kind(render(*settings), "NetworkPolicy")
    return {f"{obj['metadata'].get('namespace', '-')}/{obj['metadata']['name']}": obj["spec"] for obj in found}


def ports(rule: dict[str, Any]) -> set[Any]:
    return {entry["port"] for entry in rule["ports"]}


def test_network_policies_are_off_until_asked_for() -> None:
    assert not policies()
    assert set(policies("networkPolicy.enabled=true")) == {"-/fairlead"}
    assert set(policies(*FENCED)) == {
        "-/fairlead", "team-a/fairlead-jobs", "team-a/fairlead-server", "team-b/fairlead-jobs", "team-b/fairlead-server"
    }  # fmt: skip
    named = policies("networkPolicy.enabled=true", "networkPolicy.namespaces={team-c}")
    assert set(named) == {"-/fairlead", "team-c/fairlead-jobs", "team-c/fairlead-server"}


def test_every_policy_is_about_pods_of_ours_and_both_ways() -> None:
    store = ("objectStore.embedded.enabled=true", "objectStore.embedded.secretKey=0123456789abcdef")
    for name, spec in policies(*FENCED, *store).items():
        assert spec["podSelector"]["matchLabels"], f"{name} is about every pod of its namespace"
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
        assert all(rule.get("ports") for rule in (*spec["ingress"], *spec["egress"])), f"{name} opens all ports"


def test_jobs_are_spoken_to_by_nobody_and_reach_no_metadata_service() -> None:
    spec = policies(*FENCED, "networkPolicy.egressPorts={9000}")["team-a/fairlead-jobs"]
    assert spec["ingress"] == []
    dns, out, replays = spec["egress"]
    assert ports(dns) == {53}
    assert ports(out) == {9000}
    assert ports(replays) == {8080}
    assert [set(peer) for peer in replays["to"]] == [{"podSelector"}], "servers of the own namespace alone"
    blocks = [peer["ipBlock"] for peer in out["to"] if "ipBlock" in peer]
    assert {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]} in blocks


def test_control_of_servers_is_for_the_operator_and_their_own_namespace() -> None:
    spec = policies(*FENCED)["team-a/fairlead-server"]
    public, control = spec["ingress"]
    assert ports(public) == {8080, 9000, 9090, 15080, 15090}
    assert ports(control) == {8081, 15081}
    own, operator = control["from"]
    assert own == {"podSelector": {}}
    assert operator["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "fairlead-system"}
    deployment = next(obj for obj in of_kind(render(), "Deployment"))
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert operator["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_policies_choose_what_planners_label() -> None:
    spec = policies(*FENCED)["team-a/fairlead-server"]
    assert spec["podSelector"]["matchLabels"] == {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_ROLE: ROLE}


def test_chart_operator_package_and_server_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
    server = (ROOT / "images" / "runtime" / "fairlead_runtime" / "serve" / "served_model.py").read_text()
    assert f'SERVER_VERSION = "fairlead", "{__version__}"' in server


def test_monitoring_is_off_until_asked_for() -> None:
    kinds = {obj["kind"] for obj in render()}
    assert not kinds & {"PodMonitor", "PrometheusRule", "ConfigMap"}


def test_monitoring_has_monitors_rules_and_dashboards() -> None:
    on = [f"monitoring.{part}.enabled=true" for part in ("podMonitors", "rules", "dashboards")]
    objects = render(*on, "monitoring.rules.labels.release=prometheus", "namespaces={fraud}")
    files = CHART / "files" / "monitoring"
    (rule,) = of_kind(objects, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((files / "rules.yaml").read_text())
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    boards = of_kind(objects, "ConfigMap")
    assert [board["metadata"]["labels"]["grafana_dashboard"] for board in boards] == ["1", "1"]
    for board in boards:
        ((name, text),) = board["data"].items()
        assert json.loads(text) == json.loads((files / name.removeprefix("fairlead-")).read_text())
    operator, services = of_kind(objects, "PodMonitor")
    pods = of_kind(objects, "Deployment")[0]["spec"]["template"]["metadata"]["labels"]
    assert operator["spec"]["selector"]["matchLabels"].items() <= pods.items()
    assert services["spec"]["selector"]["matchLabels"][names.LABEL_ROLE] == ROLE
    assert services["spec"]["namespaceSelector"] == {"matchNames": ["fraud"]}
