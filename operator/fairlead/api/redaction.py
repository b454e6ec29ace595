"""The last net for secrets: what looks like a credential never gets into a condition, an event or a log line.

Nothing writes credentials on purpose; but messages quote programs and servers that we did not write. Pure, and the
same text always gives the same text, so a redacted status never flickers. Used by conditions, recorder and logging.
"""

from __future__ import annotations

import re

_PATTERNS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), "***"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), "***"),
    (re.compile(r"(?i)(://[^/\s:@]*):[^/\s@]+@"), r"\1:***@"),
    (
        re.compile(r"(?i)((?:access|secret)[_-]?key|password|passwd|token|secret)(\"?\s*[=:]\s*\"?)[^\s\",;&}]{6,}"),
        r"\1\2***",
    ),
)


def redact(text: str) -> str:
    """Return the text with everything that looks like a credential replaced by `***`."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
