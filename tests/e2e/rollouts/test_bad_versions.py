"""Each kind of bad version goes back with its own reason, and what served before goes on serving."""

from __future__ import annotations

from tests.e2e import load, misbehaving
from tests.e2e.misbehaving import BODIES, put_version, quick, service
from tests.e2e.rollouts.story import ENDLESS, captured, in_state, rolled_back, switch
from tests.e2e.team import Team, condition, eventually, manifest

FACTS = {  # name: reason, whether the bytes are refused or the revision alone
    "crashes": ("CanaryCrashed", "revision"),
    "hangs": ("CanaryNotReady", "revision"),
    "leaks": ("OutOfMemory", "revision"),
    "changed": ("DigestMismatch", "digest"),
}


def test_facts_send_a_version_back_without_a_request(team: Team) -> None:
    """Crash on load, never ready, out of memory after a minute, other bytes: side by side, in four services."""
    bodies = {name: name for name in FACTS if name in BODIES}
    misbehaving.given_versions(team, v1="onnx", changed="better", **bodies)
    endless = quick(step=ENDLESS)
    for name in FACTS:
        asked = endless | {"deadline": "60s"} if name == "hangs" else endless
        team.apply(service("v1", name=f"s-{name}", cpu="10m", rollout=asked))
    for name in FACTS:
        team.until_ready("InferenceService", f"s-{name}", 240)
    team.put("changed/model.joblib", b"somebody else's bytes")
    for name in FACTS:
        switch(team, name, f"s-{name}")
    for name, (reason, refused) in FACTS.items():
        entry = rolled_back(team, name, 300, f"s-{name}")
        assert (entry["reason"], "revision" if entry.get("revision") else "digest") == (reason, refused), entry
        after = team.get("InferenceService", f"s-{name}") or {}
        assert condition(after, "Available")["status"] == "True"
        assert condition(after, "Ready")["reason"] == "RolledBack"
        assert after["status"]["stable"]["version"] == "v1"


def test_failing_requests_send_a_version_back(team: Team) -> None:
    """5 % of its requests fail, at the default limit of half a point."""
    misbehaving.given_versions(team, v1="onnx", errors="errors")
    hostname = f"{team.namespace}.example.com"
    rollout = quick(stepsPercent=[33], judge=quick()["judge"] | {"errorRate": {"maxIncreasePoints": 0.5}})
    team.apply(service("v1", hostname, rollout=rollout))
    team.until_ready("InferenceService", "tumor", 180)
    with load.steady(hostname, misbehaving.rows(200), 100) as sent:
        load.until_routed(sent)
        switch(team, "errors")
        entry = rolled_back(team, "errors", 300)
    assert (entry["reason"], entry.get("revision", "")) == ("ErrorRate", "")
    failed = [one for one in sent.failed() if one.version != "errors"]
    assert not failed, failed[:3]
    met = sent.by_version()["errors"]
    assert met < 4_000, f"it took {met} requests to be sure"
    share = len(sent.failed()) / met
    assert 0.02 < share < 0.09, f"{share:.3f} of its requests failed"
    found = team.until("ModelVersion", "errors", lambda o: bool(o["status"].get("rejectedBy")))
    assert found["status"]["rejectedBy"][0]["reason"] == "ErrorRate"


def test_constant_predictions_send_a_version_back(team: Team) -> None:
    """It answers well and fast, and always the same: only the distribution of its answers shows it."""
    misbehaving.given_versions(team, v1="good", constant="constant")
    hostname = f"{team.namespace}.example.com"
    judge = quick()["judge"] | {"predictions": {"maxIncreasePoints": 10}}
    rollout = quick(stepsPercent=[33], judge=judge, step={"minRequests": 5_000, "minDuration": "2s"})
    team.apply(service("v1", hostname, rollout=rollout))
    team.until_ready("InferenceService", "tumor", 180)
    with load.steady(hostname, misbehaving.rows(500), 60) as sent:
        load.until_routed(sent)
        switch(team, "constant")
        entry = rolled_back(team, "constant", 300)
    assert (entry["reason"], entry.get("revision", "")) == ("Predictions", "")
    assert not sent.failed(), sent.failed()[:3]
    assert sent.by_version()["constant"] < 3_000


