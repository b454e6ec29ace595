"""An S3 client with short time-outs and few retries, and the one place that says what its errors mean.

It never puts a key into a message. Called by `store` for our own store and by `snapshot.source` for the user's.
"""

from __future__ import annotations

import hashlib
import io
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from xml.etree import ElementTree  # only its error: something that is no S3 server answered

import urllib3
import urllib3.connection
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from typing_extensions import override

from .errors import JobError, ObjectNotFound, StoreError

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 30.0
RETRY_DELAYS_S = (0.2, 1.0, 3.0)  # a store that restarts its process is back within these; a longer outage is a retry
DEFAULT_REGION = "us-east-1"  # given explicitly, so that the client does not ask the server for it

_DENIED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "ExpiredToken")
_MISSING = ("NoSuchKey", "NoSuchVersion", "ResourceNotFound")

T = TypeVar("T")


@dataclass(frozen=True)
class S3Settings:
    """Where a store is and who asks; `ca` is PEM text."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = DEFAULT_REGION
    ca: str = ""

    def __repr__(self) -> str:
        return f"S3Settings(endpoint={self.endpoint!r})"  # never the keys, wherever this ends up


@dataclass(frozen=True)
class Entry:
    """One stored object: its key, size in bytes and time of last change (seconds since 1970)."""

    key: str
    size: int
    modified_s: float


def settings_from(environ: Mapping[str, str], start: str, secret: str) -> S3Settings:
    """Return the settings in the variables that begin with `start`; raise StoreMisconfigured naming what lacks."""
    keys = {f"{start}ENDPOINT": "endpoint", f"{start}ACCESS_KEY": "accessKey", f"{start}SECRET_KEY": "secretKey"}
    missing = [key for variable, key in keys.items() if not environ.get(variable)]
    if missing:
        raise StoreError("StoreMisconfigured", f"Secret {secret} lacks {', '.join(missing)}; add it")
    return S3Settings(
        endpoint=environ[f"{start}ENDPOINT"],
        access_key=environ[f"{start}ACCESS_KEY"],
        secret_key=environ[f"{start}SECRET_KEY"],
        region=environ.get(f"{start}REGION") or DEFAULT_REGION,
        ca=environ.get(f"{start}CA", ""),
    )


class S3Client:
    """One bucket of one endpoint; every method is tried again a few times and raises only JobError.

    Objects are written whole: S3 shows an object only once all of it is there.
    """

    def __init__(self, settings: S3Settings, bucket: str, retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S) -> None:
        self.bucket = bucket
        self.endpoint = settings.endpoint
        self._delays_s = retry_delays_s
        self._minio = _connect(settings)

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write one object from memory."""
        self._attempt(key, lambda: self._minio.put_object(self.bucket, key, io.BytesIO(data), len(data)))

    def put_file(self, key: str, path: Path) -> None:
        """Write one object from a file (in parts when it is large)."""
        self._attempt(key, lambda: self._minio.fput_object(self.bucket, key, str(path)))

    def get_bytes(self, key: str) -> bytes:
        """Return an object's bytes; raise ObjectNotFound."""
        return self._attempt(key, lambda: self._read(key))

    def get_file(self, key: str, path: Path) -> str:
        """Write an object's bytes to `path` and return their sha256 as hex; raise ObjectNotFound."""
        return self._attempt(key, lambda: self._download(key, path))

    def exists(self, key: str) -> bool:
        """Return whether the object is there."""
        try:
            self._attempt(key, lambda: self._minio.stat_object(self.bucket, key))
        except ObjectNotFound:
            return False
        return True

    def entries(self, prefix: str) -> list[Entry]:
        """Return all objects whose keys begin with `prefix`, sorted by key."""
        return sorted(self._attempt(prefix, lambda: self._list(prefix)), key=lambda entry: entry.key)

    def delete(self, key: str) -> None:
        """Remove one object; one that is not there is no error."""
        self._attempt(key, lambda: self._minio.remove_object(self.bucket, key))

    def _list(self, prefix: str) -> list[Entry]:
        found = self._minio.list_objects(self.bucket, prefix=prefix, recursive=True)
        return [Entry(o.object_name, o.size or 0, o.last_modified.timestamp() if o.last_modified else 0) for o in found]

    def _read(self, key: str) -> bytes:
        response = self._minio.get_object(self.bucket, key)
        try:
            return bytes(response.read())
        finally:
            response.close()
            response.release_conn()

    def _download(self, key: str, path: Path) -> str:
        digest = hashlib.sha256()
        response = self._minio.get_object(self.bucket, key)
        try:
            with path.open("wb") as file:
                for chunk in response.stream(1 << 20):
                    file.write(chunk)
                    digest.update(chunk)
        finally:
            response.close()
            response.release_conn()
        return digest.hexdigest()

    def _attempt(self, key: str, call: Callable[[], T]) -> T:
        for delay_s in (*self._delays_s, None):
            try:
                return call()
            except (MinioException, urllib3.exceptions.HTTPError, ElementTree.ParseError, ValueError) as error:
                meaning = self._meaning(error, key)
                if delay_s is None or meaning.reason != "StoreUnreachable":
                    raise meaning from None  # the original may quote the signed request
                time.sleep(delay_s)
        raise AssertionError("unreachable: the last turn returns or raises")

    def _meaning(self, error: Exception, key: str) -> JobError:
        code, status = _code_of(error)
        where = f"{_without_user(self.endpoint)}, bucket {self.bucket}"
        if code == "NoSuchBucket":
            return StoreError("NoSuchBucket", f"{where}: there is no such bucket; create it or correct the Secret")
        if code in _MISSING or status == 404:
            return ObjectNotFound(key)
        if code in _DENIED or status in (401, 403):
            return StoreError(
                "StoreDenied", f"{where}: refused with {code or status}; check accessKey, secretKey and their rights"
            )
        detail = code or status or type(error).__name__
        return StoreError("StoreUnreachable", f"{where}: no proper answer ({detail}); check that it is up")


