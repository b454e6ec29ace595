"""`signature.json`: what a model takes and gives, in the order and types its bytes expect.

A server feeds a model by this alone and an evaluation reads its answers by this alone. Part of the artifact's digest.
Written by train, read by evaluate and serve.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fairlead.contract.base import Model
from fairlead.contract.data import ColumnType
from fairlead.contract.training import Task

FLOAT, TEXT = "FP32", "BYTES"  # tensor data types, named as in the Open Inference Protocol


class Input(Model):
    """One input column and its tensor.

    `FP32`: numbers and booleans (false 0, true 1), null is NaN. `BYTES`: text, null is the empty string.
    `categories` are the values that training kept apart; any other text is allowed and means "another value".
    """

    name: str
    type: ColumnType
    datatype: Literal["FP32", "BYTES"]
    nullable: bool = True
    categories: list[str] | None = None


class Signature(Model):
    """Inputs in order, the outputs' tensor names, and the classes.

    `layout` Columns: one tensor [N, 1] per input, named like it; Matrix: one FP32 tensor [N, inputs] named
    `matrix_input`. `label_output` holds a class or a number per row; with `labels` Index it is the position in
    `classes`, with Value the class itself. `probability_output` is [N, len(classes)], empty if there is none.
    """

    version: Literal[1] = 1
    task: Task
    inputs: list[Input]
    layout: Literal["Columns", "Matrix"] = "Columns"
    matrix_input: str = ""
    target: str = ""
    classes: list[str] = Field(default_factory=list)
    class_type: ColumnType | None = None
    labels: Literal["Index", "Value"] = "Index"
    label_output: str = "label"
    probability_output: str = ""
