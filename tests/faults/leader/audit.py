"""What the API server's audit log says about writes: by whom, when, on what, and whether anything changed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

RULES = (
    {"level": "None", "verbs": ["get", "list", "watch"]},
    {"level": "None", "users": ["system:apiserver"]},
    {"level": "RequestResponse"},
)
POD_NAME = "authentication.kubernetes.io/pod-name"


@dataclass(frozen=True)
class Write:
    """One request that asked for a change; times are seconds since the epoch on the API server's clock."""

    began: float
    at: float
    user: str  # the replica's pod, or the user's name
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    version: str
    changed: bool  # false too when it was refused

    @property
    def is_lease(self) -> bool:
        return self.resource == "leases"

    @property
    def is_event(self) -> bool:
        return self.resource == "events"

    @property
    def is_birth(self) -> bool:
        """Say whether it made an object: a POST, or an apply to what was not there."""
        return self.code == 201

    def __str__(self) -> str:
        return f"{self.at:.3f} {self.user}: {self.verb} {self.resource} {self.name} -> {self.code} {self.changed=}"


@dataclass
class Audit:
    """Reads the log as it grows."""

    path: Path
    _writes: dict[str, list[Write]] = field(default_factory=dict)
    _versions: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)
    _offset: int = 0

    def writes(self, namespace: str) -> list[Write]:
        """Return all writes in a namespace so far, in the order of their answers."""
        self._read()
        return self._writes.get(namespace, [])

    def _read(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._take(json.loads(line))

    def _take(self, entry: dict[str, Any]) -> None:
        reference = entry.get("objectRef") or {}
        namespace = reference.get("namespace", "")
        answer = entry.get("responseObject") or {}
        asked = entry.get("requestObject") or {}
        parts = [reference.get("resource", ""), *([reference["subresource"]] if "subresource" in reference else [])]
        name = reference.get("name") or (asked.get("metadata") or {}).get("name", "")
        code = (entry.get("responseStatus") or {}).get("code", 0)
        version = (answer.get("metadata") or {}).get("resourceVersion", "")
        changed = 200 <= code < 300
        if entry["verb"] in ("patch", "update") and version:
            known = self._versions.setdefault((namespace, parts[0], name), set())
            changed = changed and version not in known
            known.add(version)
        elif version and changed:
            self._versions.setdefault((namespace, parts[0], name), set()).add(version)
        self._writes.setdefault(namespace, []).append(
            Write(
                _seconds(entry["requestReceivedTimestamp"]),
                _seconds(entry["stageTimestamp"]),
                _user(entry["user"]),
                entry["verb"],
                "/".join(parts),
                namespace,
                name,
                code,
                version,
                changed,
            )
        )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _user(user: dict[str, Any]) -> str:
    return str(((user.get("extra") or {}).get(POD_NAME) or [user["username"]])[0])
