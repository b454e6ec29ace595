"""Prints what an image holds as JSON: Python distributions and Debian packages with their versions.

Sent to the image's own Python on standard input, so it imports the standard library alone; by `hack.sbom`.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import distributions
from pathlib import Path

DPKG = Path("/var/lib/dpkg/status")


def read_dpkg(text: str) -> dict[str, str]:
    """Return version by name of the installed packages of dpkg's status file."""
    found: dict[str, str] = {}
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields["Version"]
    return found


def main() -> None:
    """Print it."""
    python = {dist.metadata["Name"]: dist.version for dist in distributions()}
    debian = read_dpkg(DPKG.read_text(encoding="utf-8")) if DPKG.exists() else {}
    json.dump({"interpreter": sys.version.split()[0], "python": python, "debian": debian}, sys.stdout)


if __name__ == "__main__":
    main()
