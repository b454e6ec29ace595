"""Prometheus text (version 0.0.4) of the shared counters; labels are the service's and the version's name alone.

Written by hand: the counts lie in memory that all workers share, and a client library would only copy them again.
Called by `process` for the metrics port.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fairlead.contract.jobs import ServeInput

from .counters import Counters

_PLAIN = {
    "rows": ("rows_total", "Rows predicted."),
    "slow": ("slow_requests_total", "Predictions slower than the service's latency threshold."),
    "captured": ("captured_rows_total", "Captured rows that are in the store."),
    "capture_lost": ("capture_lost_rows_total", "Sampled rows that were dropped instead of slowing an answer."),
    "feedback": ("feedback_labels_total", "Labels that are in the store."),
    "feedback_lost": ("feedback_lost_labels_total", "Labels that were dropped."),
}


_WAITING = {
    "waiting_rows": ("capture_waiting_rows", "Captured rows and labels in files that the store has not taken yet."),
    "waiting_bytes": ("capture_waiting_bytes", "Size of those files; beyond its bound the oldest are given up."),
}


def render(document: ServeInput, counters: Counters) -> bytes:
    """Return the whole page."""
    return ("\n".join(_lines(document, counters)) + "\n").encode()


def _lines(document: ServeInput, counters: Counters) -> Iterator[str]:
    labels = f'service="{_value(document.service)}",version="{_value(document.artifact.version)}"'
    yield from _head("requests_total", "counter", "Answers by status code, other paths than predictions included.")
    for code, count in counters.codes().items():
        if count:
            yield f'fairlead_requests_total{{{labels},code="{code or "other"}"}} {count}'
    simple = counters.simple()
    for name, (metric, text) in _PLAIN.items():
        yield from _head(metric, "counter", text)
        yield f"fairlead_{metric}{{{labels}}} {simple[name]}"
    for name, (metric, text) in _WAITING.items():
        yield from _head(metric, "gauge", text)
        yield f"fairlead_{metric}{{{labels}}} {simple[name]}"
    yield from _head("in_flight_requests", "gauge", "Predictions that wait for their answer.")
    yield f"fairlead_in_flight_requests{{{labels}}} {max(0, simple['started'] - simple['answered'])}"
    yield from _head("request_duration_seconds", "histogram", "From a request fully read to its answer written.")
    edges = [edge / 1000 for edge in counters.edges.latency_ms]
    yield from _histogram("request_duration_seconds", labels, edges, counters.latency())
    yield f"fairlead_request_duration_seconds_sum{{{labels}}} {simple['latency_us'] / 1e6}"
    yield from _head("predictions", "histogram", "Predicted scores or numbers; a bin ends just below its edge.")
    yield from _histogram("predictions", labels, counters.edges.prediction, counters.predictions())


def _value(text: str) -> str:
    """Return a label's value as the format wants it written."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP fairlead_{name} {text}"
    yield f"# TYPE fairlead_{name} {kind}"


def _histogram(name: str, labels: str, edges: Sequence[float], counts: Sequence[int]) -> Iterator[str]:
    seen = 0
    for edge, count in zip((*edges, None), counts, strict=True):
        seen += count
        bound = "+Inf" if edge is None else f"{edge:g}"
        yield f'fairlead_{name}_bucket{{{labels},le="{bound}"}} {seen}'
    yield f"fairlead_{name}_count{{{labels}}} {seen}"
