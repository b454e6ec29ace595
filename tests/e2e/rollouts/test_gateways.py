"""Several services on one Gateway, addresses that are taken, and a Gateway that goes away and comes back."""

from __future__ import annotations

from tests.e2e import asking, load, misbehaving
from tests.e2e.misbehaving import quick, service
from tests.e2e.rollouts.story import ENDLESS, in_state, rollout_of, serves, switch
from tests.e2e.team import Obj, Team, condition, is_ready

PUBLIC = {"name": "public", "namespace": "gateways"}


def test_two_services_share_a_gateway_and_roll_out_at_once(team: Team) -> None:
    """By path under one hostname: each answers its own clients alone; who comes later for a path waits."""
    misbehaving.given_versions(team, v1="onnx", v2="better", w1="good", w2="better")
    hostname = f"{team.namespace}.example.com"

    def on(path: str, version: str, name: str) -> Obj:
        traffic = {"gateway": PUBLIC, "hostname": hostname, "path": path}
        return service(version, name=name, traffic=traffic)

    team.apply(on("/left", "v1", "left"), on("/right", "w1", "right"))
    for name in ("left", "right"):
        team.until_ready("InferenceService", name, 180)
    team.apply(on("/left", "w1", "late"))
    message = team.until_says("InferenceService", "late", "HostnameConflict", 60)
    assert f"InferenceService {team.namespace}/left is older" in message
    rows = misbehaving.rows(100)
    with load.steady(hostname, rows, 30, "/left") as left, load.steady(hostname, rows, 30, "/right") as right:
        load.until_routed(left)
        load.until_routed(right)
        switch(team, "v2", "left")
        switch(team, "w2", "right")
        team.until("InferenceService", "left", serves("v2"), 300)
        team.until("InferenceService", "right", serves("w2"), 300)
    assert not [*left.failed(), *right.failed()], [*left.failed(), *right.failed()][:3]
    assert left.by_version().keys() == {"v1", "v2"}
    assert right.by_version().keys() == {"w1", "w2"}
    team.remove("InferenceService", "left")
    team.until("InferenceService", "late", is_ready, 180)  # the path is free now; for a moment it says that it is not


def test_a_gateway_goes_away_in_the_middle_and_returns(team: Team) -> None:
    """The rollout is held as it is; inside the cluster the service goes on answering; then it goes on."""
    misbehaving.given_versions(team, v1="onnx", v2="better")
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "own"},
        "spec": {"gatewayClassName": "envoy", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    }
    team.apply(gateway)
    traffic = {"gateway": {"name": "own"}, "hostname": f"{team.namespace}.example.com"}
    team.apply(service("v1", traffic=traffic, rollout=quick(step=ENDLESS)))
    team.until_ready("InferenceService", "tumor", 180)
    switch(team, "v2")
    before = rollout_of(team.until("InferenceService", "tumor", in_state("Step"), 240))
    team.kubectl("delete", "gateway", "own")
    assert "own" in team.until_says("InferenceService", "tumor", "GatewayMissing", 60)
    held = team.get("InferenceService", "tumor") or {}
    assert (rollout_of(held)["state"], rollout_of(held)["resume"]) == ("Held", "Step")
    assert condition(held, "Available")["reason"] == "NotRouted"
    inside = asking.by_service(team.namespace, "tumor")
    assert inside(misbehaving.rows(1)).status == 200
    team.apply(gateway)
    after = rollout_of(team.until("InferenceService", "tumor", in_state("Step"), 120))
    assert (after["startedAt"], after["weight"]) == (before["startedAt"], before["weight"])
