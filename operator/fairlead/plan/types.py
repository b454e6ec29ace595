"""What planners take and give: keys, actions and plans.

A planner decides everything a person could ask "why?" about; the shell in `controllers/` only gathers
what it needs and carries out what it says, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Obj = Mapping[str, Any]  # a Kubernetes object as the API server gives it


@dataclass(frozen=True, order=True)
class Key:
    """One object of a kind; what the queue holds."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Create:
    """POST what is born once (Jobs, revisions' Deployments, TrainingRuns, ModelVersions).

    An object of that name with our owner (or, where there is none, our labels) already there is success.
    """

    body: Obj


@dataclass(frozen=True)
class Apply:
    """Server-side apply by the manager `fairlead`; not sent when the observed object already says the same.

    `observed` is the object as the plan saw it (None: absent). Its uid and resourceVersion go with the apply, so
    a late writer overwrites neither a re-created object of the same name nor what came after.
    """

    body: Obj
    observed: Obj | None = None


@dataclass(frozen=True)
class Delete:
    """Delete exactly the object that the plan saw (uid and resourceVersion as preconditions), in background."""

    observed: Obj


@dataclass(frozen=True)
class Scale:
    """Set replicas through /scale; the only way we ever change them after birth."""

    observed: Obj
    replicas: int


Action = Create | Apply | Delete | Scale


@dataclass(frozen=True)
class Plan:
    """Actions in order, the whole new status (None: leave it), and when to look again at the latest.

    Status is written before the actions when `status_first` (a state that must be remembered before it is
    acted on: a chosen attempt, counted evidence); otherwise after them, as a second plan from what they made says it:
    for what is found again by itself when status never comes to be. A failed step ends the plan.
    """

    actions: tuple[Action, ...] = ()
    status: Obj | None = None
    requeue_after_s: float | None = None
    status_first: bool = True
