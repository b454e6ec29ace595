"""`signature.json`: what a model takes and gives, in the order and types its bytes expect.

A server feeds a model by this alone and an evaluation reads its answers by this alone. Part of the artifact's digest.
Written by train, read by evaluate and serve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fairlead.contract.base import Model
from fairlead.contract.data import ColumnType
from fairlead.contract.training import Task

FLOAT, DOUBLE, TEXT = "FP32", "FP64", "BYTES"  # tensor data types, named as in the Open Inference Protocol


class Input(Model):
    """One input column and its tensor.

    `FP32`, `FP64`: numbers and booleans (false 0, true 1), null is NaN; a tree of LightGBM or scikit-learn that was
    trained on 64 bits splits by them. `BYTES`: text, null is the empty string, or NaN as pandas has it (`missing`).
    `categories` are the values that training kept apart; any other text is allowed and means "another value".
    """

    name: str
    type: ColumnType
    datatype: Literal["FP32", "FP64", "BYTES"]
    nullable: bool = True
    missing: Literal["Empty", "NaN"] = Field("Empty", description="What the model sees where text is null.")
    categories: list[str] | None = None

    @property
    def numeric(self) -> bool:
        """Whether it takes numbers."""
        return self.datatype != TEXT


class Signature(Model):
    """Inputs in order, the outputs' tensor names, and the classes.

    `layout` Columns: one tensor [N, 1] per input, named like it; Matrix: one FP32 tensor [N, inputs] named
    `matrix_input`. `label_output` holds a class or a number per row; with `labels` Index it is the position in
    `classes`, with Value the class itself. `probability_output` is [N, len(classes)], empty if there is none.
    `targets` names the numbers or classes of a row where a model gives several: `label_output` is then
    [N, len(targets)], classes are given as the model has them, and there are no probabilities.
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
    targets: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check(self) -> Self:
        """A signature that contradicts itself is refused when it is read."""
        if len(self.targets) == 1 or (self.targets and self.probability_output):
            raise ValueError("targets: name at least two, and no probabilityOutput beside them, or leave it out")
        if self.layout == "Matrix" and any(column.datatype != FLOAT for column in self.inputs):
            raise ValueError("layout Matrix: every input is an FP32")
        return self


def label_text(signature: Signature) -> Callable[[Any], str]:
    """Return what turns a JSON label into the text of its class in `signature.classes`, and any other into text."""
    known = {text.lower(): text for text in signature.classes}
    by_number = {str(float(text)): text for text in signature.classes if _is_number(text)}

    def text_of(label: Any) -> str:
        text = str(label)
        if isinstance(label, (int, float)) and not isinstance(label, bool):
            return by_number.get(str(float(label)), text)
        return known.get(text.lower(), by_number.get(str(float(label)), text) if isinstance(label, bool) else text)

    return text_of


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
