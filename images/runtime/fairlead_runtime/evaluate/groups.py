"""Rows dealt into groups by the values of a column, for slices and fairness.

Text columns give a group per value; numeric columns with many values give quarters. Called by `evaluate.slices`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from fairlead_runtime.stats.types import Bools

MOST_NUMERIC_VALUES = 12
MOST_GROUPS = 100  # the commonest; a column with more is an identifier, not a slice
LABEL_LENGTH = 60


@dataclass(frozen=True)
class Group:
    """A value of a column, as people read it, and which rows have it."""

    column: str
    label: str
    rows: Bools

    @property
    def size(self) -> int:
        """Return the number of rows."""
        return int(self.rows.sum())

    def __str__(self) -> str:
        return f"{self.column}={self.label}"


def groups_of(frame: pd.DataFrame, column: str) -> list[Group]:
    """Return the groups of a column, the largest first; missing values are a group of their own."""
    labels = _labels(frame[column])
    common = labels.value_counts().index[:MOST_GROUPS]
    return [Group(column, str(label)[:LABEL_LENGTH], (labels == label).to_numpy(dtype=bool)) for label in common]


def _labels(values: pd.Series) -> pd.Series:
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if numeric and values.nunique() > MOST_NUMERIC_VALUES:
        return _quarters(values)
    return values.astype("object").where(values.notna(), "(missing)").map(str)


def _quarters(values: pd.Series) -> pd.Series:
    known = values.dropna().to_numpy(dtype=np.float64)
    edges = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1]))
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    place = np.clip(np.searchsorted(edges, values.to_numpy(dtype=np.float64), side="right") - 1, 0, len(names) - 1)
    return pd.Series(np.where(values.isna(), "(missing)", np.array(names, dtype=object)[place]), index=values.index)
