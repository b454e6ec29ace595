"""`make demo`: tells the story, prints the table, and ends with 1 if a step did not end as told."""

from __future__ import annotations

import argparse
import sys
import time

from . import story
from .cluster import Cluster, StoryBrokenError
from .feedback import Feedback
from .lake import Lake
from .narrator import Narrator
from .traffic import Traffic

GATEWAY = "http://127.0.0.1:30080/predict"
HOSTNAME = "flights.example.com"
NAMESPACE = "flights"

NEXT = """
What to try next
  kubectl get fairlead -n flights                              everything at a glance
  kubectl describe infsvc flights -n flights                   why it is as it is
  kubectl get mver -n flights -o wide                          versions, stages, gates, digests
  kubectl get dmon flights -n flights -o yaml                  the newest window, feature by feature
  curl -i -H 'Host: flights.example.com' 127.0.0.1:30080/predict -d \\
    '{"rows": [{"hour": 8, "carrier": "UA", "origin": "EWR", "dest": "ORD", "distance": 719, "dep_delay": 4}]}'
  kubectl delete ns flights && make cluster-down               when you have seen enough
"""


def main() -> int:
    """Tell the story; return 0 when every step ended as told."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--rate", type=float, default=120, help="requests per second of live traffic")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a further value of the chart")
    said = parser.parse_args()
    rate = said.rate
    narrator, cluster = Narrator(), Cluster(NAMESPACE)
    feedback = Feedback(NAMESPACE, f"{story.SERVICE}-control")
    traffic = Traffic(GATEWAY, HOSTNAME, rate, feedback)
    stage = story.Stage(cluster, narrator, Lake(), traffic, feedback, tuple(said.set))
    try:
        _tell(stage)
    except StoryBrokenError as error:
        narrator.broken(str(error))
        narrator.table()
        return 1
    finally:
        traffic.stop()
        feedback.stop()
    narrator.table()
    narrator.say(f"The whole story took {narrator.since():.0f} s.")
    print(NEXT)
    return 0


def _tell(stage: story.Stage) -> None:
    _start_afresh(stage)
    story.install(stage)
    story.data(stage)
    story.first_version(stage)
    story.better_version(stage)
    story.bad_version(stage)
    run = story.season_shift(stage)
    story.retrained_version(stage, run)
    story.nobody_noticed(stage)


def _start_afresh(stage: story.Stage) -> None:
    """Remove what an earlier demo left, so that the story begins at its beginning."""
    cluster = stage.cluster
    if cluster.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name").strip():
        stage.narrator.say("An earlier demo is still there; removing its namespace first.")
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait", "--timeout=120s")
    stage.lake.empty()
    stage.narrator.began = time.monotonic()


if __name__ == "__main__":
    sys.exit(main())
