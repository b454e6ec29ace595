"""What can go wrong with the API server, and, once and for all, whether trying again can help.

    KubeError
    ├── RetryableError          backoff, and Reconciling with the reason when it lasts
    │   ├── UnreachableError      no answer: refused, reset, timed out, cut short
    │   ├── ThrottledError        429; says after how long
    │   ├── ServerError           5xx
    │   ├── UnauthorizedError     401; credentials are read again
    │   ├── ForbiddenError        403: RBAC, quota, a policy; others mend it without telling us
    │   │   └── NamespaceTerminatingError  nothing new is taken in a namespace that is being deleted
    │   ├── NotFoundError         404
    │   ├── ConflictError         409: what we saw is no longer so; read it again
    │   ├── AlreadyExistsError    409 on create
    │   ├── ExpiredError          410: the list or watch position is gone
    │   └── AwaitDeletionError    an earlier object of the name has to vanish first
    ├── TerminalError           Stalled until spec or a referenced object changes
    │   ├── InvalidError          400, 405, 413, 415, 422: the same bytes will be refused again
    │   └── NameTakenError        somebody else's object has the name we need
    └── LeadershipLostError     this process may not write any more; it ends

Raised by `client.py` and `controllers/execute.py`; the loop turns them into backoff and conditions.
Messages never carry request bodies or credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MESSAGE_MAX = 512


class KubeError(Exception):
    """A failed step: `reason` is PascalCase and becomes the condition's reason, `message` is for people."""

    reason = "ApiError"

    def __init__(self, message: str, *, reason: str | None = None, status: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s
        if reason:
            self.reason = reason


class RetryableError(KubeError):
    """Trying again can help."""


class UnreachableError(RetryableError):
    """The API server gave no whole answer; a write may or may not have happened."""

    reason = "ApiUnreachable"


class ThrottledError(RetryableError):
    """429; do not come back before `retry_after_s`."""

    reason = "ApiThrottled"


class ServerError(RetryableError):
    """5xx."""

    reason = "ApiServerError"


class UnauthorizedError(RetryableError):
    """401."""

    reason = "ApiUnauthorized"


class ForbiddenError(RetryableError):
    """403: missing RBAC, an exceeded quota, an admission policy."""

    reason = "Forbidden"


class NamespaceTerminatingError(ForbiddenError):
    """403: the namespace is being deleted, and the object that asked goes with it."""

    reason = "NamespaceTerminating"


class NotFoundError(RetryableError):
    """404."""

    reason = "NotFound"


class ConflictError(RetryableError):
    """409: uid, resourceVersion or field ownership is not as the plan saw it."""

    reason = "Conflict"


class AlreadyExistsError(RetryableError):
    """409 on create."""

    reason = "AlreadyExists"


class ExpiredError(RetryableError):
    """410."""

    reason = "Expired"


class AwaitDeletionError(RetryableError):
    """An object of that name is on its way out, or belongs to an earlier owner of the same name."""

    reason = "AwaitingDeletion"


class TerminalError(KubeError):
    """The same attempt will fail again."""


class InvalidError(TerminalError):
    """The API server does not accept what was asked."""

    reason = "Invalid"


class NameTakenError(TerminalError):
    """An object that is not ours has the name we need; the message says what to rename or delete."""

    reason = "NameTaken"


class LeadershipLostError(KubeError):
    """The Lease is not surely ours."""

    reason = "LeadershipLost"


_BY_STATUS: dict[int, type[KubeError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    408: UnreachableError,
    410: ExpiredError,
    429: ThrottledError,
}


def error_of(status: int, body: Mapping[str, Any], what: str, retry_after_s: float = 0.0) -> KubeError:
    """Return the error for an answer of 400 and more; `what` names verb and object, `body` is a Status or empty."""
    text = _text_of(status, body)[:MESSAGE_MAX]
    message = f"{what}: {text}"
    if status == 422 and _is_other_uid(body):
        kind: type[KubeError] = ConflictError
    elif status == 409:
        kind = AlreadyExistsError if body.get("reason") == "AlreadyExists" else ConflictError
    elif status == 403 and _has_cause(body, "NamespaceTerminating"):
        kind = NamespaceTerminatingError
    elif status >= 500:
        kind = ServerError
    else:
        kind = _BY_STATUS.get(status, InvalidError)
    return kind(message, reason=_quota_reason(status, text), status=status, retry_after_s=retry_after_s)


def _text_of(status: int, body: Mapping[str, Any]) -> str:
    """Return what the API server says, its causes sorted: it walks maps in a new order each time."""
    text = str(body.get("message") or f"HTTP {status}")
    head, invalid, _ = text.partition(" is invalid: ")
    causes = (body.get("details") or {}).get("causes") or ()
    said = sorted({f"{cause.get('field', '')}: {cause.get('message', '')}" for cause in causes})
    return f"{head}{invalid}[{', '.join(said)}]" if invalid and len(said) > 1 else text


def _has_cause(body: Mapping[str, Any], reason: str) -> bool:
    return any(cause.get("reason") == reason for cause in (body.get("details") or {}).get("causes") or ())


def _is_other_uid(body: Mapping[str, Any]) -> bool:
    """Say whether only the uid is wrong: an apply to a re-created object is answered so (422, not 409)."""
    causes = (body.get("details") or {}).get("causes") or ()
    return bool(causes) and all(cause.get("field") == "metadata.uid" for cause in causes)


def _quota_reason(status: int, text: str) -> str | None:
    return "QuotaExceeded" if status == 403 and "exceeded quota" in text else None
