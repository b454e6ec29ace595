"""Files by HTTP, for a dataset's source and for an artifact made elsewhere.

What can heal by itself (no answer, 5xx) is StoreError; what cannot is BadInput. Never shows a URL's user, password or
query: they may be secrets. Called by `snapshot.source` and `artifact`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import urllib3

from fairlead_runtime.errors import BadInput, StoreError


@dataclass(frozen=True)
class Reasons:
    """What it is called when a file cannot be had, and what to do where it is not there."""

    not_found: str
    denied: str
    unreachable: str
    hint: str


def fetch_file(url: str, path: Path, reasons: Reasons, retry_delays_s: tuple[float, ...]) -> None:
    """Write what a URL answers to `path`; redirects are followed, failures that may heal are tried again."""
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=60),
        retries=urllib3.Retry(None, connect=0, read=0, redirect=5, status=0, other=0),
    )
    _retrying(lambda: _get(pool, url, path, reasons), retry_delays_s)


def _retrying(call: Callable[[], None], delays_s: tuple[float, ...]) -> None:
    for delay_s in delays_s:
        try:
            return call()
        except StoreError:
            time.sleep(delay_s)
    return call()


def _get(pool: urllib3.PoolManager, url: str, path: Path, reasons: Reasons) -> None:
    shown = shown_url(url)
    try:
        response = pool.request("GET", url, preload_content=False)
        try:
            _check_status(response.status, shown, reasons)
            with path.open("wb") as file:
                for chunk in response.stream(1 << 20, decode_content=False):
                    file.write(chunk)
        finally:
            response.release_conn()
    except urllib3.exceptions.LocationValueError:
        raise BadInput(reasons.not_found, f"{shown} is not a URL that can be read") from None
    except urllib3.exceptions.HTTPError as error:
        raise StoreError(reasons.unreachable, f"{shown}: no whole answer ({type(error).__name__})") from None


def _check_status(status: int, shown: str, reasons: Reasons) -> None:
    if status == 200:
        return
    if status in (404, 410):
        raise BadInput(reasons.not_found, f"{shown} answers {status}: {reasons.hint}")
    if status in (408, 429) or status >= 500:
        raise StoreError(reasons.unreachable, f"{shown} answers {status}")
    raise BadInput(reasons.denied, f"{shown} answers {status}, expected 200: it must be readable without a log-in")


def shown_url(url: str) -> str:
    """Return the URL without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}{parts.path}"
