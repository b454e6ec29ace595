"""A profile is small, merges without loss, and a window's profile has its reference's bins."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from fairlead_runtime.profile import (
    MAX_BINS,
    MAX_CATEGORIES,
    CategoricalColumn,
    ModelProfile,
    NumericColumn,
    Profile,
    build_profile,
    merge,
    quantile_edges,
)


def table_of(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "amount": pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.1),
            "hour": rng.integers(0, 24, rows),
            "channel": pa.array(rng.choice(["web", "app", "pos"], rows)),
            "paid": rng.random(rows) < 0.5,
        }
    )


def test_two_halves_merge_into_the_profile_of_the_whole() -> None:
    table = table_of(4_000, 1)
    whole = build_profile(table)
    halves = merge(build_profile(table[:1_500], whole), build_profile(table[1_500:], whole))
    for name, column in whole.columns.items():
        assert np.array_equal(halves.columns[name].bins(), column.bins())
        assert halves.columns[name].rows == 4_000
    amount = halves.columns["amount"]
    assert isinstance(amount, NumericColumn)
    assert amount.mean == pytest.approx(whole.columns["amount"].mean)
    assert amount.std == pytest.approx(whole.columns["amount"].std)


def test_it_comes_back_equal_from_json() -> None:
    profile = build_profile(table_of(500, 2))
    assert Profile.from_json(profile.to_json()) == profile
    model = ModelProfile(features=profile, predictions=profile, target=profile, importances={"hour": 1.0})
    assert ModelProfile.from_json(model.to_json()) == model


def test_quantile_bins_hold_nearly_equal_shares() -> None:
    column = build_profile({"x": np.random.default_rng(0).normal(size=64_000)}).columns["x"]
    assert isinstance(column, NumericColumn)
    assert len(column.counts) == MAX_BINS
    assert max(column.counts) - min(column.counts) <= 2


def test_few_distinct_values_have_a_bin_each() -> None:
    column = build_profile({"x": [3, 1, 1, 2, 3, 3]}).columns["x"]
    assert isinstance(column, NumericColumn)
    assert (column.edges, column.counts) == ([2.0, 3.0], [2, 1, 3])
    assert column.labels() == ["null", "< 2", "[2, 3)", ">= 3"]
    assert quantile_edges(np.array([5.0, 5.0])) == []


def test_a_skewed_column_has_fewer_bins_and_loses_no_row() -> None:
    values = np.r_[np.zeros(10_000), np.arange(1, 201)]
    column = build_profile({"x": values}).columns["x"]
    assert sum(column.counts) == 10_200
    assert column.edges == sorted(set(column.edges))


def test_a_window_uses_the_bins_of_its_reference() -> None:
    reference = build_profile({"x": [1.0, 2.0, 3.0], "c": ["a", "b", "b"], "gone": ["u", "v", "v"]})
    window = build_profile(
        {"x": pa.array(["2.5", "x", None, "99"]), "c": pa.array(["b", "new", None, "b"]), "more": [1, 2, 3, 4]},
        reference,
    )
    assert list(window.columns) == ["x", "c", "gone"]
    assert window.columns["x"].bins().tolist() == [2, 0, 1, 1]
    assert window.columns["c"].bins().tolist() == [1, 2, 0, 1]
    assert window.columns["gone"].nulls == 4


def test_nan_is_a_null_and_infinity_is_in_an_outer_bin() -> None:
    column = build_profile({"x": [float("nan"), 1.0, 2.0, float("inf")]}).columns["x"]
    assert isinstance(column, NumericColumn)
    assert (column.nulls, column.max, column.counts) == (1, 2.0, [1, 2])


def test_identifiers_leave_no_value() -> None:
    profile = build_profile({"id": ["alice", "bob"], "n": [1, 2]}, opaque=["id"])
    assert b"alice" not in profile.to_json()
    assert profile.columns["id"].bins().tolist() == [0, 2]


def test_many_categories_are_cut_to_the_commonest() -> None:
    column = build_profile({"c": [f"v{i:04d}" for i in range(500)] + ["v0400"]}).columns["c"]
    assert isinstance(column, CategoricalColumn)
    assert len(column.categories) == MAX_CATEGORIES
    assert column.categories[0] == "v0400"
    assert sum(column.counts) + column.other == 501


def test_other_types_times_dictionaries_and_booleans() -> None:
    when = pa.array([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)])
    profile = build_profile({"t": when, "d": pa.array(["a", "a"]).dictionary_encode(), "b": [True, False]})
    assert profile.columns["t"].edges == [datetime(2026, 1, 2, tzinfo=UTC).timestamp()]
    assert profile.columns["d"].counts == [2]
    assert profile.columns["b"].categories == ["false", "true"]
    as_number = build_profile({"b": [True, False]}, build_profile({"b": [0, 1]}))
    assert as_number.columns["b"].counts == [1, 1]


def test_an_empty_table_has_a_profile() -> None:
    profile = build_profile(pa.table({"x": pa.array([], pa.float64()), "c": pa.array([], pa.string())}))
    assert (profile.rows, profile.columns["x"].mean, profile.columns["x"].std) == (0, None, None)


def test_profiles_of_different_references_do_not_merge() -> None:
    with pytest.raises(ValueError, match="same edges_from"):
        merge(build_profile({"x": [1.0, 2.0]}), build_profile({"x": [1.0, 3.0]}))
    with pytest.raises(ValueError, match="same columns"):
        merge(build_profile({"x": [1.0]}), build_profile({"y": [1.0]}))


def test_select_keeps_only_the_named_columns() -> None:
    assert list(build_profile({"a": [1], "b": [2]}).select(["b", "z"]).columns) == ["b"]
