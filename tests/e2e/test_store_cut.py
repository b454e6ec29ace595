"""The object store is cut off in the middle of a snapshot: a reason, the last valid revision, and no person needed."""

from __future__ import annotations

from tests.e2e import flights
from tests.e2e.cutter import Cutter
from tests.e2e.team import Team, eventually, is_ready, manifest

# What is being written, how many bytes of it get through, and what of the new revision is in the store by then.
CUTS = (
    (r"PUT [^ ]*/data/validation-0000\.parquet", 2000, {"data/train-0000.parquet"}),
    (
        r"PUT [^ ]*/manifest\.json",
        300,
        {f"data/{split}-0000.parquet" for split in ("train", "validation", "test")} | {"profile.json", "checks.json"},
    ),
)


def test_a_store_that_dies_in_the_middle_of_a_snapshot_loses_nothing(team: Team) -> None:
    cutter = Cutter.start(team)
    uri = team.put("flights.csv", flights.csv())
    team.apply(team.secret(endpoint=cutter.endpoint), team.secret("lake"))  # the source stays in reach
    source = {"s3": {"uri": uri, "secretRef": {"name": "lake"}}}
    team.apply(manifest("Dataset", "flights", flights.dataset_spec(uri, source=source)))
    current = team.until_ready("Dataset", "flights", 120)["status"]["revision"]
    for number, (moment, after, written) in enumerate(CUTS, 1):
        before = set(team.stored(folder(team)))
        rows = flights.ROWS - 10 * number
        team.put("flights.csv", flights.csv(rows))
        cutter.cut(moment, after)
        team.patch("Dataset", "flights", {"metadata": {"annotations": {"fairlead.dev/refresh": str(number)}}})
        eventually(lambda: cutter.state() == "cut", "the snapshot did not get there", 90)
        message = team.until_says("Dataset", "flights", "StoreUnreachable", 90)
        assert "check that it is up" in message
        stands = (team.get("Dataset", "flights") or {})["status"]
        assert stands["revision"] == current, "what was not written whole is not current"
        half = {key.removeprefix(folder(team)).partition("/")[2] for key in set(team.stored(folder(team))) - before}
        assert half == written, "a revision without its manifest"
        cutter.heal()
        whole = team.until("Dataset", "flights", lambda o, rows=rows: is_ready(o) and o["status"]["rows"] == rows, 180)
        assert whole["status"]["revision"] != current
        current = whole["status"]["revision"]
        assert f"{folder(team)}{current.removeprefix('sha256:')}/manifest.json" in team.stored(folder(team))
    assert len((team.get("Dataset", "flights") or {})["status"]["revisions"]) == 1 + len(CUTS)


def folder(team: Team) -> str:
    return f"datasets/{team.namespace}/flights/"
