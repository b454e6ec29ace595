"""A frozen dataset revision in the store: its manifest, and the rows of a part, checked against their digests.

Never gives out bytes that are not the ones the manifest names. Written by snapshot; read by train and evaluate.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from fairlead.contract import keys
from fairlead.contract.base import Model
from fairlead.contract.data import ColumnType, DatasetRevision, Format, Split

from .digest import FileEntry
from .errors import BadInput, ObjectNotFound
from .store import Store

SplitName = Literal["Train", "Validation", "Test"]
SPLITS: tuple[SplitName, ...] = ("Train", "Validation", "Test")

# The Arrow type of each logical type, in every revision.
ARROW_TYPES = {
    ColumnType.INTEGER: pa.int64(),
    ColumnType.FLOAT: pa.float64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.CATEGORY: pa.string(),
    ColumnType.STRING: pa.string(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}


class TypedColumn(Model):
    """A column of a revision."""

    name: str
    type: ColumnType


class Roles(Model):
    """What columns are for; part of the revision's identity."""

    target: str | None = None
    timestamp: str | None = None
    identifiers: list[str] = Field(default_factory=list)
    sensitive: list[str] = Field(default_factory=list)

    def default_features(self, columns: list[TypedColumn]) -> list[TypedColumn]:
        """Return the columns without a role that a model can learn from: no times, no free text."""
        taken = {self.target, self.timestamp, *self.identifiers, *self.sensitive}
        unfit = (ColumnType.TIMESTAMP, ColumnType.STRING)
        return [column for column in columns if column.name not in taken and column.type not in unfit]


class Part(Model):
    """One Parquet file of a split."""

    split: SplitName
    rows: int
    file: FileEntry


class RevisionManifest(Model):
    """`manifest.json` of a revision; the same bytes and spec give the same manifest, so no time is in it."""

    version: Literal[1] = 1
    revision: str
    preparation_version: int
    format: Format
    source: list[FileEntry]
    rows: int
    columns: list[TypedColumn]
    roles: Roles
    split: Split
    parts: list[Part]
    cut_offs: list[str] = Field(default_factory=list)
    class_rows: dict[str, dict[str, int]] = Field(default_factory=dict)

    def rows_of(self, split: SplitName) -> int:
        """Return the number of rows of a split."""
        return sum(part.rows for part in self.parts if part.split == split)

    def type_of(self, name: str) -> ColumnType:
        """Return a column's type; raise KeyError."""
        return {column.name: column.type for column in self.columns}[name]


def read_manifest(store: Store, namespace: str, reference: DatasetRevision) -> RevisionManifest:
    """Return the manifest; raise RevisionNotFound if the store has no such revision."""
    folder = keys.dataset_revision(namespace, reference.name, reference.revision)
    try:
        return RevisionManifest.model_validate(json.loads(store.get_bytes(folder + keys.MANIFEST)))
    except ObjectNotFound:
        raise BadInput(
            "RevisionNotFound",
            f"Dataset {reference.name} has no revision {reference.revision} in the store; "
            "name one that its status lists, or leave it empty for the current one",
        ) from None


def fetch_parts(store: Store, folder: str, manifest: RevisionManifest, split: SplitName, into: Path) -> list[Path]:
    """Copy the Parquet files of a split to a folder and return their paths; raise DigestMismatch, RevisionDamaged."""
    paths = []
    for part in manifest.parts:
        if part.split != split:
            continue
        path = into / Path(part.file.path).name
        try:
            sha256 = store.get_file(folder + part.file.path, path)
        except ObjectNotFound:
            raise BadInput("RevisionDamaged", f"{folder}{part.file.path} is gone from the store") from None
        if sha256 != part.file.sha256:
            raise BadInput(
                "DigestMismatch",
                f"{folder}{part.file.path} has sha256 {sha256}, not {part.file.sha256}; take a new snapshot",
            )
        paths.append(path)
    return paths


def read_split(
    store: Store,
    namespace: str,
    reference: DatasetRevision,
    split: SplitName,
    into: Path,
    manifest: RevisionManifest | None = None,
) -> pa.Table:
    """Return the rows of a split in their order, with the columns of the manifest; `into` is a folder for the files."""
    manifest = manifest or read_manifest(store, namespace, reference)
    folder = keys.dataset_revision(namespace, reference.name, reference.revision)
    tables = [pq.read_table(path) for path in fetch_parts(store, folder, manifest, split, into)]
    return pa.concat_tables(tables) if tables else arrow_schema(manifest.columns).empty_table()


def arrow_schema(columns: list[TypedColumn]) -> pa.Schema:
    """Return the Arrow schema of a revision's columns."""
    return pa.schema([(column.name, ARROW_TYPES[column.type]) for column in columns])
