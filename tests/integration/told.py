"""Every state that a story's subject is in, for tools to judge. It must never judge itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import tests.unit.plan.serving  # noqa: F401  what happens to servers, made known to the stories
from tests.unit.plan.telling import Teller, read_story, story_paths
from tests.unit.plan.test_stories import KINDS

from fairlead.api.conditions import READY, find_condition

Obj = Mapping[str, Any]


@cache
def told() -> tuple[tuple[str, Obj], ...]:
    """Return each state with the name of its story, in order."""
    found: list[tuple[str, Obj]] = []
    for path in story_paths():
        teller = Teller(read_story(path), KINDS[path.parent.name])
        teller.tell()
        found += [(f"{path.parent.name}/{path.stem}", state) for state in teller.states if _is_real(state)]
    return tuple(found)


def _is_real(state: Obj) -> bool:
    """Leave out what a story gives in short: the API server's first status or the operator's, nothing between."""
    return state["status"] == {"observedGeneration": -1} or find_condition(state, READY) is not None
