"""A Job's last words: the Summary on the termination log, at most 3 KiB, never with a secret in it.

A summary that is too long loses examples and messages, never the outcome of a gate or check. Called by `__main__`
and by jobs that store their own result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead.contract import env
from fairlead.contract.base import Model

from .errors import clip

# The access key is a name, not a secret, and may well be a word of the text.
_SECRET_VARIABLES = ("FAIRLEAD_STORE_SECRET_KEY", "FAIRLEAD_SOURCE_SECRET_KEY")
_MESSAGE_LIMITS = (512, 200, 100, 50, 0)
_LISTS = ("worst", "failedChecks")  # examples; the counts beside them say how many there were
_MAPS = ("metrics", "lineage")


def redact(text: str, environ: Mapping[str, str]) -> str:
    """Return the text with each secret key of the environment replaced by ***."""
    for variable in _SECRET_VARIABLES:
        if environ.get(variable):
            text = text.replace(environ[variable], "***")
    return text


def encode_summary(summary: Model, limit: int = env.SUMMARY_MAX_BYTES) -> bytes:
    """Return compact UTF-8 JSON of at most `limit` bytes; raise ValueError if it cannot be made to fit."""
    value = summary.to_json_object()
    for shrink in _shrinks(value):
        encoded = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        if len(encoded) <= limit:
            return encoded
        shrink()
    raise ValueError(f"a {value.get('kind')} summary does not fit {limit} bytes, whatever is cut from it")


def write_summary(summary: Model, environ: Mapping[str, str]) -> None:
    """Write the summary where the kubelet reads it (FAIRLEAD_TERMINATION_LOG, default /dev/termination-log)."""
    text = redact(encode_summary(summary).decode(), environ)
    Path(environ.get("FAIRLEAD_TERMINATION_LOG", env.TERMINATION_LOG)).write_text(text, encoding="utf-8")


def _shrinks(value: dict[str, Any]) -> list[Any]:
    steps: list[Any] = [lambda limit=limit: _cut_messages(value, limit) for limit in _MESSAGE_LIMITS]
    steps += [lambda keep=keep: _cut_examples(value, keep) for keep in (10, 5, 2, 0)]
    return [*steps, lambda: None]


def _cut_messages(value: Any, limit: int) -> None:
    if isinstance(value, dict):
        if isinstance(value.get("message"), str) and "kind" not in value:
            value["message"] = clip(value["message"], limit) if limit else ""
        elif isinstance(value.get("message"), str):
            value["message"] = clip(value["message"], max(limit, 200))  # the summary's own sentence stays
        for child in value.values():
            _cut_messages(child, limit)
    elif isinstance(value, list):
        for child in value:
            _cut_messages(child, limit)


def _cut_examples(value: dict[str, Any], keep: int) -> None:
    for name in _LISTS:
        if isinstance(value.get(name), list):
            value[name] = value[name][:keep]
    for name in _MAPS:
        if isinstance(value.get(name), dict):
            value[name] = dict(list(value[name].items())[:keep])
