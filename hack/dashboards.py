"""The chart's Grafana dashboards, made from the names of our own metrics. Called by `hack/generate.py`.

One of services (what each version answers, how fast, what it predicts) and one of the operator. They hold queries and
no thresholds: limits belong to a service's spec and to the alert rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
WIDTH, HEIGHT, STAT_HEIGHT = 24, 8, 4
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_OF_SERVICE = 'namespace=~"$namespace",service=~"$service"'
_PICKED = f'{_OF_SERVICE},version=~"$version"'


@dataclass(frozen=True)
class Panel:
    """One panel: a title, what it shows in a sentence, queries with their legends, a unit."""

    title: str
    text: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "reqps"
    width: int = 12
    stat: bool = False
    stacked: bool = False

    @property
    def height(self) -> int:
        """Rows of Grafana's grid."""
        return STAT_HEIGHT if self.stat else HEIGHT

    def to_json(self, number: int, x: int, y: int) -> Json:
        """Return Grafana's form."""
        custom: Json = {"lineWidth": 2, "fillOpacity": 60 if self.stacked else 8, "showPoints": "never"}
        custom |= {"stacking": {"mode": "percent", "group": "A"}} if self.stacked else {}
        body: Json = {
            "id": number,
            "type": "stat" if self.stat else "timeseries",
            "title": self.title,
            "description": self.text,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [
                {"refId": chr(65 + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
                for i, (expr, legend) in enumerate(self.queries)
            ],
            "fieldConfig": {"defaults": {"unit": self.unit, "min": 0, "custom": custom}, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        }
        if self.stat:
            body["fieldConfig"]["defaults"].pop("custom")
            body["options"] = {"reduceOptions": {"calcs": ["lastNotNull"], "values": False}, "colorMode": "none"}
        return body


def _rate(metric: str, labels: str, by: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{labels}}}[$__rate_interval]))"


def _percent(part: str, whole: str) -> str:
    return f"100 * {part} / {whole}"


def _quantile(share: float, metric: str, labels: str, by: str) -> str:
    return f"histogram_quantile({share:g}, {_rate(metric + '_bucket', labels, f'le, {by}')})"


def _failed(labels: str, by: str = "") -> str:
    whole = _rate("fairlead_requests_total", labels, by)
    # no answer of 5xx yet is no series, and 0 % of the requests
    failed = _rate("fairlead_requests_total", f'{labels},code=~"5.."', by)
    return _percent(f"({failed} or 0 * {whole})", whole)


def _by_version(metric: str, legend: str = "{{version}}") -> tuple[str, str]:
    return _rate(metric, _PICKED, "version"), legend


_COUNT = "fairlead_request_duration_seconds_count"
_TIME, _SCORE = "fairlead_request_duration_seconds", "fairlead_predictions"

SERVICE_PANELS = (
    Panel("Requests", "All versions.", ((_rate("fairlead_requests_total", _PICKED), ""),), width=6, stat=True),
    Panel("Failed", "Answers of 5xx.", ((_failed(_PICKED), ""),), "percent", 6, stat=True),
    Panel("p99", "Of predictions.", ((_quantile(0.99, _TIME, _PICKED, "service"), ""),), "s", 6, stat=True),
    Panel("In flight", "Predictions that wait.", ((f"sum(fairlead_in_flight_requests{{{_PICKED}}})", ""),),
          "short", 6, stat=True),
    Panel("Share of requests", "What each version answers; a baseline has the version of the stable revision.",
          (_by_version("fairlead_requests_total"),), stacked=True),
    Panel("Requests per version", "Answers of any code.", (_by_version("fairlead_requests_total"),)),
    Panel("Failed per version", "Percent of 5xx: what rollout.judge.errorRate limits.",
          ((_failed(_PICKED, "version"), "{{version}}"),), "percent"),
    Panel("Answers per code", "4xx are the caller's.",
          ((_rate("fairlead_requests_total", _PICKED, "version, code"), "{{version}} {{code}}"),)),
    Panel("Time per version", "From a request fully read to its answer written.",
          tuple((_quantile(share, _TIME, _PICKED, "version"), f"{{{{version}}}} {name}")
                for share, name in ((0.5, "median"), (0.99, "p99"))), "s"),
    Panel("Slow per version", "Percent over the threshold: what rollout.judge.latency limits.",
          ((_percent(_rate("fairlead_slow_requests_total", _PICKED, "version"), _rate(_COUNT, _PICKED, "version")),
            "{{version}}"),), "percent"),
    Panel("Predictions per version", "Scores or numbers: 10th percentile, median, 90th.",
          tuple((_quantile(share, _SCORE, _PICKED, "version"), f"{{{{version}}}} {name}")
                for share, name in ((0.1, "p10"), (0.5, "median"), (0.9, "p90"))), "short"),
    Panel("Rows per version", "Predicted rows; a request may have many.", (_by_version("fairlead_rows_total"),), "cps"),
    Panel("Captured rows", "In the store, and lost: dropped instead of slowing an answer.",
          (_by_version("fairlead_captured_rows_total", "{{version}} captured"),
           _by_version("fairlead_capture_lost_rows_total", "{{version}} lost")), "cps"),
    Panel("Feedback labels", "In the store, and lost.",
          (_by_version("fairlead_feedback_labels_total", "{{version}} stored"),
           _by_version("fairlead_feedback_lost_labels_total", "{{version}} lost")), "cps"),
    Panel("Captured rows that wait", "In the server's memory, while the store does not take them.",
          ((f"sum by (version) (fairlead_capture_waiting_rows{{{_PICKED}}})", "{{version}}"),), "short"),
    Panel("Memory of captures that wait", "What is beyond its bound is dropped and counted as lost.",
          ((f"sum by (version) (fairlead_capture_waiting_bytes{{{_PICKED}}})", "{{version}}"),), "bytes"),
)  # fmt: skip

