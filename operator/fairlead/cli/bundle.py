"""A support bundle's form: objects as they may be shown, the index page, the archive.

Pure. Nothing gets in that was not through `clean`: managed fields and kubectl's copy of the manifest go, and whatever
looks like a credential. Called by `gather.py`.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Any

from fairlead.api.redaction import redact, redact_tree

from .states import Standing, state_of

Obj = Mapping[str, Any]
INDEX = "index.html"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
    "table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:.2em 1em .2em 0}"
    "tr+tr{border-top:1px solid #ddd}.n{text-align:right}"
)


@dataclass
class Bundle:
    """What was collected, by path, and what was not, with the reason."""

    at: datetime
    scope: str
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, str, str]] = field(default_factory=list)  # object, state, message

    @property
    def name(self) -> str:
        """The folder in the archive, and the archive's name without its suffix."""
        return f"fairlead-{self.at:%Y%m%dT%H%M%SZ}"

    def add_objects(self, path: str, texts: Sequence[str]) -> None:
        """Add objects of one resource, each as `object_text`, as a JSON list that kubectl can read."""
        items = ",\n".join(texts)
        self.files[path] = f'{{"apiVersion": "v1", "kind": "List", "items": [\n{items}\n]}}\n'

    def add_events(self, path: str, lines: Sequence[str]) -> None:
        """Add events, oldest first."""
        self.files[path] = redact("\n".join(sorted(lines)) + "\n")

    def add_text(self, path: str, text: str) -> None:
        """Add lines of a log or of metrics."""
        self.files[path] = redact(text)

    def look_at(self, obj: Obj) -> None:
        """Note one of our objects for the index page if it is not Ready."""
        state = state_of(obj)
        if state.standing is not Standing.READY:
            metadata = obj["metadata"]
            title = f"{obj['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
            self.problems.append((title, str(state), redact(state.message)))


def clean(obj: Obj) -> Any:
    """Return an object as it may be shown."""
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key != "managedFields"}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    if "annotations" in metadata:
        metadata["annotations"] = annotations
    return redact_tree({**obj, "metadata": metadata})


def object_text(cleaned: Obj) -> str:
    """Return an object as a file shows it; a tenth of what the object itself takes in memory."""
    return json.dumps(cleaned, indent=1, sort_keys=True)


def event_line(event: Obj) -> str:
    """Return an event as a line that begins with its time."""
    about, series = event.get("regarding") or {}, event.get("series") or {}
    at = str(series.get("lastObservedTime") or event.get("eventTime") or event.get("deprecatedLastTimestamp") or "")
    count = series.get("count") or event.get("deprecatedCount") or 1
    subject = f"{about.get('kind', '')} {about.get('namespace', '')}/{about.get('name', '')}"
    words = (at, event.get("type"), event.get("reason"), subject, f"x{count}", event.get("note"))
    return "\t".join(str(word or "") for word in words)


def render_index(bundle: Bundle) -> str:
    """Return the page that says what the bundle holds, what stands out and what is missing."""
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{escape(bundle.name)}</title><style>{_STYLE}</style>",
        f"<h1>Fairlead support bundle</h1><p>{bundle.at:%Y-%m-%d %H:%M:%S} UTC, {escape(bundle.scope)}. "
        "It holds no Secret and no ConfigMap; what looked like a credential is replaced by ***.</p>",
        _section("Versions", [(escape(name), escape(value)) for name, value in bundle.versions.items()]),
        _section("Not Ready", [tuple(map(escape, row)) for row in sorted(bundle.problems)]),
        _section("Not collected", [(escape(path), escape(why)) for path, why in sorted(bundle.missing.items())]),
        _section("Files", [_file_row(path, text) for path, text in sorted(bundle.files.items())]),
    ]
    return "\n".join(parts) + "\n"


def _file_row(path: str, text: str) -> tuple[str, ...]:
    return (f'<a href="{escape(path, quote=True)}">{escape(path)}</a>', f"{len(text.encode()):,} bytes")


def _section(title: str, rows: Sequence[tuple[str, ...]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>{title} ({len(rows)})</h2><table>{body}</table>" if rows else f"<h2>{title}</h2><p>None.</p>"


def pack(bundle: Bundle) -> bytes:
    """Return the archive (tar.gz) with the index page first."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz", compresslevel=6) as archive:
        for path, text in ((INDEX, render_index(bundle)), *sorted(bundle.files.items())):
            data = text.encode()
            info = tarfile.TarInfo(f"{bundle.name}/{path}")
            info.size, info.mtime, info.mode = len(data), int(bundle.at.timestamp()), 0o600
            archive.addfile(info, io.BytesIO(data))
    return held.getvalue()
