"""Writes the report of a rollout that is over: a page for people and the same as JSON, into the store.

One folder a rollout; a report that is there is said again. The entry of kind Report in `__main__`.
"""

from __future__ import annotations

from fairlead.contract import keys
from fairlead.contract.base import canonical_json, digest_of
from fairlead.contract.jobs import ReportInput, ReportSummary
from fairlead.contract.rollouts import RolloutRecord
from fairlead_runtime.store import Store, put_folder

from .rollout import render_rollout


def run(job: ReportInput, store: Store) -> ReportSummary:
    """Return where the report lies."""
    folder = keys.rollout(job.namespace, job.name, _name(job.rollout))
    document = {**job.to_json_object(), "inputDigest": digest_of(job)}
    page = render_rollout(job.rollout, job.namespace)
    put_folder(store, folder, {keys.REPORT_HTML: page}, (keys.REPORT_JSON, canonical_json(document)))
    return ReportSummary(report_key=folder + keys.REPORT_HTML)


def _name(record: RolloutRecord) -> str:
    """Return when the rollout began, in digits, and of which version it was: sorted by name is sorted by time."""
    began = "".join(char for char in record.started_at if char.isalnum())
    return f"{began}-{record.model_version}"
