"""Strategies other than Canary on the real cluster, under steady load: users see no failure and no mixture for long."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import urllib3
from hack.demo.cluster import CONTEXT
from kubernetes import config
from tests.e2e import asking, flights
from tests.e2e.team import GATEWAY, Obj, Team, condition, eventually, is_ready, manifest

JUDGE = {"errorRate": {"maxIncreasePoints": 20}, "latency": {"thresholdMs": 5000, "maxIncreasePoints": 50}}
STEP = {"minRequests": 50, "minDuration": "5s"}
SWITCH_S = 1.0  # between the first answer of one revision and the last one of the other
USERS = 24
SLOW_SERVER = """
import http.server, json, time
class Slow(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        time.sleep(5)
        self.answer()
    def do_GET(self):
        self.answer()
    def answer(self):
        body = json.dumps({"predictions": [False]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8080), Slow).serve_forever()
"""


@dataclass(frozen=True)
class Timed:
    """One answer and when it was asked for and given, in seconds."""

    began: float
    ended: float
    status: int
    version: str
    revision: str


class Load:
    """Asks by the gateway on four connections, without pause, until the block ends."""

    def __init__(self, hostname: str) -> None:
        self.answers: list[Timed] = []
        self._ask = asking.by_gateway(hostname)
        self._done = threading.Event()

    @contextmanager
    def running(self) -> Iterator[Load]:
        threads = [threading.Thread(target=self._run) for _ in range(asking.SIDE_BY_SIDE)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._done.set()
            for thread in threads:
                thread.join()

    def _run(self) -> None:
        rows = flights.features(200)
        for number in count():
            if self._done.is_set():
                return
            began = time.monotonic()
            answer = self._ask([rows[number % len(rows)]])
            said = Timed(
                began, time.monotonic(), answer.status, answer.version, answer.headers.get(asking.REVISION, "")
            )
            self.answers.append(said)
            self._done.wait(0.01)

    def since(self, moment: float) -> list[Timed]:
        return [answer for answer in list(self.answers) if answer.began >= moment]

    def none_failed(self) -> None:
        failed = [answer for answer in self.answers if answer.status != 200]
        assert not failed, f"{len(failed)} of {len(self.answers)} requests failed: {failed[:3]}"


def mixed_s(answers: list[Timed], before: str, after: str) -> float:
    """Return how long both versions answered: from the first answer of the later one to the last of the earlier one."""
    first = min(answer.ended for answer in answers if answer.version == after)
    last = max((answer.began for answer in answers if answer.version == before), default=first)
    return max(0.0, last - first)


def percentile_ms(answers: list[Timed], percent: float) -> float:
    """Return a percentile of how long answers took."""
    took = sorted(answer.ended - answer.began for answer in answers)
    return 1000 * took[min(len(took) - 1, int(len(took) * percent / 100))]


def given_versions(team: Team) -> None:
    """Apply a Dataset and two runs; both versions are approved."""
    flights.given_dataset(team)
    other = {"sklearn": flights.run_spec()["trainer"]["sklearn"] | {"parameters": {"C": 0.5}}}
    team.apply(
        manifest("TrainingRun", "flights-v1", flights.run_spec()),
        manifest("TrainingRun", "flights-v2", flights.run_spec(trainer=other)),
    )
    team.until_ready("ModelVersion", "flights-v1", 240)
    team.until_ready("ModelVersion", "flights-v2", 240)


def given_service(team: Team, hostname: str, rollout: dict[str, Any], **changes: Any) -> None:
    """Serve the first version through the gateway."""
    spec = flights.service_spec(hostname, model={"version": "flights-v1"}, rollout={"judge": JUDGE, **rollout})
    team.apply(manifest("InferenceService", "flights", {**spec, **changes}))
    team.until_ready("InferenceService", "flights", 120)
    asking.until_answered(asking.by_gateway(hostname), flights.features(1))


def state_of(service: Obj) -> str:
    return str((service["status"].get("rollout") or {}).get("state", ""))


def serves(version: str) -> Any:
    return lambda service: ((service["status"].get("stable") or {}).get("version")) == version


def test_blue_green_switches_and_returns_without_a_failed_request(team: Team) -> None:
    hostname = f"{team.namespace}.example.com"
    given_versions(team)
    given_service(team, hostname, {"strategy": "BlueGreen", "bake": {"duration": "5m"}})
    with Load(hostname).running() as load:
        asked = time.monotonic()
        team.patch("InferenceService", "flights", {"spec": {"model": {"version": "flights-v2"}}})
        team.until("InferenceService", "flights", lambda o: state_of(o) == "Baking", 120)
        eventually(lambda: load.answers[-1].version == "flights-v2", "the route did not switch", 10)
        switched = mixed_s(load.since(asked), "flights-v1", "flights-v2")
        back = time.monotonic()
        stamp = {"metadata": {"annotations": {"fairlead.dev/rollback": "1"}}}
        team.patch("InferenceService", "flights", stamp)
        eventually(lambda: load.answers[-1].version == "flights-v1", "the route did not return", 10)
        team.until("InferenceService", "flights", lambda o: not state_of(o), 60)
    after = load.since(back)
    returned = mixed_s(after, "flights-v2", "flights-v1")
    asked_for = max(answer.began for answer in after if answer.version == "flights-v2") - back
    print(f"both answered for {switched:.2f} s, on return {returned:.2f} s, {asked_for:.2f} s after it was asked for")
    load.none_failed()
    assert switched < SWITCH_S
    assert returned < SWITCH_S
    service = team.get("InferenceService", "flights") or {}
    assert service["status"]["stable"]["version"] == "flights-v1"
    assert condition(service, "Ready")["reason"] == "RolledBack"


def test_a_shadow_that_crashes_or_takes_five_seconds_changes_nothing_for_users(team: Team) -> None:
    hostname = f"{team.namespace}.example.com"
    flights.given_dataset(team)
    flights.given_version(team)
    rollout = {"strategy": "Shadow", "step": STEP, "deadline": "10m"}
    given_service(team, hostname, rollout)
    with Load(hostname).running() as alone:
        eventually(lambda: len(alone.answers) >= 1500, "too few answers", 120)
    slow = {"image": "fairlead-jobs:dev", "command": ["python", "-c", SLOW_SERVER], "readinessPath": "/"}
    with Load(hostname).running() as load:
        team.patch("InferenceService", "flights", {"spec": {"predictor": {"container": slow}}})
        stepping = team.until("InferenceService", "flights", lambda o: state_of(o) == "Step", 180)
        assert {s["role"]: s["requested"] for s in stepping["status"]["traffic"]} == {"stable": 100, "canary": 0}
        began = time.monotonic()
        service = team.until("InferenceService", "flights", lambda o: bool(o["status"].get("rejected")), 240)
        beside = load.since(began)
        team.until("InferenceService", "flights", lambda o: not state_of(o), 60)
    without, with_shadow = percentile_ms(alone.answers, 99), percentile_ms(beside, 99)
    print(f"p99 {without:.1f} ms alone ({len(alone.answers)}), {with_shadow:.1f} ms beside it ({len(beside)})")
    load.none_failed()
    assert {answer.version for answer in load.answers} == {"flights-v1"}
    slowness = ("Latency", "CanaryUnavailable")  # so many wait in it that its probe may wait too long as well
    assert service["status"]["rejected"][0]["reason"] in slowness, service["status"]["rejected"]
    assert max(answer.ended - answer.began for answer in beside) < 5, "nobody waited for the shadow"
    crashing = {"image": "fairlead-jobs:dev", "command": ["python", "-c", "raise SystemExit(3)"]}
    with Load(hostname).running() as load:
        team.patch("InferenceService", "flights", {"spec": {"predictor": {"container": crashing}}})
        reasons = eventually(lambda: refusals(team, 2), "the crash was not refused", 240)
    assert reasons[-1] == "CanaryCrashed"
    load.none_failed()


def test_a_shadows_answers_are_compared_and_it_is_promoted(team: Team) -> None:
    hostname = f"{team.namespace}.example.com"
    given_versions(team)
    rollout = {"strategy": "Shadow", "step": STEP, "shadow": {"maxDisagreementPercent": 15}, "bake": {"duration": "5s"}}
    given_service(team, hostname, rollout, capture={"percent": 100})
    with Load(hostname).running() as load:
        team.patch("InferenceService", "flights", {"spec": {"model": {"version": "flights-v2"}}})
        shadowing = team.until("InferenceService", "flights", lambda o: state_of(o) == "Step", 180)
        assert condition(shadowing, "Ready")["reason"] == "Shadowing"
        team.until("InferenceService", "flights", promoted_or_going, 300)
        team.until("InferenceService", "flights", lambda o: serves("flights-v2")(o) and is_ready(o), 120)
    load.none_failed()
    report = json.loads(team.read(team.stored("comparisons/")[-1]))
    print(f"{report['disagreeing']} of {report['compared']} answers differ")
    assert report["compared"] >= 50


def promoted_or_going(service: Obj) -> bool:
    """Whether the shadow's answers were found to agree; fail when they were not."""
    assert not service["status"].get("rejected"), service["status"]["rejected"]
    return state_of(service) in ("Promoting", "Baking") or serves("flights-v2")(service)


def refusals(team: Team, count: int) -> list[str]:
    """Return the reasons of what the service refused, once there are so many."""
    service = team.get("InferenceService", "flights") or {}
    found = [entry["reason"] for entry in service["status"].get("rejected") or ()]
    return found if len(found) >= count else []


class User:
    """A browser: it keeps its cookies."""

    def __init__(self, hostname: str) -> None:
        self._pool = urllib3.PoolManager(maxsize=1, retries=False, timeout=15)
        self._hostname = hostname
        self.cookie = ""
        self.ids: dict[str, list[str]] = defaultdict(list)  # of answers, by revision

    def ask(self, **headers: str) -> str:
        """Ask once and return which revision answered."""
        sent = {"Host": self._hostname, **({"Cookie": f"theme=dark; {self.cookie}"} if self.cookie else {}), **headers}
        body = json.dumps({"rows": flights.features(1)})
        said = self._pool.request("POST", f"{GATEWAY}/predict", body=body, headers=sent)
        assert said.status == 200, said.data
        self.cookie = said.headers.get("set-cookie", self.cookie).partition(";")[0]
        revision = str(said.headers[asking.REVISION])
        self.ids[revision].append(str(said.headers[asking.RESPONSE_ID]))
        return revision


def tell_outcomes(team: Team, items: list[dict[str, Any]]) -> None:
    """Send outcomes to the service's control port, through the API server."""
    client = config.new_client_from_config(context=CONTEXT)
    url = f"{client.configuration.host}/api/v1/namespaces/{team.namespace}/services/flights-control:8081/proxy/feedback"
    sent = json.dumps(items)
    answer = client.rest_client.pool_manager.request(
        "POST", url, body=sent, headers={"content-type": "application/json"}, retries=False, timeout=15
    )
    assert answer.status == 202, answer.data


def test_users_keep_their_revision_in_an_ab_test_and_outcomes_decide(team: Team) -> None:
    hostname = f"{team.namespace}.example.com"
    given_versions(team)
    rollout = {"strategy": "ABTest", "step": STEP, "abTest": {"cohorts": ["beta"], "minDifferencePoints": 5}}
    given_service(team, hostname, {**rollout, "bake": {"duration": "5s"}})
    team.patch("InferenceService", "flights", {"spec": {"model": {"version": "flights-v2"}}})
    service = team.until("InferenceService", "flights", lambda o: state_of(o) == "Step", 180)
    new, old = (service["status"][role]["revision"] for role in ("canary", "stable"))
    users = [User(hostname) for _ in range(USERS)]
    eventually(lambda: users[0].ask() and users[0].cookie, "no cookie was set", 30)
    kept = {id(user): user.ask() for user in users}
    assert set(kept.values()) == {new, old}, "new users are split"
    assert all(user.ask() == kept[id(user)] for user in users for _ in range(10))
    assert {User(hostname).ask(**{"X-Cohort": "beta"}) for _ in range(10)} == {new}
    team.kubectl("delete", "pods", "-l", "fairlead.dev/role=server", "--wait=true")
    team.until("InferenceService", "flights", both_ready_in_step, 120)
    eventually(lambda: all(sticks(user, kept[id(user)]) for user in users), "users moved when pods restarted", 60)
    tell_outcomes(team, [{"id": users[0].ids[kept[id(users[0])]][0], "outcome": True}])  # the first look is the zero
    for _ in range(40):
        for user in users:
            user.ask()
        items = [{"id": user.ids[kept[id(user)]][-1], "outcome": kept[id(user)] == new} for user in users]
        tell_outcomes(team, items)
        if state_of(team.get("InferenceService", "flights") or {"status": {}}) not in ("Step", "Held"):
            break
    service = team.until("InferenceService", "flights", lambda o: serves("flights-v2")(o) and is_ready(o), 120)
    assert service["status"]["history"][0]["outcome"] == "Promoted"


def both_ready_in_step(service: Obj) -> bool:
    roles = [service["status"].get(role) or {} for role in ("canary", "stable")]
    return state_of(service) == "Step" and all(role.get("readyReplicas") for role in roles)


def sticks(user: User, revision: str) -> bool:
    """Whether a user still gets its revision, as soon as that can answer."""
    try:
        return user.ask() == revision
    except AssertionError:  # no pod of it is ready for a moment
        return False
