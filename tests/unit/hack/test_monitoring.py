"""Dashboards and alert rules ask for metrics that our code exports, with labels that it gives them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.dashboards import STAT_HEIGHT, WIDTH, dashboards
from prometheus_client.parser import text_string_to_metric_families

from fairlead.app.metrics import Metrics
from fairlead.contract.jobs import ArtifactRef, ServeInput
from fairlead_runtime.serve import metrics
from fairlead_runtime.serve.counters import Counters, Edges

FILES = Path(__file__).parents[3] / "charts" / "fairlead" / "files" / "monitoring"
RULES = [rule for group in yaml.safe_load((FILES / "rules.yaml").read_text())["groups"] for rule in group["rules"]]
PANELS = [(name, panel) for name, board in dashboards().items() for panel in board["panels"]]
# words of PromQL that stand before a bracket, and what follows `by`
_SELECTOR = re.compile(r"\b([a-z_][a-z0-9_]*)\s*(?:\{([^}]*)\}|(?=\[))")
_BARE = re.compile(r"\b((?:fairlead|workqueue|controller_runtime|leader_election|process|rest_client)_[a-z0-9_]+)")
_TARGET_LABELS = {"namespace", "pod", "le"}  # of the scrape, and of histograms
PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def exported() -> dict[str, set[str]]:
    """Return the metrics that a server and an operator export, by name, each with its labels."""
    artifact = ArtifactRef(namespace="n", model="m", version="v", digest="sha256:" + "1" * 64)
    document = ServeInput(namespace="n", service="s", revision="r", artifact=artifact)
    counters = Counters(1, Edges.of(None, None), None)
    counters.writer(0).code(200)
    operator = Metrics("host")
    operator.on_reconcile("Dataset", "error", 0.1)
    operator.on_request("GET", "200")
    operator.set_leader("fairlead", True)
    operator.set_workers(("Dataset",), 1)
    found: dict[str, set[str]] = {}
    for page in (metrics.render(document, counters), operator.render()):
        for family in text_string_to_metric_families(page.decode()):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


EXPORTED = exported()


def queries() -> Iterator[tuple[str, str]]:
    """Yield every query with where it stands."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for name, panel in PANELS:
        for target in panel["targets"]:
            yield f"{name} {panel['title']}", target["expr"]


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_every_metric_is_exported_with_its_labels(where: str, query: str) -> None:
    asked = set(_BARE.findall(query))
    assert asked, f"{where} asks for nothing"
    assert asked - EXPORTED.keys() == set(), f"{where} asks for what nobody exports"
    for metric, selector in _SELECTOR.findall(query):
        labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector))
        assert labels <= EXPORTED[metric] | _TARGET_LABELS, f"{where}: labels of {metric}"
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    known = set().union(*(EXPORTED[metric] for metric in asked)) | _TARGET_LABELS
    assert grouped <= known, f"{where} groups by what no metric has"


def test_every_metric_of_a_server_is_on_a_dashboard() -> None:
    shown = " ".join(query for _, query in queries())
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in EXPORTED if name.startswith("fairlead_")}
    assert {name for name in ours if name not in shown} == set()


@pytest.mark.parametrize("name", sorted(dashboards()))
def test_a_dashboard_is_whole(name: str) -> None:
    board = json.loads((FILES / name).read_text())
    assert board == dashboards()[name], "make generate"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    cells = [cell for panel in board["panels"] for cell in _cells(panel["gridPos"])]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < WIDTH
    variables = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["gridPos"]["h"] >= STAT_HEIGHT
        for target in panel["targets"]:
            assert set(re.findall(r"\$\{?([a-z_]+)", target["expr"])) <= variables
    assert "$$" not in json.dumps(board)


def _cells(place: dict[str, int]) -> list[tuple[int, int]]:
    xs, ys = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return [(x, y) for x in xs for y in ys]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["for"]
    assert len(rule["annotations"]["description"]) > 40
    tested = (Path(__file__).parents[2] / "chart" / "rules.test.yaml").read_text()
    assert f"alertname: {rule['alert']}" in tested
