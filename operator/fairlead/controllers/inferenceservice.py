"""Watches and gathers for InferenceService: its versions, its children, its Gateway, and counters while it judges."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from fairlead.api import meta, names
from fairlead.api.inferenceservice import InferenceService, InferenceServiceSpec, InferenceServiceStatus
from fairlead.api.modelversion import ModelVersion, ModelVersionSpec, ModelVersionStatus
from fairlead.contract.jobs import ArmReport
from fairlead.plan.analysis import judged_arms
from fairlead.plan.inferenceservice import InferenceServiceSnapshot, plan_inferenceservice
from fairlead.plan.revision import ROLE, ServingImages
from fairlead.plan.route import HOSTNAME_CONFLICT, Address, address_of, is_foreign
from fairlead.plan.service_children import Children
from fairlead.plan.serving_pods import pods_of
from fairlead.plan.sizes import JUDGED, active_state
from fairlead.plan.types import Key, Obj, Plan

from .types import Controller, View, Watch, World, key_of, owner_key

KIND = names.INFERENCE_SERVICE


def _services_of_version(version: Obj, view: View) -> Iterable[Key]:
    metadata = version["metadata"]
    family = (version.get("spec") or {}).get("model")
    for service in view.list(KIND, metadata.get("namespace", "")):
        asked = service["spec"]["model"]
        serves = (((service.get("status") or {}).get("stable")) or {}).get("version")
        if metadata["name"] in (asked.get("version"), serves) or (family and asked.get("name") == family):
            yield key_of(KIND, service)


def _gateway_of(service: Obj) -> tuple[str, str] | None:
    address = _address_of(service)
    return address[:2] if address else None


def _services_of_gateway(gateway: Obj, view: View) -> Iterable[Key]:
    metadata = gateway["metadata"]
    place = (metadata.get("namespace", ""), metadata["name"])
    return [key_of(KIND, service) for service in view.list(KIND) if _gateway_of(service) == place]


def _rivals_of_service(changed: Obj, view: View) -> Iterable[Key]:
    """Services that claim the same address, or wait for one: it may be free now."""
    address, uid = _address_of(changed), changed["metadata"].get("uid")
    others = [service for service in view.list(KIND) if service["metadata"].get("uid") != uid]
    same = [service for service in others if address is not None and _address_of(service) == address]
    return [key_of(KIND, service) for service in (*same, *filter(_awaits_address, others))]


def _address_of(service: Obj) -> Address | None:
    return address_of(service.get("spec") or {}, service["metadata"].get("namespace", ""))


def _awaits_address(service: Obj) -> bool:
    conditions = (service.get("status") or {}).get("conditions") or ()
    return any(condition.get("reason") == HOSTNAME_CONFLICT for condition in conditions)


def _services_of_route(route: Obj, view: View) -> Iterable[Key]:
    """Look again at the owner of our routes; of a foreign route, at the services on its Gateways."""
    if not is_foreign(route):
        return owner_key(KIND)(route, view)
    namespace = route["metadata"].get("namespace", "")
    parents = (route.get("spec") or {}).get("parentRefs") or ()
    places = {(parent.get("namespace") or namespace, parent.get("name")) for parent in parents}
    return [key_of(KIND, service) for service in view.list(KIND) if _gateway_of(service) in places]


class InferenceServiceController(Controller[InferenceServiceSnapshot]):
    """InferenceService."""

    resource = KIND
    watches = (
        Watch(KIND, _rivals_of_service),
        Watch(names.MODEL_VERSION, _services_of_version),
        Watch(names.DEPLOYMENT, owner_key(KIND)),
        Watch(names.SERVICE, owner_key(KIND)),
        Watch(names.AUTOSCALER, owner_key(KIND)),
        Watch(names.DISRUPTION_BUDGET, owner_key(KIND)),
        Watch(names.CRON_JOB, owner_key(KIND)),
        Watch(names.JOB, owner_key(KIND)),
        Watch(names.POD, owner_key(KIND)),
        Watch(names.HTTP_ROUTE, _services_of_route),
        Watch(names.GATEWAY, _services_of_gateway),
    )

    async def gather(self, key: Key, world: World) -> InferenceServiceSnapshot | None:
        """Return the service and everything that it looks at, or None when it is gone."""
        view = world.view
        raw = view.get(KIND, key.namespace, key.name)
        if raw is None:
            return None
        service = meta.read(raw, InferenceServiceSpec, InferenceServiceStatus)
        labels = {
            names.LABEL_OWNER: key.name,
            names.LABEL_OWNER_KIND: KIND.kind,
            names.LABEL_ROLE: ROLE,
        }
        pods = tuple(view.select(names.POD, key.namespace, labels))
        versions = _versions(view, service)
        settings = world.settings
        return InferenceServiceSnapshot(
            service=service,
            versions=versions,
            columns={version.name: _columns(view, version) for version in versions},
            children=_children(view, service, gateway_api=settings.gateway_api_present),
            gateway=_gateway(view, service, gateway_api=settings.gateway_api_present),
            gateway_in_sight=_is_in_sight(service, settings.namespaces),
            rivals=_rivals(view, service),
            foreign_routes=_foreign_routes(view, service, gateway_api=settings.gateway_api_present),
            pods=pods,
            counters=await _counters(world, service, pods),
            images=ServingImages(settings.server_image, settings.jobs_image, settings.image_pull_policy),
            gateway_api_present=settings.gateway_api_present,
            jobs=tuple(view.owned_by(names.JOB, service.uid)),
            job_pods=(*_replay_pods(view, service), *_compare_pods(view, service)),
            report_pods=_report_pods(view, service),
        )

    def plan(self, snapshot: InferenceServiceSnapshot, now: datetime) -> Plan:
        """Decide."""
        return plan_inferenceservice(snapshot, now)


def _replay_pods(view: View, service: InferenceService) -> tuple[Obj, ...]:
    replayed = service.status.rollout.replay if service.status.rollout else None
    attempt = replayed.attempt if replayed else None
    return tuple(view.pods_of_job(service.namespace, attempt.job)) if attempt else ()


def _report_pods(view: View, service: InferenceService) -> tuple[Obj, ...]:
    pending = service.status.reports or ()
    return tuple(pod for report in pending for pod in view.pods_of_job(service.namespace, report.job))


def _compare_pods(view: View, service: InferenceService) -> tuple[Obj, ...]:
    """Return the pods of the Jobs that compare a shadow's answers, while there is one."""
    rollout = service.status.rollout
    if rollout is None or rollout.comparison is None or rollout.comparison.decision:
        return ()
    jobs = view.owned_by(names.JOB, service.uid)
    return tuple(pod for job in jobs for pod in view.pods_of_job(service.namespace, job["metadata"]["name"]))


