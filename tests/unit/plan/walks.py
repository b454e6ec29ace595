"""Random walks through a kind's life, for property tests: things happen, plans are carried out or cut off, claims hold.

When it first sees the object and after each happening the operator may crash after any number of writes; something may
happen while it is away; then it is reconciled until quiet. What must hold of every kind is checked here, what must hold
of one kind in its own test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from tests.unit.plan.happenings import happen
from tests.unit.plan.simulation import NAMESPACE, Simulation, owner_uids, run_now
from tests.unit.plan.telling import check_laws, controller_of, reconcile

from fairlead.api import names
from fairlead.api.conditions import READY, RECONCILING, STALLED, find_condition, is_true
from fairlead.plan.jobs import is_finished
from fairlead.plan.types import Create, Delete, Key, Obj, Plan

Said = Mapping[str, Any]
BYSTANDER = "somebody-elses"

# What may become of a Job, whichever kind it works for; `*` is the newest that has not ended.
JOB_TROUBLE: tuple[Said, ...] = (
    {"job runs": "*"},
    {"job waits": "*", "because": "CreateContainerConfigError", "message": 'secret "fairlead-store" not found'},
    {"job waits": "*", "because": "ImagePullBackOff"},
    {"job waits": "*", "unschedulable": "0/1 nodes are available"},
    {"pod fails": "*", "exit": 20, "with": {"kind": "Error", "reason": "StoreUnreachable", "message": "no answer"}},
    {"pod fails": "*", "exit": 20, "times": 6, "with": ""},
    {"pod fails": "*", "exit": 1, "with": "oops"},
    {"pod evicted": "*", "times": 2},
    {"job fails": "*", "exit": 10, "with": {"kind": "Error", "reason": "TargetMissing", "message": "no target"}},
    {"job fails": "*", "exit": 137, "because": "OOMKilled"},
    {"job times out": "*"},
    {"job succeeds": "*", "with": "this is no summary"},
    {"job loses its pods": "*"},
    {"delete job": "*"},
)
TIME: tuple[Said, ...] = (
    *({"time passes": span} for span in ("5s", "61s", "11m", "3h")),
    *({"clock is set": step} for step in ("+1h", "-1h")),
)


@dataclass(frozen=True)
class Step:
    """What happens; after how many writes the operator dies (None: it lives); what happens before it is back."""

    said: Said
    dies_after: int | None = None
    meanwhile: Said | None = None


BIRTH: Said = {"time passes": "1s"}  # nothing but that the operator sees the object for the first time


def walks(
    happenings: Sequence[Said], longest: int = 12, meanwhile: Sequence[Said] = JOB_TROUBLE
) -> st.SearchStrategy[list[Step]]:
    """Return walks over these happenings; shrunk ones are short and without crashes."""
    crash, away = st.one_of(st.none(), st.integers(0, 3)), st.one_of(st.none(), st.sampled_from(meanwhile))
    birth = st.builds(Step, st.just(BIRTH), crash, away)
    later = st.lists(st.builds(Step, st.sampled_from(happenings), crash, away), max_size=longest)
    return st.builds(lambda first, rest: [first, *rest], birth, later)


@dataclass
class Walker:
    """One object in its world, with all that planners did so far."""

    kind: str
    name: str
    world: Simulation
    created: list[Obj] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._controller = controller_of(self.kind)
        self.world.create(_bystander())

    @property
    def key(self) -> Key:
        """The object's key."""
        return Key(self.kind, NAMESPACE, self.name)

    @property
    def obj(self) -> Obj:
        """The object as it is now."""
        return self.world.objects[(self.kind, NAMESPACE, self.name)]

    @property
    def status(self) -> Mapping[str, Any]:
        """Its status."""
        return dict(self.obj["status"])

    def jobs(self, role: str, *, unfinished: bool = False) -> list[Obj]:
        """Return the object's Jobs of a role."""
        found = [job for job in self.world.list(names.JOB) if job["metadata"]["labels"].get(names.LABEL_ROLE) == role]
        return [job for job in found if not (unfinished and is_finished(job))]

    def take(self, step: Step) -> None:
        """Let it happen, die if so told, and reconcile until quiet; then what holds of every kind must hold."""
        self.let(step.said)
        if step.dies_after is not None:
            self._execute(self._plan(), step.dies_after)
            self.let(step.meanwhile or {"time passes": "1s"})
        self.settle()

    def let(self, said: Said) -> None:
        """Let something happen if there is something it can happen to."""
        (name, subject), *_ = said.items()
        ours = [a for a in self.world.objects if a[0] == "Job" and a[2] != BYSTANDER]
        if ("job" in name or "pod" in name) and not ours:
            return
        if name == "job succeeds" and "-*" in subject and not self.jobs(subject.strip("*-"), unfinished=True):
            return
        if name == "delete job":
            self.world.remove(ours[-1])
        elif "job" in name or "pod" in name:
            _to_own_job(self.world, said, name)
        elif name not in ("delete", "change") or any(f"{a[0]}/{a[2]}" == subject for a in self.world.objects):
            happen(self.world, said)

    def settle(self) -> None:
        """Reconcile until quiet and check."""
        reconcile(self.world, self.key, _Watching(self._controller, self))
        self.check()

    def check(self) -> None:
        """Assert what holds of every kind at rest."""
        check_laws(self.obj)
        ready = find_condition(self.obj, READY)
        assert ready is not None
        assert ready["reason"]
        at_rest = is_true(self.obj, READY) or is_true(self.obj, STALLED) or is_true(self.obj, RECONCILING)
        assert at_rest, f"neither Ready, nor Stalled, nor waiting: {self.status}"
        assert list(self._execute(self._plan(), None)) == [], "the plan at rest is not empty"
        assert ("Job", NAMESPACE, BYSTANDER) in self.world.objects

    def _plan(self) -> Plan:
        snapshot = run_now(self._controller.gather(self.key, self.world.world))
        plan: Plan = _Watching(self._controller, self).plan(snapshot, self.world.now)
        return plan

    def _execute(self, plan: Plan, writes: int | None) -> Sequence[str]:
        return list(self.world.execute(self.key, plan, writes=writes))


class _Watching:
    """A controller whose plans are looked at before they are carried out."""

    def __init__(self, controller: Any, walker: Walker) -> None:
        self.gather = controller.gather
        self._plan: Callable[..., Plan] = controller.plan
        self._walker = walker

    def plan(self, snapshot: Any, now: Any) -> Plan:
        plan = self._plan(snapshot, now)
        uid = self._walker.obj["metadata"]["uid"]
        for action in plan.actions:
            if isinstance(action, Delete):
                assert uid in owner_uids(action.observed), "it deletes what it does not own"
            if isinstance(action, Create):
                self._walker.created.append(action.body)
        return plan


def _to_own_job(world: Simulation, said: Said, name: str) -> None:
    """Hide the bystander while something happens to `the newest Job`; ended Jobs do not change any more."""
    address = ("Job", NAMESPACE, BYSTANDER)
    hidden = world.objects.pop(address)
    job = [a for a in world.objects if a[0] == "Job" and not is_finished(world.objects[a])]
    if job or name == "job loses its pods":
        happen(world, said)
    world.objects[address] = hidden


def _bystander() -> Obj:
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_ROLE: "other"}
    ended = {"type": "Complete", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    return {
        "kind": "Job",
        "metadata": {"name": BYSTANDER, "namespace": NAMESPACE, "labels": labels},
        "spec": {},
        "status": {"conditions": [ended]},
    }
