"""The order of tests that workers share: what takes long begins first, so that nobody is left alone with it in the end.

Called by conftests; needs pytest's --no-loadscope-reorder, else xdist puts files with few tests last.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest


def longest_first(items: list[pytest.Item], words: Sequence[str]) -> None:
    """Put tests first whose ids have one of these words, in the order of the words; all others stay as they were."""

    def rank(item: pytest.Item) -> int:
        return next((number for number, word in enumerate(words) if word in item.nodeid), len(words))

    items.sort(key=rank)
