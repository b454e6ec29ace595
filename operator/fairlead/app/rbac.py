"""What the operator may do, and why: the table from which the chart's roles are generated.

Least privilege: a verb that no line of code uses is not here, and tests hold the audit log of a full run against this
table. The operator reads no Secret and no ConfigMap. The second table is for people: the roles that a namespace's
owner binds. Read by the chart's generator and by tests; never at run time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fairlead.api import names

Where = Literal["served", "lease", "view", "edit", "approve", "override"]
_READ = ("get", "list", "watch")
_SEE = ("list", "watch")  # what is only watched is never read one by one


@dataclass(frozen=True)
class Rule:
    """One row. `served`: in every namespace that is served (a ClusterRole, or a Role in each); `lease`: the Lease's.

    The other places are roles for people, as the chart names them.
    """

    api_group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str
    where: Where = "served"


_OWN = tuple(resource.plural for resource in names.OWN_KINDS)

RULES: tuple[Rule, ...] = (
    Rule(names.GROUP, _OWN, _READ, "watch our own kinds; get one again after a conflict"),
    Rule(names.GROUP, tuple(f"{plural}/status" for plural in _OWN), ("patch",), "say in status what is and why"),
    # Never a request: OpenShift (admission plugin OwnerReferencesPermissionEnforcement) refuses a child whose
    # ownerReference blocks its owner's deletion, unless its maker may change the owner's finalizers.
    Rule(names.GROUP, tuple(f"{plural}/finalizers" for plural in _OWN), ("update",), "own children on OpenShift"),
    Rule(names.GROUP, ("trainingruns",), ("create",), "a DriftMonitor retrains"),
    Rule(names.GROUP, ("modelversions",), ("create",), "a TrainingRun makes its version"),
    Rule(
        names.GROUP, ("modelversions",), ("approve",), "its template may waive approval; who wrote that held the verb"
    ),
    Rule("batch", ("jobs",), (*_READ, "create", "delete"), "snapshot, train, evaluate; deleted once recorded"),
    Rule("batch", ("cronjobs",), (*_READ, "create", "patch", "delete"), "drift checks on a schedule"),
    Rule("", ("pods",), _SEE, "exit codes, summaries, readiness and addresses of pods we made"),
    Rule("", ("pods/log",), ("get",), "progress and the last lines of a failure"),
    Rule("", ("services",), (*_READ, "create", "patch", "delete"), "one per revision, one per service"),
    Rule("apps", ("deployments",), (*_READ, "create", "delete"), "revisions: born once, never patched"),
    Rule("apps", ("deployments/scale",), ("patch",), "replicas of a revision"),
    Rule(
        "autoscaling", ("horizontalpodautoscalers",), (*_READ, "create", "patch", "delete"), "one per serving revision"
    ),
    Rule("policy", ("poddisruptionbudgets",), (*_READ, "create", "patch"), "one per service; goes with it"),
    Rule(
        "gateway.networking.k8s.io",
        ("httproutes",),
        (*_READ, "create", "patch", "delete"),
        "one per service; all are read, to see two with one hostname",
    ),
    Rule("gateway.networking.k8s.io", ("gateways",), _SEE, "whether the referenced Gateway is there and programmed"),
    Rule("events.k8s.io", ("events",), ("create", "patch"), "one per transition; patch counts repetitions"),
    Rule("coordination.k8s.io", ("leases",), ("get", "create", "update"), "one leader", where="lease"),
)

PEOPLE: tuple[Rule, ...] = (
    Rule(names.GROUP, _OWN, _READ, "see everything", where="view"),
    Rule(names.GROUP, _OWN, ("create", "update", "patch", "delete", "deletecollection"), "work with it", where="edit"),
    Rule(
        names.GROUP,
        ("modelversions",),
        (*_READ, "update", "patch", "approve"),
        "who trains a model does not approve it by the same right",
        where="approve",
    ),
    Rule(
        names.GROUP,
        ("inferenceservices",),
        (*_READ, "update", "patch", "override"),
        "who changes a service does not lift its refusals by the same right",
        where="override",
    ),
    Rule(names.GROUP, ("modelversions",), _READ, "what was refused, and why", where="override"),
)
