"""Writes a checked table as a revision: Parquet parts, profile and check results, the manifest last.

The revision's identity is of the source's bytes, the schema with its roles, the split and PREPARATION_VERSION; never
of a time, never of the Parquet that is written. Called by `job`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fairlead.contract import keys
from fairlead.contract.base import canonical_json, digest_of
from fairlead.contract.data import CheckResult, ColumnType
from fairlead.contract.jobs import SnapshotInput
from fairlead_runtime.digest import file_entry
from fairlead_runtime.profile import build_profile
from fairlead_runtime.revision import SPLITS, Part, RevisionManifest, Roles, TypedColumn
from fairlead_runtime.store import Store, put_folder

from .source import SourceFile
from .split import Dealt

PREPARATION_VERSION = 1  # raise it when the same bytes would give other rows, types or parts
PART_ROWS = 1 << 18


@dataclass(frozen=True)
class Prepared:
    """Everything that a revision is made of."""

    files: list[SourceFile]
    table: pa.Table
    columns: list[TypedColumn]
    roles: Roles
    dealt: Dealt
    checks: list[CheckResult]


def revision_digest(job: SnapshotInput, prepared: Prepared) -> str:
    """Return `sha256:<hex>`, the identity: equal for equal bytes under an equal schema and split."""
    return digest_of(
        {
            "source": sorted([file.name, file.entry.size, file.entry.sha256] for file in prepared.files),
            "format": job.format,
            "columns": [column.to_json_object() for column in prepared.columns],
            "roles": prepared.roles.to_json_object(),
            "split": job.split.to_json_object(),
            "preparation": PREPARATION_VERSION,
        }
    )


def write_revision(store: Store, job: SnapshotInput, prepared: Prepared, work: Path) -> RevisionManifest:
    """Write the revision unless it is there already, and return its manifest."""
    revision = revision_digest(job, prepared)
    parts, contents = _write_parts(prepared, work)
    manifest = RevisionManifest(
        revision=revision,
        preparation_version=PREPARATION_VERSION,
        format=job.format,
        source=[file.entry for file in prepared.files],
        rows=prepared.table.num_rows,
        columns=prepared.columns,
        roles=prepared.roles,
        split=job.split,
        parts=parts,
        cut_offs=list(prepared.dealt.cut_offs),
        class_rows=_class_rows(prepared),
    )
    profile = build_profile(prepared.table, opaque=prepared.roles.identifiers)
    files: dict[str, bytes | Path] = {
        **contents,
        keys.PROFILE: profile.to_json(),
        keys.CHECKS: canonical_json([check.to_json_object() for check in prepared.checks]),
    }
    folder = keys.dataset_revision(job.namespace, job.name, revision)
    put_folder(store, folder, files, (keys.MANIFEST, canonical_json(manifest.to_json_object())))
    return manifest


def _write_parts(prepared: Prepared, work: Path) -> tuple[list[Part], dict[str, Path]]:
    parts, contents = [], {}
    for index, split in enumerate(SPLITS):
        rows = prepared.table.filter(pa.array(prepared.dealt.parts == index))
        for number, start in enumerate(range(0, rows.num_rows, PART_ROWS)):
            name = f"data/{split.lower()}-{number:04d}.parquet"
            path = work / name.replace("/", "-")
            chunk = rows.slice(start, PART_ROWS)
            pq.write_table(chunk, path, compression="zstd")
            parts.append(Part(split=split, rows=chunk.num_rows, file=file_entry(name, path)))
            contents[name] = path
    return parts, contents


def _class_rows(prepared: Prepared) -> dict[str, dict[str, int]]:
    """Return split -> class -> rows for a target with few classes, so that anyone can see what stratifying gave."""
    target = prepared.roles.target
    kinds = {column.name: column.type for column in prepared.columns}
    if not target or kinds[target] not in (ColumnType.BOOLEAN, ColumnType.CATEGORY, ColumnType.INTEGER):
        return {}
    labels = pc.fill_null(prepared.table[target].cast(pa.string()), "null").combine_chunks().dictionary_encode()
    names = labels.dictionary.to_pylist()
    if len(names) > 20:
        return {}
    codes = labels.indices.to_numpy()
    return {
        split: {
            name: int(np.sum((codes == code) & (prepared.dealt.parts == index)))
            for code, name in sorted(enumerate(names))
        }
        for index, split in enumerate(SPLITS)
    }
