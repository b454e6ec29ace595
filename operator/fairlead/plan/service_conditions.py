"""What a service's conditions say of its state, in sentences: what is, why, and what to do next.

It must never decide on a transition. Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.api.conditions import Condition, ready, stalled, working
from fairlead.api.inferenceservice import InferenceService, InferenceServiceStatus, RevisionStatus, RolloutStatus
from fairlead.contract.base import duration_s

from . import shadow
from .analysis import Finding
from .endings import DEADLINE, NOT_REPLAYED
from .pending_pods import Problem
from .replay import NOT_POSSIBLE
from .route import RouteProblem
from .selection import VERSION_REJECTED, Selection
from .serving_pods import CANARY_NOT_READY, ArmFacts
from .sizes import (
    BAKING,
    BLUE_GREEN,
    FIRST,
    HELD,
    PREPARING,
    PROMOTING,
    REPLAYING,
    RETURN,
    ROLLING_BACK,
    SHADOW,
    SIDE_BY_SIDE,
    STEP,
    hindrance_of,
    is_growing,
)
from .stops import GATEWAY_REQUIRED, INCONCLUSIVE, PREPARE_S, SUSPENDED, lacks_gateway

SERVING = "Serving"
CANARY_PROGRESSING = "CanaryProgressing"
SHADOWING = "Shadowing"
AB_TESTING = "ABTesting"
ROLLED_BACK = "RolledBack"
FIRST_VERSION_FAILED = "FirstVersionFailed"
STABLE_UNAVAILABLE = "StableUnavailable"

_BACK = "If they do not come back, see `kubectl logs` of one; a new version or spec goes out at once."

AVAILABLE, ROUTED = "Available", "Routed"
_NO_VERSION, _NO_READY_PODS, _NOT_ROUTED, _NOT_APPROVED = "NoVersion", "NoReadyPods", "NotRouted", "NotApproved"

Conditions = tuple[Condition, ...]


@dataclass(frozen=True)
class View:
    """All that the sentences are made of; `overdue_s` is how long the present state has lasted."""

    service: InferenceService
    status: InferenceServiceStatus
    selection: Selection
    arms: Mapping[str, ArmFacts]
    problem: RouteProblem | None
    finding: Finding | None
    stable_approved: bool
    state_s: float
    replay_problem: Problem | None = None
    note: str = ""

    def arm(self, revision: RevisionStatus | None) -> ArmFacts:
        """Return the facts of an arm."""
        return self.arms.get(revision.name, ArmFacts()) if revision else ArmFacts()


def describe(view: View) -> Conditions:
    """Return all conditions of a service."""
    said = _final(view) or (_in_rollout(view) if view.status.rollout else _at_rest(view))
    if view.note:
        said = tuple(Condition(c.type, c.status, c.reason, f"{c.message} {view.note}") for c in said)
    return (*said, _available(view), *_routed(view))


def _final(view: View) -> Conditions | None:
    if view.problem is not None and view.problem.final:
        return stalled(view.problem.reason, view.problem.message)
    return None


# --- a rollout is going on ---


def _in_rollout(view: View) -> Conditions:
    rollout = view.status.rollout
    assert rollout is not None
    if rollout.state == HELD:
        return working(rollout.held_for, rollout.message)
    sentences = {
        PREPARING: _preparing,
        REPLAYING: _replaying,
        STEP: _stepping,
        PROMOTING: _promoting,
        BAKING: _baking,
        ROLLING_BACK: _rolling_back,
    }
    return sentences[rollout.state](view, rollout)


def _preparing(view: View, rollout: RolloutStatus) -> Conditions:
    status = view.status
    canary, baseline = view.arm(status.canary), view.arm(status.baseline)
    hindrance = canary.hindrance or baseline.hindrance
    if hindrance is not None:
        waited = view.state_s >= min(PREPARE_S, duration_s(view.service.spec.rollout.deadline))
        say = stalled if rollout.kind == FIRST and waited else working
        return say(hindrance.reason, f"{_version(status.canary)} cannot start: {hindrance.message}")
    who = {
        FIRST: "it is the first, so it takes traffic at once",
        RETURN: "it served before, so it takes over at once",
        BLUE_GREEN: f"all requests go to it when {rollout.size} are",
    }
    copies = "copies of " if rollout.kind == SHADOW else ""
    then = who.get(rollout.kind, f"then it gets {copies}{rollout.next_weight} % of the requests")
    return working(PREPARING, f"Pods of {_name(status.canary)} start, {canary.ready} ready; {then}.")


def _replaying(view: View, rollout: RolloutStatus) -> Conditions:
    status, problem = view.status, view.replay_problem
    what = f"Captured requests are replayed to {_name(status.canary)} and to {_name(status.stable)}, none of a user"
    if problem is not None:
        return working(problem.reason, f"{what}: {problem.message}")
    return working(REPLAYING, f"{what}; then it gets {rollout.next_weight} %.")


def _stepping(view: View, rollout: RolloutStatus) -> Conditions:
    if rollout.kind in SIDE_BY_SIDE:
        return _beside(view, rollout)
    spec, finding = view.service.spec, view.finding
    steps = len(spec.rollout.steps_percent)
    share = (
        f"{_version(view.status.canary)} gets {_reached(view, rollout)} of the requests, step {rollout.step} of {steps}"
    )
    if finding is None:
        replayed = rollout.replay
        skipped = f" Not replayed: {replayed.message}" if replayed and replayed.outcome == NOT_POSSIBLE else ""
        return _awaiting(view, CANARY_PROGRESSING, f"{share}.{skipped}")
    had = f"{finding.verdict.step_canary} of {spec.rollout.step.min_requests} requests in this step"
    return _awaiting(view, CANARY_PROGRESSING, f"{share}, {had}: {finding.verdict.reason}.")


def _awaiting(view: View, reason: str, said: str) -> Conditions:
    """Add what keeps pods from running; where the next step waits for them, that is the reason."""
    problem, rollout = hindrance_of(view.status, view.arms), view.status.rollout
    assert rollout is not None
    if not is_growing(view.status, view.service.spec, view.arms):
        return working(reason, f"{said} Not all of its pods run: {problem.message}" if problem else said)
    waits = f"{said} The next step, {rollout.next_weight} %, waits for its pods."
    return working(problem.reason, f"{waits} {problem.message}") if problem else working(reason, waits)


def _beside(view: View, rollout: RolloutStatus) -> Conditions:
    """Say what a shadow or a test of outcomes shows so far."""
    name, needed = _version(view.status.canary), view.service.spec.rollout.step.min_requests
    had, so_far = 0, ""
    if view.finding is not None:
        had, so_far = view.finding.verdict.step_canary, f": {view.finding.verdict.reason}"
    if rollout.kind == SHADOW:
        gets = f"copies of {rollout.next_weight} % of the requests and its answers reach nobody"
        answers = shadow.sentence(view.status, view.service.spec)
        return _awaiting(view, SHADOWING, f"{name} gets {gets}, {had} of {needed} requests{so_far}; {answers}.")
    gets = f"{rollout.weight} % of new users, who keep it"
    return _awaiting(view, AB_TESTING, f"{name} gets {gets}, {had} of {needed} requests{so_far}.")


def _reached(view: View, rollout: RolloutStatus) -> str:
    reached = next((share.requested for share in view.status.traffic or () if share.role == "canary"), rollout.weight)
    asked = f"{rollout.weight} %"
    return asked if reached == rollout.weight else f"{reached} % (asked for {asked}; shares are those of ready pods)"


def _promoting(view: View, rollout: RolloutStatus) -> Conditions:
    canary = view.arm(view.status.canary)
    hindrance = f" {canary.hindrance.message}" if canary.hindrance else ""
    message = f"{_version(view.status.canary)} passed and grows to carry all traffic ({canary.ready} ready).{hindrance}"
    return working(PROMOTING, message)


def _baking(view: View, rollout: RolloutStatus) -> Conditions:
    bake, previous = view.service.spec.rollout.bake, view.status.previous
    kept = f"; {_name(previous)} keeps {bake.holdback_percent} % as the baseline" if previous else ""
    if previous and rollout.kind == BLUE_GREEN:
        kept = f"; {_name(previous)} stays ready for a return at once"
    message = f"{_version(view.status.stable)} was promoted and is watched for {bake.duration}{kept}."
    return working(BAKING, message)


def _rolling_back(view: View, rollout: RolloutStatus) -> Conditions:
    back = f"; {_name(view.status.stable)} serves" if view.status.stable else ""
    return working(ROLLING_BACK, f"{_version(view.status.canary)} goes back{back}. {rollout.message}")


def _version(revision: RevisionStatus | None) -> str:
    return f"Version {revision.version}" if revision else "No version"


def _name(revision: RevisionStatus | None) -> str:
    return revision.version if revision else "nothing"


# --- no rollout ---


def _at_rest(view: View) -> Conditions:
    status, lack = view.status, view.selection.lack
    for said in (_refused(view), _undecided(view)):
        if said is not None and status.stable is None:
            return said
    if status.stable is None and lack is not None:
        return (stalled if lack.final else working)(lack.reason, lack.message)
    if lacks_gateway(view.service.spec):
        return _without_gateway(view)
    if view.service.spec.suspend:
        serves = f"{_version(status.stable)} goes on serving" if status.stable else "Nothing serves yet"
        return working(SUSPENDED, f"spec.suspend is true: no rollout starts. {serves}.")
    if status.stable is None:
        return working(PREPARING, "The first version is about to start.")
    return _with_stable(view, status.stable)


def _without_gateway(view: View) -> Conditions:
    strategy = view.service.spec.rollout.strategy
    serves = f" {_version(view.status.stable)} goes on serving." if view.status.stable else ""
    return stalled(
        GATEWAY_REQUIRED,
        f"Strategy {strategy} needs rules that only a Gateway has; name one in spec.traffic.gateway, or choose Canary "
        f"or BlueGreen in spec.rollout.strategy. No rollout starts until then.{serves}",
    )


def _with_stable(view: View, stable: RevisionStatus) -> Conditions:
    """Return what is said of a service that serves, the most pressing first."""
    checks = (_unready, _unrouted, _lacking, _refused, _undecided, _unapproved)
    found = (check(view) for check in checks)
    count = view.arm(stable).ready
    pods = f"{count} ready pod{'s' if count > 1 else ''}"
    serving = ready(SERVING, f"{_version(stable)} answers requests with {pods}.{_twin(view, stable)}")
    return next((said for said in found if said is not None), serving)


def _twin(view: View, stable: RevisionStatus) -> str:
    """Say so when the version that is asked for has the same bytes as the one that serves: they are one revision."""
    asked = view.selection.version
    if asked is None or asked.name == stable.version:
        return ""
    return f" {asked.name} has the same bytes and the same predictor, so there is nothing to roll out."


def _unready(view: View) -> Conditions | None:
    arm, name = view.arm(view.status.stable), _version(view.status.stable)
    if arm.ready > 0:
        return None
    if arm.hindrance is not None:
        return working(arm.hindrance.reason, f"{name} has no ready pod: {arm.hindrance.message}")
    why = f" {arm.fault.message}" if arm.fault else ""
    return working(STABLE_UNAVAILABLE, f"{name} has no ready pod; Kubernetes starts them again.{why} {_BACK}")


def _unrouted(view: View) -> Conditions | None:
    return working(view.problem.reason, view.problem.message) if view.problem else None


def _lacking(view: View) -> Conditions | None:
    lack = view.selection.lack
    if lack is None:
        return None
    message = f"{lack.message} {_version(view.status.stable)} goes on serving."
    return (stalled if lack.final else working)(lack.reason, message)


def _unapproved(view: View) -> Conditions | None:
    if view.stable_approved:
        return None
    serves = _version(view.status.stable)
    return stalled(VERSION_REJECTED, f"{serves} serves, but it is not approved any more; approve another version.")


def _refused(view: View) -> Conditions | None:
    refused, stable = view.selection.refused, view.status.stable
    if refused is None:
        return None
    what = "its bytes are" if not refused.revision else "this revision of it is"
    remedy = "A new version, other predictor resources" if refused.revision else "A new version"
    after = f"{refused.message} So {what} refused ({refused.reason}). {remedy} or an override goes on."
    asked = view.selection.asked
    same = f"Version {asked} has the bytes of {refused.version}. " if asked != refused.version else ""
    if stable is None:
        return stalled(FIRST_VERSION_FAILED, f"{same}Version {refused.version} could not serve: {after}")
    said = f"Version {refused.version} was rolled back, {stable.version} serves: {after}"
    return stalled(ROLLED_BACK, same + said)


def _undecided(view: View) -> Conditions | None:
    open_ = view.status.inconclusive
    if open_ is None:
        return None
    if open_.generation != view.service.generation or not _is_asked(view, open_.version):
        return None
    reason = INCONCLUSIVE if open_.reason in (DEADLINE, CANARY_NOT_READY, NOT_REPLAYED) else open_.reason
    serves = f", {view.status.stable.version} serves" if view.status.stable else ""
    message = f"Version {open_.version} was not promoted{serves}: {open_.message}"
    return stalled(reason, f"{message} It is tried again on a new spec or `kubectl fairlead retry`.")


def _is_asked(view: View, version: str) -> bool:
    asked = view.selection.version
    return asked is not None and asked.name == version


# --- beside Ready ---


def _available(view: View) -> Condition:
    status = view.status
    if status.stable is None:
        return Condition(AVAILABLE, "False", _NO_VERSION, "No version serves yet.")
    ready_pods = view.arm(status.stable).ready + view.arm(status.baseline).ready
    if ready_pods == 0:
        return Condition(AVAILABLE, "False", _NO_READY_PODS, f"No pod of {status.stable.version} is ready.")
    if view.problem is not None:
        return Condition(AVAILABLE, "False", _NOT_ROUTED, view.problem.message)
    if not view.stable_approved:
        message = f"{_version(status.stable)} serves, but it is not approved any more."
        return Condition(AVAILABLE, "False", _NOT_APPROVED, message)
    return Condition(AVAILABLE, "True", SERVING, f"{_version(status.stable)} answers requests.")


def _routed(view: View) -> Conditions:
    if view.service.spec.traffic.gateway is None:
        return ()
    if view.problem is not None:
        return (Condition(ROUTED, "False", view.problem.reason, view.problem.message),)
    if view.status.stable is None:
        return (Condition(ROUTED, "False", _NO_VERSION, "The route is made with the first version that serves."),)
    return (Condition(ROUTED, "True", "Accepted", "The Gateway took the route."),)
