"""The input and the summary of the Job that compares the answers of two revisions. Parts of `jobs.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Model, Name


class Answering(Model):
    """A revision whose captured answers are read: its version's name and the first digits of its response ids."""

    version: Name
    ids: Annotated[str, Field(max_length=10)]


class CompareInput(Model):
    """Hold the answers of a revision that got copies of requests against those that users got."""

    kind: Literal["Compare"] = "Compare"
    version: Literal[1] = 1
    namespace: Name
    service: Name
    stable: Answering
    candidate: Answering
    since: str = Field(description="RFC 3339, as `until`: when the requests were made.")
    until: str
    max_disagreement_percent: float
    alpha: float = Field(description="Of this look: how often its bounds may be wrong.")


class SliceDisagreement(Model):
    """How often answers differ where an input has one value."""

    column: str
    value: Annotated[str, Field(max_length=64)]
    compared: int
    disagreeing: int


class CompareSummary(Model):
    """How many answers to the same question differ, with exact bounds in percent."""

    kind: Literal["Compare"] = "Compare"
    version: Literal[1] = 1
    compared: int
    disagreeing: int
    low_percent: float = 0
    high_percent: float = 100
    worst: list[SliceDisagreement] = Field(default_factory=list, max_length=10)
    report_key: str = ""
