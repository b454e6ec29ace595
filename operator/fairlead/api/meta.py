"""What every kind shares: pod overrides, conditions in status, and reading an object into its types.

Descriptions become the CRD's documentation (`kubectl explain`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field

from fairlead.contract.base import Model, Name
from fairlead.contract.schema import list_map

from .conditions import parse_time

# An apply with a text that is no quantity is answered 500, as if the server were down: so admission refuses it.
QUANTITY = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,2})?$"
IntOrQuantity = Annotated[
    int | str, Field(json_schema_extra={"x-kubernetes-int-or-string": True, "pattern": QUANTITY, "minimum": 0})
]


class Resources(Model):
    """Requests and limits of the main container."""

    requests: dict[str, IntOrQuantity] | None = Field(None, max_length=10)
    limits: dict[str, IntOrQuantity] | None = Field(None, max_length=10)


class Toleration(Model):
    """As in a pod spec."""

    key: Annotated[str, Field(max_length=316)] | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: Annotated[str, Field(max_length=63)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class LocalObjectReference(Model):
    """An object in the same namespace."""

    name: Name


class PodOverrides(Model):
    """The usual overrides of a spec that makes pods."""

    node_selector: dict[str, Annotated[str, Field(max_length=63)]] | None = Field(None, max_length=20)
    tolerations: Annotated[list[Toleration], Field(max_length=20)] | None = None
    service_account_name: Name | None = None
    image_pull_secrets: Annotated[list[LocalObjectReference], Field(max_length=10)] | None = Field(
        None, json_schema_extra=list_map("name")
    )
    priority_class_name: Name | None = None
    resources: Resources | None = None


class StatusCondition(Model):
    """metav1.Condition."""

    type: Annotated[str, Field(max_length=316)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(max_length=128)]
    message: Annotated[str, Field(max_length=1024)] = ""
    observed_generation: int = 0
    last_transition_time: str


class KindStatus(Model):
    """The part of status that all kinds have."""

    observed_generation: int = -1
    conditions: Annotated[list[StatusCondition], Field(max_length=16)] | None = Field(
        None, json_schema_extra=list_map("type")
    )


class JobAttempt(Model):
    """The Job that works for the object now, or did last: enough to know its outcome after it is gone."""

    job: str
    uid: str = Field("", description="Empty until the Job was seen.")
    input_digest: str = ""
    number: int = 1
    collect: bool = Field(False, description="The Job is gone and a collect Job looks for its result.")
    started_at: str = ""


S = TypeVar("S", bound=Model)
T = TypeVar("T", bound=KindStatus)


@dataclass(frozen=True)
class Resource(Generic[S, T]):
    """One of our objects, read: metadata as it is, spec and status as their types."""

    raw: Mapping[str, Any]
    spec: S
    status: T

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.raw["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The object's namespace."""
        return str(self.raw["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """The object's uid."""
        return str(self.raw["metadata"]["uid"])

    @property
    def generation(self) -> int:
        """The spec's generation."""
        return int(self.raw["metadata"].get("generation", 1))

    @property
    def created(self) -> datetime:
        """When the object was created, by the API server's clock."""
        return parse_time(self.raw["metadata"]["creationTimestamp"])

    @property
    def annotations(self) -> Mapping[str, str]:
        """The object's annotations."""
        return self.raw["metadata"].get("annotations") or {}

    @property
    def deleting(self) -> bool:
        """Whether deletion has begun."""
        return "deletionTimestamp" in self.raw["metadata"]


def read(raw: Mapping[str, Any], spec: type[S], status: type[T]) -> Resource[S, T]:
    """Read an object that the API server validated; raise pydantic.ValidationError on anything else."""
    return Resource(raw, spec.model_validate(raw.get("spec") or {}), status.model_validate(raw.get("status") or {}))
