"""What a backup holds of an object, and what of it becomes live again.

A manifest says what is wanted; what was decided (which revision, which bytes, who approved, what was refused) is in
status, and nothing can work it out again once it is gone: so both are saved. Saved objects carry the annotation that
keeps the operator from them, so that a file applied by hand trains nothing. What hung on pods that are gone is left
out: a rollout under way begins anew, a run that had not ended trains on the revision it had pinned, a report that was
on its way is not known. Pure. Called by `backup.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.plan.sizes import BAKING, HELD
from fairlead.plan.versions import LABEL_OWNER_UID

Obj = Mapping[str, Any]
Json = dict[str, Any]
BY_KIND = {resource.kind: resource for resource in names.OWN_KINDS}
# What is read later may say more than what was read before it, never less: a version's run has ended, a retraining
# that is on record has its run, a revision that is trained on is known.
READ_ORDER = (
    names.INFERENCE_SERVICE, names.MODEL_VERSION, names.TRAINING_RUN, names.DRIFT_MONITOR, names.DATASET,
)  # fmt: skip
MAKE_ORDER = (
    names.DATASET, names.TRAINING_RUN, names.MODEL_VERSION, names.INFERENCE_SERVICE, names.DRIFT_MONITOR,
)  # fmt: skip
_KEPT_METADATA = ("name", "namespace", "labels", "annotations")
_OF_JOBS = ("attempt", "cleanup", "failures", "retryAt")  # Jobs that are gone with their owner
_OF_ROLLOUTS = ("rollout", "canary", "baseline", "traffic")
# Its Job went with the service, and may have written the report after all: nobody can tell any more.
REPORT_UNKNOWN = "not known: its Job had not ended when the service was saved"
_HEAD = """\
# Objects of Fairlead, {scope}, saved at {at}.
# Put them back with: kubectl fairlead restore -f <this file>
# The annotation {annotation} keeps the operator from them until that is done.
"""


class SavedError(ValueError):
    """The file is no backup; the message says where and why."""


def resource_of(obj: Obj) -> Resource:
    """Return the resource of a saved object."""
    return BY_KIND[str(obj["kind"])]


def is_held(obj: Obj) -> bool:
    """Say whether the operator leaves the object alone until it is restored."""
    return names.ANNOTATION_RESTORING in (obj["metadata"].get("annotations") or {})


def save(obj: Obj, at: str) -> Json:
    """Return what a backup holds of an object."""
    metadata = {key: obj["metadata"][key] for key in _KEPT_METADATA if key in obj["metadata"]}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), names.ANNOTATION_RESTORING: at}
    known = {"uid": obj["metadata"].get("uid", ""), "generation": obj["metadata"].get("generation", 1)}
    saved = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": {**metadata, **known}}
    return {**saved, "spec": obj.get("spec") or {}, "status": obj.get("status") or {}}


def render(saved: Iterable[Obj], scope: str, at: str) -> str:
    """Return the file of saved objects."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    head = _HEAD.format(scope=scope, at=at, annotation=names.ANNOTATION_RESTORING)
    return head + yaml.dump_all(
        saved, Dumper=dumper, explicit_start=True, sort_keys=False, allow_unicode=True, width=120
    )


