"""A snapshot: the revision's identity, what is written, and that a broken source never becomes one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from tests.unit.runtime.snapshots import World, mixed_csv, mixed_frame

from fairlead.contract import keys
from fairlead.contract.base import digest_of
from fairlead.contract.data import DatasetRevision, Split
from fairlead.contract.jobs import SnapshotSummary
from fairlead_runtime.errors import BadInput, StoreError
from fairlead_runtime.profile import Profile
from fairlead_runtime.revision import read_manifest, read_split
from fairlead_runtime.snapshot.job import run

ROLES: dict[str, Any] = {"target": "late", "timestamp": "departs", "identifiers": ["id"]}


def _reference(summary: SnapshotSummary) -> DatasetRevision:
    return DatasetRevision(name="rows", revision=summary.revision or "")


def test_a_valid_source_becomes_a_revision_that_can_be_read(world: World) -> None:
    summary = world.snapshot(mixed_csv(), **ROLES)
    assert (summary.valid, summary.rows, summary.columns) == (True, 600, 7)
    assert summary.train_rows + summary.validation_rows + summary.test_rows == 600
    manifest = read_manifest(world.store, "team", _reference(summary))
    types = {column.name: str(column.type) for column in manifest.columns}
    assert types == {
        "id": "String",
        "departs": "Timestamp",
        "delay": "Float",
        "stops": "Integer",
        "carrier": "Category",
        "weekend": "Boolean",
        "late": "Boolean",
    }
    train = read_split(world.store, "team", _reference(summary), "Train", world.root)
    assert train.num_rows == summary.train_rows
    assert train.schema.field("departs").type == pa.timestamp("us", tz="UTC")
    folder = keys.dataset_revision("team", "rows", summary.revision or "")
    profile = Profile.from_json(world.store.get_bytes(folder + "profile.json"))
    assert profile.rows == 600
    assert b"f00001" not in profile.to_json()
    assert sum(manifest.class_rows["Test"].values()) == summary.test_rows


def test_the_same_bytes_give_the_same_revision_and_other_bytes_another(world: World) -> None:
    first = world.snapshot(mixed_csv(), **ROLES)
    again = world.snapshot(mixed_csv(), **ROLES)
    assert again.revision == first.revision
    changed = {
        "bytes": world.snapshot(mixed_csv(seed=1), **ROLES),
        "split": world.snapshot(mixed_csv(), **ROLES, split=Split(seed=1)),
        "roles": world.snapshot(mixed_csv(), target="late", timestamp="departs"),
    }
    revisions = {first.revision, *(summary.revision for summary in changed.values())}
    assert len(revisions) == 4


def test_the_same_input_says_the_same_again_without_reading(world: World) -> None:
    job = world.input(mixed_csv(), **ROLES)
    first = run(job, world.store)
    (world.source / "rows").unlink()
    assert run(job, world.store) == first


def test_a_finding_is_stored_and_said_again(world: World) -> None:
    job = world.input("a,b\n1\n")
    first = run(job, world.store)
    assert (first.valid, first.reason) == (False, "MalformedSource")
    (world.source / "rows").write_text("a,b\n1,2\n")
    assert run(job, world.store) == first
    written = [entry.key for entry in world.store.list("")]
    assert written == [keys.snapshot_attempt("team", "rows", digest_of(job)) + "result.json"]


def test_the_store_dying_in_the_middle_leaves_nothing_that_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.input(mixed_csv(), **ROLES)
    whole = type(world.store).put_bytes
    writes: list[str] = []

    def dies(self: Any, key: str, data: bytes) -> None:
        writes.append(key)
        if len(writes) > 2:
            raise StoreError("StoreUnreachable", "gone")
        whole(self, key, data)

    monkeypatch.setattr(type(world.store), "put_bytes", dies)
    with pytest.raises(StoreError):
        run(job, world.store)
    assert not any(entry.key.endswith(("manifest.json", "result.json")) for entry in world.store.list(""))
    monkeypatch.setattr(type(world.store), "put_bytes", whole)
    assert run(job, world.store).valid


def test_changed_bytes_in_the_store_are_refused(world: World) -> None:
    summary = world.snapshot(mixed_csv(), **ROLES)
    part = next(entry.key for entry in world.store.list("") if "test-0000" in entry.key)
    world.store.put_bytes(part, b"PAR1 other")
    with pytest.raises(BadInput, match="DigestMismatch"):
        read_split(world.store, "team", _reference(summary), "Test", world.root)
    world.store.delete(part)
    with pytest.raises(BadInput, match="RevisionDamaged"):
        read_split(world.store, "team", _reference(summary), "Test", world.root)


def test_a_revision_that_is_not_there_is_named(world: World) -> None:
    with pytest.raises(BadInput, match=r"RevisionNotFound.*sha256:00"):
        read_manifest(world.store, "team", DatasetRevision(name="rows", revision="sha256:00"))


def test_large_tables_are_cut_into_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead_runtime.snapshot.freeze.PART_ROWS", 100)
    summary = world.snapshot(mixed_csv(), **ROLES)
    manifest = read_manifest(world.store, "team", _reference(summary))
    paths = [part.file.path for part in manifest.parts if part.split == "Train"]
    assert paths[:2] == ["data/train-0000.parquet", "data/train-0001.parquet"]
    assert read_split(world.store, "team", _reference(summary), "Train", world.root).num_rows == summary.train_rows


# --- schema -----------------------------------------------------------------------------------------------------------


def _next(world: World, first: SnapshotSummary, frame: Any, **fields: Any) -> SnapshotSummary:
    return world.snapshot(frame.to_csv(index=False), previous_revision=first.revision, **{**ROLES, **fields})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.rename(columns={"stops": "n_stops"}), ["stops is missing", "n_stops looks like a rename"]),
        (lambda f: f.drop(columns=["stops"]), ["column stops is missing"]),
        (lambda f: f.assign(more=1), ["column more is new"]),
        (lambda f: f.assign(stops=f["stops"] + 0.5), ["stops is to be Integer", "600 of 600 rows"]),
        (lambda f: f.assign(carrier=1), ["carrier was Category and is Integer now"]),
    ],
)
def test_under_infer_a_changed_schema_is_named(world: World, change: Any, words: list[str]) -> None:
    first = world.snapshot(mixed_csv(), **ROLES)
    summary = _next(world, first, change(mixed_frame()))
    assert (summary.valid, summary.reason) == (False, "SchemaMismatch")
    for word in words:
        assert word in summary.message


def test_under_infer_the_first_types_hold(world: World) -> None:
    first = world.snapshot(mixed_csv(), **ROLES)
    frame = mixed_frame()[["late", "id", "stops", "carrier", "weekend", "delay", "departs"]].assign(delay=1)
    summary = _next(world, first, frame)
    assert summary.valid, summary.message
    columns = read_manifest(world.store, "team", _reference(summary)).columns
    assert [column.name for column in columns][:3] == ["id", "departs", "delay"]
    assert columns[2].type == "Float"


FROZEN = {
    "policy": "Frozen",
    "columns": [
        {"name": "n", "type": "Integer", "nullable": False, "min": 0},
        {"name": "c", "type": "Category", "allowed": ["a", "b"]},
    ],
}


@pytest.mark.parametrize(
    ("data", "reason", "word"),
    [
        ("n,c,x\n1,a,1\n", "SchemaMismatch", "column x is new"),
        ("n\n1\n", "SchemaMismatch", "column c is missing"),
        ("n,c\n1,a\nhello,b\n", "SchemaMismatch", "1 of 2 rows: row 2"),
        ("n,c\n1,a\n,b\n", "NullsFound", "schema-nullable (n)"),
        ("n,c\n-1,a\n", "OutOfRange", "schema-range (n)"),
        ("n,c\n1,z\n", "NotAllowed", "schema-allowed (c)"),
        ("n,c\n-1,z\n", "ChecksFailed", "2 of 3 checks failed"),
    ],
)
def test_frozen_is_exactly_what_is_declared(world: World, data: str, reason: str, word: str) -> None:
    summary = world.snapshot(data, table_schema=FROZEN)
    assert (summary.valid, summary.reason) == (False, reason)
    assert word in summary.message
    assert "hello" not in summary.model_dump_json()


def test_frozen_accepts_what_fits_in_any_order(world: World) -> None:
    summary = world.snapshot("c,n\na,1\n,2\n", table_schema=FROZEN)
    assert summary.valid
    assert [c.name for c in read_manifest(world.store, "team", _reference(summary)).columns] == ["n", "c"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"target": "gone"}, "TargetMissing"),
        ({"identifiers": ["gone"]}, "ColumnMissing"),
        ({"split": {"method": "Group", "groupColumn": "gone"}}, "ColumnMissing"),
        ({"timestamp": "b"}, "SchemaMismatch"),
    ],
)
def test_a_named_column_must_be_there(world: World, fields: dict[str, Any], reason: str) -> None:
    summary = world.snapshot("a,b\n1,2\n", **fields)
    assert (summary.valid, summary.reason) == (False, reason)


# --- checks -----------------------------------------------------------------------------------------------------------

ROWS = "k,n,c\n1,1,a\n2,5,b\n2,9,a\n4,,bb\n"


@pytest.mark.parametrize(
    ("check", "reason", "count", "rows"),
    [
        ({"column": "n", "notNull": {}}, "NullsFound", 1, [4]),
        ({"column": "k", "unique": {}}, "DuplicatesFound", 1, [3]),
        ({"column": "n", "between": {"min": 2, "max": 8}}, "OutOfRange", 2, [1, 3]),
        ({"column": "c", "allowed": {"values": ["a"]}}, "NotAllowed", 2, [2, 4]),
        ({"column": "c", "matches": {"pattern": "[a-z]"}}, "PatternMismatch", 1, [4]),
        ({"rowCount": {"min": 5}}, "TooFewRows", 4, []),
        ({"rowCount": {"max": 3}}, "TooManyRows", 4, []),
    ],
)
def test_each_check_fails_with_its_reason_count_and_rows(
    world: World, check: dict[str, Any], reason: str, count: int, rows: list[int]
) -> None:
    summary = world.snapshot(ROWS, checks=[{"name": "it", **check}])
    assert (summary.valid, summary.reason) == (False, reason)
    (failed,) = summary.failed_checks
    assert (failed.name, failed.count, failed.rows) == ("it", count, rows)


@pytest.mark.parametrize(
    "check",
    [
        {"column": "n", "notNull": {"maxPercent": 25}},
        {"column": "n", "unique": {}},
        {"column": "n", "between": {"min": 0}},
        {"column": "c", "allowed": {"values": ["a", "b"], "maxPercent": 30}},
        {"column": "c", "matches": {"pattern": "a|b+"}},
        {"rowCount": {"min": 4, "max": 4}},
    ],
)
def test_each_check_passes_within_its_limit(world: World, check: dict[str, Any]) -> None:
    summary = world.snapshot(ROWS, checks=[{"name": "it", **check}])
    assert summary.valid, summary.message


def test_freshness_is_of_the_newest_row(world: World) -> None:
    data = "t\n2026-01-01T00:00:00Z\n2026-01-02T00:00:00Z\n"
    fields: dict[str, Any] = {"timestamp": "t", "checks": [{"name": "fresh", "freshness": {"maxAge": "1h"}}]}
    newest = datetime(2026, 1, 2, tzinfo=UTC)
    assert run(world.input(data, **fields), world.store, lambda: newest + timedelta(minutes=59)).valid
    stale = run(world.input(data, **fields), world.store, lambda: newest + timedelta(minutes=61))
    assert (stale.valid, stale.reason) == (False, "StaleData")


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        ({"column": "gone", "notNull": {}}, "ColumnMissing"),
        ({"column": "c", "between": {"min": 0}}, "CheckNotApplicable"),
        ({"column": "c", "freshness": {"maxAge": "1h"}}, "CheckNotApplicable"),
        ({"column": "c", "matches": {"pattern": "("}}, "InvalidPattern"),
    ],
)
def test_a_check_that_cannot_be_made_is_bad_input(world: World, check: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput) as caught:
        world.snapshot(ROWS, checks=[{"name": "it", **check}])
    assert caught.value.reason == reason


def test_a_null_in_a_key_is_found_unasked(world: World) -> None:
    summary = world.snapshot("id,x\n1,1\n,2\n", identifiers=["id"])
    assert (summary.valid, summary.reason, summary.failed_checks[0].rows) == (False, "NullsFound", [2])