def _versions(view: View, service: InferenceService) -> tuple[ModelVersion, ...]:
    """Return the family's versions and those that the spec or a role names."""
    model, status = service.spec.model, service.status
    roles = (status.stable, status.canary, status.previous)
    named = {model.version, *(role.version for role in roles if role is not None)}
    return tuple(
        meta.read(raw, ModelVersionSpec, ModelVersionStatus)
        for raw in view.list(names.MODEL_VERSION, service.namespace)
        if raw["metadata"]["name"] in named or (model.name and raw["spec"].get("model") == model.name)
    )


def _columns(view: View, version: ModelVersion) -> tuple[list[str], list[str]]:
    """Return identifiers and sensitive columns of the data that a version was evaluated on."""
    evaluation = version.status.evaluation
    dataset = view.get(names.DATASET, version.namespace, evaluation.dataset) if evaluation else None
    spec = (dataset or {}).get("spec") or {}
    return list(spec.get("identifiers") or ()), list(spec.get("sensitive") or ())


def _children(view: View, service: InferenceService, *, gateway_api: bool) -> Children:
    def owned(resource: names.Resource) -> dict[str, Obj]:
        return {obj["metadata"]["name"]: obj for obj in view.owned_by(resource, service.uid)}

    return Children(
        deployments=owned(names.DEPLOYMENT),
        services=owned(names.SERVICE),
        autoscalers=owned(names.AUTOSCALER),
        budgets=owned(names.DISRUPTION_BUDGET),
        routes=owned(names.HTTP_ROUTE) if gateway_api else {},
        cron_jobs=owned(names.CRON_JOB),
    )


def _gateway(view: View, service: InferenceService, *, gateway_api: bool) -> Obj | None:
    gateway = service.spec.traffic.gateway
    if gateway is None or not gateway_api:
        return None
    return view.get(names.GATEWAY, gateway.namespace or service.namespace, gateway.name)


def _is_in_sight(service: InferenceService, namespaces: Collection[str]) -> bool:
    """Whether a Gateway that the store does not hold does not exist: the operator watches its namespace."""
    place = _gateway_of(service.raw)
    return place is None or not namespaces or place[0] in namespaces


def _rivals(view: View, service: InferenceService) -> tuple[Obj, ...]:
    place = _gateway_of(service.raw)
    if place is None:
        return ()
    found = (raw for raw in view.list(KIND) if _gateway_of(raw) == place)
    return tuple(raw for raw in found if "deletionTimestamp" not in raw["metadata"])


def _foreign_routes(view: View, service: InferenceService, *, gateway_api: bool) -> tuple[Obj, ...]:
    if service.spec.traffic.gateway is None or not gateway_api:
        return ()
    return tuple(route for route in view.list(names.HTTP_ROUTE) if is_foreign(route))


async def _counters(world: World, service: InferenceService, pods: tuple[Obj, ...]) -> dict[str, ArmReport | str]:
    """Return what the judged arms' pods count, only while a judge looks at them."""
    if active_state(service.status.rollout) not in JUDGED:
        return {}
    counters: dict[str, ArmReport | str] = {}
    for arm in judged_arms(service.status).values():
        mine = pods_of(pods, arm)
        answers = await world.arms.poll(mine) if mine else {}
        for uid, answer in answers.items():
            counters[uid] = answer if isinstance(answer, ArmReport) else answer.message
    return counters


CONTROLLER = InferenceServiceController()
