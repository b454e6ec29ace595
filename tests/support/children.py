"""The children of objects as a person would compare them: by owner, without what the API server fills in anew.

Used by tests that take an object somewhere and back.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

from fairlead.api import names
from fairlead.kube.client import Client
from fairlead.plan import rollout_report

Json = dict[str, Any]
Children = dict[tuple[str, str], Json]  # (kind, name) -> spec
KINDS = (
    names.JOB, names.CRON_JOB, names.DEPLOYMENT, names.SERVICE, names.AUTOSCALER, names.DISRUPTION_BUDGET,
    names.TRAINING_RUN, names.MODEL_VERSION,
)  # fmt: skip
# Records of what happened, not what the spec asks for: a rollout that a change back ends leaves its report's Job
# (plan/rollout_report.py), as it leaves its line of history.
_RECORDS = (rollout_report.ROLE,)
_FILLED_IN = ("clusterIP", "clusterIPs", "healthCheckNodePort", "selector")


async def children_by_owner(api: Client, namespace: str, owners: Collection[str]) -> dict[str, Children]:
    """Return the children of each owner's uid, without records of what happened."""
    found: dict[str, Children] = {uid: {} for uid in owners}
    for kind in KINDS:
        async for page in api.pages(kind, namespace):
            for obj in page.items:
                if _is_record(obj):
                    continue
                for reference in obj["metadata"].get("ownerReferences") or ():
                    if reference["uid"] in found:
                        found[reference["uid"]][(kind.kind, obj["metadata"]["name"])] = compared(obj)
    return found


def _is_record(obj: Mapping[str, Any]) -> bool:
    return (obj["metadata"].get("labels") or {}).get(names.LABEL_ROLE) in _RECORDS


def compared(obj: Mapping[str, Any]) -> Json:
    """Return what must be equal: the spec without what is new each time."""
    spec: Json = copy.deepcopy(dict(obj.get("spec") or {}))
    for field in _FILLED_IN if obj.get("kind") in ("Service", "Job") else ():
        spec.pop(field, None)
    template = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    for label in [label for label in template if label.endswith("controller-uid")]:
        del template[label]
    return spec


def difference(before: Children, after: Children) -> list[str]:
    """Return what became of the children, such as `Job replaced` or `CronJob changed`, by kind."""
    said = []
    for kind in sorted({kind for kind, _ in (*before, *after)}):
        old = {name: spec for (k, name), spec in before.items() if k == kind}
        new = {name: spec for (k, name), spec in after.items() if k == kind}
        if old == new:
            continue
        gone, come = old.keys() - new.keys(), new.keys() - old.keys()
        verb = "replaced" if gone and come else "removed" if gone else "added" if come else "changed"
        said.append(f"{kind} {verb}")
    return said
