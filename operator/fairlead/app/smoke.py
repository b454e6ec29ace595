"""`helm test`: reads the operator's metrics through its Service and fails unless a replica leads and reconciles.

`python -m fairlead.app.smoke URL`. It only reads.
"""

from __future__ import annotations

import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

LEADER = "leader_election_master_status"


def leading(metrics: str) -> bool:
    """Say whether the metrics text comes from a replica that leads."""
    families = text_string_to_metric_families(metrics)
    return any(sample.value == 1 for family in families for sample in family.samples if sample.name == LEADER)


def main(url: str, tries: int = 20) -> int:
    """Return 0 when one of a few reads finds the leader; replicas share the Service, so a standby may answer."""
    for _ in range(tries):
        with urllib.request.urlopen(url, timeout=5) as answer:
            if leading(answer.read().decode()):
                print("ok: the operator leads and serves its metrics")
                return 0
    print(f"no replica behind {url} leads; see the operator's log for its Lease")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
