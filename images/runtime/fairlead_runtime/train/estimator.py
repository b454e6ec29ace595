"""An estimator by import path, from allowed packages only, and its parameters checked before anything is fitted.

Never imports a module outside the allow-list and never takes a callable by name. Called by `pipeline`.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from sklearn.base import ClassifierMixin, RegressorMixin

from fairlead.contract.training import ALLOWED_PACKAGES, Task
from fairlead_runtime.errors import BadInput


def load_estimator(path: str, task: Task) -> type[Any]:
    """Return the class; raise EstimatorNotAllowed, EstimatorNotFound or EstimatorUnfit (not of the task)."""
    module, _, name = path.rpartition(".")
    if module.split(".")[0] not in ALLOWED_PACKAGES or any(part.startswith("_") for part in path.split(".")):
        raise BadInput(
            "EstimatorNotAllowed",
            f"trainer.sklearn.estimator: {path} is not of an allowed package ({', '.join(ALLOWED_PACKAGES)}); "
            "use one of these, or trainer.container for your own code",
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise BadInput("EstimatorNotFound", f"trainer.sklearn.estimator: this image has no {path}") from None
    if not inspect.isclass(found) or not str(found.__module__).startswith(ALLOWED_PACKAGES):
        raise BadInput("EstimatorNotFound", f"trainer.sklearn.estimator: {path} is not a class of that package")
    return _fit_for(found, path, task)


def _fit_for(found: type[Any], path: str, task: Task) -> type[Any]:
    wanted = ClassifierMixin if task is Task.CLASSIFICATION else RegressorMixin
    if not issubclass(found, wanted):
        raise BadInput("EstimatorUnfit", f"trainer.sklearn.estimator: {path} cannot do task {task}")
    return found


def build_estimator(found: type[Any], parameters: dict[str, Any], seed: int) -> Any:
    """Return an instance with these parameters, and the seed where it takes one; raise InvalidParameters."""
    valid = sorted(found._get_param_names())
    unknown = sorted(set(parameters) - set(valid))
    if unknown:
        raise BadInput(
            "InvalidParameters",
            f"{found.__name__} has no parameter {', '.join(unknown)}; it has: {', '.join(valid)}",
        )
    chosen = dict(parameters)
    if "random_state" in valid:
        chosen.setdefault("random_state", seed)
    try:
        estimator = found(**chosen)
        estimator._validate_params()
    except (TypeError, ValueError) as error:  # InvalidParameterError is a ValueError
        raise BadInput("InvalidParameters", str(error)) from None
    return estimator