_QUEUE = 'name="fairlead"'
_OURS = 'controller=~"dataset|trainingrun|modelversion|inferenceservice|driftmonitor"'
OPERATOR_PANELS = (
    Panel("Leader", "Replicas that lead: 1.", (("sum(leader_election_master_status{name=~\".*fairlead.*\"})", ""),),
          "short", 6, stat=True),
    Panel("Waiting keys", "Objects to be looked at.", ((f"sum(workqueue_depth{{{_QUEUE}}})", ""),), "short", 6,
          stat=True),
    Panel("Longest work", "Of one look that goes on now.",
          ((f"max(workqueue_longest_running_processor_seconds{{{_QUEUE}}})", ""),), "s", 6, stat=True),
    Panel("Work under way", "All looks that go on now.",
          ((f"sum(workqueue_unfinished_work_seconds{{{_QUEUE}}})", ""),), "s", 6, stat=True),
    Panel("Looks per kind", "By result.",
          ((_rate("controller_runtime_reconcile_total", _OURS, "controller, result"), "{{controller}} {{result}}"),),
          "cps"),
    Panel("Failed looks", "Tried again with a growing wait.",
          ((_rate("controller_runtime_reconcile_errors_total", _OURS, "controller"), "{{controller}}"),), "cps"),
    Panel("Time per look", "99th percentile.",
          ((_quantile(0.99, "controller_runtime_reconcile_time_seconds", _OURS, "controller"), "{{controller}}"),),
          "s"),
    Panel("Wait in the queue", "Median and 99th percentile.",
          tuple((_quantile(share, "workqueue_queue_duration_seconds", _QUEUE, "name"), name)
                for share, name in ((0.5, "median"), (0.99, "p99"))), "s"),
    Panel("Keys", "Added, and tried again after a failure.",
          ((_rate("workqueue_adds_total", _QUEUE), "added"), (_rate("workqueue_retries_total", _QUEUE), "retried")),
          "cps"),
    Panel("Requests to the API server", "By method and code.",
          ((_rate("rest_client_requests_total", 'namespace=~"$namespace"', "method, code"), "{{method}} {{code}}"),)),
    Panel("Memory", "Resident.", (('process_resident_memory_bytes{namespace=~"$namespace"}', "{{pod}}"),), "bytes"),
    Panel("Processor", "Cores.",
          (('rate(process_cpu_seconds_total{namespace=~"$namespace"}[$__rate_interval])', "{{pod}}"),), "short"),
)  # fmt: skip


def _placed(panels: Iterable[Panel]) -> list[Json]:
    """Return the panels one after the other in rows of Grafana's grid."""
    placed: list[Json] = []
    x = y = row = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > WIDTH:
            x, y, row = 0, y + row, 0
        placed.append(panel.to_json(number, x, y))
        x, row = x + panel.width, max(row, panel.height)
    return placed


def _variable(name: str, query: str, *, many: bool = True) -> Json:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": many,
        "includeAll": many,
        "allValue": ".*" if many else None,
        "current": {},
        "options": [],
    }


def _dashboard(uid: str, title: str, panels: Sequence[Panel], variables: Sequence[Json]) -> Json:
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}, "options": []}
    return {
        "uid": uid,
        "title": title,
        "tags": ["fairlead"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [source, *variables]},
        "annotations": {"list": []},
        "panels": _placed(panels),
    }


def dashboards() -> dict[str, Json]:
    """Return the dashboards by file name."""
    found = "label_values(fairlead_requests_total"
    service = (
        _variable("namespace", f"{found}, namespace)"),
        _variable("service", f'{found}{{namespace=~"$namespace"}}, service)', many=False),
        _variable("version", f"{found}{{{_OF_SERVICE}}}, version)"),
    )
    operator = (_variable("namespace", f"label_values(workqueue_depth{{{_QUEUE}}}, namespace)"),)
    return {
        "service.json": _dashboard("fairlead-service", "Fairlead / Service", SERVICE_PANELS, service),
        "operator.json": _dashboard("fairlead-operator", "Fairlead / Operator", OPERATOR_PANELS, operator),
    }


def write(folder: Path) -> None:
    """Write the dashboards."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, dashboard in dashboards().items():
        (folder / name).write_text(json.dumps(dashboard, indent=1) + "\n")
