"""Runs a snapshot: fetch, read, type, check, deal, freeze; ends with a revision or with why there is none.

A source that is no good is a result and is stored under the attempt, so that the same input (its tick included) says
the same again; nothing of it becomes a revision. The entry of kind Snapshot in `__main__`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fairlead.contract import env
from fairlead.contract.data import DatasetRevision, Format
from fairlead.contract.jobs import SnapshotInput, SnapshotSummary
from fairlead_runtime.errors import clip
from fairlead_runtime.progress import report
from fairlead_runtime.revision import RevisionManifest, TypedColumn, read_manifest
from fairlead_runtime.store import Store

from . import attempts
from .checks import Outcome, reason_of, run_checks
from .columns import resolve_columns, roles_of
from .findings import BadSource
from .freeze import Prepared, write_revision
from .read import read_table
from .source import fetch_source
from .split import deal_rows

STEPS = 4
MAX_FAILED = 10  # the contract's limit


def run(job: SnapshotInput, store: Store, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> SnapshotSummary:
    """Return the summary of this input's attempt, made now or found in the store."""
    found = attempts.find(store, job)
    if found is not None:
        return found
    with tempfile.TemporaryDirectory(dir=os.environ.get(env.WORK_DIR)) as work:
        try:
            summary = _snapshot(job, store, Path(work), now())
        except BadSource as bad:
            summary = _invalid(job, bad)
    attempts.record(store, job, summary)
    return summary


def _snapshot(job: SnapshotInput, store: Store, work: Path, now: datetime) -> SnapshotSummary:
    previous = _previous_columns(job, store)
    files = fetch_source(job.source, work)
    report(1, STEPS, f"read {len(files)} files, {sum(file.entry.size for file in files)} bytes")
    raw = read_table(files, job.format, work)
    table, columns = resolve_columns(raw, job, previous, from_text=job.format is Format.CSV)
    report(2, STEPS, f"{table.num_rows} rows, {len(columns)} columns")
    outcomes = run_checks(table, job, now)
    _refuse_failed(outcomes)
    report(3, STEPS, f"{len(outcomes)} checks passed")
    roles = roles_of(job)
    checks = [outcome.result for outcome in outcomes]
    prepared = Prepared(files, table, columns, roles, deal_rows(table, job.split, roles), checks)
    manifest = write_revision(store, job, prepared, work)
    report(STEPS, STEPS, f"revision {manifest.revision}")
    return _valid(manifest, len(outcomes))


def _previous_columns(job: SnapshotInput, store: Store) -> list[TypedColumn] | None:
    if not job.previous_revision:
        return None
    reference = DatasetRevision(name=job.name, revision=job.previous_revision)
    return read_manifest(store, job.namespace, reference).columns


def _refuse_failed(outcomes: list[Outcome]) -> None:
    failed = [outcome for outcome in outcomes if not outcome.result.passed]
    if failed:
        words = [
            f"{o.result.name}{f' ({o.result.column})' if o.result.column else ''}: {o.result.message}"
            for o in failed[:3]
        ]
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        message = f"{len(failed)} of {len(outcomes)} checks failed: {'; '.join(words)}{more}"
        raise BadSource(reason_of(failed), message, tuple(outcome.result for outcome in failed))


def _valid(manifest: RevisionManifest, checks: int) -> SnapshotSummary:
    return SnapshotSummary(
        valid=True,
        revision=manifest.revision,
        rows=manifest.rows,
        columns=len(manifest.columns),
        bytes=sum(entry.size for entry in manifest.source),
        train_rows=manifest.rows_of("Train"),
        validation_rows=manifest.rows_of("Validation"),
        test_rows=manifest.rows_of("Test"),
        checks=checks,
    )


def _invalid(job: SnapshotInput, bad: BadSource) -> SnapshotSummary:
    return SnapshotSummary(
        valid=False,
        reason=bad.reason,
        message=clip(bad.message),
        checks=len(job.checks),
        failed_checks=list(bad.failed[:MAX_FAILED]),
    )
