"""Generated stores and objects: nothing that anything refers to is removed, everything else that is old is.

The planner says what objects refer to, the Job reads what the store refers to; both run here as they are.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.plan.simulation import Simulation, run_now

from fairlead.api import names
from fairlead.api.dataset import DatasetSpec
from fairlead.contract import keys
from fairlead.contract.jobs import CleanupInput, TrainedOn
from fairlead.controllers.dataset import CONTROLLER
from fairlead.plan.dataset import spec_digest
from fairlead.plan.types import Create, Key
from fairlead_runtime.cleanup import run
from fairlead_runtime.errors import BadInput, ObjectNotFound, StoreError
from fairlead_runtime.store import Entry, Store

NOW = 10_000_000.0
HOUR_S, DAY_S = 3600.0, 86400.0
REVISIONS = [f"{number:064x}" for number in range(8)]
FILES = ("data/train-0000.parquet", "profile.json", "manifest.json")
Json = dict[str, Any]


@dataclass
class MemoryStore(Store):
    """A store in memory; after `cut` deletions the connection breaks."""

    held: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    cut: int | None = None

    def list(self, prefix: str) -> list[Entry]:
        found = sorted(key for key in self.held if key.startswith(prefix))
        return [Entry(key, len(self.held[key][0]), self.held[key][1]) for key in found]

    def get_bytes(self, key: str) -> bytes:
        if key not in self.held:
            raise ObjectNotFound(key)
        return self.held[key][0]

    def delete(self, key: str) -> None:
        if self.cut is not None:
            if self.cut == 0:
                raise StoreError("StoreUnreachable", "the connection broke")
            self.cut -= 1
        self.held.pop(key, None)


@st.composite
def objects(draw: st.DrawFn) -> list[Json]:
    """Draw what refers to revisions of the Dataset `tx`, or of another one."""
    dataset, revision = st.sampled_from(["tx", "other"]), st.sampled_from(REVISIONS)
    found: list[Json] = []
    for number in range(draw(st.integers(0, 5))):
        pinned = {"name": draw(dataset), "revision": f"sha256:{draw(revision)}"}
        record = {"run": f"r-{number}", "outcome": draw(st.sampled_from(["", "Succeeded"])), **pinned}
        template = {"template": {"spec": {"dataset": {"name": pinned["name"]}}}}
        kind, spec, status = draw(
            st.sampled_from(
                [
                    ("TrainingRun", {"dataset": pinned}, {}),
                    ("TrainingRun", {"dataset": {"name": pinned["name"]}}, {"dataset": pinned}),
                    ("ModelVersion", {"evaluation": {"dataset": pinned}}, {}),
                    ("ModelVersion", {}, {"dataset": pinned}),
                    ("DriftMonitor", {"retrain": template}, {"retrainings": [record]}),
                ]
            )
        )
        found.append({"kind": kind, "metadata": {"name": f"o-{number}"}, "spec": spec, "status": status})
    return found


@st.composite
def stores(draw: st.DrawFn) -> dict[str, tuple[bytes, float]]:
    """Draw revisions of two Datasets (some half removed, some just written), attempts, and models with lineage."""
    held: dict[str, tuple[bytes, float]] = {}
    for dataset in ("tx", "other", "tx2"):
        for revision in draw(st.sets(st.sampled_from(REVISIONS))):
            at = NOW - draw(st.sampled_from([0.5, 2, 48])) * HOUR_S
            folder = keys.dataset_revision("demo", dataset, revision)
            held |= {folder + file: (b"12", at) for file in draw(st.sets(st.sampled_from(FILES), min_size=1))}
        held[keys.snapshot_attempt("demo", dataset, "a" * 64) + keys.RESULT] = (b"{}", NOW - 48 * HOUR_S)
    for number in range(draw(st.integers(0, 3))):
        revision = f"sha256:{draw(st.sampled_from(REVISIONS))}"
        lineage = {"dataset": draw(st.sampled_from(["tx", "other"])), "dataRevision": revision}
        folder = keys.model("demo", draw(st.sampled_from(["fraud", "tx"])), f"{number:064x}")
        held[folder + keys.LINEAGE] = (json.dumps(lineage).encode(), NOW - 48 * HOUR_S)
    return held


def asked(others: list[Json], listed: list[str]) -> CleanupInput | None:
    """Return what the planner asks the clean-up of Dataset `tx` to do; None when it sees nothing to remove."""
    spec = {"source": {"configMap": {"name": "c", "key": "k"}}, "format": "CSV", "keepRevisions": 2}
    tick = f"{spec_digest(DatasetSpec.model_validate(spec))}//"
    check = {"at": "2026-01-01T00:00:00Z", "tick": tick, "valid": True, "reason": "Valid"}
    known = [{"revision": f"sha256:{revision}", "at": "2026-01-01T00:00:00Z"} for revision in listed]
    status = {"revision": known[0]["revision"], "revisions": known, "tick": tick, "lastCheck": check}
    simulation = Simulation()
    simulation.create({"kind": "Dataset", "metadata": {"name": "tx"}, "spec": spec, "status": status})
    for obj in others:
        simulation.create(obj)
    snapshot = run_now(CONTROLLER.gather(Key("Dataset", "demo", "tx"), simulation.world))
    for action in CONTROLLER.plan(snapshot, simulation.now).actions:
        body = action.body if isinstance(action, Create) else {}
        if body and body["metadata"]["labels"][names.LABEL_ROLE] == "cleanup":
            said = body["spec"]["template"]["metadata"]["annotations"][names.ANNOTATION_INPUT]
            return CleanupInput.model_validate_json(said)
    return None


def referred_by(others: list[Json]) -> set[str]:
    """Return the revisions of `tx` that objects refer to, read from them in the plainest way there is."""
    found = set()
    for obj in others:
        spec, status = obj["spec"], obj["status"]
        said = [spec.get("dataset"), (spec.get("evaluation") or {}).get("dataset"), status.get("dataset")]
        said += [record for record in status.get("retrainings", ()) if not record["outcome"]]
        found |= {each["revision"] for each in said if each and each["name"] == "tx" and "revision" in each}
    return {revision.removeprefix("sha256:") for revision in found}


def trained_on(held: dict[str, tuple[bytes, float]]) -> set[str]:
    said = [json.loads(data) for key, (data, _) in held.items() if key.endswith(keys.LINEAGE)]
    return {each["dataRevision"].removeprefix("sha256:") for each in said if each["dataset"] == "tx"}


def folders(store: MemoryStore, dataset: str = "tx") -> dict[str, float]:
    """Return the Dataset's folders in the store and when each was last written to."""
    prefix = f"datasets/demo/{dataset}/"
    found: dict[str, float] = {}
    for entry in store.list(prefix):
        name = entry.key.removeprefix(prefix).split("/")[0]
        found[name] = max(found.get(name, 0.0), entry.modified_s)
    return found


