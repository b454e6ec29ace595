from __future__ import annotations

import aiohttp

from fairlead.app.health import Health, HealthServer, Ports
from fairlead.app.metrics import Metrics


async def test_each_check_says_what_is_wrong() -> None:
    health = Health(live={"lists": lambda: None}, ready={"caches": lambda: "not filled"})
    server = HealthServer(health, Metrics("https://api"), Ports("127.0.0.1", 0, 0))
    await server.start()
    base = f"http://127.0.0.1:{server.bound.health}"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok")
        async with session.get(f"{base}/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "caches: not filled")
        async with session.get(f"http://127.0.0.1:{server.bound.metrics}/metrics") as answer:
            assert answer.status == 200
            assert "workqueue_depth" in await answer.text()
    await server.stop()


def test_metrics_have_the_names_of_stock_dashboards() -> None:
    metrics = Metrics("https://api")
    metrics.on_reconcile("Dataset", "error", 0.2)
    metrics.on_reconcile("Dataset", "success", 0.2)
    metrics.on_request("GET", "200")
    metrics.set_leader("fairlead", True)
    metrics.set_workers(("Dataset",), 8)
    metrics.on_add(1)
    metrics.on_get(0, 0.1)
    metrics.on_done(0.1)
    metrics.on_retry()
    metrics.set_work_under_way(lambda: 1.5, lambda: 1.0)
    text = metrics.render().decode()
    for line in (
        'controller_runtime_reconcile_total{controller="dataset",result="error"} 1.0',
        'controller_runtime_reconcile_errors_total{controller="dataset"} 1.0',
        'controller_runtime_reconcile_time_seconds_count{controller="dataset"} 2.0',
        'controller_runtime_max_concurrent_reconciles{controller="dataset"} 8.0',
        'rest_client_requests_total{code="200",host="https://api",method="GET"} 1.0',
        'leader_election_master_status{name="fairlead"} 1.0',
        'workqueue_adds_total{controller="fairlead",name="fairlead"} 1.0',
        'workqueue_retries_total{controller="fairlead",name="fairlead"} 1.0',
        'workqueue_queue_duration_seconds_count{controller="fairlead",name="fairlead"} 1.0',
        'workqueue_work_duration_seconds_count{controller="fairlead",name="fairlead"} 1.0',
        'workqueue_unfinished_work_seconds{controller="fairlead",name="fairlead"} 1.5',
        'workqueue_longest_running_processor_seconds{controller="fairlead",name="fairlead"} 1.0',
    ):
        assert line in text, line
    assert "_created" not in text
