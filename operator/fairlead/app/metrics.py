"""Metrics under controller-runtime's exact names, so that stock dashboards and alerts work.

Labels are bounded: kinds, results, verbs, codes; never a name of a user's object. Filled by the queue, the loop
and the client through their small protocols; served by `health.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

QUEUE = "fairlead"
_RECONCILE_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_QUEUE_BUCKETS = (1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0, 300.0)


class Metrics:
    """All of the operator's metrics in one registry; is itself `LoopMetrics` and `QueueMetrics`."""

    def __init__(self, host: str = "", *, process: bool = True) -> None:
        """`host` labels API requests as client-go does; `process` adds memory, CPU and file descriptors."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR) if process else ():
            registry.register(collector)
        self._host = host
        self._build_loop(registry)
        self._build_queue(registry)
        self._requests = Counter("rest_client_requests", "API requests.", ("code", "method", "host"), registry=registry)
        self._leader = Gauge("leader_election_master_status", "1 while leading.", ("name",), registry=registry)

    def _build_loop(self, registry: CollectorRegistry) -> None:
        self._reconciles = Counter(
            "controller_runtime_reconcile", "Reconciles by result.", ("controller", "result"), registry=registry
        )
        self._errors = Counter(
            "controller_runtime_reconcile_errors", "Failed reconciles.", ("controller",), registry=registry
        )
        self._times = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Time per reconcile.",
            ("controller",),
            buckets=_RECONCILE_BUCKETS,
            registry=registry,
        )
        self._workers = Gauge(
            "controller_runtime_max_concurrent_reconciles", "Workers.", ("controller",), registry=registry
        )

    def _build_queue(self, registry: CollectorRegistry) -> None:
        labels = ("name", "controller")
        mine = (QUEUE, QUEUE)
        self._depth = Gauge("workqueue_depth", "Keys that wait.", labels, registry=registry).labels(*mine)
        self._adds = Counter("workqueue_adds", "Keys added.", labels, registry=registry).labels(*mine)
        self._retries = Counter("workqueue_retries", "Keys that failed.", labels, registry=registry).labels(*mine)
        self._waits = Histogram(
            "workqueue_queue_duration_seconds", "Wait before work.", labels, buckets=_QUEUE_BUCKETS, registry=registry
        ).labels(*mine)
        self._works = Histogram(
            "workqueue_work_duration_seconds", "Time in work.", labels, buckets=_QUEUE_BUCKETS, registry=registry
        ).labels(*mine)
        self._unfinished = Gauge(
            "workqueue_unfinished_work_seconds", "Work under way.", labels, registry=registry
        ).labels(*mine)
        self._longest = Gauge(
            "workqueue_longest_running_processor_seconds", "Longest work under way.", labels, registry=registry
        ).labels(*mine)

    def on_reconcile(self, controller: str, result: str, seconds: float) -> None:
        """Count one reconcile."""
        name = controller.lower()
        self._reconciles.labels(name, result).inc()
        self._times.labels(name).observe(seconds)
        if result == "error":
            self._errors.labels(name).inc()

    def on_add(self, depth: int) -> None:
        """Count a key that came into the queue."""
        self._adds.inc()
        self._depth.set(depth)

    def on_get(self, depth: int, waited_s: float) -> None:
        """Count a key that a worker took."""
        self._depth.set(depth)
        self._waits.observe(waited_s)

    def on_done(self, worked_s: float) -> None:
        """Count a key that a worker finished."""
        self._works.observe(worked_s)

    def on_retry(self) -> None:
        """Count a key that comes back."""
        self._retries.inc()

    def on_request(self, method: str, code: str) -> None:
        """Count an API request."""
        self._requests.labels(code, method, self._host).inc()

    def set_leader(self, name: str, leads: bool) -> None:
        """Say whether this process leads."""
        self._leader.labels(name).set(int(leads))

    def set_workers(self, kinds: tuple[str, ...], workers: int) -> None:
        """Say how many workers serve each kind."""
        for kind in kinds:
            self._workers.labels(kind.lower()).set(workers)

    def set_work_under_way(self, unfinished_s: Callable[[], float], longest_s: Callable[[], float]) -> None:
        """Say where to ask for the work under way at each scrape."""
        self._unfinished.set_function(unfinished_s)
        self._longest.set_function(longest_s)

    def render(self) -> bytes:
        """Return the text exposition."""
        return bytes(generate_latest(self.registry))
