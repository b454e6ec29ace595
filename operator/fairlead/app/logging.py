"""Log lines: one JSON object or one plain line each, without secrets and without forged line breaks.

Redaction is the last net, not the first: nothing logs bodies or credentials on purpose. Set up by `main.py`.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import IO, Any

from fairlead.api.redaction import redact
from fairlead.contract.printable import in_lines, one_line

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _trace(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    return redact("".join(traceback.format_exception(*record.exc_info)))


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and what `extra` adds."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD and not key.startswith("_")}
        entry |= {
            key: redact(str(value)) for key, value in extra.items() if isinstance(value, str | int | float | bool)
        }
        trace = _trace(record)
        if trace:
            entry["trace"] = trace
        return json.dumps(entry)


class TextFormatter(logging.Formatter):
    """`time level logger: message`, for people at a terminal; a traceback follows, each of its lines indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = f"{_time(record)} {record.levelname.lower():7} {record.name}: {one_line(redact(record.getMessage()))}"
        trace = _trace(record)
        return f"{line}\n{in_lines(trace.rstrip(), '    ')}" if trace else line


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def set_up_logging(format_: str, level: str, stream: IO[str] | None = None) -> None:
    """Send all log records to standard error in this format; kopf and aiohttp speak from warnings on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format_ == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("kopf", "aiohttp", "asyncio", "kubernetes"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