LISTED = st.lists(st.sampled_from(REVISIONS), min_size=1, max_size=6, unique=True)


@settings(max_examples=50, deadline=None)
@given(objects(), stores(), LISTED)
def test_what_anything_refers_to_stays_and_all_else_that_is_old_goes(
    others: list[Json], held: dict[str, tuple[bytes, float]], listed: list[str]
) -> None:
    store, before = MemoryStore(dict(held)), MemoryStore(dict(held))
    job = asked(others, listed)
    referred = referred_by(others)
    assert (job is None) == (set(listed[2:]) <= referred), "a Job is made when there is something to remove"
    if job is None:
        return
    run(job, store, lambda: NOW)
    stays = {*listed[:2], *referred, *trained_on(held), "attempts"}
    young = {name for name, at in folders(before).items() if at > NOW - HOUR_S}
    assert set(folders(store)) == {name for name in folders(before) if name in stays | young}
    whole = {key: value for key, value in held.items() if key.split("/")[3] in stays | young}
    outside = {key: value for key, value in held.items() if not key.startswith("datasets/demo/tx/")}
    assert store.held == {**outside, **{k: v for k, v in whole.items() if k.startswith("datasets/demo/tx/")}}


@settings(max_examples=50, deadline=None)
@given(stores(), st.sets(st.sampled_from(REVISIONS)), st.lists(st.integers(0, 9), max_size=4))
def test_cut_off_anywhere_and_run_again_it_ends_the_same(
    held: dict[str, tuple[bytes, float]], keep: set[str], cuts: list[int]
) -> None:
    job = CleanupInput(
        prefix="datasets/demo/tx/", keep=sorted(keep), keep_trained_on=TrainedOn(models="models/demo/", dataset="tx")
    )
    smooth, cut = MemoryStore(dict(held)), MemoryStore(dict(held))
    run(job, smooth, lambda: NOW)
    for deletions in cuts:
        cut.cut = deletions
        with contextlib.suppress(StoreError):
            run(job, cut, lambda: NOW)
        half = {"/".join(key.split("/")[:4]) for key in set(held) - set(cut.held)}
        assert not any(f"{folder}/manifest.json" in cut.held for folder in half), "the marker goes first"
    cut.cut = None
    run(job, cut, lambda: NOW)
    assert cut.held == smooth.held


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 60), st.integers(0, 60), max_size=8), st.integers(1, 50), st.sampled_from([None, 1])
)
def test_reports_and_captures_go_by_age_and_the_newest_report_stays(
    days: dict[int, int], limit: int, newest: int | None
) -> None:
    held = {f"reports/demo/m/{name:04d}/report.json": (b"1", NOW - age * DAY_S) for name, age in days.items()}
    store = MemoryStore(dict(held))
    run(CleanupInput(prefix="reports/demo/m/", older_than_days=limit, keep_newest=newest), store, lambda: NOW)
    left = {int(key.split("/")[3]) for key in store.held}
    shown = {max(days)} if newest and days else set()
    assert left == {name for name, age in days.items() if age <= limit} | shown


@pytest.mark.parametrize("lineage", [b"", b"[]", b"{}", b'{"dataset": "tx"}'])
def test_a_lineage_that_cannot_be_read_stops_all_removal(lineage: bytes) -> None:
    held = {
        f"datasets/demo/tx/{REVISIONS[0]}/manifest.json": (b"1", 0.0),
        f"models/demo/fraud/{REVISIONS[1]}/lineage.json": (lineage, 0.0),
    }
    store = MemoryStore(dict(held))
    job = CleanupInput(prefix="datasets/demo/tx/", keep_trained_on=TrainedOn(models="models/demo/", dataset="tx"))
    with pytest.raises(BadInput, match="nothing is removed") as caught:
        run(job, store, lambda: NOW)
    assert caught.value.reason == "LineageUnreadable"
    assert store.held == held