def _code_of(error: Exception) -> tuple[str, int]:
    if isinstance(error, S3Error):
        return str(error.code), 0
    if isinstance(error, ServerError):
        return "", int(error.status_code)
    if isinstance(error, InvalidResponseError):
        return "", int(error._code)  # it has no public accessor
    return "", 0


def _connect(settings: S3Settings) -> Minio:
    parts = urlsplit(settings.endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise StoreError(
            "StoreMisconfigured",
            f"endpoint {_without_user(settings.endpoint)!r} is not http://host:port or https://host:port",
        )
    try:
        return Minio(
            parts.netloc,
            access_key=settings.access_key,
            secret_key=settings.secret_key,
            secure=parts.scheme == "https",
            region=settings.region,
            http_client=_http_pool(settings.ca),
        )
    except ValueError as error:
        raise StoreError("StoreMisconfigured", f"endpoint {_without_user(settings.endpoint)!r}: {error}") from None


def _http_pool(ca: str) -> urllib3.PoolManager:
    context = ssl.create_default_context()
    if ca:
        try:
            context.load_verify_locations(cadata=ca)
        except ssl.SSLError:
            raise StoreError("StoreMisconfigured", "ca.crt of the Secret is not a PEM certificate") from None
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
    pool = urllib3.PoolManager(timeout=timeout, retries=False, ssl_context=context, maxsize=10)
    pool.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return pool


class _SendsLonger(urllib3.connection.HTTPConnection):
    """Once connected, time for a whole body of 5 MiB: urllib3 would give sending it the time of connecting."""

    @override
    def connect(self) -> None:
        super().connect()
        if self.sock is not None:
            self.sock.settimeout(READ_TIMEOUT_S)


class _SecurelySendsLonger(_SendsLonger, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _SendsLonger


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecurelySendsLonger


def _without_user(url: str) -> str:
    """Return the address without a user and password that someone may have written into it."""
    return url.rsplit("@", maxsplit=1)[-1] if "@" in url else url