def read(text: str) -> list[Json]:
    """Return the objects of a file in the order in which they are made again. Raises SavedError."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        documents = [document for document in yaml.load_all(text, Loader=loader) if document]
    except yaml.YAMLError as error:
        raise SavedError(f"the file is not YAML: {str(error).splitlines()[0]}") from error
    for number, document in enumerate(documents, 1):
        _check(document, number)
    order = [resource.kind for resource in MAKE_ORDER]
    return sorted(documents, key=lambda d: (order.index(d["kind"]), d["metadata"]["namespace"], d["metadata"]["name"]))


def _check(document: Any, number: int) -> None:
    where = f"document {number}"
    if not isinstance(document, dict) or document.get("kind") not in BY_KIND:
        found = document.get("kind") if isinstance(document, dict) else type(document).__name__
        raise SavedError(f"{where}: {found!r} is no kind of Fairlead; a backup holds {', '.join(BY_KIND)} only")
    if document.get("apiVersion") != names.API_VERSION:
        raise SavedError(f"{where}: apiVersion {document.get('apiVersion')!r} is not {names.API_VERSION}")
    metadata = document.get("metadata") or {}
    if not (metadata.get("name") and metadata.get("namespace")):
        raise SavedError(f"{where}: metadata.name and metadata.namespace must be there")


def birth(saved: Obj, uids: Mapping[str, str]) -> Json:
    """Return the object as it is created, held; `uids` says which uid an earlier one has now.

    A decision about a version is not in it: it names an evaluation, and status comes after birth.
    """
    metadata = {key: saved["metadata"][key] for key in _KEPT_METADATA if saved["metadata"].get(key)}
    labels = dict(metadata.get("labels") or {})
    if labels.get(LABEL_OWNER_UID) in uids:
        metadata["labels"] = {**labels, LABEL_OWNER_UID: uids[labels[LABEL_OWNER_UID]]}
    spec = dict(saved.get("spec") or {})
    if saved["kind"] == names.MODEL_VERSION.kind and "approval" in spec:
        spec["approval"] = {key: value for key, value in spec["approval"].items() if key == "required"}
    return {"apiVersion": saved["apiVersion"], "kind": saved["kind"], "metadata": metadata, "spec": spec}


def status_of(saved: Obj, generation: int) -> Json:
    """Return the status of a restored object: all that was decided, in terms of its new generation."""
    status = dict(saved.get("status") or {})
    if saved["kind"] == names.TRAINING_RUN.kind and not status.get("outcome"):
        status = {"dataset": status["dataset"]} if status.get("dataset") else {}
    status = {key: value for key, value in status.items() if key not in _OF_JOBS}
    if saved["kind"] == names.INFERENCE_SERVICE.kind:
        status = _at_rest(_reported(status))
    old = int(saved["metadata"].get("generation") or 1)
    return _renumbered(status, old, generation)


def _reported(status: Json) -> Json:
    """Return a service's status without reports that were on their way; their lines of history say that they were."""
    known = {key: value for key, value in status.items() if key != "reports"}
    pending = [(report["startedAt"], report.get("revision")) for report in status.get("reports") or ()]
    if pending and known.get("history"):
        known["history"] = [
            {**line, "report": REPORT_UNKNOWN} if (line.get("startedAt"), line.get("revision")) in pending else line
            for line in known["history"]
        ]
    return known


def _at_rest(status: Json) -> Json:
    """Return a service's status before its rollout: a version that was still baking has to pass again."""
    rollout = status.get("rollout") or {}
    state = rollout.get("resume") if rollout.get("state") == HELD else rollout.get("state")
    rest = {key: value for key, value in status.items() if key not in _OF_ROLLOUTS}
    if state == BAKING and rest.get("previous"):
        rest["stable"] = rest.pop("previous")
    return rest


def _renumbered(status: Json, old: int, generation: int) -> Json:
    """Return the status as of the generation before: nobody has looked yet, and no pod of a Ready service is there."""
    conditions = [{**c, "observedGeneration": generation - 1} for c in status.get("conditions", ())]
    changed: Json = {"conditions": conditions} if conditions else {}
    if "observedGeneration" in status:
        changed["observedGeneration"] = generation - 1
    if status.get("inconclusive"):
        open_ = status["inconclusive"]
        changed["inconclusive"] = {**open_, "generation": generation - (open_.get("generation") != old)}
    return {**status, **changed}


def decision_of(saved: Obj) -> Json | None:
    """Return a version's approval as it was decided, or None."""
    approval: Json = (saved.get("spec") or {}).get("approval") or {}
    return approval if saved["kind"] == names.MODEL_VERSION.kind and approval.get("decision") else None


def may_be_decided(saved: Obj) -> bool:
    """Say whether the decision is about the evaluation in status; another one is refused on admission."""
    decision = decision_of(saved) or {}
    evaluation = (saved.get("status") or {}).get("evaluation") or {}
    return decision.get("decision") != "Approved" or (
        bool(evaluation) and decision.get("evaluationDigest") == evaluation.get("inputDigest")
    )
