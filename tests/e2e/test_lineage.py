"""Lineage: every answer names who made it, what was asked is in the store, and it leads back to the data."""

from __future__ import annotations

import io
import json

from pyarrow import parquet as pq
from tests.e2e import asking, flights
from tests.e2e.team import Team, eventually, kubectl, manifest


def captured(team: Team) -> list[dict[str, object]]:
    """Return all captured rows of the team's service."""
    keys = team.stored(f"captures/{team.namespace}/flights/")
    return [row for key in keys for row in pq.read_table(io.BytesIO(team.read(key))).to_pylist()]


def test_from_an_answer_back_to_the_data(team: Team) -> None:
    dataset = flights.given_dataset(team)
    code = {"repository": "https://git.example.com/flights.git", "commit": "3f2a91c"}
    version = flights.given_version(team, code=code, seed=4)
    hostname = f"{team.namespace}.example.com"
    team.apply(manifest("InferenceService", "flights", flights.service_spec(hostname, capture={"percent": 100})))
    service = team.until_ready("InferenceService", "flights", 120)
    answer = asking.until_answered(asking.by_gateway(hostname), flights.features(5))
    assert len(json.loads(answer.text)["predictions"]) == 5
    stable = service["status"]["stable"]
    assert answer.headers[asking.VERSION] == stable["version"] == version["metadata"]["name"]
    assert answer.headers[asking.DIGEST] == stable["digest"] == version["status"]["artifact"]["digest"]
    assert answer.headers[asking.REVISION] == stable["revision"]
    response = answer.headers[asking.RESPONSE_ID]
    rows = eventually(lambda: of_response(team, response), "the request was not captured")
    assert len(rows) == 5
    assert {row["version"] for row in rows} == {"flights-v1"}
    assert [row["in.dest"] for row in rows] == [row["dest"] for row in flights.features(5)]
    lineage = version["status"]["lineage"]
    assert lineage["dataRevision"] == dataset["status"]["revision"]
    assert (lineage["repository"], lineage["commit"], lineage["seed"]) == (*code.values(), "4")
    assert lineage["image"] == "fairlead-jobs:dev"
    assert lineage["imageDigest"].startswith("sha256:")
    wrong = asking.by_gateway(hostname)([{**flights.features(1)[0], "hour": "noon"}])
    assert wrong.status == 400
    assert "hour" in wrong.text
    everything_at_a_glance(team)


def of_response(team: Team, response: str) -> list[dict[str, object]]:
    return [row for row in captured(team) if str(row["id"]).startswith(response)]


def everything_at_a_glance(team: Team) -> None:
    """`kubectl get fairlead` shows a whole namespace, state by state."""
    table = kubectl("get", "fairlead", "-n", team.namespace)
    for words in ("dataset.fairlead.dev/flights", "Valid", "Succeeded", "InProduction", "Serving", "Production"):
        assert words in table, table
