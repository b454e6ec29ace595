"""NetworkPolicies as rules of nftables, for a cluster whose CNI enforces none.

Pure: policies, pods and namespaces in, a ruleset out. It reads what `networking.k8s.io/v1` says of a policy and knows
nothing of the chart's own. A packet passes when the policies of the pod that sends it and of the pod that gets it let
it pass; a pod that no policy selects is open. Answers belong to the connection that was let in. What the node itself
sends (kubelet's probes) is let through, as CNIs do. IPv4, TCP and UDP alone. Used by `enforcer.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Obj = Mapping[str, Any]
TABLE = "fairlead_policies"


def render(policies: Sequence[Obj], pods: Sequence[Obj], namespaces: Sequence[Obj]) -> str:
    """Return the whole table; it takes the place of the one before."""
    world = World([pod for pod in pods if _has_address(pod)], {n["metadata"]["name"]: n for n in namespaces})
    leaving = {_ip(pod): world.chain(f"from_{n}", policies, pod, "Egress") for n, pod in enumerate(world.pods)}
    coming = {_ip(pod): world.chain(f"to_{n}", policies, pod, "Ingress") for n, pod in enumerate(world.pods)}
    chains = [chain for chain in (*leaving.values(), *coming.values()) if chain]
    egress, ingress = _dispatch("saddr", leaving), _dispatch("daddr", coming)
    hooks = [
        _hook("forward", [*egress, *ingress]),
        _hook("input", egress),  # from a pod to the node: the API server
    ]
    return "\n".join([f"table ip {TABLE}", f"delete table ip {TABLE}", f"table ip {TABLE} {{", *chains, *hooks, "}\n"])


class World:
    """Pods with an address, and their namespaces."""

    def __init__(self, pods: Sequence[Obj], namespaces: Mapping[str, Obj]) -> None:
        self.pods, self._namespaces = pods, namespaces

    def chain(self, name: str, policies: Sequence[Obj], pod: Obj, direction: str) -> str:
        """Return the chain for what comes to a pod or leaves it; nothing when no policy is about that."""
        mine = [policy for policy in policies if _is_about(policy, pod, direction)]
        if not mine:
            return ""
        lines = [line for policy in mine for line in self._policy(policy, pod, direction)]
        return "\n".join([f"chain {name} {{", *lines, "counter drop", "}"])

    def _policy(self, policy: Obj, pod: Obj, direction: str) -> Iterator[str]:
        every: Obj = {}
        for rule in policy["spec"].get(direction.lower()) or ():
            peers = rule.get("from" if direction == "Ingress" else "to")
            side = "ip saddr" if direction == "Ingress" else "ip daddr"
            for where in self._peers(policy, peers, side) if peers else ("",):
                for port in rule.get("ports") or (every,):
                    yield " ".join(filter(None, (where, _port(port, pod), "return")))

    def _peers(self, policy: Obj, peers: Iterable[Obj], side: str) -> Iterator[str]:
        """Return the addresses of each peer as nftables matches them."""
        for peer in peers:
            if "ipBlock" in peer:
                yield from _block(peer["ipBlock"], side)
                continue
            addresses = [_ip(pod) for pod in self.pods if self._is_peer(policy, peer, pod)]
            if addresses:
                yield f"{side} {{ {', '.join(addresses)} }}"

    def _is_peer(self, policy: Obj, peer: Obj, pod: Obj) -> bool:
        home = pod["metadata"]["namespace"]
        if "namespaceSelector" in peer:
            if not _selects(peer["namespaceSelector"], self._namespaces[home]):
                return False
        elif home != policy["metadata"]["namespace"]:
            return False
        return _selects(peer.get("podSelector") or {}, pod)


def _block(block: Obj, side: str) -> Iterator[str]:
    if ":" not in block["cidr"]:
        apart = block.get("except")
        yield f"{side} {block['cidr']}" + (f" {side} != {{ {', '.join(apart)} }}" if apart else "")


def _is_about(policy: Obj, pod: Obj, direction: str) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    same = policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return direction in types and same and _selects(spec.get("podSelector") or {}, pod)


def _selects(selector: Obj, obj: Obj) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()) and all(
        _holds(expression, labels) for expression in selector.get("matchExpressions") or ()
    )


def _holds(expression: Obj, labels: Mapping[str, str]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or ()
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[operator]


def _port(port: Obj, pod: Obj) -> str:
    """Return a port as nftables matches it; a name is a port of the pod that the policy is about."""
    if not port:
        return ""
    protocol, number = port.get("protocol", "TCP").lower(), port.get("port")
    if number is None:
        return f"meta l4proto {protocol}"
    if isinstance(number, str):
        named = (one for container in pod["spec"]["containers"] for one in container.get("ports") or ())
        number = next((one["containerPort"] for one in named if one.get("name") == number), 0)
    last = f"-{port['endPort']}" if "endPort" in port else ""
    return f"{protocol} dport {number}{last}"


def _dispatch(side: str, chains: Mapping[str, str]) -> list[str]:
    entries = [f"{ip} : jump {chain.split()[1]}" for ip, chain in chains.items() if chain]
    return [f"ip {side} vmap {{ {', '.join(entries)} }}"] if entries else []


def _hook(name: str, lines: Sequence[str]) -> str:
    head = f"type filter hook {name} priority 0; policy accept;"
    return "\n".join([f"chain {name} {{", head, "ct state established,related accept", *lines, "}"])


def _has_address(pod: Obj) -> bool:
    """Whether packets of this address are this pod's alone: not of the node's network, and not over."""
    status = pod.get("status") or {}
    over = status.get("phase") in ("Succeeded", "Failed")
    return not over and not pod["spec"].get("hostNetwork") and "." in status.get("podIP", "")


def _ip(pod: Obj) -> str:
    return str(pod["status"]["podIP"])
