"""Decides what an InferenceService does: which version serves, how a new one takes over, what was refused.

| state | condition | next |
|---|---|---|
| no version of the family is approved | Reconciling NoApprovedVersion | goes on when one is approved |
| the named version is absent | Reconciling VersionNotFound | goes on when it exists |
| the named version is not approved yet | Reconciling VersionNotApproved | goes on when it is approved |
| the named or the serving version was rejected | Stalled VersionRejected | another version |
| somebody older has hostname and path | Stalled HostnameConflict | goes on when the address is free |
| no Gateway API in the cluster | Reconciling GatewayApiMissing | goes on when it is installed |
| the Gateway does not exist | Reconciling GatewayMissing | goes on when it exists |
| the Gateway has not answered | Reconciling RoutePending | goes on when it takes the route |
| the Gateway refuses the route | Reconciling RouteRefused | goes on when it takes the route |
| Shadow or ABTest without a gateway | Stalled GatewayRequired | goes on with a gateway or another strategy |
| spec.suspend | Reconciling Suspended | goes on when it is false; what serves goes on serving |
| Preparing: pods start | Reconciling Preparing, or what hinders them | Step, RollingBack; a first version: Serving |
| Replaying: captured requests, no user | Reconciling Replaying, or what hinders it | Step, Held, RollingBack |
| Step: the canary has a share | Reconciling CanaryProgressing | Step, Promoting, Held, RollingBack |
| Step: the next one waits for pods | Reconciling CanaryProgressing, or what hinders them | Step, Held, RollingBack |
| Step: the new revision gets copies of requests | Reconciling Shadowing | Promoting, Held, RollingBack |
| Step: users are split and keep their revision | Reconciling ABTesting | Promoting, Held, RollingBack |
| Held: both arms fail | Reconciling SharedIncident | Step, Promoting or Baking; RollingBack |
| Held: counters cannot be read | Reconciling ScrapeFailed | Step, Promoting or Baking; RollingBack |
| Held: no baseline pod is ready | Reconciling BaselineNotReady | Step, RollingBack |
| Held: the cluster took the canary's pods | Reconciling CanaryReplaced | Step, Promoting, RollingBack |
| Held: a person promotes it | Reconciling PromotionRequired | Baking, RollingBack |
| Held: no verdict, and onInconclusive is Hold | Reconciling Inconclusive | Promoting on PASS, RollingBack, a retry |
| Promoting: the canary grows | Reconciling Promoting | Baking, RollingBack |
| Baking: the previous revision keeps a share | Reconciling Baking | Serving, Held, RollingBack |
| RollingBack: the canary has no share | Reconciling RollingBack | RolledBack, Inconclusive, Serving or Preparing |
| the newest version was refused | Stalled RolledBack | a new version, another predictor, an override |
| the first version was refused | Stalled FirstVersionFailed | a new version, another predictor, an override |
| no verdict at the deadline | Stalled Inconclusive, or what hindered it | a new spec or version, or a retry |
| no pod of the stable revision is ready | Reconciling StableUnavailable, or what hinders them | Serving |
| the version that the spec asks for serves | Ready Serving | Preparing, when another one should serve |

Available says whether an approved version answers requests, in any of these states. Must never write spec, bring
back what was refused, or have two canaries. Called by `controllers/inferenceservice.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from fairlead.api import names
from fairlead.api.conditions import format_time, parse_time
from fairlead.api.inferenceservice import InferenceService, InferenceServiceStatus, RevisionStatus, RolloutSummary
from fairlead.api.modelversion import ModelVersion

from . import replay, shadow
from .analysis import Counters, Evidence, Finding, analyse
from .children import Image, owner_of
from .replay import ReplayNow
from .revision import ServingImages, describe_revision, is_told
from .rollout import advance, change
from .rollout_report import ReportJobs, plan_reports
from .route import ROUTE_PENDING, RouteFacts, conflict, find_claimant, route_facts, without_api
from .selection import (
    HANDLED_WIDTH,
    Override,
    Refusal,
    Selection,
    is_approved,
    is_spent,
    read_override,
    refusal_by,
    select_version,
)
from .service_children import Children, Wanted, plan_children
from .service_conditions import View, describe
from .service_status import describe_rollout, traffic_of, url_of, with_ready
from .serving_pods import ArmFacts, arm_facts, pods_of
from .sizes import BAKING, JUDGED, active_state, wanted_sizes
from .status import new_status
from .stops import Seen, awaited_pods
from .traffic import Share, effective_shares, is_whole, ratio_shares, routing_of
from .trail import with_look
from .types import Obj, Plan

LOOK_S = 2.0  # between two looks during a rollout: counters are read, deadlines are seen
AGAIN_S = 0.1  # after a transition: the next one may be due
_HISTORY = 10


@dataclass(frozen=True)
class InferenceServiceSnapshot:
    """All that the decision needs.

    `versions`: the family's, or the one that is named, and those of known revisions. `columns`: by version name, the
    identifiers and sensitive columns of its training data. `counters`: by pod uid, only of judged arms.
    """

    service: InferenceService
    versions: tuple[ModelVersion, ...]
    columns: Mapping[str, tuple[list[str], list[str]]]
    children: Children
    gateway: Obj | None
    rivals: tuple[Obj, ...]
    foreign_routes: tuple[Obj, ...]
    pods: tuple[Obj, ...]
    counters: Counters
    images: ServingImages
    gateway_api_present: bool
    gateway_in_sight: bool = True
    jobs: tuple[Obj, ...] = ()  # its own
    job_pods: tuple[Obj, ...] = ()  # of the present replay or comparison
    report_pods: tuple[Obj, ...] = ()

    @property
    def by_ratio(self) -> bool:
        """Whether shares are whole pods, for want of a gateway."""
        return self.service.spec.traffic.gateway is None


@dataclass(frozen=True)
class _Asked:
    """What annotations ask for that was not done yet."""

    retry: bool = False
    give_back: bool = False
    override: Override | None = None
    note: str = ""


def plan_inferenceservice(snapshot: InferenceServiceSnapshot, now: datetime) -> Plan:
    """Return what to do for one InferenceService."""
    snapshot = _grounded(snapshot)
    service = snapshot.service
    asked = _asked(service, snapshot.versions)
    status = _taken_note(service, asked, now)
    selection = _select(snapshot, status)
    arms = _arm_facts(snapshot, status)
    route = _route(snapshot, status)
    evidence, finding = _analysis(snapshot, status, arms, route)
    if evidence is not None:
        status = change(status, evidence=evidence.to_dict())
    status, replayed = replay.follow(service, status, _jobs(snapshot), now)
    status = shadow.follow(service, status, _jobs(snapshot), now)
    seen = Seen(
        now=now,
        spec=service.spec,
        generation=service.generation,
        target=_target(snapshot, status, selection),
        arms=arms,
        problem=route.problem if not snapshot.by_ratio else None,
        programmed=route.programmed,
        finding=finding,
        retry=asked.retry,
        give_back=asked.give_back,
        promote=service.annotations.get(names.ANNOTATION_PROMOTE, ""),
        by_ratio=snapshot.by_ratio,
    )
    after = advance(status, seen)
    after = describe_rollout(after, evidence, finding, awaited_pods(after, seen))
    return _as_plan(snapshot, seen, after, _Said(selection, route, asked.note, replayed))


def _grounded(snapshot: InferenceServiceSnapshot) -> InferenceServiceSnapshot:
    """Leave out roles that no Deployment stands for and status does not tell in full, such as one written by hand.

    What status does not tell cannot be made; it is worked out anew from the spec, as if it had never been.
    """
    status, there = snapshot.service.status, snapshot.children.deployments
    roles = {role: getattr(status, role) for role in ("stable", "canary", "baseline", "previous")}
    lost = {role for role, arm in roles.items() if arm and arm.name not in there and not is_told(arm)}
    if lost - {"previous"}:  # a rollout lacks one that it compares
        lost |= {"rollout", "canary", "baseline"}
    known = status.model_copy(update=dict.fromkeys(lost))
    return replace(snapshot, service=replace(snapshot.service, status=known)) if lost else snapshot


def _jobs(snapshot: InferenceServiceSnapshot) -> replay.Jobs:
    return replay.Jobs(snapshot.jobs, snapshot.job_pods, _jobs_image(snapshot))


@dataclass(frozen=True)
class _Said:
    """What was found besides the state of the rollout."""

    selection: Selection
    route: RouteFacts
    note: str
    replay: ReplayNow


def _as_plan(snapshot: InferenceServiceSnapshot, seen: Seen, status: InferenceServiceStatus, said: _Said) -> Plan:
    service, arms = snapshot.service, seen.arms
    shares = _shares(snapshot, status, arms)
    fields = {
        **with_ready(status, arms),
        "desired": _desired(seen.target, said.selection),
        "traffic": traffic_of(shares, said.route, seen.finding, by_ratio=snapshot.by_ratio) or None,
        "url": url_of(service, snapshot.gateway, in_sight=snapshot.gateway_in_sight),
    }
    status = with_look(status.model_copy(update=fields), seen.finding, seen.now)
    reported = plan_reports(
        service, status, ReportJobs(snapshot.jobs, snapshot.report_pods, _jobs_image(snapshot)), seen.now
    )
    status = reported.status
    view = View(
        service=service,
        status=status,
        selection=said.selection,
        arms=arms,
        problem=seen.problem,
        finding=seen.finding,
        stable_approved=_is_stable_approved(snapshot, status),
        state_s=seen.since(status.rollout.state_since) if status.rollout else 0.0,
        replay_problem=said.replay.problem,
        note=said.note,
    )
    wanted = Wanted(
        service=service,
        owner=owner_of(names.INFERENCE_SERVICE, service),
        status=status,
        sizes=wanted_sizes(status, service.spec, arms),
        shares=shares,
        route=said.route,
        gateway_api_present=snapshot.gateway_api_present,
        jobs_image=_jobs_image(snapshot),
        routing=routing_of(status, service.spec, arms),
    )
    body = {name: getattr(status, name) for name in type(status).model_fields if name != "conditions"}
    return Plan(
        actions=(
            *plan_children(snapshot.children, wanted),
            *said.replay.actions,
            *shadow.actions(service, status, _jobs(snapshot)),
            *reported.actions,
        ),
        status=new_status(service, describe(view), seen.now, **body),
        requeue_after_s=_again(service.status, status) or reported.again_s,
    )


def _jobs_image(snapshot: InferenceServiceSnapshot) -> Image:
    return Image(snapshot.images.jobs, snapshot.images.pull_policy)


def _desired(target: RevisionStatus | None, selection: Selection) -> RevisionStatus | None:
    """Return what should serve, under the name that was asked for: two versions may have the same bytes."""
    if target is None:
        return None
    name = selection.version.name if selection.version else target.version
    return target.model_copy(update={"predictor": None, "serve": None, "version": name})


def _again(before: InferenceServiceStatus, after: InferenceServiceStatus) -> float | None:
    state = after.rollout.state if after.rollout else ""
    if state != (before.rollout.state if before.rollout else ""):
        return AGAIN_S
    return LOOK_S if state else None


# --- what people ask by annotation ---


def _asked(service: InferenceService, versions: Sequence[ModelVersion]) -> _Asked:
    handled = service.status.handled or {}
    new = {
        name: service.annotations[annotation]
        for name, annotation in (("retry", names.ANNOTATION_RETRY), ("rollback", names.ANNOTATION_ROLLBACK))
        if service.annotations.get(annotation) and service.annotations[annotation][:256] != handled.get(name)
    }
    override, note = _asked_override(service, versions)
    return _Asked("retry" in new, "rollback" in new, override, note)


def _asked_override(service: InferenceService, versions: Sequence[ModelVersion]) -> tuple[Override | None, str]:
    """Return the override that is to be carried out, and what to say of one that is not."""
    override = read_override(service)
    if override is None or override.text[:HANDLED_WIDTH] == (service.status.handled or {}).get("override"):
        return None, ""
    if not override.valid:
        return None, f"The annotation {names.ANNOTATION_OVERRIDE} is not read: write `<model digest> by <who>: <why>`."
    if is_spent(override, service.name, versions):
        again = "the service was made again since, and it counts once; to lift a refusal anew, write what is new"
        return None, f"The override in the annotation {names.ANNOTATION_OVERRIDE} was carried out before: {again}."
    return override, ""


def _taken_note(service: InferenceService, asked: _Asked, now: datetime) -> InferenceServiceStatus:
    """Return the status in which every request by annotation is marked as handled, overrides carried out."""
    status, handled = service.status, dict(service.status.handled or {})
    if asked.retry:
        handled["retry"] = service.annotations[names.ANNOTATION_RETRY][:256]
        status = status.model_copy(update={"inconclusive": None})
    if asked.give_back:
        handled["rollback"] = service.annotations[names.ANNOTATION_ROLLBACK][:256]
    if asked.override is not None:
        handled |= {
            "override": asked.override.text[:HANDLED_WIDTH],
            "overrideDigest": asked.override.digest,
            "overrideAt": format_time(now),
        }
        status = _lifted(status, asked.override, now)
    return status.model_copy(update={"handled": handled or None})


def _lifted(status: InferenceServiceStatus, override: Override, now: datetime) -> InferenceServiceStatus:
    kept = [entry for entry in status.rejected or () if entry.digest != override.digest]
    versions = [entry.version for entry in status.rejected or () if entry.digest == override.digest]
    line = RolloutSummary(
        version=versions[-1] if versions else "",
        digest=override.digest,
        outcome="Overridden",
        reason="Override",
        message=f"{override.who}: {override.why}"[:280],
        started_at=format_time(now),
        ended_at=format_time(now),
    )
    history = [line, *(status.history or ())][:_HISTORY]
    return status.model_copy(update={"rejected": kept or None, "history": history})


# --- what should serve ---


def _refusal(snapshot: InferenceServiceSnapshot, status: InferenceServiceStatus) -> Refusal:
    return refusal_by(snapshot.service, status, snapshot.versions)


def _select(snapshot: InferenceServiceSnapshot, status: InferenceServiceStatus) -> Selection:
    return select_version(snapshot.service, snapshot.versions, status.stable, _refusal(snapshot, status))


def _target(
    snapshot: InferenceServiceSnapshot, status: InferenceServiceStatus, selection: Selection
) -> RevisionStatus | None:
    """Return the revision that should serve: of the selected version, or without one what serves already."""
    version = selection.version
    if version is None:
        return status.stable
    known = [arm for arm in (status.stable, status.canary, status.previous) if arm is not None]
    columns = snapshot.columns.get(version.name, ([], []))
    return describe_revision(snapshot.service, version, snapshot.images, known, columns)


def _is_stable_approved(snapshot: InferenceServiceSnapshot, status: InferenceServiceStatus) -> bool:
    stable = status.stable
    version = next((v for v in snapshot.versions if stable and v.name == stable.version), None)
    return version is None or is_approved(version) or version.deleting


# --- what is ---


def _arm_facts(snapshot: InferenceServiceSnapshot, status: InferenceServiceStatus) -> dict[str, ArmFacts]:
    rollout = status.rollout
    state = active_state(rollout)
    judged = status.stable if state == BAKING else status.canary
    facts: dict[str, ArmFacts] = {}
    for arm in (status.previous, status.baseline, status.canary, status.stable):
        if arm is not None:
            served = state in JUDGED and judged is not None and arm.name == judged.name
            since = parse_time(rollout.step_since) if rollout and rollout.step_since and served else None
            deployment = snapshot.children.deployments.get(arm.name)
            facts[arm.name] = arm_facts(deployment, pods_of(snapshot.pods, arm), since)
    return facts


def _route(snapshot: InferenceServiceSnapshot, status: InferenceServiceStatus) -> RouteFacts:
    service = snapshot.service
    if snapshot.by_ratio:
        return RouteFacts()
    route = snapshot.children.routes.get(service.name)
    facts = (
        route_facts(service, snapshot.gateway, route, in_sight=snapshot.gateway_in_sight)
        if snapshot.gateway_api_present
        else without_api()
    )
    claimant = find_claimant(service, snapshot.rivals, snapshot.foreign_routes)
    if claimant is not None:
        return replace(facts, problem=conflict(service, claimant))
    if facts.problem is not None and facts.problem.reason == ROUTE_PENDING and status.stable is None:
        return replace(facts, problem=None)  # the route is made with the first version that serves
    return facts


def _analysis(
    snapshot: InferenceServiceSnapshot, status: InferenceServiceStatus, arms: Mapping[str, ArmFacts], route: RouteFacts
) -> tuple[Evidence | None, Finding | None]:
    if active_state(status.rollout) not in JUDGED:
        return None, None
    shares = _shares(snapshot, status, arms)
    programmed = route.programmed
    exact = programmed is not None and all(programmed.get(s.arm.name, 0) == s.percent for s in shares)
    return analyse(
        status, snapshot.service.spec, snapshot.pods, snapshot.counters, programmed=snapshot.by_ratio or exact
    )


def _shares(
    snapshot: InferenceServiceSnapshot, status: InferenceServiceStatus, arms: Mapping[str, ArmFacts]
) -> tuple[Share, ...]:
    if snapshot.by_ratio and not is_whole(status, snapshot.service.spec):
        return ratio_shares(status, arms)
    return effective_shares(status, snapshot.service.spec, arms)
