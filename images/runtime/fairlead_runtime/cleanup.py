"""Removes what nothing refers to any more: folders under a prefix but for those that are named to be kept.

Never removes `attempts`, a kept folder, or a folder that was written to within the last hour: it may be in the making,
its marker still to come. With `older_than_days` (captures, reports) only folders older than that go. Whoever asks says
what objects refer to; what artifacts in the store refer to is read from their lineage, and when one cannot be read,
nothing goes. A run that is cut off is finished by the next. The entry of kind Cleanup in `__main__`.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable

from fairlead.contract import keys
from fairlead.contract.jobs import CleanupInput, CleanupSummary, Sweep, TrainedOn

from .errors import BadInput, ObjectNotFound
from .progress import report
from .store import Entry, Store

IN_PROGRESS_S = 3600.0
NEVER = ("attempts",)
DAY_S = 86400.0


def run(job: CleanupInput, store: Store, clock: Callable[[], float] = time.time) -> CleanupSummary:
    """Return how many objects and bytes were removed; raise InputInvalid for a prefix that is too wide."""
    sweep = Sweep(prefix=job.prefix, keep_newest=job.keep_newest, older_than_days=job.older_than_days)
    for asked in (sweep, *(job.also or ())):
        if _prefix(asked).count("/") < 3:
            raise BadInput("InputInvalid", f"prefix {asked.prefix!r} is too wide; write kind/namespace/name/")
    kept = {name.strip("/").removeprefix("sha256:") for name in job.keep}
    old = [name for name in _old(sweep, store, clock()) if name not in kept]
    if old and job.keep_trained_on is not None:
        trained_on = _trained_on(job.keep_trained_on, store)
        old = [name for name in old if name not in trained_on]
    gone = [f"{_prefix(sweep)}{name}/" for name in old]
    gone += [f"{_prefix(more)}{name}/" for more in job.also or () for name in _old(more, store, clock())]
    removed = size = 0
    for done, folder in enumerate(gone, 1):
        count, size_bytes = store.delete_folder(folder)
        removed, size = removed + count, size + size_bytes
        report(done, len(gone), f"removed {folder}")
    return CleanupSummary(removed=removed, bytes=size)


def _prefix(sweep: Sweep) -> str:
    return sweep.prefix.strip("/") + "/"


def _old(sweep: Sweep, store: Store, now_s: float) -> list[str]:
    """Return the names of folders that are old enough, and none of the newest that stay."""
    limit = now_s - max(IN_PROGRESS_S, (sweep.older_than_days or 0) * DAY_S)
    folders = _folders(store, _prefix(sweep))
    kept = {*NEVER, *sorted(folders, reverse=True)[: sweep.keep_newest or 0]}
    return [name for name in sorted(folders) if name not in kept and _newest(folders[name]) < limit]


def _folders(store: Store, prefix: str) -> dict[str, list[Entry]]:
    """Return the objects of each folder right under the prefix; an object that lies there itself is left alone."""
    folders: dict[str, list[Entry]] = defaultdict(list)
    for entry in store.list(prefix):
        name, slash, _ = entry.key.removeprefix(prefix).partition("/")
        if slash:
            folders[name].append(entry)
    return folders


def _newest(entries: list[Entry]) -> float:
    return max(entry.modified_s for entry in entries)


def _trained_on(job: TrainedOn, store: Store) -> set[str]:
    """Return the folder names of the revisions that artifacts in the store were trained on."""
    found = set()
    for entry in store.list(job.models):
        if entry.key.rsplit("/", 1)[-1] == keys.LINEAGE:
            dataset, revision = _lineage(store, entry.key)
            found |= {revision.removeprefix("sha256:")} if dataset == job.dataset else set()
    return found


def _lineage(store: Store, key: str) -> tuple[str, str]:
    """Return the Dataset and the revision that a lineage names; raise LineageUnreadable rather than guess."""
    try:
        said = json.loads(store.get_bytes(key))
        return str(said["dataset"]), str(said["dataRevision"])
    except ObjectNotFound:  # it was removed since it was listed
        return "", ""
    except (ValueError, KeyError, TypeError):
        message = f"{key} does not say what it was trained on, so nothing is removed; mend it or remove that model"
        raise BadInput("LineageUnreadable", message) from None
