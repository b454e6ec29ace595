"""The states of a team's rollouts as a watch tells them, to be laid beside what Argo CD compared meanwhile."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hack.demo.cluster import CONTEXT
from kubernetes import client, config, watch
from tests.e2e.argo.application import Application
from tests.e2e.team import Team

GROUP, VERSION, PLURAL = "fairlead.dev", "v1alpha1", "inferenceservices"


@dataclass
class States:
    """State and version of the rollout since when (monotonic); of no rollout: the reason of Ready."""

    entries: list[tuple[float, str]] = field(default_factory=list)

    def compared(self, application: Application) -> dict[str, int]:
        """Return how many of Argo CD's comparisons ended in each state; states without one are left out."""
        counts: collections.Counter[str] = collections.Counter()
        ends = [at for at, _ in self.entries[1:]] + [time.monotonic()]
        for (since, state), until in zip(self.entries, ends, strict=True):
            counts[state] += application.comparisons(since, until)
        return {state: count for state, count in counts.items() if count}


@contextmanager
def states_of(team: Team, name: str = "tumor") -> Iterator[States]:
    """Note the states of a service until the block ends."""
    states, stream = States(), watch.Watch()
    api = client.CustomObjectsApi(config.new_client_from_config(context=CONTEXT))

    def follow() -> None:
        listed, chosen = api.list_namespaced_custom_object, {"field_selector": f"metadata.name={name}"}
        for event in stream.stream(listed, GROUP, VERSION, team.namespace, PLURAL, **chosen):
            state = _state(event["object"].get("status") or {})
            if not states.entries or states.entries[-1][1] != state:
                states.entries.append((time.monotonic(), state))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield states
    finally:
        stream.stop()  # it ends with the next event, at the latest with the namespace


def _state(status: dict[str, object]) -> str:
    rollout, canary = status.get("rollout") or {}, status.get("canary") or {}
    assert isinstance(rollout, dict)
    assert isinstance(canary, dict)
    if not rollout:
        conditions = status.get("conditions") or ()
        assert isinstance(conditions, list | tuple)
        return next((str(c["reason"]) for c in conditions if c["type"] == "Ready"), "")
    weight = f" {rollout['weight']}" if rollout.get("state") == "Step" else ""
    return f"{rollout.get('state')}{weight} {canary.get('version', '')}".strip()
