"""Looks for the result of a Job that is gone: its summary again, or ResultLost. The entry of kind Collect."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from fairlead.contract.base import Model
from fairlead.contract.jobs import CollectInput, Summary

from .errors import BadInput, ObjectNotFound
from .store import Store


def run(job: CollectInput, store: Store) -> Model:
    """Return the stored summary; raise ResultLost if there is none, or none that can be read."""
    try:
        found: Model = TypeAdapter[Any](Summary).validate_json(store.get_bytes(job.result_key))
    except ObjectNotFound:
        raise BadInput(
            "ResultLost", f"the Job is gone and the store has no {job.result_key}: it ended before it wrote a result"
        ) from None
    except ValidationError:
        raise BadInput("ResultLost", f"{job.result_key} in the store is not a result of this version") from None
    return found
