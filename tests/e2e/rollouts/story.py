"""The words in which tests of rollouts speak: switch to a version, wait for a state, a share, an end."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
from tests.e2e import asking, flights
from tests.e2e.team import Obj, Team, is_ready

Holds = Callable[[Obj], Any]
ENDLESS = {"minRequests": 1_000_000, "minDuration": "1s"}  # a step that does not end by itself


def switch(team: Team, version: str, name: str = "tumor") -> None:
    """Ask for another version by name."""
    team.patch("InferenceService", name, {"spec": {"model": {"version": version}}})


def rollout_of(service: Obj) -> Obj:
    """Return the rollout of a service, or nothing."""
    return dict(service["status"].get("rollout") or {})


def in_state(*states: str, version: str = "") -> Holds:
    """Whether a rollout, of a version if one is named, is in one of these states."""

    def holds(service: Obj) -> bool:
        of = (service["status"].get("canary") or {}).get("version")
        return rollout_of(service).get("state") in states and version in ("", of)

    return holds


def at_weight(weight: int) -> Holds:
    """Whether the canary's weight is requested and the gateway has taken it."""

    def holds(service: Obj) -> bool:
        shares = {share["role"]: share for share in service["status"].get("traffic") or ()}
        return in_state("Step")(service) and shares.get("canary", {}).get("programmed") == weight

    return holds


def serves(version: str) -> Holds:
    """Whether a version is what the service asks for and serves, and nothing goes on."""
    return lambda service: is_ready(service) and (service["status"].get("stable") or {}).get("version") == version


def rolled_back(team: Team, version: str, timeout_s: float, name: str = "tumor") -> Obj:
    """Wait until a version was sent back and nothing goes on any more; return its refusal."""

    def holds(service: Obj) -> bool:
        line = (service["status"].get("history") or [{}])[0]
        return not rollout_of(service) and line.get("version") == version and line["outcome"] == "RolledBack"

    service = team.until("InferenceService", name, holds, timeout_s)
    entries = [entry for entry in service["status"].get("rejected") or () if entry["version"] == version]
    assert entries, f"{version} went back and is not refused: {service['status']['history'][0]}"
    return dict(entries[-1])


def pods_of(team: Team, version: str, name: str = "tumor") -> list[Obj]:
    """Return the pods that serve a version."""
    pods = [pod for pod in team.children("pods", name) if "fairlead.dev/input" in pod["metadata"]["annotations"]]
    return [pod for pod in pods if _serves(pod).get("artifact", {}).get("version") == version]


def captured(team: Team, version: str, name: str = "tumor") -> int:
    """Return how many requests of a version are captured."""
    folder = f"captures/{team.namespace}/{name}/"
    files = [key for key in team.stored(folder) if f"/{version}/" in key and key.endswith(".parquet")]
    return sum(pq.read_metadata(io.BytesIO(team.read(key))).num_rows for key in files)


def another_version_rolls_out(team: Team, ask: asking.Ask) -> None:
    """A second version of the flights is trained and promoted, and nobody's request fails."""
    weaker = {"sklearn": flights.run_spec()["trainer"]["sklearn"] | {"parameters": {"C": 0.5}}}
    flights.given_version(team, "flights-v2", trainer=weaker)
    with asking.all_the_time(ask, flights.features(1)) as answers:
        team.patch("InferenceService", "flights", {"spec": {"model": {"version": "flights-v2"}}})
        team.until("InferenceService", "flights", serves("flights-v2"), 240)
    assert not [answer for answer in answers if answer.status != 200]


def _serves(pod: Obj) -> Any:
    document = json.loads(pod["metadata"]["annotations"]["fairlead.dev/input"])
    return document if document.get("kind") == "Serve" else {}
