"""BlueGreen, Shadow and ABTest under a real Argo CD: its diff stays empty in each state, and nobody notices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.e2e import load, misbehaving
from tests.e2e.argo.application import Application, Repository
from tests.e2e.argo.rollout_states import States, states_of
from tests.e2e.misbehaving import put_version, quick
from tests.e2e.rollouts.story import in_state, serves
from tests.e2e.team import Obj, Team, eventually

BODIES = {"v1": "onnx", "v2": "better", "v3": "good"}
ENOUGH = 5  # comparisons in a state


def service(team: Team, version: str, strategy: str, **rollout: Any) -> Obj:
    """Return the manifest of the service as the team has it in Git."""
    said = quick(strategy=strategy, bake={"duration": "10s"}, **rollout)
    said.pop("stepsPercent")
    return misbehaving.service(version, f"{team.namespace}.example.com", rollout=said)


def compared_in(application: Application, states: States, state: str, version: str = "") -> None:
    """Wait until Argo CD has compared often enough in a state; of a version's rollout, where that is the candidate."""

    def often() -> bool:
        counts = states.compared(application).items()
        return sum(n for said, n in counts if said.startswith(state) and said.endswith(version)) >= ENOUGH

    eventually(often, f"too little was compared in {state} {version}", 90)


@pytest.mark.timeout(1200)
def test_nothing_differs_in_any_state_of_any_strategy(argocd: None, team: Team, tmp_path: Path) -> None:
    versions = {name: put_version(team, name, body) for name, body in BODIES.items()}
    repository = Repository(tmp_path / "git")
    first = service(team, "v1", "BlueGreen")
    repository.commit("the first version", misbehaving.patients(team), *versions.values(), first)
    application = Application(team, repository)
    with application.running():
        application.until(lambda s: s.in_sync and s.health == "Healthy", "the first version does not serve", 300)
        application.nothing_may_differ()
        with load.steady(f"{team.namespace}.example.com", misbehaving.rows(200), 40) as sent, states_of(team) as states:
            load.until_routed(sent)
            application.commit("a switch", service(team, "v2", "BlueGreen"))
            team.until("InferenceService", "tumor", serves("v2"), 240)
            compared_in(application, states, "Baking")
            step = {"minRequests": 20, "minDuration": "20s"}
            application.commit("a shadow", service(team, "v3", "Shadow", step=step))
            team.until("InferenceService", "tumor", serves("v3"), 240)
            compared_in(application, states, "Step", "v3")
            application.commit("a test of outcomes", service(team, "v1", "ABTest"))
            team.until("InferenceService", "tumor", in_state("Step", version="v1"), 240)
            compared_in(application, states, "Step", "v1")
            application.commit("as before", service(team, "v3", "ABTest"))
            team.until("InferenceService", "tumor", serves("v3"), 120)
            application.until(lambda s: s.in_sync and s.health == "Healthy", "it is not Healthy")
    print(f"\n{len(sent.sent)} requests; compared: {states.compared(application)}")
    assert not application.surprises(), application.surprises()[:3]
    assert not sent.failed(), sent.failed()[:3]
