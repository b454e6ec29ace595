"""Captured inputs in the terms of the training profile: numbers that stand for booleans, hashes that stand for text.

A sensitive input is captured as hashes. Its training categories are hashed the same way, so a hash is known again as
its category, and one that training never saw stays another value. What cannot be known again (numbers, text that the
profile cut, hashes of other credentials) is left out and named: it would look like drift. Must never give out a value
that is no category of the profile. Called by `monitor/captured.py`.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from fairlead.contract.data import ColumnType
from fairlead_runtime.hashing import MARK, Hasher
from fairlead_runtime.profile import MAX_CATEGORY_CHARS, CategoricalColumn, Profile
from fairlead_runtime.signature import Signature

PREFIX = "in."
NUMBERS_ARE_HASHED = "it is a number that is captured as a hash"
TEXT_IS_CUT = "it is captured as a hash, and its values are too long to be known again"
OTHER_CREDENTIALS = "it is captured as a hash, and the store's credentials have changed in this window"

_BOOLEANS = {"false": 0.0, "true": 1.0}  # by category, as the server sees them


class InputReader:
    """Reads the inputs of one model's captures; `left_out` says which were not comparable, and why."""

    def __init__(self, signature: Signature, reference: Profile, hasher: Hasher) -> None:
        self._booleans = {column.name for column in signature.inputs if column.type == ColumnType.BOOLEAN}
        self._reference = reference
        self._hasher = hasher
        self._known: dict[str, dict[str, str]] = {}
        self.left_out: dict[str, str] = {}

    def read(self, rows: pa.Table) -> dict[str, pa.ChunkedArray]:
        """Return the inputs of some rows by name, as the profile has them; nothing of those that are left out."""
        fields = [field for field in rows.schema if field.name.startswith(PREFIX)]
        read = {field.name.removeprefix(PREFIX): self._column(field, rows[field.name]) for field in fields}
        return {name: values for name, values in read.items() if values is not None}

    def _column(self, field: pa.Field, values: pa.ChunkedArray) -> pa.ChunkedArray | None:
        name, mark = field.name.removeprefix(PREFIX), (field.metadata or {}).get(MARK)
        if name not in self._reference.columns:
            return None
        if mark is None:
            return pc.equal(values, 1.0) if name in self._booleans and not pa.types.is_boolean(values.type) else values
        why = self._why_not(name, mark)
        if why:
            self.left_out[name] = why
            return None
        known = self._known.setdefault(name, self._categories_by_hash(name))
        return pa.chunked_array([[known.get(text, text) for text in values.to_pylist()]], pa.string())

    def _why_not(self, name: str, mark: bytes) -> str:
        column = self._reference.columns[name]
        if not isinstance(column, CategoricalColumn):
            return NUMBERS_ARE_HASHED
        if any(len(category) >= MAX_CATEGORY_CHARS for category in column.categories):
            return TEXT_IS_CUT
        return "" if mark == self._hasher.mark else OTHER_CREDENTIALS

    def _categories_by_hash(self, name: str) -> dict[str, str]:
        column = self._reference.columns[name]
        assert isinstance(column, CategoricalColumn)
        boolean = name in self._booleans
        sent = {category: _BOOLEANS.get(category, category) if boolean else category for category in column.categories}
        return {self._hasher.hash(value) or "": category for category, value in sent.items()}
