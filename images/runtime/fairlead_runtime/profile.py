"""A fixed-size, mergeable summary of each column of a table: what a training saw, and what an hour of requests showed.

A profile that is built with `edges_from` uses the reference's bins and categories, so profiles of one reference can be
merged and compared without reading a row again. It never holds more than 64 bins or 100 categories a column, and no
value at all of a column that is named `opaque` (identifiers). Called by snapshot, train, serve's capture and monitor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from fairlead.contract.base import Model

MAX_BINS = 64
MAX_CATEGORIES = 100
MAX_CATEGORY_CHARS = 128  # longer values are cut, so that free text cannot grow a profile

# The columns of a profile of predictions; `score` is absent for a regression or a model without probabilities.
PREDICTION = "prediction"  # the predicted class as text, or the predicted number
SCORE = "score"  # two classes: the probability of the second one; more: the largest probability

Counts = NDArray[np.float64]


class NumericColumn(Model):
    """Counts per bin of finite values; bin i holds edges[i-1] <= value < edges[i], the outer bins are open.

    `nulls` counts nulls and NaN. An infinite value is in an outer bin and in no other figure.
    """

    kind: Literal["Numeric"] = "Numeric"
    rows: int
    nulls: int
    edges: list[float]
    counts: list[int]
    min: float | None = None
    max: float | None = None
    sum: float = 0.0
    sum_squares: float = 0.0

    @property
    def mean(self) -> float | None:
        """The mean of the values that are not null; None without any."""
        return self.sum / (self.rows - self.nulls) if self.rows > self.nulls else None

    @property
    def std(self) -> float | None:
        """The population standard deviation; None without values."""
        if self.mean is None:
            return None
        return float(np.sqrt(max(0.0, self.sum_squares / (self.rows - self.nulls) - self.mean**2)))

    def bins(self) -> Counts:
        """Return float counts (1 + len(edges) + 1): nulls first, then the ordered bins."""
        return np.array([self.nulls, *self.counts], dtype=np.float64)

    def labels(self) -> list[str]:
        """Return one name for each of `bins()`, for a plot."""
        edges = [f"{edge:.4g}" for edge in self.edges]
        if not edges:
            return ["null", "any"]
        middle = [f"[{low}, {high})" for low, high in pairwise(edges)]
        return ["null", f"< {edges[0]}", *middle, f">= {edges[-1]}"]


class CategoricalColumn(Model):
    """Counts of the reference's commonest values and, as `other`, of all others."""

    kind: Literal["Categorical"] = "Categorical"
    rows: int
    nulls: int
    categories: list[str]
    counts: list[int]
    other: int = 0

    def bins(self) -> Counts:
        """Return float counts (1 + len(categories) + 1): nulls, each category, other."""
        return np.array([self.nulls, *self.counts, self.other], dtype=np.float64)

    def labels(self) -> list[str]:
        """Return one name for each of `bins()`, for a plot."""
        return ["null", *self.categories, "other"]


Column = Annotated[NumericColumn | CategoricalColumn, Field(discriminator="kind")]


class Profile(Model):
    """One summary per column, in the table's order."""

    version: Literal[1] = 1
    rows: int
    columns: dict[str, Column]

    def to_json(self) -> bytes:
        """Return the UTF-8 JSON; `from_json` gives an equal profile back."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Profile:
        """Return the profile; raise ValueError on anything else."""
        return cls.model_validate_json(data)

    def select(self, names: Iterable[str]) -> Profile:
        """Return the profile of these columns; those it does not have are left out."""
        return Profile(rows=self.rows, columns={name: self.columns[name] for name in names if name in self.columns})


class ModelProfile(Model):
    """What a model was trained on and how it answered: `models/<...>/profile.json`.

    `predictions` has the columns `prediction` and, where there are probabilities, `score`; it is of the validation
    part (the training part where that is empty, see `predictions_of`), because on rows it has learned a model is
    surer of itself than it will ever be again. `importances` sum to 1 over the features, or are all 0.
    """

    version: Literal[1] = 1
    features: Profile
    predictions: Profile
    predictions_of: str = "Validation"
    target: Profile
    importances: dict[str, float] = Field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the UTF-8 JSON; `from_json` gives an equal profile back."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> ModelProfile:
        """Return the profile; raise ValueError on anything else."""
        return cls.model_validate_json(data)


def build_profile(
    table: pa.Table | Mapping[str, Any], edges_from: Profile | None = None, opaque: Collection[str] = ()
) -> Profile:
    """Return the profile of a table (or of a mapping of names to equally long arrays).

    With `edges_from`, the result has exactly that profile's columns, bins and categories: an absent column is all
    nulls, a value that is not a number where one is expected is a null, an unknown category is `other`. Without it,
    numbers and timestamps (seconds since 1970) get bins from their own quantiles, all else its commonest values.
    """
    table = table if isinstance(table, pa.Table) else pa.table(dict(table))
    rows = table.num_rows
    if edges_from is None:
        columns = {name: _first_column(table[name], name in opaque) for name in table.column_names}
    else:
        columns = {
            name: _column_like(table[name] if name in table.column_names else pa.nulls(rows), reference)
            for name, reference in edges_from.columns.items()
        }
    return Profile(rows=rows, columns=columns)


def merge(first: Profile, *others: Profile) -> Profile:
    """Return the profile of all their rows; raise ValueError unless all have the same bins and categories."""
    merged = first
    for other in others:
        if merged.columns.keys() != other.columns.keys():
            raise ValueError("profiles to merge must have the same columns: build them with the same edges_from")
        columns = {name: _merge_columns(name, column, other.columns[name]) for name, column in merged.columns.items()}
        merged = Profile(rows=merged.rows + other.rows, columns=columns)
    return merged


def quantile_edges(values: NDArray[np.float64], bins: int = MAX_BINS) -> list[float]:
    """Return at most `bins - 1` increasing inner edges; with at most `bins` distinct values, one bin per value."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return []
    distinct = np.unique(finite)
    if len(distinct) > bins:
        # "lower" gives edges that are values of the data, so a value never lies beside its own edge by rounding.
        quantiles = np.quantile(finite, np.arange(1, bins) / bins, method="lower")
        distinct = np.unique(np.r_[distinct[0], quantiles])
    return [float(edge) for edge in distinct[1:]]


