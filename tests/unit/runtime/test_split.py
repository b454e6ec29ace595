"""Dealing rows: nothing moves when rows are appended or reordered, and shares come out as asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contract.data import Split, SplitMethod
from fairlead_runtime.revision import Roles
from fairlead_runtime.snapshot.findings import BadSource
from fairlead_runtime.snapshot.split import deal_rows

ROLES = Roles(target="y", timestamp="t", identifiers=["id"])


def table_of(rows: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "id": np.arange(rows),
            "y": (rng.random(rows) < 0.1).astype(str),
            "g": rng.integers(0, 50, rows),
            "x": rng.normal(size=rows),
            "t": pa.array(rng.permutation(rows) * 1_000_000, pa.timestamp("us", tz="UTC")),
        }
    )


def _split(method: SplitMethod, **fields: Any) -> Split:
    group = {"group_column": "g"} if method is SplitMethod.GROUP else {}
    return Split(method=method, **group, **fields)


@pytest.mark.parametrize("method", [SplitMethod.RANDOM, SplitMethod.STRATIFIED, SplitMethod.GROUP])
@given(seed=st.integers(0, 2**31 - 1), more=st.integers(1, 50))
@settings(max_examples=10, deadline=None)
def test_appending_and_reordering_move_no_row(method: SplitMethod, seed: int, more: int) -> None:
    table, split = table_of(200 + more), _split(method, seed=seed)
    whole = deal_rows(table, split, ROLES).parts
    assert np.array_equal(deal_rows(table[:200], split, ROLES).parts, whole[:200])
    order = np.random.default_rng(seed).permutation(200 + more)
    assert np.array_equal(deal_rows(table.take(order), split, ROLES).parts, whole[order])


@pytest.mark.parametrize("method", list(SplitMethod))
def test_shares_are_as_asked(method: SplitMethod) -> None:
    parts = deal_rows(table_of(20_000), _split(method), ROLES).parts
    shares = np.bincount(parts, minlength=3) / 20_000
    # 3 standard deviations of a share of 20,000 rows; 50 groups are far coarser
    assert np.allclose(shares, [0.7, 0.1, 0.2], atol=0.2 if method is SplitMethod.GROUP else 0.01)


def test_stratified_keeps_class_shares() -> None:
    table = table_of(20_000)
    parts = deal_rows(table, _split(SplitMethod.STRATIFIED), ROLES).parts
    positive = np.array(table["y"].to_pylist()) == "True"
    assert [positive[parts == part].mean() for part in range(3)] == pytest.approx([positive.mean()] * 3, abs=0.02)


def test_a_group_is_never_divided() -> None:
    table = table_of(2_000)
    parts = deal_rows(table, _split(SplitMethod.GROUP), ROLES).parts
    groups = table["g"].to_numpy()
    assert all(len(set(parts[groups == group])) == 1 for group in np.unique(groups))
    assert len(set(parts)) == 3


def test_without_identifiers_equal_rows_stay_together_whatever_the_column_order() -> None:
    table = pa.table({"a": [1, 2, 1, None], "b": ["x", "y", "x", None]})
    parts = deal_rows(table, Split(), Roles()).parts
    assert parts[0] == parts[2]
    assert np.array_equal(deal_rows(table.select(["b", "a"]), Split(), Roles()).parts, parts)


def test_a_seed_deals_anew() -> None:
    table = table_of(500)
    assert not np.array_equal(
        deal_rows(table, Split(seed=1), ROLES).parts, deal_rows(table, Split(seed=2), ROLES).parts
    )


def test_time_trains_on_the_oldest_and_tells_its_cut_offs() -> None:
    table = table_of(1_000)
    dealt = deal_rows(table, _split(SplitMethod.TIME), ROLES)
    seconds = table["t"].cast(pa.int64()).to_numpy() // 1_000_000
    assert seconds[dealt.parts == 0].max() == 699
    assert seconds[dealt.parts == 2].min() == 800
    assert dealt.cut_offs == ("1970-01-01T00:11:40.000000Z", "1970-01-01T00:13:20.000000Z")


def test_time_puts_equal_moments_on_one_side() -> None:
    times = pa.array([5] * 10, pa.timestamp("us", tz="UTC"))
    assert set(deal_rows(pa.table({"t": times}), _split(SplitMethod.TIME), ROLES).parts) == {2}


def test_time_refuses_rows_without_one() -> None:
    with pytest.raises(BadSource, match=r"NullsFound.*row 2"):
        deal_rows(pa.table({"t": pa.array([1, None], pa.timestamp("us", tz="UTC"))}), _split(SplitMethod.TIME), ROLES)


def test_all_for_training_is_all() -> None:
    for method in SplitMethod:
        split = _split(method, train_percent=100, validation_percent=0, test_percent=0)
        assert set(deal_rows(table_of(100), split, ROLES).parts) == {0}
