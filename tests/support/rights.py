"""Rights as (group, resource, verb): what the table grants, what code and planners ask for, what an audit log shows.

`UNSEEN` and `RARE` are the only rights that a good run does not use, each with its reason and the test that uses it.
Used by the unit test of the table, by integration tests, and by `tests/rights` on the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.app.rbac import Rule
from fairlead.plan.types import Action, Apply, Create, Delete

Right = tuple[str, str, str]  # API group, resource or resource/subresource, verb
Entry = Mapping[str, Any]  # of the audit log

# Never a request of its own: an admission plugin or policy asks whether the operator holds it.
UNSEEN: dict[Right, str] = {
    (names.GROUP, "modelversions", "approve"): "asked by the approval policy when a template waives approval; "
    "tests/e2e/test_modelversion.py makes such versions under the policy",
    **{
        (names.GROUP, f"{resource.plural}/finalizers", "update"): "asked by the admission plugin "
        "OwnerReferencesPermissionEnforcement; tests/integration/test_rights_used.py makes children under it"
        for resource in names.OWN_KINDS
    },
}
# A request only when something goes wrong: tests/integration/test_rights_used.py makes it go wrong.
RARE: dict[Right, str] = {
    **{
        (names.GROUP, resource.plural, "get"): "a status is refused as outdated: the object is read again"
        for resource in names.OWN_KINDS
    },
    ("batch", "jobs", "get"): "a Job's name is in use, or it changed while it was being deleted",
    ("apps", "deployments", "get"): "a Deployment's name is in use, or it changed while it was being scaled",
    ("events.k8s.io", "events", "patch"): "an event repeats within ten minutes",
    ("coordination.k8s.io", "leases", "create"): "somebody deleted the Lease that the chart brings",
}


def right(resource: Resource, verb: str, subresource: str = "") -> Right:
    """Return a verb on a resource."""
    group = resource.api_version.rpartition("/")[0]
    return group, f"{resource.plural}/{subresource}" if subresource else resource.plural, verb


def granted(rules: Iterable[Rule]) -> set[Right]:
    """Return every right that these rows grant."""
    return {(rule.api_group, resource, verb) for rule in rules for resource in rule.resources for verb in rule.verbs}


def asked_by(action: Action) -> set[Right]:
    """Return what carrying out an action can ask of the API server (`controllers/execute.py`)."""
    if isinstance(action, Create):
        resource = names.BY_KIND[action.body["kind"]]
        return {right(resource, "create"), right(resource, "get")}
    if isinstance(action, Apply):
        resource = names.BY_KIND[action.body["kind"]]
        return {right(resource, "get"), right(resource, "patch"), right(resource, "create")}
    resource = names.BY_KIND[action.observed["kind"]]
    if isinstance(action, Delete):
        return {right(resource, "delete"), right(resource, "get")}
    return {right(resource, "patch", "scale"), right(resource, "get")}


def asked_by_the_shell() -> set[Right]:
    """Return what watches, relist, status, logs, events and the Lease ask for, whatever is planned."""
    asked = {right(resource, verb) for resource in names.RESOURCES for verb in ("list", "watch")}
    for resource in names.OWN_KINDS:
        asked |= {right(resource, "patch", "status"), right(resource, "get")}
    asked |= {("", "pods/log", "get"), ("events.k8s.io", "events", "create"), ("events.k8s.io", "events", "patch")}
    return asked | {("coordination.k8s.io", "leases", verb) for verb in ("get", "create", "update")}


def used(entries: Iterable[Entry]) -> set[Right]:
    """Return the rights that these requests used; an apply that made its object needed `create` too."""
    found: set[Right] = set()
    for entry in entries:
        reference = entry.get("objectRef")
        if not reference or is_denied(entry):
            continue
        resource = "/".join(filter(None, (reference["resource"], reference.get("subresource", ""))))
        found.add((reference.get("apiGroup", ""), resource, entry["verb"]))
        if entry["verb"] == "patch" and (entry.get("responseStatus") or {}).get("code") == 201:
            found.add((reference.get("apiGroup", ""), resource, "create"))
    return found


def is_denied(entry: Entry) -> bool:
    """Whether the API server refused the request for want of rights."""
    return bool((entry.get("annotations") or {}).get("authorization.k8s.io/decision") == "forbid")


def describe(entry: Entry) -> str:
    """Return a request in a line."""
    reference = entry.get("objectRef") or {}
    return f"{entry['verb']} {entry.get('requestURI', '')} ({reference.get('resource', '')})"


def refused(entries: Iterable[Entry]) -> list[str]:
    """Return what was refused for want of rights, a line each."""
    return sorted({describe(entry) for entry in entries if is_denied(entry)})


def unused(entries: Iterable[Entry], rules: Iterable[Rule]) -> list[str]:
    """Return what is granted and neither used nor excused, a line each."""
    idle = granted(rules) - used(entries) - UNSEEN.keys() - RARE.keys()
    return [f"{verb} {resource}{'.' + group if group else ''}" for group, resource, verb in sorted(idle)]