def _first_column(values: pa.ChunkedArray, opaque: bool) -> NumericColumn | CategoricalColumn:
    kind = values.type
    if opaque:
        return _categorical(values, [])
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or _is_time(kind):
        numbers = _numbers(values)
        return _numeric(numbers, quantile_edges(numbers))
    return _categorical(values, None)


def _column_like(
    values: pa.ChunkedArray | pa.Array, reference: NumericColumn | CategoricalColumn
) -> NumericColumn | CategoricalColumn:
    if isinstance(reference, NumericColumn):
        return _numeric(_numbers(values), reference.edges)
    return _categorical(values, reference.categories)


def _numeric(numbers: NDArray[np.float64], edges: list[float]) -> NumericColumn:
    present = numbers[~np.isnan(numbers)]
    finite = present[np.isfinite(present)]
    counts = np.bincount(np.searchsorted(edges, present, side="right"), minlength=len(edges) + 1)
    return NumericColumn(
        rows=len(numbers),
        nulls=len(numbers) - len(present),
        edges=edges,
        counts=counts.tolist(),
        min=float(finite.min()) if len(finite) else None,
        max=float(finite.max()) if len(finite) else None,
        sum=float(finite.sum()),
        sum_squares=float(np.square(finite).sum()),
    )


def _categorical(values: pa.ChunkedArray | pa.Array, categories: list[str] | None) -> CategoricalColumn:
    counted = _count_texts(values)
    if categories is None:
        order = sorted(counted, key=lambda text: (-counted[text], text))
        categories = order[:MAX_CATEGORIES]
    counts = [counted.get(category, 0) for category in categories]
    present = sum(counted.values())
    return CategoricalColumn(
        rows=len(values),
        nulls=len(values) - present,
        categories=categories,
        counts=counts,
        other=present - sum(counts),
    )


def _count_texts(values: pa.ChunkedArray | pa.Array) -> dict[str, int]:
    """Return how often each text occurs, nulls aside; texts that are cut to the same one are counted together."""
    counted: dict[str, int] = {}
    pairs = pc.value_counts(_texts(values))
    texts, counts = pairs.field("values").to_pylist(), pairs.field("counts").to_pylist()
    for text, count in zip(texts, counts, strict=True):
        if text is not None:
            counted[text[:MAX_CATEGORY_CHARS]] = counted.get(text[:MAX_CATEGORY_CHARS], 0) + count
    return counted


def _texts(values: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values if pa.types.is_string(values.type) else values.cast(pa.string())


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _numbers(values: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    """Return float64 with NaN for what is null or no number; times become seconds since 1970, false 0, true 1."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _numbers(values.cast(kind.value_type))
    if _is_time(kind):
        return _as_floats(values.cast(pa.timestamp("us")).cast(pa.int64())) / 1e6
    if pa.types.is_boolean(kind):
        return _as_floats(values.cast(pa.int8()))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array([_number(text) for text in values.to_pylist()], dtype=np.float64)
    return _as_floats(values)


def _as_floats(values: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    floats = values.cast(pa.float64(), safe=False)
    return np.asarray(pc.fill_null(floats, float("nan")).to_numpy(), dtype=np.float64)


def _number(text: str | None) -> float:
    try:
        return float("nan") if text is None else float(text)
    except ValueError:
        return float("nan")


def _merge_columns(
    name: str, first: NumericColumn | CategoricalColumn, second: NumericColumn | CategoricalColumn
) -> NumericColumn | CategoricalColumn:
    if isinstance(first, NumericColumn) and isinstance(second, NumericColumn) and first.edges == second.edges:
        return _merge_numeric(first, second)
    if (
        isinstance(first, CategoricalColumn)
        and isinstance(second, CategoricalColumn)
        and first.categories == second.categories
    ):
        return CategoricalColumn(
            rows=first.rows + second.rows,
            nulls=first.nulls + second.nulls,
            categories=first.categories,
            counts=_add(first.counts, second.counts),
            other=first.other + second.other,
        )
    raise ValueError(f"column {name}: profiles to merge must have the same bins: build them with the same edges_from")


def _merge_numeric(first: NumericColumn, second: NumericColumn) -> NumericColumn:
    lows = [low for low in (first.min, second.min) if low is not None]
    highs = [high for high in (first.max, second.max) if high is not None]
    return NumericColumn(
        rows=first.rows + second.rows,
        nulls=first.nulls + second.nulls,
        edges=first.edges,
        counts=_add(first.counts, second.counts),
        min=min(lows) if lows else None,
        max=max(highs) if highs else None,
        sum=first.sum + second.sum,
        sum_squares=first.sum_squares + second.sum_squares,
    )


def _add(first: list[int], second: list[int]) -> list[int]:
    return [a + b for a, b in zip(first, second, strict=True)]
