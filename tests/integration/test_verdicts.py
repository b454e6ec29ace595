"""Other tools say of every step of every story what a person would say: kstatus, Flux's CEL and Argo CD's Lua.

Their own code runs (hack/cluster/gosrc/verdict), on the files that docs/integrations gives to users. What a person
would say stands in tests/unit/plan/verdicts.yaml.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.judges import find_judges
from tests.unit.plan.test_stories import KINDS
from tests.unit.plan.verdicts import TABLE, is_looked_at, state_of, word_of

from fairlead.api.conditions import READY, find_condition

from .told import Obj, told

ROOT = Path(__file__).resolve().parents[2]
INTEGRATIONS = ROOT / "docs" / "integrations"


def ask(objects: Iterable[Obj]) -> list[dict[str, str]]:
    """Return what the tools say of each object."""
    files = {"flux": "flux-kustomization.yaml", "argo": "argocd-cm.yaml"}
    command = [str(find_judges() / "verdict"), *(f"--{tool}={INTEGRATIONS / name}" for tool, name in files.items())]
    text = "".join(json.dumps(obj) + "\n" for obj in objects)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def differences(objects: Sequence[Obj], names: Sequence[str]) -> Iterator[str]:
    """Yield each object that a tool judges otherwise than a person."""
    for name, obj, said in zip(names, objects, ask(objects), strict=True):
        word = word_of(obj)
        kstatus, health = TABLE["words"][word]
        wanted = {"kstatus": kstatus, "flux": kstatus, "argo": health}
        found = {tool: said[tool] for tool in wanted}
        if found != wanted:
            reason = (find_condition(obj, READY) or {}).get("reason")
            yield f"{name}: {reason}: a person says it {word}, {wanted}; found {found}"


def test_tools_agree_with_a_person_at_every_step_of_every_story() -> None:
    names, objects = zip(*told(), strict=True)
    assert len(objects) > 1000
    found = list(differences(objects, names))
    assert not found, "\n".join(found)


def test_argo_shows_the_words_of_ready() -> None:
    objects = [obj for _, obj in told() if find_condition(obj, READY)]
    for obj, said in zip(objects, ask(objects), strict=True):
        if is_looked_at(obj):
            ready = find_condition(obj, READY)
            assert ready is not None
            assert said["said"] == f"{ready['reason']}: {ready['message']}"


def test_what_is_being_deleted_is_not_done() -> None:
    objects = [
        {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}} for _, obj in told()
    ]
    assert {(said["kstatus"], said["flux"], said["argo"]) for said in ask(objects)} == {
        ("Terminating", "InProgress", "Progressing")
    }


def test_every_row_of_the_table_is_a_state_that_a_story_shows() -> None:
    shown = {(obj["kind"], state_of(obj)) for _, obj in told() if find_condition(obj, READY)}
    assert {(kind, state) for kind in KINDS.values() for state in TABLE[kind]} == shown


@pytest.mark.parametrize("kind", KINDS.values())
def test_an_object_that_nobody_looked_at_is_under_way(kind: str) -> None:
    fresh = {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "a", "namespace": "demo", "generation": 1},
        "spec": {},
        "status": {"observedGeneration": -1},
    }
    assert not list(differences([fresh], ["a fresh object"]))
