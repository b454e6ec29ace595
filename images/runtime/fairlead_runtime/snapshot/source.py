"""Brings a source's bytes to this pod's disk, with their digests; what they mean is for `read`.

What can heal by itself (no answer, 5xx) is StoreError SourceUnreachable; what cannot is BadInput SourceNotFound or
SourceDenied. Never shows a URL's user, password or query. Called by `job`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fairlead.contract import env
from fairlead.contract.data import ConfigMapSource, HttpSource, S3Source, Source, VolumeSource
from fairlead_runtime.digest import FileEntry, file_entry
from fairlead_runtime.errors import BadInput, JobError, StoreError
from fairlead_runtime.s3 import RETRY_DELAYS_S, S3Client, settings_from
from fairlead_runtime.web import Reasons, fetch_file

_HTTP = Reasons("SourceNotFound", "SourceDenied", "SourceUnreachable", "correct source.http.url")


@dataclass(frozen=True)
class SourceFile:
    """One file of the source: its name in messages and in the revision's identity, and where it lies here."""

    entry: FileEntry
    path: Path

    @property
    def name(self) -> str:
        """The path relative to what the source names."""
        return self.entry.path


def fetch_source(source: Source, work: Path, retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S) -> list[SourceFile]:
    """Return the source's files, sorted by name; hidden ones (. or _ before the name) are left out."""
    if source.s3:
        files = _fetch_s3(source.s3, work, retry_delays_s)
    elif source.http:
        files = [_fetch_http(source.http, work, retry_delays_s)]
    elif source.persistent_volume_claim:
        files = _find_on_volume(source.persistent_volume_claim)
    elif source.config_map:
        files = [_find_key(source.config_map)]
    else:
        raise BadInput("InputInvalid", "source: set exactly one of s3, http, persistentVolumeClaim, configMap")
    return sorted(files, key=lambda file: file.name)


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/"))


def _fetch_s3(source: S3Source, work: Path, retry_delays_s: tuple[float, ...]) -> list[SourceFile]:
    parts = urlsplit(source.uri)
    start = "FAIRLEAD_SOURCE_" if os.environ.get("FAIRLEAD_SOURCE_ENDPOINT") else "FAIRLEAD_STORE_"
    secret = source.secret_ref.name if source.secret_ref else env.STORE_SECRET
    try:
        client = S3Client(settings_from(os.environ, start, secret), parts.netloc, retry_delays_s)
        names = _s3_names(client, parts.path.lstrip("/"))
        return [_download(client, key, name, work / f"source-{i}") for i, (key, name) in enumerate(names.items())]
    except JobError as error:
        raise _as_source_error(error, source.uri) from None


def _s3_names(client: S3Client, key: str) -> dict[str, str]:
    """Return object key -> relative name; a uri that names an object means that one alone."""
    if key and not key.endswith("/"):
        if client.exists(key):
            return {key: key.rsplit("/", 1)[-1]}
        key += "/"
    names = {entry.key: entry.key.removeprefix(key) for entry in client.entries(key)}
    files = {full: name for full, name in names.items() if name and not name.endswith("/") and not _is_hidden(name)}
    if not files:
        raise BadInput("SourceNotFound", f"there is no object under s3://{client.bucket}/{key}")
    return files


def _download(client: S3Client, key: str, name: str, path: Path) -> SourceFile:
    sha256 = client.get_file(key, path)
    return SourceFile(FileEntry(path=name, size=path.stat().st_size, sha256=sha256), path)


def _as_source_error(error: JobError, uri: str) -> JobError:
    if error.reason in ("NoSuchBucket", "ObjectNotFound"):
        return BadInput("SourceNotFound", f"{uri}: {error.message}")
    if error.reason == "StoreDenied":
        return BadInput("SourceDenied", f"{uri}: {error.message}")
    if error.reason == "StoreUnreachable":
        return StoreError("SourceUnreachable", f"{uri}: {error.message}")
    return error


def _fetch_http(source: HttpSource, work: Path, retry_delays_s: tuple[float, ...]) -> SourceFile:
    path = work / "source-0"
    fetch_file(source.url, path, _HTTP, retry_delays_s)
    name = unquote(urlsplit(source.url).path).rstrip("/").rsplit("/", 1)[-1] or "data"
    return SourceFile(file_entry(name, path), path)


def _find_on_volume(source: VolumeSource, root: str = env.SOURCE_VOLUME_DIR) -> list[SourceFile]:
    base = Path(os.environ.get("FAIRLEAD_SOURCE_VOLUME_DIR", root)).resolve()
    start = (base / source.path).resolve()
    shown = f"persistentVolumeClaim {source.name}, path {source.path!r}"
    if not start.is_relative_to(base):
        raise BadInput("SourceNotFound", f"{shown} leads out of the volume")
    if start.is_file():
        return [SourceFile(file_entry(start.name, start), start)]
    files = {path.relative_to(start).as_posix(): path for path in start.rglob("*") if path.is_file()}
    for name, path in files.items():  # a link on the volume could name a file of this pod, its environment say
        if not path.resolve().is_relative_to(base):
            raise BadInput("SourceNotFound", f"{shown}: {name!r} is a link that leads out of the volume; remove it")
    found = [SourceFile(file_entry(name, path), path) for name, path in files.items() if not _is_hidden(name)]
    if not found:
        raise BadInput("SourceNotFound", f"{shown}: there is no file")
    return found


def _find_key(source: ConfigMapSource, root: str = env.SOURCE_CONFIG_MAP_DIR) -> SourceFile:
    path = Path(os.environ.get("FAIRLEAD_SOURCE_CONFIG_MAP_DIR", root)) / source.key
    if "/" in source.key or not path.is_file():
        raise BadInput("SourceNotFound", f"ConfigMap {source.name} has no key {source.key!r}")
    return SourceFile(file_entry(source.key, path), path)
