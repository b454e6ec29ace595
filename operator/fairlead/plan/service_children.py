"""The children that a service should have now, as actions: route first, so a refused arm loses its traffic at once.

It must never decide who serves or how much: it gets states, sizes and shares. Pods go only after no route sends them
anything. Used by `plan/inferenceservice.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fairlead.api import names
from fairlead.api.inferenceservice import InferenceService, InferenceServiceStatus, RevisionStatus
from fairlead.contract import keys
from fairlead.contract.base import duration_s, short
from fairlead.contract.jobs import CleanupInput, Sweep

from .children import CLEANUP_SCHEDULE, Image, JobOrder, Owner, build_cron_job
from .revision import (
    LABEL_ARM,
    build_autoscaler,
    build_budget,
    build_deployment,
    build_service,
    service_selector,
)
from .route import HOSTNAME_CONFLICT, RouteFacts, build_route
from .sizes import Size
from .traffic import PLAIN, Routing, Share, is_whole
from .types import Action, Apply, Create, Delete, Obj, Scale

CLEANUP_ROLE = "captures"  # not "cleanup": a DriftMonitor of the same name has that CronJob
CLEANUP_TIMEOUT_S = 1800.0
KEEP_REPORTS = 10  # however old: the lines of status.history link to them


@dataclass(frozen=True)
class Children:
    """What is there: objects that the service owns, by name."""

    deployments: Mapping[str, Obj]
    services: Mapping[str, Obj]
    autoscalers: Mapping[str, Obj]
    budgets: Mapping[str, Obj]
    routes: Mapping[str, Obj]
    cron_jobs: Mapping[str, Obj]


@dataclass(frozen=True)
class Wanted:
    """What should be: who serves, how many pods, which shares."""

    service: InferenceService
    owner: Owner
    status: InferenceServiceStatus
    sizes: Mapping[str, Size]
    shares: Sequence[Share]
    route: RouteFacts
    gateway_api_present: bool
    jobs_image: Image
    routing: Routing = PLAIN

    @property
    def arms(self) -> dict[str, RevisionStatus]:
        """Every revision that is part of the service now, by name; a role may share a Deployment with another."""
        status = self.status
        known = (status.previous, status.baseline, status.canary, status.stable)
        return {arm.name: arm for arm in known if arm is not None}


def plan_children(there: Children, wanted: Wanted) -> tuple[Action, ...]:
    """Return the actions that make the children as they should be, in the order that is safe."""
    return (
        *_routes(there, wanted),
        *_front(there, wanted),
        *_retention(there, wanted),
        *(action for arm in wanted.arms.values() for action in _arm(there, wanted, arm)),
        *_leftovers(there, wanted),
    )


def _routes(there: Children, wanted: Wanted) -> Iterator[Action]:
    if not wanted.gateway_api_present:
        return
    conflict = wanted.route.problem is not None and wanted.route.problem.reason == HOSTNAME_CONFLICT
    asked = wanted.service.spec.traffic.gateway is not None and bool(wanted.shares) and not conflict
    for name, observed in there.routes.items():
        if not asked or name != wanted.owner.name:
            yield Delete(observed)
    if asked:
        body = build_route(wanted.owner, wanted.service, wanted.shares, wanted.routing)
        yield Apply(body, there.routes.get(wanted.owner.name))


def control_name(service: str) -> str:
    """Return the name of the Service for feedback and counters; never on a public route."""
    return names.child_name(service, "control")


def _front(there: Children, wanted: Wanted) -> Iterator[Action]:
    """With a gateway the Service `<name>` is the stable revision; without one all pods in their ratio, or one arm."""
    owner, stable = wanted.owner, wanted.status.stable
    everyone = service_selector(owner)
    selector = everyone
    if stable is not None and wanted.service.spec.traffic.gateway is not None:
        selector = {**everyone, names.LABEL_REVISION: short(stable.revision)}
    elif stable is not None and is_whole(wanted.status, wanted.service.spec):
        whole = max(wanted.shares, key=lambda share: share.percent)
        selector = {**everyone, LABEL_ARM: whole.arm.name}
    yield Apply(build_service(owner, owner.name, selector), there.services.get(owner.name))
    control = control_name(owner.name)
    yield Apply(build_service(owner, control, everyone, control=True), there.services.get(control))
    yield Apply(build_budget(owner), there.budgets.get(owner.name))


def _retention(there: Children, wanted: Wanted) -> Iterator[Action]:
    """A daily Job removes captures and reports that are too old; it stays while some may be left."""
    service, owner = wanted.service, wanted.owner
    name = names.child_name(owner.name, CLEANUP_ROLE)
    reports = keys.rollout(owner.namespace, owner.name, "").rstrip("/")
    reported = any(line.report.startswith(reports) for line in wanted.status.history or ())
    if service.spec.capture.percent == 0 and not reported and name not in there.cron_jobs:
        return
    order = JobOrder(
        owner=owner,
        role=CLEANUP_ROLE,
        document=cleanup_of(service),
        image=wanted.jobs_image,
        overrides=service.spec.predictor.model_copy(update={"resources": None}),
        timeout_s=CLEANUP_TIMEOUT_S,
    )
    yield Apply(build_cron_job(order, CLEANUP_SCHEDULE, suspend=False), there.cron_jobs.get(name))


def cleanup_of(service: InferenceService) -> CleanupInput:
    """Return what is removed: captures and what was made of them after one time, reports of rollouts after another."""
    place = (service.namespace, service.name)
    captured, reported = service.spec.capture.retention, service.spec.rollout.keep_reports
    made = (keys.replay(*place, ""), keys.comparison(*place, ""))
    also = [Sweep(prefix=_all(folder), older_than_days=_days(captured)) for folder in made]
    reports = Sweep(prefix=_all(keys.rollout(*place, "")), older_than_days=_days(reported), keep_newest=KEEP_REPORTS)
    captures = _all(keys.captures(*place, "", "", ""))
    return CleanupInput(prefix=captures, older_than_days=_days(captured), also=[*also, reports])


def _all(folder: str) -> str:
    return folder.rstrip("/") + "/"


def _days(duration: str) -> float:
    return duration_s(duration) / 86400


def _arm(there: Children, wanted: Wanted, arm: RevisionStatus) -> Iterator[Action]:
    deployment, size = there.deployments.get(arm.name), wanted.sizes.get(arm.name)
    if deployment is None:
        if size is not None and size.minimum > 0:
            yield Apply(_arm_service(wanted, arm), there.services.get(arm.name))
            yield Create(build_deployment(wanted.owner, arm, size.minimum, wanted.jobs_image.pull_policy))
            yield from _autoscaler(there, wanted, arm, size)
        return
    yield Apply(_arm_service(wanted, arm), there.services.get(arm.name))
    if size is None:  # rolling back: as it is, until it goes
        return
    yield from _autoscaler(there, wanted, arm, size)
    yield from _scale(deployment, wanted, arm, size)


def _arm_service(wanted: Wanted, arm: RevisionStatus) -> Obj:
    selector = {**service_selector(wanted.owner), LABEL_ARM: arm.name}
    return build_service(wanted.owner, arm.name, selector)


def _autoscaler(there: Children, wanted: Wanted, arm: RevisionStatus, size: Size) -> Iterator[Action]:
    observed = there.autoscalers.get(arm.name)
    if not size.exact:
        scaling = wanted.service.spec.scaling
        yield Apply(build_autoscaler(wanted.owner, arm, scaling, size.minimum), observed)
    elif observed is not None:
        yield Delete(observed)


def _scale(deployment: Obj, wanted: Wanted, arm: RevisionStatus, size: Size) -> Iterator[Action]:
    """An autoscaler would reach its minimum too, but only at its next look, up to 15 s later."""
    replicas = int((deployment.get("spec") or {}).get("replicas", 1))
    if size.exact and replicas != size.minimum and not (size.minimum == 0 and wanted.route.may_carry(arm.name)):
        yield Scale(deployment, size.minimum)
    if not size.exact and replicas < size.minimum:
        yield Scale(deployment, size.minimum)


def _leftovers(there: Children, wanted: Wanted) -> Iterator[Action]:
    """Delete what belongs to no revision of the service any more, once no route sends requests there."""
    front = {wanted.owner.name, control_name(wanted.owner.name)}
    for observed_by_name in (there.autoscalers, there.deployments, there.services):
        for name, observed in observed_by_name.items():
            known = name in wanted.arms or (name in front and observed_by_name is there.services)
            if not known and not wanted.route.may_carry(name):
                yield Delete(observed)
