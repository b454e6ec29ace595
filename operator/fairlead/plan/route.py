"""The HTTPRoute of a service: its body, whether a gateway took it, and who else claims the same address.

It must never decide on weights. Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.api import names
from fairlead.api.inferenceservice import InferenceService
from fairlead.contract import env
from fairlead.contract.base import short

from . import children
from .children import Json, Owner
from .status import sentence
from .traffic import PLAIN, Routing, Share
from .types import Obj

GATEWAY_MISSING = "GatewayMissing"
GATEWAY_API_MISSING = "GatewayApiMissing"
HOSTNAME_CONFLICT = "HostnameConflict"
ROUTE_PENDING = "RoutePending"
ROUTE_REFUSED = "RouteRefused"
HEADER_COHORT = "X-Cohort"
_ADMIT = "Let its listeners admit this namespace and hostname, or name another Gateway in spec.traffic."

_GROUP = names.HTTP_ROUTE.api_version.partition("/")[0]


@dataclass(frozen=True)
class RouteProblem:
    """Why requests from outside do not arrive; `final` when only a person can change it."""

    reason: str
    message: str
    final: bool = False


@dataclass(frozen=True)
class RouteFacts:
    """What is known of the route: a problem, and the weights by arm name that the gateway accepted (None: not yet)."""

    problem: RouteProblem | None = None
    programmed: Mapping[str, int] | None = None
    written: Mapping[str, int] = field(default_factory=dict)  # weights in the observed route, accepted or not

    def may_carry(self, name: str) -> bool:
        """Say whether a gateway may still send requests to an arm: while it has not taken the newest route, to any."""
        unanswered = self.programmed is None and bool(self.written) and self.problem is None
        pending = self.problem is not None and self.problem.reason == ROUTE_PENDING and bool(self.written)
        return self.written.get(name, 0) > 0 or unanswered or pending


Address = tuple[str, str, str, str, str]


def address_of(spec: Mapping[str, Any], namespace: str) -> Address | None:
    """Return what two services may not share: gateway, section, hostname and path; None without a gateway."""
    traffic = spec.get("traffic") or {}
    gateway = traffic.get("gateway")
    if not gateway:
        return None
    section = gateway.get("sectionName") or ""
    space = gateway.get("namespace") or namespace
    return space, gateway["name"], section, traffic.get("hostname") or "", traffic.get("path") or "/"


def build_route(owner: Owner, service: InferenceService, shares: Sequence[Share], routing: Routing = PLAIN) -> Json:
    """Return the complete HTTPRoute; arms without weight are not in it. The first rule is the one that splits."""
    traffic = service.spec.traffic
    split = _rule(traffic.path, [_backend(share.arm.name, share.percent) for share in shares if share.percent > 0])
    if routing.mirror:
        backend = {"group": "", "kind": "Service", "name": routing.mirror, "port": 80}
        copied = {"backendRef": backend, "percent": routing.mirror_percent}
        _add_filter(split, {"type": "RequestMirror", "requestMirror": copied})
    if routing.sticky:  # our server, asked so, names its revision in a cookie
        ask = {"name": env.HEADER_STICKY, "value": traffic.path}
        _add_filter(split, {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [ask]}})
    spec: Json = {"parentRefs": [parent_reference(service)], "rules": [split, *_sticky_rules(traffic.path, routing)]}
    if traffic.hostname:
        spec["hostnames"] = [traffic.hostname]
    return {
        "apiVersion": names.HTTP_ROUTE.api_version,
        "kind": names.HTTP_ROUTE.kind,
        "metadata": children.object_meta(owner, owner.name, "route"),
        "spec": spec,
    }


def _backend(name: str, weight: int) -> Json:
    return {"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight}


def _rule(path: str, backends: list[Json], header: Json | None = None) -> Json:
    match: Json = {"path": {"type": "PathPrefix", "value": path}}
    rule: Json = {"matches": [{**match, "headers": [header]} if header else match], "backendRefs": backends}
    if path != "/":  # our server answers at its own root
        rewrite = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}
        _add_filter(rule, {"type": "URLRewrite", "urlRewrite": rewrite})
    return rule


def _add_filter(rule: Json, added: Json) -> None:
    rule["filters"] = [*rule.get("filters", ()), added]


def _sticky_rules(path: str, routing: Routing) -> list[Json]:
    """Return the rules for who has a revision already; of two that match, the Gateway API takes the earlier one."""
    rules: list[Json] = []
    if routing.sticky and routing.cohorts:
        listed = f"^({'|'.join(map(re.escape, routing.cohorts))})$"  # one match: a rule that rewrites takes no more
        cohort = {"type": "RegularExpression", "name": HEADER_COHORT, "value": listed}
        rules.append(_rule(path, [_backend(routing.sticky[0].name, 100)], cohort))
    for arm in routing.sticky:
        pattern = f"^(.*; *)?{env.COOKIE_ARM}={short(arm.revision)}(;.*)?$"
        cookie = {"type": "RegularExpression", "name": "Cookie", "value": pattern}
        rules.append(_rule(path, [_backend(arm.name, 100)], cookie))
    return rules


def parent_reference(service: InferenceService) -> Json:
    """Return the reference to the user's Gateway."""
    gateway = service.spec.traffic.gateway
    assert gateway is not None
    reference: Json = {
        "group": _GROUP,
        "kind": names.GATEWAY.kind,
        "name": gateway.name,
        "namespace": gateway.namespace or service.namespace,
    }
    return {**reference, "sectionName": gateway.section_name} if gateway.section_name else reference


