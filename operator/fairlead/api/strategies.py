"""What the strategies Shadow and ABTest are told and say: parts of InferenceService.

It must never name a kind. Used by `api/inferenceservice.py`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fairlead.contract.base import Model, Text
from fairlead.contract.compare import SliceDisagreement
from fairlead.contract.schema import LIST_SET


class Shadow(Model):
    """Strategy Shadow: the new revision gets copies of requests, and its answers reach nobody."""

    percent: Annotated[int, Field(ge=1, le=100)] = Field(100, description="Of the requests that are copied.")
    max_disagreement_percent: Annotated[float, Field(gt=0, le=100)] = Field(
        10, description="Of captured answers to the same question; not compared where capture.percent is 0."
    )


class ABTest(Model):
    """Strategy ABTest: a cookie keeps each user at one revision; what users then do decides."""

    percent: Annotated[int, Field(ge=1, le=99)] = Field(50, description="Of new users that get the new revision.")
    cohorts: Annotated[list[Annotated[str, Field(max_length=64, pattern=r"^[!-~]+$")]], Field(max_length=16)] = Field(
        [], json_schema_extra=LIST_SET, description="Requests whose header X-Cohort is one of these get the new one."
    )
    min_difference_points: Annotated[float, Field(gt=0, le=50)] = Field(
        0.5, description="Of good outcomes: what makes a difference that decides."
    )


class Comparison(Model):
    """How a shadow's captured answers differ from those that users got."""

    look: int = Field(1, description="Each further one is stricter, so that looking often proves nothing.")
    until: str = Field(description="RFC 3339: answers before it were compared.")
    decision: str = Field("", description="Agrees, Disagrees or Undecided; empty while a Job compares.")
    compared: int = 0
    disagreeing: int = 0
    low_percent: float = 0
    high_percent: float = 100
    worst: Annotated[list[SliceDisagreement], Field(max_length=10)] | None = None
    report_key: str = ""
    message: Text = ""
