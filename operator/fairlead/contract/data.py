"""What a Dataset says about its bytes: source, schema, checks and split; and what a snapshot found.

Used by `api/dataset.py` as part of the CRD and by the snapshot Job as its input.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .base import ColumnName, Digest, Duration, Model, Name, Percent, Text, Uri
from .schema import LIST_SET, cel, list_map, one_of


class Format(StrEnum):
    """File formats that a source may have."""

    CSV = "CSV"
    JSON_LINES = "JSONLines"
    PARQUET = "Parquet"


class ColumnType(StrEnum):
    """Logical column types; Category is text with few values, String is free text."""

    INTEGER = "Integer"
    FLOAT = "Float"
    BOOLEAN = "Boolean"
    CATEGORY = "Category"
    STRING = "String"
    TIMESTAMP = "Timestamp"


class SecretReference(Model):
    """A Secret in the object's own namespace."""

    name: Name


class S3Source(Model):
    """All objects under an `s3://bucket/prefix/`, or the one object the uri names."""

    uri: Annotated[Uri, Field(pattern=r"^s3://[^/]+(/.*)?$")]
    secret_ref: SecretReference | None = Field(
        None, description="Secret with endpoint, accessKey, secretKey; without it, fairlead-store is used."
    )


class HttpSource(Model):
    """One file behind a URL; redirects are followed, 200 is expected."""

    url: Annotated[Uri, Field(pattern=r"^https?://.+")]


class VolumeSource(Model):
    """A file or folder on a PersistentVolumeClaim, mounted read-only."""

    name: Name
    path: Annotated[str, Field(max_length=1024, pattern=r"^[^/].*$|^$")] = ""


class ConfigMapSource(Model):
    """One key of a ConfigMap."""

    name: Name
    key: Annotated[str, Field(max_length=253)]


class Source(Model):
    """Where the rows come from; exactly one field is set."""

    model_config = {"json_schema_extra": cel(one_of("s3", "http", "persistentVolumeClaim", "configMap", what="source"))}
    s3: S3Source | None = None
    http: HttpSource | None = None
    persistent_volume_claim: VolumeSource | None = None
    config_map: ConfigMapSource | None = None


class Column(Model):
    """One declared column."""

    name: ColumnName
    type: ColumnType
    nullable: bool = True
    min: float | None = None
    max: float | None = None
    allowed: Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=200)] | None = Field(
        None, json_schema_extra=LIST_SET
    )


class SchemaPolicy(StrEnum):
    """Infer: the first valid revision sets the columns. Frozen: exactly the declared ones."""

    INFER = "Infer"
    FROZEN = "Frozen"


class TableSchema(Model):
    """The columns a revision must have."""

    model_config = {
        "json_schema_extra": cel(
            (
                "self.policy != 'Frozen' || (has(self.columns) && size(self.columns) > 0)",
                "schema.columns: list the columns when schema.policy is Frozen, or set policy to Infer",
            )
        )
    }
    policy: SchemaPolicy = SchemaPolicy.INFER
    columns: Annotated[list[Column], Field(max_length=500)] | None = Field(None, json_schema_extra=list_map("name"))


class NotNull(Model):
    """At most `maxPercent` of the rows may be null."""

    max_percent: Annotated[float, Field(ge=0, le=100)] = 0


class Unique(Model):
    """No value (nulls aside) occurs twice."""


class Between(Model):
    """Values lie in [min, max]; at most `maxPercent` of the rows may not."""

    min: float | None = None
    max: float | None = None
    max_percent: Annotated[float, Field(ge=0, le=100)] = 0


class Allowed(Model):
    """Values are one of `values`; at most `maxPercent` of the rows may not be."""

    values: Annotated[list[Annotated[str, Field(max_length=256)]], Field(min_length=1, max_length=200)] = Field(
        json_schema_extra=LIST_SET
    )
    max_percent: Annotated[float, Field(ge=0, le=100)] = 0


class Matches(Model):
    """Values match the whole regular expression (RE2-like, Python syntax)."""

    pattern: Annotated[str, Field(min_length=1, max_length=512)]
    max_percent: Annotated[float, Field(ge=0, le=100)] = 0


class RowCount(Model):
    """The revision has between `min` and `max` rows."""

    min: Annotated[int, Field(ge=0)] | None = None
    max: Annotated[int, Field(ge=0)] | None = None


class Freshness(Model):
    """The newest value of `column` (default: the timestamp column) is at most `maxAge` old."""

    max_age: Duration


CHECK_TYPES = ("notNull", "unique", "between", "allowed", "matches", "rowCount", "freshness")


class Check(Model):
    """One named check; exactly one of the types is set, and all but rowCount and freshness need `column`."""

    model_config = {
        "json_schema_extra": cel(
            one_of(*CHECK_TYPES, what="checks[]"),
            (
                "has(self.rowCount) || has(self.freshness) || has(self.column)",
                "checks[].column: name the column that this check looks at",
            ),
        )
    }
    name: Name
    column: ColumnName | None = None
    not_null: NotNull | None = None
    unique: Unique | None = None
    between: Between | None = None
    allowed: Allowed | None = None
    matches: Matches | None = None
    row_count: RowCount | None = None
    freshness: Freshness | None = None


class SplitMethod(StrEnum):
    """How rows are dealt to the parts."""

    RANDOM = "Random"
    STRATIFIED = "Stratified"
    TIME = "Time"
    GROUP = "Group"


class Split(Model):
    """Which share of the rows is for what; a row's part depends on its own bytes and the seed alone."""

    model_config = {
        "json_schema_extra": cel(
            (
                "self.trainPercent + self.validationPercent + self.testPercent == 100",
                "split: trainPercent, validationPercent and testPercent must sum to 100",
            ),
            (
                "self.method != 'Group' || has(self.groupColumn)",
                "split.groupColumn: name the column whose rows stay together when method is Group",
            ),
        )
    }
    method: SplitMethod = SplitMethod.RANDOM
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    train_percent: Percent = 70
    validation_percent: Percent = 10
    test_percent: Percent = 20
    group_column: ColumnName | None = None


class DatasetRevision(Model):
    """A frozen revision by name; namespace is that of the object that refers to it."""

    name: Name
    revision: Digest


class CheckResult(Model):
    """What one check found; `rows` are example row numbers (from 1), never values."""

    name: Text
    column: str | None = None
    passed: bool
    count: int = Field(0, description="Rows that violate the check.")
    rows: list[int] = Field(default_factory=list, max_length=5)
    message: Text = ""
