"""What holds for InferenceService in any world: shares, sizes, one canary, refusals for ever, an end to every state."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.plan import serving
from tests.unit.plan.happenings import happen
from tests.unit.plan.simulation import NAMESPACE, Simulation, run_now
from tests.unit.plan.telling import check_laws

from fairlead.api import names
from fairlead.api.conditions import find_condition
from fairlead.controllers.inferenceservice import CONTROLLER
from fairlead.plan.jobs import is_finished
from fairlead.plan.sizes import baseline_share, held_back_pods, ratio_pods
from fairlead.plan.types import Apply, Create, Delete, Key, Plan, Scale

NAME = "fraud"
KEY = Key("InferenceService", NAMESPACE, NAME)
SERVICE = ("InferenceService", NAMESPACE, NAME)
GATEWAY = {"kind": "Gateway", "metadata": {"name": "public", "namespace": "gateways"}, "spec": {"listeners": [{}]}}
TRAFFIC = {"gateway": {"name": "public", "namespace": "gateways"}, "hostname": "fraud.example.com"}
Event = Callable[["Drama"], None]


def _state(status: Mapping[str, Any]) -> str:
    """Return the state of the rollout, seen through a hold."""
    rollout = status.get("rollout") or {}
    return str(rollout.get("resume") or rollout.get("state") or "")


class Drama:
    """One service in a world in which things happen; every plan is held against the invariants."""

    def __init__(
        self, *, gateway: bool, replicas: int, holdback: int, strategy: str = "Canary", replay: bool = False
    ) -> None:
        self.world = Simulation()
        self.versions = 0
        self.killed_after: int | None = None  # writes of the next plan, then the operator starts again
        self.plan = Plan()
        self.replay_came_late = not replay  # the field was set while a rollout went on
        rollout: dict[str, Any] = {
            "strategy": strategy,
            "deadline": "30m",
            "bake": {"duration": "5m", "holdbackPercent": holdback},
        }
        if replay:
            rollout["replay"] = {}
        spec: dict[str, Any] = {
            "model": {"name": "fraud"},
            "rollout": rollout,
            "scaling": {"minReplicas": replicas, "maxReplicas": replicas + 4},
        }
        if gateway:
            self.world.create(GATEWAY)
            spec["traffic"] = TRAFFIC
        self.world.create({"kind": "InferenceService", "name": NAME, "spec": spec})
        self.approve()

    @property
    def service(self) -> dict[str, Any]:
        return self.world.objects[SERVICE]

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.service["status"])

    def approve(self) -> None:
        self.versions += 1
        number, digest = self.versions, f"{self.versions:064x}"
        status = {
            "stage": "Approved",
            "approvedAt": f"2026-01-01T00:00:{number:02d}Z",
            "artifact": {"digest": f"sha256:{digest}", "format": "onnx"},
        }
        spec = {"model": "fraud", "source": {"trainingRun": {"name": f"fraud-{number}"}}}
        self.world.create({"kind": "ModelVersion", "name": f"fraud-{number}", "spec": spec, "status": status})

    def change(self, spec: Mapping[str, Any]) -> None:
        self.world.update(SERVICE, {"spec": spec})

    def annotate(self, name: str) -> None:
        value = str(self.service["metadata"]["resourceVersion"])
        self.world.update(SERVICE, {"metadata": {"annotations": {name: value}}})

    def has(self, role: str) -> bool:
        revision = self.status.get(role)
        return bool(revision) and ("Deployment", NAMESPACE, revision["name"]) in self.world.objects

    def reconcile(self) -> None:
        """Plan and execute until quiet, checking each plan before it is carried out and the world after it."""
        for _ in range(30):
            snapshot = run_now(CONTROLLER.gather(KEY, self.world.world))
            before = self.status
            self.plan = CONTROLLER.plan(snapshot, self.world.now)
            self.check_plan(before)
            writes, self.killed_after = self.killed_after, None
            if not list(self.world.execute(KEY, self.plan, writes=writes)) and writes is None:
                return
            self.check_world()
        raise AssertionError("the plans never become quiet")

    # --- invariants ---

    def ready_pods(self, arm: str) -> int:
        return sum(map(serving.is_ready, serving.pods_of(self.world, arm)))

    def check_plan(self, before: Mapping[str, Any]) -> None:
        status = self.plan.status
        assert status is not None
        self.check_route(status)
        self.check_autoscalers()
        self.check_sizes(before, status)
        self.check_deletions(status)
        assert len(json.dumps(status)) <= 16 * 1024, "a status is at most 16 KiB"
        canary, stable = status.get("canary"), status.get("stable")
        assert not (canary and stable and canary["name"] == stable["name"]), "a canary is another revision"
        self.check_refusals(before, status)
        self.check_replay(status)
        rollout = status.get("rollout")
        assert bool(rollout) == (self.plan.requeue_after_s is not None) or not rollout, "a rollout is looked at again"

    def check_route(self, status: Mapping[str, Any]) -> None:
        for action in self.plan.actions:
            if isinstance(action, Apply) and action.body["kind"] == "HTTPRoute":
                backends = action.body["spec"]["rules"][0]["backendRefs"]
                assert sum(backend["weight"] for backend in backends) == 100, "weights sum to 100"
                heirs = ("previous",) if _state(status) == "Baking" else ("baseline",)
                known = [(status.get(role) or {}).get("name") for role in heirs]
                nobody_else = not any(name and self.ready_pods(name) for name in known)
                rules = action.body["spec"]["rules"]
                for backend in [backend for rule in rules for backend in rule["backendRefs"]]:
                    alone = backend["name"] == status["stable"]["name"] and nobody_else
                    assert self.ready_pods(backend["name"]) or alone, "no weight without ready endpoints"

    def check_autoscalers(self) -> None:
        """Where an autoscaler rules, replicas are only raised, and only to what it would raise them to itself."""
        minima = {hpa["metadata"]["name"]: hpa["spec"]["minReplicas"] for hpa in self.world.list(names.AUTOSCALER)}
        for action in self.plan.actions:
            if isinstance(action, Delete) and action.observed["kind"] == names.AUTOSCALER.kind:
                minima.pop(action.observed["metadata"]["name"])
            if isinstance(action, Apply) and action.body["kind"] == names.AUTOSCALER.kind:
                minima[action.body["metadata"]["name"]] = action.body["spec"]["minReplicas"]
        for action in self.plan.actions:
            if isinstance(action, Scale) and action.observed["metadata"]["name"] in minima:
                before = action.observed["spec"]["replicas"]
                assert before < action.replicas <= minima[action.observed["metadata"]["name"]], "a fight over replicas"

    def check_sizes(self, before: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        rollout, stable = status.get("rollout"), status.get("stable")
        if not rollout or not stable:
            return
        for action in self.plan.actions:
            if isinstance(action, Scale) and action.observed["metadata"]["name"] == stable["name"]:
                enough = max(rollout["size"], self.service["spec"]["scaling"]["minReplicas"])
                assert action.replicas >= enough, "the stable revision never shrinks below what it carries"
        old = before.get("rollout") or {}
        raised = rollout["weight"] > old.get("weight", 0) and rollout["state"] == "Step"
        if raised and "gateway" in self.service["spec"].get("traffic", {}):
            need = -(-rollout["size"] * rollout["weight"] // 100)
            for role in ("canary", "baseline") if status.get("baseline") else ("canary",):
                assert self.ready_pods(status[role]["name"]) >= need, f"the {role} is large enough before the step"

    def check_deletions(self, status: Mapping[str, Any]) -> None:
        uid = self.service["metadata"]["uid"]
        route = self.world.objects.get(("HTTPRoute", NAMESPACE, NAME))
        carried = {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"]} if route else {}
        for action in self.plan.actions:
            if isinstance(action, Delete):
                owners = [ref["uid"] for ref in action.observed["metadata"]["ownerReferences"]]
                assert owners == [uid], "only what it owns is deleted"
                gone = action.observed["metadata"]["name"]
                serving_still = action.observed["kind"] == "Deployment" and carried.get(gone, 0) > 0
                assert not serving_still, "pods go only after no route sends requests there"
            if isinstance(action, Create):
                roles = ("stable", "canary", "baseline", "previous")
                known = [(status.get(role) or {}).get("name") for role in roles]
                known.append((((status.get("rollout") or {}).get("replay") or {}).get("attempt") or {}).get("job"))
                known.extend(report["job"] for report in status.get("reports") or ())
                assert action.body["metadata"]["name"] in known, "nothing is made that status does not know"

    def check_refusals(self, before: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        old_roles = {role: (before.get(role) or {}).get("content") for role in ("stable", "canary")}
        refused = before.get("rejected") or []
        new = status.get("canary")
        if not new or new["content"] in old_roles.values():
            return
        for entry in refused:
            same = new["content"] == entry["content"] if entry.get("revision") else new["digest"] == entry["digest"]
            assert not same, "what was refused never comes back"

    def check_replay(self, status: Mapping[str, Any]) -> None:
        """Before its replay a canary has no user, unless nothing else serves."""
        rollout, asked = status.get("rollout") or {}, self.service["spec"]["rollout"].get("replay")
        exposed = ("Canary", "Step") if rollout.get("step") == 1 else ("BlueGreen", "Baking")
        if asked is None or (rollout.get("kind"), _state(status)) != exposed:
            return
        assert "replay" in rollout or self.replay_came_late, "a canary gets users before its replay"
        assert (rollout.get("replay") or {}).get("outcome") in ("Passed", "NotPossible", None)

    def check_world(self) -> None:
        deployments = [obj["metadata"]["name"] for obj in self.world.list(names.DEPLOYMENT)]
        roles = [self.status.get(role) for role in ("stable", "canary", "baseline", "previous")]
        assert len(deployments) <= 8, "what is left over goes"
        assert len([role for role in roles if role]) <= 4
        if self.status.get("canary"):
            assert self.status.get("rollout"), "a canary is part of a rollout"

    # --- events ---

    def settle(self) -> None:
        """Let the cluster do its work: pods ready, route taken."""
        for _ in range(3):
            serving.pods_run(self.world)
            serving.gateway_answers(self.world)
            self.reconcile()
            _replay("Passed")(self)


def _happens(said: Mapping[str, Any], role: str = "") -> Event:
    def event(drama: Drama) -> None:
        if not role or drama.has(role):
            happen(drama.world, said)

    return event


def _requests(count: int, **more: Mapping[str, float]) -> Event:
    def event(drama: Drama) -> None:
        known = {kind: {role: p for role, p in by.items() if drama.has(role)} for kind, by in more.items()}
        happen(drama.world, {"requests": count, **known})

    return event


def _toggle_gateway(drama: Drama) -> None:
    if ("Gateway", "gateways", "public") in drama.world.objects:
        drama.world.remove(("Gateway", "gateways", "public"))
    elif "traffic" in drama.service["spec"]:
        drama.world.create(GATEWAY)


def _delete_deployment(drama: Drama) -> None:
    for obj in drama.world.list(names.DEPLOYMENT)[:1]:
        drama.world.remove(("Deployment", NAMESPACE, obj["metadata"]["name"]))


def _withdraw(drama: Drama) -> None:
    drama.world.update(("ModelVersion", NAMESPACE, f"fraud-{drama.versions}"), {"status": {"stage": "Rejected"}})


def _autoscalers_scale(share: float) -> Event:
    """Each autoscaler chooses a number between its bounds, as load would have it."""

    def event(drama: Drama) -> None:
        for scaler in drama.world.list(names.AUTOSCALER):
            low, high = scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]
            address = ("Deployment", NAMESPACE, scaler["metadata"]["name"])
            if address in drama.world.objects:
                drama.world.update(address, {"spec": {"replicas": low + round(share * (high - low))}})

    return event


def _toggle_suspend(drama: Drama) -> None:
    drama.change({"suspend": not drama.service["spec"].get("suspend", False)})


def _looks(count: int, requests: int, span: str, **more: Mapping[str, float]) -> Event:
    def event(drama: Drama) -> None:
        for _ in range(count):
            serving.pods_run(drama.world)
            serving.gateway_answers(drama.world)
            _requests(requests, **more)(drama)
            happen(drama.world, {"time passes": span})
            drama.reconcile()

    return event


def _killed_after(writes: int) -> Event:
    def event(drama: Drama) -> None:
        drama.killed_after = writes

    return event


def _job(said: Mapping[str, Any]) -> Event:
    def event(drama: Drama) -> None:
        if any(not is_finished(job) for job in drama.world.list(names.JOB)):
            happen(drama.world, said)

    return event


def _replay(outcome: str) -> Event:
    said = {"kind": "Replay", "outcome": outcome, "requests": 500, "message": f"{outcome}."}
    return _job({"job succeeds": "*", "with": said})


def _ask_replay(drama: Drama) -> None:
    drama.replay_came_late = True
    drama.change({"rollout": {"replay": {"minRequests": 50}}})


EVENTS: dict[str, Event] = {
    "killed before writing": _killed_after(0),
    "killed after one write": _killed_after(1),
    "killed after three writes": _killed_after(3),
    "goes well": _looks(5, 20_000, "35s"),
    "canary is bad": _looks(5, 2_000, "5s", failing={"canary": 30}),
    "stable is bad": _looks(8, 800, "5s", failing={"stable": 40}),
    "canary is slow": _looks(5, 2_000, "5s", slow={"canary": 80}),
    "replay is asked for": _ask_replay,
    "replay passes": _replay("Passed"),
    "replay fails": _replay("Failed"),
    "replay is not possible": _replay("NotPossible"),
    "replay is stuck": _job({"pod fails": "*", "exit": 20, "with": ""}),
    "replay crashes": _job({"job fails": "*", "exit": 1, "with": "oops"}),
    "time": _happens({"time passes": "40s"}),
    "long time": _happens({"time passes": "12m"}),
    "pods run": _happens({"pods run": "all"}),
    "gateway answers": _happens({"gateway answers": "all"}),
    "requests": _requests(20_000),
    "canary fails": _requests(3_000, failing={"canary": 30}),
    "stable fails": _requests(3_000, failing={"stable": 30}),
    "all fail": _requests(3_000, failing={"stable": 60, "canary": 60, "baseline": 60}),
    "slow canary": _requests(3_000, slow={"canary": 70}),
    "canary crashes": _happens({"pods crash": "canary"}, "canary"),
    "stable crashes": _happens({"pods crash": "stable"}, "stable"),
    "canary unready": _happens({"pods lose readiness": "canary"}, "canary"),
    "canary unschedulable": _happens({"pods wait": "canary", "unschedulable": "no memory"}, "canary"),
    "baseline goes": _happens({"pods go": "baseline"}, "baseline"),
    "pods go": _happens({"pods go": "all"}),
    "counters fail": _happens({"counters fail": "canary"}, "canary"),
    "new version": Drama.approve,
    "withdraw": _withdraw,
    "gateway": _toggle_gateway,
    "deployment deleted": _delete_deployment,
    "autoscalers grow": _autoscalers_scale(1.0),
    "autoscalers grow a little": _autoscalers_scale(0.3),
    "autoscalers shrink": _autoscalers_scale(0.0),
    "suspend": _toggle_suspend,
    "predictor": lambda d: d.change(
        {"predictor": {"runtime": {"workers": d.service["metadata"]["generation"] % 4 + 1}}}
    ),
    "steps": lambda d: d.change({"rollout": {"stepsPercent": [10, 40]}}),
    "scaling": lambda d: d.change({"scaling": {"minReplicas": d.service["metadata"]["generation"] % 3 + 1}}),
    "first version named": lambda d: d.change({"model": {"name": None, "version": "fraud-1"}}),
    "family again": lambda d: d.change({"model": {"name": "fraud", "version": None}}),
    "blue green": lambda d: d.change({"rollout": {"strategy": "BlueGreen", "promotion": "Manual"}}),
    "shadow": lambda d: d.change({"rollout": {"strategy": "Shadow"}}),
    "test": lambda d: d.change({"rollout": {"strategy": "ABTest", "abTest": {"cohorts": ["beta"]}}}),
    "gateway left": lambda d: d.change({"traffic": None}),
    "canary again": lambda d: d.change({"rollout": {"strategy": "Canary", "promotion": "Auto"}}),
    "promote": lambda d: d.world.update(
        SERVICE, {"metadata": {"annotations": {names.ANNOTATION_PROMOTE: f"fraud-{d.versions}"}}}
    ),
    "rollback": lambda d: d.annotate(names.ANNOTATION_ROLLBACK),
    "retry": lambda d: d.annotate(names.ANNOTATION_RETRY),
    "operator upgrade": _happens({"operator has server image": "fairlead-server:next"}),
}
World = tuple[bool, int, int, str, bool]
STRATEGIES = st.sampled_from(["Canary", "Canary", "BlueGreen", "Shadow", "ABTest"])
WORLDS = st.tuples(st.booleans(), st.integers(1, 3), st.sampled_from([0, 5]), STRATEGIES, st.booleans())
PLAYS = st.lists(st.sampled_from(sorted(EVENTS)), max_size=24)


def play(world: World, events: list[str]) -> Drama:
    gateway, replicas, holdback, strategy, replay = world
    drama = Drama(gateway=gateway, replicas=replicas, holdback=holdback, strategy=strategy, replay=replay)
    drama.reconcile()
    drama.settle()
    for name in events:
        EVENTS[name](drama)
        if not name.startswith("killed"):  # that meets the plan after the next event
            drama.reconcile()
    return drama


@given(WORLDS, PLAYS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_any_world_keeps_the_invariants_and_comes_to_rest(world: World, events: list[str]) -> None:
    drama = play(world, events)
    drama.change({"suspend": False})
    if world[0] and ("Gateway", "gateways", "public") not in drama.world.objects:
        drama.world.create(GATEWAY)
    for _ in range(12):  # enough for a rollout that is superseded, another one without traffic, and its deadline
        drama.settle()
        happen(drama.world, {"time passes": "11m"})
    drama.settle()
    check_laws(drama.service)
    assert not drama.status.get("rollout"), f"every state has an exit; still {drama.status['rollout']}"
    assert drama.plan.requeue_after_s is None, "at rest nothing is looked at again"
    ready = find_condition(drama.service, "Ready")
    assert ready is not None
    ended = ready["status"] == "True" or find_condition(drama.service, "Stalled")
    assert ended, f"healthy pods and time end as Ready or Stalled, not {ready}"
    deployments = {obj["metadata"]["name"] for obj in drama.world.list(names.DEPLOYMENT)}
    roles = {(drama.status.get(role) or {}).get("name") for role in ("stable", "previous")}
    assert deployments <= roles, "canary and baseline are gone"


@given(st.integers(1, 40), st.integers(1, 99))
def test_whole_pods_reach_the_share_with_the_fewest_pods(size: int, weight: int) -> None:
    canary, baseline = ratio_pods(size, weight)
    total = size + canary + baseline
    assert 100 * canary >= weight * total
    fewer = canary - 1
    beside = min(baseline, fewer) if 3 * weight <= 100 else baseline
    assert fewer == 0 or 100 * fewer < weight * (size + fewer + beside)


@given(st.integers(1, 99))
def test_the_baseline_leaves_the_canary_its_share(weight: int) -> None:
    assert 0 < baseline_share(weight) <= weight
    assert weight + baseline_share(weight) <= 100


@given(st.integers(0, 50))
def test_held_back_pods_reach_their_share(percent: int) -> None:
    pods = held_back_pods(4, percent)
    assert 100 * pods >= percent * (4 + pods)
