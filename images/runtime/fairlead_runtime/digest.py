"""Content digests of files and artifacts: bytes are known by these from training to serving.

The digest of an artifact is sha256 over the canonical JSON of the list of [relative path, size, sha256 hex] of its
files, sorted by path. It never depends on time, order of writing or where the files lie. Called by train, evaluate
and serve.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from fairlead.contract.base import Model, canonical_json


class FileEntry(Model):
    """One file by its relative path (with /), size in bytes and sha256 in hex."""

    path: str
    size: int
    sha256: str


def file_entry(path: str, content: bytes | Path) -> FileEntry:
    """Return the entry of a file or of bytes, under the relative path `path`."""
    if isinstance(content, bytes):
        return FileEntry(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    with content.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(path=path, size=content.stat().st_size, sha256=sha256)


def artifact_digest(files: Iterable[FileEntry]) -> str:
    """Return `sha256:<hex>` over the files, in whatever order they come."""
    ordered = sorted([entry.path, entry.size, entry.sha256] for entry in files)
    return "sha256:" + hashlib.sha256(canonical_json(ordered)).hexdigest()
