"""A body of a known form is read as its whole JSON would be, whatever stands in it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairlead_runtime.serve.forms import Forms

TENSOR = {"name": "x", "shape": [1, 2], "datatype": "FP64"}


def body(data: Any, *, first: bool = False, **more: Any) -> bytes:
    tensor = {"data": data, **TENSOR, **more} if first else {**TENSOR, **more, "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


def read(text: bytes) -> Any:
    """Return what the protocol takes for the data; None where that is no flat list of two numbers."""
    try:
        data = orjson.loads(text)["inputs"][0]["data"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None
    good = isinstance(data, list) and len(data) == 2 and all(type(value) in (int, float) for value in data)
    return tuple(data) if good else None


LEARNED = [
    body([1.5, 2]),
    body([1.5, 2], first=True),
    body([1.5, 2], name="[1.5, 2]", first=True),
    body([1.5, 2], name='"data": [1.5, 2]'),
    body([1.5, 2], name="data"),
    body([1.5, 2], other={"data": [1.5, 2]}),
    body([1.5, 2], first=True, other={"data": [1.5, 2]}),
    body([1.5, 2], **{'k"data': [1.5, 2]}),
    body([1.5, 2]).replace(b'"data"', b'"d\\u0061ta"'),
    body([1.5, 2], other={"data": [1.5, 2]}).replace(b'"data": [1.5, 2]}', b'"d\\u0061ta": [1.5, 2]}'),
    b'{"inputs":[{"data":[1.5,2],"data":[1.5,2]}]}',
    b'{"inputs":[{"data" :\n[ 1.5 , 2 ] }]}',
]
TEXTS = st.one_of(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=3).map(
        lambda v: json.dumps(v)[1:-1]
    ),
    st.sampled_from(
        ["true, 1", "null, 1", '"1", 2', "[1, 2]", "1], [2", '1, 2], "data": [3, 4', "1,, 2", "", "1 2", "1e999, 2"]
    ),
    st.sampled_from(
        ["1.5, 2", "01, 2", "-, 2", "1, 2, 3", "1, 2]", "NaN, 1", "99999999999999999999999, 1", "4e38, 1", "1e5, 1E5"]
    ),
)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(LEARNED), TEXTS, st.integers(0, 200), st.binary(max_size=2))
@example(LEARNED[2], "7, 8", 0, b"")
def test_a_known_form_is_read_as_its_json(first: bytes, text: str, place: int, noise: bytes) -> None:
    forms = Forms(2)
    forms.learn(first, (1.5, 2))
    for asked in (first.replace(b"1.5, 2", text.encode(), 1), first.replace(b"1.5, 2", text.encode())):
        for sent in (asked, asked[:place] + noise + asked[place + len(noise) :], asked[:place] + noise + asked[place:]):
            row = forms.row(sent)
            assert row is None or row == read(sent), sent


@pytest.mark.parametrize("first", [LEARNED[0], LEARNED[1], LEARNED[-1]])
def test_the_usual_forms_are_learned(first: bytes) -> None:
    forms = Forms(2)
    assert forms.row(first) is None
    forms.learn(first, (1.5, 2))
    assert forms.row(first) == (1.5, 2)
    assert forms.row(first.replace(b"1.5", b"-30000")) == (-30000, 2)


@pytest.mark.parametrize("text", [b"true, 2", b"1.5", b"1.5, 2, 3", b"null, 2", b"[1.5, 2]"])
def test_what_is_wrong_is_left_to_those_who_say_what_it_is(text: bytes) -> None:
    forms = Forms(2)
    forms.learn(LEARNED[0], (1.5, 2))
    assert forms.row(LEARNED[0].replace(b"1.5, 2", text)) is None


def test_it_stops_learning_from_clients_that_never_write_the_same() -> None:
    forms = Forms(2)
    for number in range(100):
        forms.learn(body([1.5, 2], name=f"request-{number}"), (1.5, 2))
    assert forms.row(body([1.5, 2], name="request-3")) == (1.5, 2)
    assert forms.row(body([1.5, 2], name="request-99")) is None
