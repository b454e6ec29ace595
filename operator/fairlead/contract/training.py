"""How a model is trained: trainers, search spaces, tasks. Part of the TrainingRun CRD and of the train Job's input."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from .base import Model, Text, Uri
from .schema import FREE_FORM, LIST_SET, cel, list_map, one_of

# Packages whose estimators may be named by import path; anything else is a container trainer.
ALLOWED_PACKAGES = ("sklearn", "lightgbm", "xgboost")


class Task(StrEnum):
    """What the model predicts."""

    CLASSIFICATION = "Classification"
    REGRESSION = "Regression"


class SklearnTrainer(Model):
    """Any scikit-learn compatible estimator of an allowed package, with automatic preprocessing."""

    estimator: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$")]
    parameters: dict[str, Any] = Field(
        default_factory=dict, json_schema_extra=FREE_FORM, description="Keyword arguments of the estimator."
    )
    features: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=500)] | None = Field(
        None, json_schema_extra=LIST_SET, description="Columns to learn from; default: all but target, ids, sensitive."
    )


class EnvVar(Model):
    """A plain environment variable."""

    name: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: Annotated[str, Field(max_length=4096)] = ""


class ContainerTrainer(Model):
    """An image that reads /opt/ml/input and writes /opt/ml/model, as SageMaker's training images do."""

    image: Uri
    command: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=32)] | None = None
    args: Annotated[list[Annotated[str, Field(max_length=16384)]], Field(max_length=64)] | None = None
    env: Annotated[list[EnvVar], Field(max_length=64)] | None = Field(None, json_schema_extra=list_map("name"))
    hyperparameters: dict[str, Any] = Field(default_factory=dict, json_schema_extra=FREE_FORM)
    # no default of its own: documents of runs that do not name it, and so their digests, stay as they were
    trust_pickle: bool | None = Field(
        None, description="Allow joblib: evaluation and serving load it, with the keys of the store."
    )


class Trainer(Model):
    """Exactly one way to train."""

    model_config = {"json_schema_extra": cel(one_of("sklearn", "container", what="trainer"))}
    sklearn: SklearnTrainer | None = None
    container: ContainerTrainer | None = None


def _decoded(value: int | str) -> Any:
    if isinstance(value, int):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


class SearchMethod(StrEnum):
    """How trials are chosen."""

    RANDOM = "Random"
    GRID = "Grid"


Choice = Annotated[int | str, Field(json_schema_extra={"x-kubernetes-int-or-string": True})]


class Dimension(Model):
    """One parameter's candidates: an integer range, a float range (log: sampled on a log scale) or a list."""

    model_config = {"json_schema_extra": cel(one_of("int", "float", "choice", what="search.space"))}
    int_: Annotated[list[int], Field(min_length=2, max_length=2)] | None = Field(None, alias="int")
    float_: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(None, alias="float")
    log: bool = False
    choice: Annotated[list[Choice], Field(max_length=50)] | None = Field(
        None, description='Integers or strings; a string that is JSON stands for its value: "0.5", "true", "null".'
    )
    grid_points: Annotated[int, Field(ge=2, le=20)] = Field(3, description="Points that a Grid takes of a range.")

    def choices(self) -> list[Any]:
        """Return the values of `choice`, strings that are JSON decoded."""
        return [_decoded(value) for value in self.choice or ()]


class Search(Model):
    """A bounded search; the best trial by `metric` on the validation part is trained again and kept."""

    method: SearchMethod = SearchMethod.RANDOM
    trials: Annotated[int, Field(ge=1, le=500)] = 20
    metric: Annotated[str, Field(max_length=64)]
    space: dict[str, Dimension] = Field(max_length=30)
    max_duration: Annotated[str, Field(max_length=16, pattern=r"^([0-9]{1,9}(s|m)|[0-9]{1,6}(h|d))+$")] | None = Field(
        None, description="Budget of wall time: no trial starts after it."
    )


class Code(Model):
    """Where the training code came from; recorded in lineage, never fetched."""

    repository: Uri
    commit: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{7,64}$")]


class Progress(Model):
    """One `FAIRLEAD {json}` line on stdout."""

    done: int
    total: int
    message: Text = ""
    metrics: dict[str, float] = Field(default_factory=dict, max_length=10)
