"""What the operator costs at rest on the real cluster: writes to the API server and memory, with the demo's objects.

    .venv/bin/python -m tests.perf.at_rest [--minutes 5]

Run it after `make demo`. Writes are counted by the operator's own rest_client_requests_total; PUT is the Lease's alone.
A finished drift check writes one status each; how many were finished is printed beside.
"""

from __future__ import annotations

import argparse
import collections
import json
import subprocess
import time

from hack.demo.cluster import CONTEXT
from prometheus_client.parser import text_string_to_metric_families

METRICS = "/api/v1/namespaces/fairlead-system/services/fairlead-metrics:8080/proxy/metrics"
WRITES = ("PATCH", "POST", "DELETE")


def _kubectl(*words: str) -> str:
    return subprocess.run(["kubectl", "--context", CONTEXT, *words], capture_output=True, text=True, check=True).stdout


def read_metrics() -> tuple[collections.Counter[str], float]:
    """Return requests by method, and resident bytes."""
    requests: collections.Counter[str] = collections.Counter()
    resident = 0.0
    for family in text_string_to_metric_families(_kubectl("get", "--raw", METRICS)):
        for sample in family.samples:
            if sample.name == "rest_client_requests_total":
                requests[sample.labels["method"]] += int(sample.value)
            if sample.name == "process_resident_memory_bytes":
                resident = sample.value
    return requests, resident


def finished_checks() -> int:
    """Return how many drift checks have finished so far, by the newest counted minute."""
    monitors = json.loads(_kubectl("get", "driftmonitors.fairlead.dev", "-A", "-o", "json"))["items"]
    minutes = [m.get("status", {}).get("lastJob", "").rsplit("-", 1)[-1] for m in monitors]
    return sum(int(minute) for minute in minutes if minute.isdigit())


def main() -> None:
    """Watch for some minutes and print the difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    minutes = parser.parse_args().minutes
    before, _ = read_metrics()
    checks = finished_checks()
    time.sleep(minutes * 60)
    after, resident = read_metrics()
    writes = {method: after[method] - before[method] for method in WRITES}
    print(json.dumps({"minutes": minutes, "writes": writes, "finishedChecks": finished_checks() - checks,
                      "residentMB": round(resident / 1e6, 1)}))  # fmt: skip


if __name__ == "__main__":
    main()
