"""Text of others, made safe to print: no value can forge a line, clear a screen or turn the reading order.

Pure. Used by the operator's log, the plugin and the pods' last words.
"""

from __future__ import annotations

import re

# C0 and C1 controls, line and paragraph separators, and what changes the direction of text.
_HARMFUL = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069"
_IN_LINES = re.compile(f"[{_HARMFUL}]")
_IN_LINE = re.compile(f"[\n{_HARMFUL}]")


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()


def one_line(text: str) -> str:
    """Return the text as one line, control characters escaped."""
    return _IN_LINE.sub(_escaped, text)


def in_lines(text: str, indent: str = "") -> str:
    """Return the text with its own lines, each after `indent`, all other control characters escaped."""
    return "\n".join(indent + line for line in _IN_LINES.sub(_escaped, text).split("\n"))
