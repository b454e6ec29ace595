"""A container runtime that asks runc for no more than this machine may give.

Where the capability bounding set lacks a capability, runc refuses privileged containers ("unable to
apply caps"). Installed as Docker's default runtime on such a machine only, this takes what is
missing out of the container's process spec and then becomes runc. It stands alone: dockerd runs it
as a script, by path.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

# Bit numbers as in linux/capability.h.
NAMES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]


def bounding_set() -> int:
    """The capability bounding set of this process, as a bit mask."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    return -1


def missing(bounds: int) -> set[str]:
    """Names (CAP_...) that a privileged container would ask for and cannot get."""
    return {f"CAP_{name}" for bit, name in enumerate(NAMES) if not bounds >> bit & 1}


def without(process: dict[str, Any], names: set[str]) -> bool:
    """Takes the names out of a process spec; True if that changed it."""
    changed = False
    for kind, names_of_kind in (process.get("capabilities") or {}).items():
        kept = [name for name in names_of_kind if name not in names]
        changed = changed or len(kept) != len(names_of_kind)
        process["capabilities"][kind] = kept
    return changed


def rewrite(path: Path, names: set[str], *, bundle: bool) -> None:
    """Rewrites a bundle's config.json, or the process file of an exec, in place."""
    spec = json.loads(path.read_text())
    if without(spec.get("process") or {} if bundle else spec, names):
        path.write_text(json.dumps(spec))


def option(words: list[str], *names: str) -> str | None:
    """The value of the first of these options, in either of its two spellings."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else [*words, ""][index + 1]
    return None


def main(argv: list[str]) -> None:
    """Rewrites what this call names, then replaces itself with the runc given as first word."""
    runc, words = argv[0], argv[1:]
    names = missing(bounding_set())
    if "create" in words or "run" in words:
        bundle = Path(option(words, "--bundle", "-b") or ".")
        rewrite(bundle / "config.json", names, bundle=True)
    process = option(words, "--process", "-p") if "exec" in words else None
    if process:
        rewrite(Path(process), names, bundle=False)
    os.execv(runc, [runc, *words])


if __name__ == "__main__":
    main(sys.argv[1:])
