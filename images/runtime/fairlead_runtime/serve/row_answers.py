"""Answers to single rows that went through the model together: JSON of which all but ids and values is written before.

The bytes are the ones that serializing each answer by itself would give. Made by `predict` and `oip` for the answers
that most requests get; whoever asks for another form gets it by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .models import Outcome
from .wire import Response

Make = Callable[[int, bytes, str], Response]  # status, body, response id


class RowAnswers:
    """What stands before and after the id, the prediction and, where the model has them, the probabilities."""

    def __init__(self, make: Make, pieces: Sequence[bytes], dtype: type | None = None) -> None:
        """Take the pieces around id, prediction and probabilities, and the type that probabilities are written as."""
        self._make = make
        self._start, self._after_id, self._after_label, self._end = pieces
        self._dtype = dtype

    def __call__(self, outcome: Outcome, response_id: str) -> Response:
        """Return the answer to one row."""
        return self.each([outcome.predictions[0]], outcome.probabilities, [response_id])[0]

    def each(
        self, predictions: Sequence[Any], probabilities: NDArray[Any] | None, ids: Sequence[str]
    ) -> list[Response]:
        """Return the answers to rows that are requests of their own."""
        make, start, after_id, after_label, end = (
            self._make,
            self._start,
            self._after_id,
            self._after_label,
            self._end,
        )
        labels = map(orjson.dumps, predictions)
        shares = _rows(probabilities, self._dtype) if probabilities is not None else [b""] * len(ids)
        return [
            make(200, b"".join((start, own.encode(), after_id, label, after_label, share, end)), own)
            for own, label, share in zip(ids, labels, shares, strict=True)
        ]


def _rows(values: NDArray[Any], dtype: type | None) -> list[bytes]:
    """Return the JSON of each row of a matrix of numbers, without brackets."""
    text = orjson.dumps(np.ascontiguousarray(values, dtype=dtype), option=orjson.OPT_SERIALIZE_NUMPY)
    return text[2:-2].split(b"],[")
