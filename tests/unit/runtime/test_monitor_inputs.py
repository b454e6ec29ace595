"""Inputs as servers capture them beside the training profile: hashed ones are known again, or left out and named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fairlead.contract.data import ColumnType
from fairlead.contract.drift import DataDrift
from fairlead.contract.jobs import ArtifactRef, Capture, ServeInput
from fairlead.contract.training import Task
from fairlead_runtime.hashing import Hasher
from fairlead_runtime.monitor.features import compare_features
from fairlead_runtime.monitor.inputs import NUMBERS_ARE_HASHED, OTHER_CREDENTIALS, TEXT_IS_CUT, InputReader
from fairlead_runtime.profile import Profile, build_profile, merge
from fairlead_runtime.report.content import FeatureReport
from fairlead_runtime.serve.capture import CaptureLayout
from fairlead_runtime.signature import Input, Signature

SIGNATURE = Signature(
    task=Task.REGRESSION,
    inputs=[
        Input(name="group", type=ColumnType.CATEGORY, datatype="BYTES"),
        Input(name="member", type=ColumnType.BOOLEAN, datatype="FP32"),
        Input(name="income", type=ColumnType.FLOAT, datatype="FP32"),
    ],
)
NAMES = ("group", "member", "income")
OURS, OTHERS = Hasher(b"ours"), Hasher(b"theirs")
SENSITIVE = Capture(percent=100, hash=list(NAMES))


def people(rows: int, groups: tuple[str, ...] = ("a", "b", "c"), seed: int = 0) -> dict[str, list[Any]]:
    random = np.random.default_rng(seed)
    return {
        "group": [None if i % 20 == 0 else str(random.choice(groups)) for i in range(rows)],
        "member": [bool(b) for b in random.random(rows) < 0.7],
        "income": [float(n) for n in random.normal(size=rows)],
    }


def captured(rows: dict[str, list[Any]], capture: Capture, hasher: Hasher = OURS, *, batched: bool = False) -> pa.Table:
    """Return what a server of ours makes of requests, sent one by one or as one batch."""
    digest = "sha256:" + "0" * 64
    artifact = ArtifactRef(namespace="team", model="m", version="m-1", digest=digest)
    document = ServeInput(namespace="team", service="m", revision=digest, artifact=artifact, capture=capture)
    count = len(rows["group"])
    if batched:
        columns = [
            np.array(rows["group"], dtype=object),
            np.array(rows["member"], dtype=np.float64),
            np.array(rows["income"]),
        ]
        records: list[Any] = [("id", 0, columns, ([0.5] * count, [0.0] * count))]
    else:
        records = [(f"id.{i}", 0, tuple(rows[name][i] for name in NAMES), (0.5, 0.0)) for i in range(count)]
    return pa.Table.from_batches([CaptureLayout(document, SIGNATURE, hasher).batch(records)])


def compared(reference: Profile, *tables: pa.Table) -> tuple[dict[str, FeatureReport], dict[str, str]]:
    """Return the reports by input, and what was left out."""
    reader = InputReader(SIGNATURE, reference, OURS)
    found, profiles = set[str](), []
    for table in tables:
        inputs = reader.read(table)
        found |= inputs.keys()
        profiles.append(build_profile({**inputs, "": [None] * table.num_rows}, edges_from=reference))
    current = merge(profiles[0], *profiles[1:])
    reports = compare_features(DataDrift(), reference, current, found - reader.left_out.keys(), {})
    return {report.drift.name: report for report in reports}, reader.left_out


REFERENCE = build_profile(pa.table(people(3000)))


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("capture", [Capture(percent=100), SENSITIVE])
def test_the_same_kind_of_people_has_not_drifted(capture: Capture, batched: bool) -> None:
    reports, left_out = compared(REFERENCE, captured(people(1000, seed=1), capture, batched=batched))
    assert not [name for name, report in reports.items() if report.drift.drifted]
    if capture is SENSITIVE:
        assert left_out == {"income": NUMBERS_ARE_HASHED}
        assert set(reports) == {"group", "member"}
    else:
        assert (set(reports), left_out) == (set(NAMES), {})


@pytest.mark.parametrize("capture", [Capture(percent=100), SENSITIVE])
def test_other_people_have_drifted_hashed_or_not(capture: Capture) -> None:
    others = {**people(1000, groups=("a", "a", "d"), seed=2), "member": [False] * 1000}
    reports, _ = compared(REFERENCE, captured(others, capture))
    assert reports["group"].drift.drifted
    assert reports["member"].drift.drifted


def test_hashed_and_clear_files_of_one_window_are_one_column() -> None:
    halves = [captured(people(500, seed=3), capture) for capture in (SENSITIVE, Capture(percent=100))]
    reports, left_out = compared(REFERENCE, *halves)
    assert set(left_out) == {"income"}
    assert not reports["group"].drift.drifted


def test_hashes_of_other_credentials_are_left_out_of_the_whole_window() -> None:
    both = [captured(people(500, seed=4), SENSITIVE, hasher) for hasher in (OURS, OTHERS)]
    reports, left_out = compared(REFERENCE, *both)
    assert reports == {}
    assert left_out == {"group": OTHER_CREDENTIALS, "member": OTHER_CREDENTIALS, "income": NUMBERS_ARE_HASHED}


def test_text_that_the_profile_cut_is_left_out() -> None:
    rows = people(600, groups=("x" * 200, "y" * 200), seed=5)
    reports, left_out = compared(build_profile(pa.table(rows)), captured(rows, SENSITIVE))
    assert left_out["group"] == TEXT_IS_CUT
    assert "group" not in reports


def test_no_hash_and_no_value_that_training_never_saw_is_shown() -> None:
    strangers = people(600, groups=("secret-group",), seed=6)
    table = captured(strangers, SENSITIVE)
    assert "secret-group" not in str(table.to_pylist())
    reports, _ = compared(REFERENCE, table)
    shown = str([report.to_json_object() for report in reports.values()])
    assert "secret-group" not in shown
    assert OURS.hash("secret-group") not in shown
