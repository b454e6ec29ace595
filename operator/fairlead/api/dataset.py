"""Dataset: a source, checked and frozen."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fairlead.contract.base import ColumnName, Digest, Duration, Model
from fairlead.contract.data import Check, CheckResult, Format, Source, Split, TableSchema
from fairlead.contract.schema import LIST_SET, cel, list_map

from . import meta
from .meta import JobAttempt, KindStatus, PodOverrides

CRON = r"^(@(hourly|daily|weekly|monthly|yearly)|(\S+\s+){4}\S+)$"


class Refresh(Model):
    """When the source is read again; cron in UTC, by the operator's own timer."""

    schedule: Annotated[str, Field(max_length=64, pattern=CRON)]


class DatasetSpec(PodOverrides):
    """What to read, what must hold, and how rows are dealt to train, validation and test."""

    model_config = {
        "json_schema_extra": cel(
            (
                "self.split.method != 'Stratified' || has(self.target)",
                "target: name the target column when split.method is Stratified",
            ),
            (
                "self.split.method != 'Time' || has(self.timestamp)",
                "timestamp: name the time column when split.method is Time",
            ),
            (
                "!has(self.checks) || self.checks.all(c, !has(c.freshness) || has(c.column) || has(self.timestamp))",
                "checks[].freshness: name checks[].column, or spec.timestamp",
            ),
        )
    }
    source: Source
    format: Format
    target: ColumnName | None = Field(None, description="The column to predict.")
    timestamp: ColumnName | None = Field(None, description="When a row happened.")
    identifiers: Annotated[list[ColumnName], Field(max_length=20)] | None = Field(
        None, json_schema_extra=LIST_SET, description="Columns that name a row; never features."
    )
    sensitive: Annotated[list[ColumnName], Field(max_length=50)] | None = Field(
        None, json_schema_extra=LIST_SET, description="Columns for fairness only; never features, hashed in captures."
    )
    table_schema: TableSchema = Field(default_factory=TableSchema, alias="schema")
    checks: Annotated[list[Check], Field(max_length=100)] | None = Field(None, json_schema_extra=list_map("name"))
    split: Split = Split()
    refresh: Refresh | None = None
    keep_revisions: Annotated[int, Field(ge=1, le=50)] = 10
    timeout: Duration = "1h"
    suspend: bool = False


class RevisionSummary(Model):
    """One valid revision in status."""

    revision: Digest
    at: str
    rows: int = 0


class LastCheck(Model):
    """What the newest look at the source found."""

    at: str = ""
    tick: str = ""
    valid: bool = False
    reason: str = ""
    message: Annotated[str, Field(max_length=1024)] = ""
    failed_checks: Annotated[list[CheckResult], Field(max_length=10)] | None = None


class DatasetStatus(KindStatus):
    """The current revision, and what the last look at the source found."""

    revision: str = Field("", description="The current revision: the last valid one.")
    rows: int = 0
    columns: int = 0
    train_rows: int = 0
    validation_rows: int = 0
    test_rows: int = 0
    revisions: Annotated[list[RevisionSummary], Field(max_length=50)] | None = None
    last_check: LastCheck | None = None
    tick: str = Field("", description="The newest refresh that was started.")
    attempt: JobAttempt | None = None
    failures: int = Field(0, description="Store or network failures in a row of this tick.")
    retry_at: str = Field("", description="When the Job that was given up is tried again.")
    tick_at: str = Field("", description="When the newest refresh was started; the schedule counts from here.")
    shape: Digest = Field("", description="Of source, format and schema under which the current revision was read.")
    dropped: Annotated[list[Digest], Field(max_length=50)] | None = Field(
        None, description="Revisions beyond keepRevisions that are still in the store."
    )
    cleanup: JobAttempt | None = None
    next_refresh: str | None = None


Dataset = meta.Resource[DatasetSpec, DatasetStatus]
