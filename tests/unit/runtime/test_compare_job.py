"""Comparing a shadow's captured answers with those that users got: pairs by question, slices, bounds."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fairlead.contract import keys
from fairlead.contract.compare import Answering, CompareInput
from fairlead_runtime.compare.job import run
from fairlead_runtime.serve.ids import ResponseIds
from fairlead_runtime.store import LocalStore

START = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)
STABLE, CANDIDATE = "sha256:" + "aa" * 32, "sha256:" + "bb" * 32


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def job(**more: Any) -> CompareInput:
    fields: dict[str, Any] = {
        "namespace": "test", "service": "fraud", "stable": Answering(version="fraud-1", ids="a" * 10),
        "candidate": Answering(version="fraud-2", ids="b" * 10), "since": START.isoformat(),
        "until": (START + timedelta(hours=1)).isoformat(), "max_disagreement_percent": 10, "alpha": 0.05,
    }  # fmt: skip
    return CompareInput(**{**fields, **more})


def captured(store: LocalStore, version: str, revision: str, minute: int, **columns: list[Any]) -> None:
    """Write one file of captures made at a minute after the start."""
    made, ids = START + timedelta(minutes=minute), ResponseIds(revision)
    count = len(next(iter(columns.values())))
    table = pa.table(
        {
            "id": [ids.next(int(made.timestamp() * 1e9) + i) for i in range(count)],
            "time": pa.array([made] * count, pa.timestamp("us", "UTC")),
            **{name.replace("__", "."): values for name, values in columns.items()},
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    folder = keys.captures("test", "fraud", f"{made:%Y-%m-%d}", f"{made:%H}", version)
    store.put_bytes(f"{folder}{minute:03d}.parquet", sink.getvalue())


def test_answers_to_the_same_question_are_paired_whoever_came_first(store: LocalStore) -> None:
    amounts = [float(i) for i in range(100)]
    channel = ["app" if i % 4 == 0 else "web" for i in range(100)]
    yes = ["yes"] * 100
    captured(store, "fraud-1", STABLE, 1, in__amount=amounts, in__channel=channel, out__label=yes)
    said = ["no" if c == "app" else "yes" for c in channel]
    captured(
        store,
        "fraud-2",
        CANDIDATE,
        40,
        in__amount=amounts[::-1],
        in__channel=channel[::-1],
        in__new=amounts,
        out__label=said[::-1],
    )
    found = run(job(), store)
    assert (found.compared, found.disagreeing) == (100, 25)
    assert found.low_percent < 25 < found.high_percent
    assert [(s.column, s.value, s.compared, s.disagreeing) for s in found.worst] == []  # 25 rows are too few to say
    assert run(job(), store) == found


def test_slices_name_where_answers_differ(store: LocalStore) -> None:
    amounts = [float(i) for i in range(200)]
    channel = ["app" if i % 4 == 0 else "web" for i in range(200)]
    captured(store, "fraud-1", STABLE, 1, in__amount=amounts, in__channel=channel, out__label=["yes"] * 200)
    said = ["no" if c == "app" else "yes" for c in channel]
    captured(store, "fraud-2", CANDIDATE, 2, in__amount=amounts, in__channel=channel, out__label=said)
    (worst,) = run(job(), store).worst
    assert (worst.column, worst.value, worst.compared, worst.disagreeing) == ("channel", "app", 50, 50)


def test_only_this_time_these_revisions_and_questions_of_both_count(store: LocalStore) -> None:
    captured(store, "fraud-1", STABLE, 1, in__a=[1.0, 2.0, None, 7.0], out__value=[1.0, 2.0, 3.0, 4.0])
    captured(store, "fraud-1", CANDIDATE, 2, in__a=[1.0], out__value=[9.0])  # another revision of the same version
    captured(store, "fraud-2", CANDIDATE, 3, in__a=[1.0, 2.0, None, 8.0], out__value=[1.0005, 2.5, 3.0, 4.0])
    captured(store, "fraud-2", CANDIDATE, 70, in__a=[7.0], out__value=[9.0])  # after it
    found = run(job(), store)
    assert (found.compared, found.disagreeing) == (3, 1), "a tenth of a percent is the same number"


def test_without_a_common_input_or_answer_nothing_is_compared(store: LocalStore) -> None:
    assert run(job(), store).compared == 0
    captured(store, "fraud-1", STABLE, 1, in__a=[1.0], out__label=["yes"])
    captured(store, "fraud-2", CANDIDATE, 2, in__b=[1.0], out__label=["yes"])
    assert run(job(alpha=0.025), store).compared == 0