def test_a_version_three_times_slower_goes_back_and_its_bytes_do_not(team: Team) -> None:
    misbehaving.given_versions(team, v1="steady", slow="slow")
    hostname = f"{team.namespace}.example.com"
    judge = {"errorRate": {"maxIncreasePoints": 20}, "latency": {"thresholdMs": 25, "maxIncreasePoints": 20}}
    team.apply(service("v1", hostname, rollout=quick(stepsPercent=[33], judge=judge, step={"minRequests": 2_000})))
    team.until_ready("InferenceService", "tumor", 180)
    with load.steady(hostname, misbehaving.rows(200), 20) as sent:
        load.until_routed(sent)
        switch(team, "slow")
        entry = rolled_back(team, "slow", 240)
    assert entry["reason"] == "Latency"
    assert entry.get("revision"), "more resources make another revision of the same bytes"
    assert not sent.failed(), sent.failed()[:3]
    assert not ((team.get("ModelVersion", "slow") or {})["status"].get("rejectedBy") or [{}])[0].get("digest")


def test_a_version_that_fails_under_full_traffic_is_caught_in_its_bake(team: Team) -> None:
    misbehaving.given_versions(team, v1="onnx", tires="tires")
    hostname = f"{team.namespace}.example.com"
    rollout = quick(stepsPercent=[25], bake={"duration": "3m", "holdbackPercent": 20})
    team.apply(service("v1", hostname, rollout=rollout))
    team.until_ready("InferenceService", "tumor", 180)
    with load.steady(hostname, misbehaving.rows(200), 40) as sent:
        load.until_routed(sent)
        switch(team, "tires")
        team.until("InferenceService", "tumor", in_state("Baking"), 240)
        promoted = len(sent.failed())
        entry = rolled_back(team, "tires", 120)
        back = team.get("InferenceService", "tumor") or {}
        known = len(sent.sent)
        team.until("InferenceService", "tumor", lambda _: len(sent.sent) > known + 80, 30)
    assert promoted == 0, "at its share of a quarter it was well"
    assert entry["reason"] == "ErrorRate"
    assert back["status"]["stable"]["version"] == "v1"
    assert not sent.failed("tires"), sent.failed("tires")[:3]
    assert {one.version for one in sent.sent[known:]} == {"v1"}


def test_a_signature_that_clients_do_not_meet_has_no_user(team: Team) -> None:
    """It asks for a column that no client sends. Captures cannot show it, so a replay is not possible: it goes back."""
    misbehaving.given_versions(team, v1="onnx")
    team.apply(put_version(team, "wider", "better", wider=True))
    team.until_ready("ModelVersion", "wider", 180)
    hostname = f"{team.namespace}.example.com"
    replay = {"minRequests": 50, "requests": 100, "onNotPossible": "RollBack"}
    team.apply(service("v1", hostname, capture={"percent": 100}, rollout=quick(replay=replay)))
    team.until_ready("InferenceService", "tumor", 180)
    with load.steady(hostname, misbehaving.rows(200), 30) as sent:
        load.until_routed(sent)
        eventually(lambda: captured(team, "v1") > 100, "too few requests are captured", 60)
        switch(team, "wider")
        message = team.until_says("InferenceService", "tumor", "Inconclusive", 240)
    assert "do not show worst radius" in message
    assert sent.by_version().keys() == {"v1"}
    assert not sent.failed(), sent.failed()[:3]


def test_a_signature_that_clients_do_not_meet_goes_back_without_a_replay_too(team: Team) -> None:
    """Its refusals are no 5xx: they are counted, and held against those of the baseline."""
    misbehaving.given_versions(team, v1="good")
    team.apply(put_version(team, "wider", "better", wider=True))
    team.until_ready("ModelVersion", "wider", 180)
    hostname = f"{team.namespace}.example.com"
    team.apply(service("v1", hostname, rollout=quick(stepsPercent=[33], step={"minRequests": 5_000})))
    team.until_ready("InferenceService", "tumor", 180)
    with load.steady(hostname, misbehaving.rows(200), 40) as sent:
        load.until_routed(sent)
        switch(team, "wider")
        entry = rolled_back(team, "wider", 240)
    assert (entry["reason"], entry.get("revision", "")) == ("RequestsRefused", "")
    assert {one.status for one in sent.failed()} == {400}
    assert not sent.failed("wider")


def test_a_graph_that_is_not_its_signatures_never_becomes_a_candidate(team: Team) -> None:
    misbehaving.given_patients(team)
    body = put_version(team, "broken", "onnx", broken=True)
    team.apply(body, manifest("InferenceService", "tumor", {"model": {"name": "tumor"}}))
    assert "signature" in team.until_says("ModelVersion", "broken", "SignatureMismatch", 180)
    assert "tumor" in team.until_says("InferenceService", "tumor", "NoApprovedVersion", 60)
    assert not team.children("deployments"), "nothing of it ever ran"
