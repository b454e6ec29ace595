"""How long planners take: every story told, the median and slowest plan of each kind, in CPU milliseconds.

    .venv/bin/python -m tests.perf.bench_plans

The design asks for under 1 ms a plan; a noisy machine shows more, so this is a program and not a test.
"""

from __future__ import annotations

import statistics
from collections import defaultdict

from tests.unit.plan import conftest  # noqa: F401 - registers the happenings of serving pods
from tests.unit.plan.telling import Teller, read_story, story_paths
from tests.unit.plan.test_stories import KINDS

TELLINGS = 3


def main() -> None:
    """Tell every story a few times and print a line per kind."""
    spans: dict[str, list[float]] = defaultdict(list)
    for _ in range(TELLINGS):
        for path in story_paths():
            teller = Teller(read_story(path), KINDS[path.parent.name])
            teller.tell()
            spans[path.parent.name] += teller.planning_s
    for kind, taken in sorted(spans.items()):
        median, slowest = statistics.median(taken) * 1000, max(taken) * 1000
        print(f"{kind:18} {len(taken):5} plans  median {median:.2f} ms  slowest {slowest:.2f} ms")


if __name__ == "__main__":
    main()
