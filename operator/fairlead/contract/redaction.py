"""The last net for secrets: what looks like a credential never gets into a condition, an event or a log line.

Nothing writes credentials on purpose; but messages quote programs and servers that we did not write. Pure, and the
same text always gives the same text, so a redacted status never flickers. Used by conditions, recorder and logging,
by lineage, and by the plugin for whole objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

_PATTERNS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), "***"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), "***"),
    (re.compile(r"(?i)(://[^/\s:@]*):[^/\s@]+@"), r"\1:***@"),
    (re.compile(r"(://)[^/\s:@]{8,}@"), r"\1***@"),  # a token in place of a user
    (
        re.compile(
            r"(?i)((?:access|secret|api|private)[_-]?key|password|passwd|passphrase|token|secret"
            r"|x-amz-(?:signature|credential))(\"?\s*[=:]\s*\"?)[^\s\",;&}]{6,}"
        ),
        r"\1\2***",
    ),
    (re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"), "***"),
    (re.compile(r"\b(gh[pousr]_|glpat-|xox[abpr]-|sk-)[A-Za-z0-9_-]{16,}"), "***"),
)
# what is called so holds a credential; what is called secretName or tokenRef only says where one is
_CREDENTIAL = re.compile(
    r"(?i)(password|passwd|passphrase|credentials?$|token$|secret$|(access|secret|api|private)[_-]?key(_?id)?$)"
)

_WORDS = frozenset({"message", "tail"})  # fields of status that quote programs and servers


def redact(text: str) -> str:
    """Return the text with everything that looks like a credential replaced by `***`."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_tree(value: Any) -> Any:
    """Return a copy of a JSON value without what looks like a credential, by its text or by what it is called.

    Documents inside of strings (annotations) are read too; names, structure and types stay.
    """
    if isinstance(value, Mapping):
        named = isinstance(value.get("value"), str) and _is_credential(value.get("name"))
        return {
            key: HIDDEN if _hides(key, item) or (named and key == "value") else redact_tree(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        before: tuple[Any, ...] = (None, *value)
        return [
            HIDDEN if isinstance(item, str) and _is_flag(last) else redact_tree(item)
            for last, item in zip(before, value, strict=False)
        ]
    return _redact_string(value) if isinstance(value, str) else value


def redact_words(value: Any, *, are_words: bool = False) -> Any:
    """Return a status with its messages and last lines redacted, and nothing else: a uri must stay what it is."""
    if isinstance(value, Mapping):
        return {key: redact_words(item, are_words=key in _WORDS) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_words(item, are_words=are_words) for item in value]
    return redact(value) if are_words and isinstance(value, str) else value


def _is_credential(name: Any) -> bool:
    return isinstance(name, str) and _CREDENTIAL.search(name) is not None


def _hides(key: Any, item: Any) -> bool:
    return isinstance(item, str) and bool(item) and _is_credential(key)


def _is_flag(word: Any) -> bool:
    """Say whether the next word of a command line is a credential: `--password`, but not `--password=...`."""
    return isinstance(word, str) and word.startswith("-") and "=" not in word and _is_credential(word)


def _redact_string(text: str) -> str:
    if text[:1] in ("{", "["):
        try:
            return json.dumps(redact_tree(json.loads(text)), separators=(",", ":"))
        except ValueError:
            pass
    return redact(text)
