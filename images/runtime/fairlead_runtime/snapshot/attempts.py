"""What a Dataset's reads left in the store: one small result each, of which the newest are kept.

The result is written once; trimming what is older never fails a read, because the next read trims again. Must never
remove the result that was just written: a Job that is made again looks for it. Used by `snapshot/job.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.contract import keys
from fairlead.contract.base import digest_of
from fairlead.contract.jobs import SnapshotInput, SnapshotSummary
from fairlead_runtime.errors import ObjectNotFound, StoreError
from fairlead_runtime.store import Entry, Store, get_json, put_json

KEPT = 10  # with the one just written; Jobs are made again within minutes, the rest is for people who look back


def find(store: Store, job: SnapshotInput) -> SnapshotSummary | None:
    """Return the result of this very input, or None."""
    try:
        return SnapshotSummary.model_validate(get_json(store, _folder(job) + keys.RESULT))
    except ObjectNotFound:
        return None


def record(store: Store, job: SnapshotInput, summary: SnapshotSummary) -> None:
    """Write the result of this input, then remove all but the newest results of its Dataset."""
    put_json(store, _folder(job) + keys.RESULT, summary)
    try:
        _trim(store, job)
    except StoreError as error:
        print(f"results of earlier reads were not removed, the next read tries again: {error}", flush=True)


def _folder(job: SnapshotInput) -> str:
    return keys.snapshot_attempt(job.namespace, job.name, digest_of(job))


def _trim(store: Store, job: SnapshotInput) -> None:
    all_of_them = keys.snapshot_attempts(job.namespace, job.name)
    others = [entry for entry in store.list(all_of_them) if not entry.key.startswith(_folder(job))]
    newest_first = sorted(others, key=lambda entry: (entry.modified_s, entry.key), reverse=True)
    kept = list(_folders(newest_first))[: KEPT - 1]
    for folder in _folders(newest_first):
        if folder not in kept:
            store.delete_folder(folder)


def _folders(entries: Iterable[Entry]) -> dict[str, None]:
    """Return the folders of some objects, each once, in their order."""
    return dict.fromkeys(entry.key.rpartition("/")[0] + "/" for entry in entries)
