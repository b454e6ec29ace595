"""The short way for the commonest batches takes nothing that the long way would refuse, and rounds no number."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest

from fairlead.contract.data import ColumnType
from fairlead.contract.training import Task
from fairlead_runtime.serve import oip
from fairlead_runtime.serve.columns import Column, Columns
from fairlead_runtime.signature import Input, Signature

INPUTS = [Input(name=f"x{i}", type=ColumnType.FLOAT, datatype="FP32") for i in range(3)]
COLUMNS = Columns(Signature(task=Task.REGRESSION, inputs=INPUTS))


def short(data: list[Any]) -> list[Column] | None:
    tensor = {"name": "x", "shape": [len(data) // 3, 3], "datatype": "FP64", "data": data}
    body = orjson.dumps({"inputs": [tensor]})
    return oip._plain_batch(COLUMNS, orjson.loads(body), body)


@pytest.mark.parametrize("rows", [2, 5_000, 50_000])
def test_numbers_are_what_was_sent(rows: int) -> None:
    data = [0, 1, 0.1, 1e-300, -1e30, 7] * (rows // 2)
    columns = short(data)
    assert columns is not None
    assert np.array_equal(np.column_stack(columns), np.array(data).reshape(-1, 3))


@pytest.mark.parametrize("odd", [True, False, None, "1", [1], {}, 1e39, -(10**40)])
@pytest.mark.parametrize("others", [0, 1, 2.5])
@pytest.mark.parametrize("rows", [2, 5_000])
def test_whatever_is_odd_takes_the_long_way(odd: Any, others: float, rows: int) -> None:
    data: list[Any] = [others] * (3 * rows)
    data[-2] = odd
    tensor = {"name": "x", "shape": [rows, 3], "datatype": "FP64", "data": data}
    body = json.dumps({"inputs": [tensor]}).encode()  # orjson writes no number beyond 64 bits
    assert oip._plain_batch(COLUMNS, {"inputs": [tensor]}, body) is None
