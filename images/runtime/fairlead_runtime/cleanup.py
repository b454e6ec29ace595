"""Removes what nothing refers to any more: folders under a prefix but for those that are named to be kept.

Never removes `attempts`, a kept folder, or a folder that was written to within the last hour: it may be in the making,
its marker still to come. With `older_than_days` (captures, reports) only folders older than that go. Whoever asks says
what is to be kept; this module only obeys. The entry of kind Cleanup in `__main__`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from fairlead.contract.jobs import CleanupInput, CleanupSummary

from .errors import BadInput
from .progress import report
from .store import Entry, Store

IN_PROGRESS_S = 3600.0
NEVER = ("attempts",)
DAY_S = 86400.0


def run(job: CleanupInput, store: Store, clock: Callable[[], float] = time.time) -> CleanupSummary:
    """Return how many objects and bytes were removed; raise InputInvalid for a prefix that is too wide."""
    prefix = job.prefix.strip("/") + "/"
    if prefix.count("/") < 3:
        raise BadInput("InputInvalid", f"prefix {job.prefix!r} is too wide; write kind/namespace/name/")
    kept = {name.strip("/").removeprefix("sha256:") for name in (*job.keep, *NEVER)}
    limit = clock() - max(IN_PROGRESS_S, (job.older_than_days or 0) * DAY_S)
    folders = _folders(store, prefix)
    old = [name for name in sorted(folders) if name not in kept and _newest(folders[name]) < limit]
    removed = size = 0
    for done, name in enumerate(old, 1):
        count, size_bytes = store.delete_folder(f"{prefix}{name}/")
        removed, size = removed + count, size + size_bytes
        report(done, len(old), f"removed {prefix}{name}/")
    return CleanupSummary(removed=removed, bytes=size)


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
