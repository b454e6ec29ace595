"""Salted hashes that stand for sensitive values: made where requests are captured, known again where they are compared.

The salt comes from the store's secret key: all pods of a service have the same one, and who reads captures alone has
none. New credentials also mean new hashes; a hash column says by `mark` which salt made it. Must never write the salt
or a value anywhere. Used by `serve/capture.py`, `monitor/inputs.py` and `replay`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from fairlead.contract.base import canonical_json

MARK = b"fairlead.hashed"  # field metadata of a column of hashes: its value is the hasher's mark


class Hasher:
    """Hashes of one service."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self.mark = hmac.new(salt, b"mark", hashlib.sha256).hexdigest()[:16].encode()
        self.token = hmac.new(salt, b"replay", hashlib.sha256).hexdigest()[:32]  # lets the replay Job in, no one else

    def hash(self, value: Any) -> str | None:
        """Return 16 hex digits for a value, the same for equal ones; None for a missing one."""
        if value is None or value != value:  # noqa: PLR0124 - NaN
            return None
        return hmac.new(self._salt, canonical_json(value), hashlib.sha256).hexdigest()[:16]

    def start(self) -> hmac.HMAC:
        """Return a salted SHA-256 that takes bytes as they come."""
        return hmac.new(self._salt, digestmod=hashlib.sha256)


def hasher_of(environ: Mapping[str, str], namespace: str, service: str) -> Hasher:
    """Return the hasher of a service's captures, from the store's secret key in the environment."""
    secret = environ.get("FAIRLEAD_STORE_SECRET_KEY", "")
    return Hasher(
        hmac.new(secret.encode(), f"fairlead/capture/{namespace}/{service}".encode(), hashlib.sha256).digest()
    )
