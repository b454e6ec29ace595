"""The object store: what every Job and server reads and writes, by keys of `fairlead.contract.keys`.

A folder is written data first and its marker last, so a reader that finds no marker finds nothing; no object is
changed in place. Nothing here writes a key or secret into a message. Called by everything in this package.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from typing_extensions import override

from fairlead.contract import env, keys
from fairlead.contract.base import Model, canonical_json

from .errors import ObjectNotFound, StoreError
from .s3 import RETRY_DELAYS_S, Entry, S3Client, S3Settings, settings_from

__all__ = ["Entry", "LocalStore", "S3Store", "Store", "get_json", "open_store", "put_folder", "put_json"]

MARKERS = (keys.MANIFEST, keys.RESULT)


class Store(Protocol):
    """Objects by key, relative to the installation's prefix; every method raises only JobError.

    A key that is absent raises ObjectNotFound; a store that cannot be used, StoreError.
    """

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write an object whole."""

    def put_file(self, key: str, path: Path) -> None:
        """Write an object whole from a file."""

    def get_bytes(self, key: str) -> bytes:
        """Return an object's bytes."""

    def get_file(self, key: str, path: Path) -> str:
        """Write an object to `path` (its folder exists) and return the sha256 of its bytes as hex."""

    def exists(self, key: str) -> bool:
        """Return whether the object is there."""

    def list(self, prefix: str) -> list[Entry]:
        """Return the objects whose keys begin with `prefix`, sorted by key; keys are relative to the store's prefix."""

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def delete_folder(self, prefix: str) -> tuple[int, int]:
        """Remove all objects under a folder (ends in /), its marker first; return their number and bytes."""
        if not prefix.endswith("/"):
            raise ValueError(f"a folder ends in /: {prefix!r}")
        entries = self.list(prefix)
        for entry in sorted(entries, key=lambda entry: entry.key.rsplit("/", 1)[-1] not in MARKERS):
            self.delete(entry.key)
        return len(entries), sum(entry.size for entry in entries)


class S3Store(Store):
    """A Store in a bucket, under a prefix."""

    def __init__(
        self, settings: S3Settings, bucket: str, prefix: str = "", retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S
    ) -> None:
        self._client = S3Client(settings, bucket, retry_delays_s)
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""

    @override
    def put_bytes(self, key: str, data: bytes) -> None:
        self._client.put_bytes(self._full(key), data)

    @override
    def put_file(self, key: str, path: Path) -> None:
        self._client.put_file(self._full(key), path)

    @override
    def get_bytes(self, key: str) -> bytes:
        return self._client.get_bytes(self._full(key))

    @override
    def get_file(self, key: str, path: Path) -> str:
        return self._client.get_file(self._full(key), path)

    @override
    def exists(self, key: str) -> bool:
        return self._client.exists(self._full(key))

    @override
    def list(self, prefix: str) -> list[Entry]:
        found = self._client.entries(self._full(prefix))
        return [Entry(entry.key[len(self._prefix) :], entry.size, entry.modified_s) for entry in found]

    @override
    def delete(self, key: str) -> None:
        self._client.delete(self._full(key))

    def _full(self, key: str) -> str:
        return self._prefix + _checked(key)


class LocalStore(Store):
    """A Store in a folder of this machine, for tests and for trying things out."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @override
    def put_bytes(self, key: str, data: bytes) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._root, prefix=".", delete=False) as file:
            file.write(data)
        os.replace(file.name, path)

    @override
    def put_file(self, key: str, path: Path) -> None:
        self.put_bytes(key, path.read_bytes())

    @override
    def get_bytes(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            raise ObjectNotFound(key) from None

    @override
    def get_file(self, key: str, path: Path) -> str:
        data = self.get_bytes(key)
        path.write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    @override
    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    @override
    def list(self, prefix: str) -> list[Entry]:
        _checked(prefix)
        files = [path for path in self._root.rglob("*") if path.is_file() and not path.name.startswith(".")]
        entries = [
            Entry(path.relative_to(self._root).as_posix(), path.stat().st_size, path.stat().st_mtime) for path in files
        ]
        return sorted((entry for entry in entries if entry.key.startswith(prefix)), key=lambda entry: entry.key)

    @override
    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._root / _checked(key)


def open_store(environ: Mapping[str, str] = os.environ, retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S) -> Store:
    """Return the store that the environment names, without asking it anything yet.

    Endpoint `file:///path` is a folder. Raise StoreMisconfigured naming the key that the Secret lacks.
    """
    endpoint = environ.get("FAIRLEAD_STORE_ENDPOINT", "")
    if endpoint.startswith("file://"):
        root = Path(endpoint.removeprefix("file://"))
        root.mkdir(parents=True, exist_ok=True)
        return LocalStore(root)
    settings = settings_from(environ, "FAIRLEAD_STORE_", env.STORE_SECRET)
    bucket = environ.get("FAIRLEAD_STORE_BUCKET", "")
    if not bucket:
        raise StoreError("StoreMisconfigured", f"Secret {env.STORE_SECRET} lacks bucket; add it")
    return S3Store(settings, bucket, environ.get("FAIRLEAD_STORE_PREFIX", ""), retry_delays_s)


def put_json(store: Store, key: str, value: Model | Any) -> None:
    """Write a model or plain JSON value as canonical JSON."""
    store.put_bytes(key, canonical_json(value.to_json_object() if isinstance(value, Model) else value))


def get_json(store: Store, key: str) -> Any:
    """Return the JSON value of an object; raise ObjectNotFound."""
    return json.loads(store.get_bytes(key))


def put_folder(store: Store, folder: str, files: Mapping[str, bytes | Path], marker: tuple[str, bytes]) -> None:
    """Write the files of a folder (ends in /), then its marker; once the marker is there, write nothing."""
    if store.exists(folder + marker[0]):
        return
    for name, content in files.items():
        if isinstance(content, Path):
            store.put_file(folder + name, content)
        else:
            store.put_bytes(folder + name, content)
    store.put_bytes(folder + marker[0], marker[1])


def _checked(key: str) -> str:
    if key.startswith("/") or ".." in key.split("/"):
        raise ValueError(f"a key is relative and has no ..: {key!r}")
    return key
