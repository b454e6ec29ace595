"""Outcomes of answers: by revision, each once, bounded, and clear about what is no outcome."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead_runtime.serve.columns import RequestError
from fairlead_runtime.serve.outcomes import Outcomes, needs_label, read_outcome

ID = "5e5e5e5e5e-" + "0" * 26


def added(outcomes: Outcomes, *items: dict[str, Any]) -> None:
    outcomes.add([found for at, item in enumerate(items) if (found := read_outcome(at, item))])


def test_outcomes_count_by_the_revision_of_the_id_and_once() -> None:
    outcomes = Outcomes()
    other = "aaaaaaaaaa-" + "1" * 26
    added(outcomes, {"id": ID, "outcome": True}, {"id": f"{ID}.3", "outcome": False}, {"id": other, "outcome": False})
    added(outcomes, {"id": ID, "outcome": False}, {"id": ID, "label": "x"})
    assert outcomes.counts() == {"5e5e5e5e5e": (2, 1), "aaaaaaaaaa": (1, 1)}


def test_nobody_can_fill_the_memory_with_revisions() -> None:
    outcomes = Outcomes()
    for number in range(40):
        added(outcomes, {"id": f"{number:010x}-" + "0" * 26, "outcome": True})
    assert len(outcomes.counts()) == 8
    assert f"{39:010x}" in outcomes.counts()


@pytest.mark.parametrize(("item", "said"), [
    ({"id": ID, "outcome": "bought"}, "outcome: expected true"),
    ({"id": "x", "outcome": True}, "id: expected the id"),
    ({"outcome": True}, "id: expected the id"),
])  # fmt: skip
def test_what_is_no_outcome_is_refused(item: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        read_outcome(0, item)


def test_an_item_is_a_label_an_outcome_or_both() -> None:
    assert needs_label({"id": ID, "label": 1})
    assert needs_label({"id": ID, "label": 1, "outcome": True})
    assert needs_label({"id": ID})
    assert not needs_label({"id": ID, "outcome": True})
