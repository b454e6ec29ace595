"""The ModelVersion that a TrainingRun makes: its body, and how it is known again.

It has no ownerReference: deleting a run deletes no version. It is known by our labels and the run's uid, so that a run
that was deleted and made again never takes an older run's version for its own. Used by `plan/trainingrun.py`.
"""

from __future__ import annotations

import re

from fairlead.api import names
from fairlead.api.trainingrun import PinnedDataset, TrainingRun

from .children import Json, child_labels, owner_of
from .types import Obj

ROLE = "version"
LABEL_OWNER_UID = f"{names.GROUP}/owner-uid"
_LABEL_VALUE = re.compile(r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
_COPIED = ("nodeSelector", "tolerations", "serviceAccountName", "imagePullSecrets", "priorityClassName", "resources")


def version_body(run: TrainingRun, dataset: PinnedDataset | None) -> Json:
    """Return the ModelVersion of a run: its template's gates and approval, evaluated on the run's own revision."""
    said = run.spec.to_json_object()
    template = said.get("versionTemplate") or {}
    labels = {LABEL_OWNER_UID: run.uid}
    if _LABEL_VALUE.match(run.spec.model):
        labels[names.LABEL_MODEL] = run.spec.model
    spec: Json = {
        "model": run.spec.model,
        "source": {"trainingRun": {"name": run.name}},
        "approval": template.get("approval") or {"required": True},
        **{field: said[field] for field in _COPIED if said.get(field)},
    }
    if template.get("gates"):
        spec["gates"] = template["gates"]
    if dataset is not None:
        spec["evaluation"] = {"dataset": {"name": dataset.name, "revision": dataset.revision}, "split": "Test"}
    return {
        "apiVersion": names.MODEL_VERSION.api_version,
        "kind": names.MODEL_VERSION.kind,
        "metadata": {
            "name": run.name,
            "namespace": run.namespace,
            "labels": child_labels(owner_of(names.TRAINING_RUN, run), ROLE, labels),
        },
        "spec": spec,
    }


def is_version_of(run: TrainingRun, version: Obj) -> bool:
    """Say whether a ModelVersion of the run's name is of this very run: made by it, or written by hand for it."""
    said = (version["metadata"].get("labels") or {}).get(LABEL_OWNER_UID, run.uid)
    source = ((version.get("spec") or {}).get("source") or {}).get("trainingRun") or {}
    return bool(said == run.uid and source.get("name") == run.name)