def without_api() -> RouteFacts:
    """Return what is known where no route can be."""
    message = (
        "The cluster has no Gateway API (gateway.networking.k8s.io/v1); install it with a gateway, "
        "or remove spec.traffic.gateway to split by whole pods."
    )
    return RouteFacts(RouteProblem(GATEWAY_API_MISSING, message))


def route_facts(service: InferenceService, gateway: Obj | None, route: Obj | None, *, in_sight: bool) -> RouteFacts:
    """Return what the route's status and the Gateway say; conflicts are looked for by `find_claimant`.

    Of a Gateway in a namespace that the operator does not watch, the route's status alone tells.
    """
    reference = parent_reference(service)
    place = f"{reference['namespace']}/{reference['name']}"
    written = _weights(route)
    if gateway is None and in_sight:
        message = f"spec.traffic.gateway names Gateway {place}, which does not exist; create it or name another one."
        return RouteFacts(RouteProblem(GATEWAY_MISSING, message), written=written)
    refusal, accepted = _answer(route, reference)
    if refusal:
        message = f"Gateway {place} does not take the route: {sentence(refusal)} {_ADMIT}"
        return RouteFacts(RouteProblem(ROUTE_REFUSED, message), written=written)
    if not accepted:
        message = f"Gateway {place} has not answered for the route yet; its controller does that within seconds."
        if not in_sight:
            message += f" The operator does not watch namespace {reference['namespace']}: see there that it exists."
        return RouteFacts(RouteProblem(ROUTE_PENDING, message), written=written)
    current = accepted >= int((route or {"metadata": {}})["metadata"].get("generation", 1))
    return RouteFacts(programmed=written if current else None, written=written)


def _weights(route: Obj | None) -> dict[str, int]:
    rules = (((route or {}).get("spec") or {}).get("rules") or ())[:1]  # the one that splits
    return {ref["name"]: int(ref.get("weight", 1)) for rule in rules for ref in rule.get("backendRefs") or ()}


def _answer(route: Obj | None, reference: Mapping[str, Any]) -> tuple[str, int]:
    """Return (why it was refused, the generation that was accepted); 0 when there is no answer yet."""
    for parent in ((route or {}).get("status") or {}).get("parents") or ():
        said = parent.get("parentRef") or {}
        if (said.get("namespace") or reference["namespace"], said.get("name")) != (
            reference["namespace"],
            reference["name"],
        ):
            continue
        found = {c.get("type"): c for c in parent.get("conditions") or ()}
        for type_ in ("Accepted", "ResolvedRefs"):
            if found.get(type_, {}).get("status") == "False":
                return f"{found[type_].get('reason')}: {found[type_].get('message', '')}", 0
        if found.get("Accepted", {}).get("status") == "True":
            return "", int(found["Accepted"].get("observedGeneration") or 1)
    return "", 0


def find_claimant(service: InferenceService, rivals: Iterable[Obj], routes: Iterable[Obj]) -> str | None:
    """Return who holds this service's address by having been there first, or None.

    Other InferenceServices are compared as such, older first, then by name; routes that are not ours when they
    are older than this service.
    """
    mine = address_of(service.raw["spec"], service.namespace)
    if mine is None:
        return None
    own_age = _age(service.raw)
    for rival in rivals:
        metadata = rival["metadata"]
        same = address_of(rival.get("spec") or {}, metadata.get("namespace", "")) == mine
        if same and metadata.get("uid") != service.uid and _age(rival) < own_age:
            return f"InferenceService {metadata.get('namespace')}/{metadata['name']}"
    for route in routes:
        metadata = route["metadata"]
        if is_foreign(route) and _age(route) < own_age and mine in _addresses(route):
            return f"HTTPRoute {metadata.get('namespace')}/{metadata['name']}"
    return None


def conflict(service: InferenceService, claimant: str) -> RouteProblem:
    """Return the problem of a service whose address is taken."""
    traffic = service.spec.traffic
    where = f"hostname {traffic.hostname or '*'}, path {traffic.path}"
    message = f"{claimant} is older and has this address ({where}) on the same Gateway; choose another one."
    return RouteProblem(HOSTNAME_CONFLICT, message, final=True)


def _age(obj: Obj) -> tuple[str, str, str]:
    metadata = obj["metadata"]
    return metadata.get("creationTimestamp", ""), metadata.get("namespace", ""), metadata["name"]


def is_foreign(route: Obj) -> bool:
    """Say whether a route is not made for one of our services."""
    labels = route["metadata"].get("labels") or {}
    return bool(labels.get(names.LABEL_OWNER_KIND) != names.INFERENCE_SERVICE.kind)


def _addresses(route: Obj) -> list[Address]:
    spec = route.get("spec") or {}
    found = []
    for parent in spec.get("parentRefs") or ():
        space = parent.get("namespace") or route["metadata"].get("namespace", "")
        for hostname in spec.get("hostnames") or ("",):
            for path in _paths(spec):
                found.append((space, parent.get("name", ""), parent.get("sectionName") or "", hostname, path))
    return found


def _paths(spec: Mapping[str, Any]) -> list[str]:
    matches: list[Mapping[str, Any]] = []
    for rule in spec.get("rules") or ():
        matches += rule.get("matches") or [{}]
    paths: list[Mapping[str, str]] = [match.get("path") or {} for match in matches]
    return [path.get("value", "/") for path in paths if path.get("type", "PathPrefix") == "PathPrefix"]
