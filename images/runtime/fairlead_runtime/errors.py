"""How a Job says why it ended without its result; the reason is a condition's reason, the message is for a person.

Never put a secret or a value out of the data into a message. Raised everywhere in this package, turned into an
exit code and an `ErrorInfo` by `__main__` alone.
"""

from __future__ import annotations

from fairlead.contract import env
from fairlead.contract.jobs import ErrorInfo

MAX_MESSAGE = 1024  # the contract's Text


class JobError(Exception):
    """A reason (PascalCase) and a message that says what is wrong, where, and what to do."""

    exit_code = 1

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message

    def to_error_info(self) -> ErrorInfo:
        """Return the contract's form, the message cut at its limit."""
        return ErrorInfo(reason=self.reason[:64], message=clip(self.message))


class BadInput(JobError):  # noqa: N818 - the field's word; it is what the operator shows
    """What was asked for cannot be done until someone changes it; terminal (exit code 10)."""

    exit_code = env.EXIT_BAD_INPUT


class ObjectNotFound(BadInput):
    """The store answered, and has no such object."""

    def __init__(self, key: str) -> None:
        super().__init__("ObjectNotFound", f"the object store has no {key}; it may have been removed by hand")
        self.key = key


class StoreError(JobError):
    """The store or the network did not do its part; the same Job may succeed later (exit code 20).

    Reasons: StoreUnreachable, StoreDenied, NoSuchBucket, StoreMisconfigured, SourceUnreachable.
    """

    exit_code = env.EXIT_STORE


def clip(text: str, limit: int = MAX_MESSAGE) -> str:
    """Return at most `limit` characters, the cut marked by an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
