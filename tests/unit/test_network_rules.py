"""The stand-in for a CNI reads a policy as Kubernetes says it is to be read (`tests/network/rules.py`)."""

from __future__ import annotations

from typing import Any

from tests.network.rules import render

Obj = dict[str, Any]
SPACES = [{"metadata": {"name": name, "labels": {"team": name}}} for name in ("a", "b")]
SERVER, CLIENT, OTHER = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def pod(address: str, namespace: str, **labels: str) -> Obj:
    ports = [{"name": "http", "containerPort": 8080}]
    spec = {"containers": [{"name": "main", "ports": ports}]}
    metadata = {"name": address, "namespace": namespace, "labels": labels}
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Running", "podIP": address}}


PODS = [pod(SERVER, "a", role="server"), pod(CLIENT, "a", role="client"), pod(OTHER, "b", role="client")]


def chain(spec: Obj, name: str, pods: list[Obj] | None = None) -> list[str]:
    """Return the lines of a chain under one policy in namespace a."""
    policy = {"metadata": {"namespace": "a"}, "spec": {"podSelector": {"matchLabels": {"role": "server"}}, **spec}}
    found = render([policy], pods or PODS, SPACES).split(f"chain {name} {{\n")
    return found[1].split("\n}")[0].splitlines() if len(found) > 1 else []


def test_who_is_selected_gets_nothing_but_what_a_rule_names() -> None:
    assert chain({"ingress": []}, "to_0") == ["counter drop"]
    assert chain({"ingress": []}, "from_0") == []  # no egress is said: it is open
    assert chain({"policyTypes": ["Egress"]}, "to_0") == []
    assert chain({"ingress": []}, "to_1") == []
    assert chain({"ingress": [{}]}, "to_0") == ["return", "counter drop"]


def test_a_port_may_have_a_name_a_protocol_and_an_end() -> None:
    ports = [{"port": "http"}, {"port": 53, "protocol": "UDP"}, {"port": 80, "endPort": 90}, {"protocol": "TCP"}]
    lines = ["tcp dport 8080 return", "udp dport 53 return", "tcp dport 80-90 return", "meta l4proto tcp return"]
    assert chain({"ingress": [{"ports": ports}]}, "to_0") == [*lines, "counter drop"]


def test_peers_are_of_the_policys_namespace_unless_it_says_which() -> None:
    def allowed(peer: Obj) -> list[str]:
        return chain({"ingress": [{"from": [peer]}]}, "to_0")[:-1]

    clients = {"podSelector": {"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["server"]}]}}
    assert allowed(clients) == [f"ip saddr {{ {CLIENT} }} return"]
    assert allowed({"namespaceSelector": {"matchLabels": {"team": "b"}}}) == [f"ip saddr {{ {OTHER} }} return"]
    assert allowed({**clients, "namespaceSelector": {}}) == [f"ip saddr {{ {CLIENT}, {OTHER} }} return"]
    assert allowed({"podSelector": {"matchLabels": {"role": "nobody"}}}) == []


def test_a_block_has_its_exceptions() -> None:
    block = {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}
    to = [{"ipBlock": block}, {"ipBlock": {"cidr": "::/0"}}]
    spec = {"policyTypes": ["Egress"], "egress": [{"to": to, "ports": [{"port": 443}]}]}
    assert chain(spec, "from_0")[0] == "ip daddr 0.0.0.0/0 ip daddr != { 169.254.0.0/16 } tcp dport 443 return"
    assert len(chain(spec, "from_0")) == 2


def test_an_address_of_the_node_or_of_a_pod_that_ended_is_nobodys() -> None:
    ended, on_node = pod(SERVER, "a", role="server"), pod(SERVER, "a", role="server")
    ended["status"]["phase"] = "Succeeded"
    on_node["spec"]["hostNetwork"] = True
    assert "vmap" not in render([{"metadata": {"namespace": "a"}, "spec": {"ingress": []}}], [ended, on_node], SPACES)
