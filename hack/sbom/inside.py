"""Prints what an image holds as JSON: Python distributions and Debian packages with their versions.

Sent to the image's own Python on standard input, so it imports the standard library alone; by `hack.sbom`.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import distributions
from pathlib import Path

DPKG = Path("/var/lib/dpkg")
RELEASE = Path("/etc/os-release")


def read_dpkg(text: str) -> dict[str, dict[str, str]]:
    """Return what is said of each installed package, by name.

    dpkg's status file says what is installed. An image without a package manager has a file for each package in
    `status.d` instead; that says nothing of it, because all of them are.
    """
    found: dict[str, dict[str, str]] = {}
    for block in text.split("\n\n"):
        lines = (line for line in block.splitlines() if ": " in line and not line.startswith(" "))
        fields = dict(line.split(": ", 1) for line in lines)
        if "Package" in fields and fields.get("Status", "ok installed").endswith(" installed"):
            found[fields["Package"]] = {
                "version": fields["Version"],
                "arch": fields.get("Architecture", ""),
                "source": fields.get("Source", ""),
            }
    return found


def read_packages(dpkg: Path) -> dict[str, dict[str, str]]:
    """Return the packages that a folder of dpkg names, in either way."""
    files = [dpkg / "status", *sorted((dpkg / "status.d").glob("*"))]
    texts = (path.read_text(encoding="utf-8") for path in files if path.is_file() and path.suffix != ".md5sums")
    return read_dpkg("\n\n".join(texts))


def read_release(path: Path) -> dict[str, str]:
    """Return which distribution it is, as os-release(5) says it; nothing where there is none."""
    if not path.exists():
        return {}
    lines = (line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines() if "=" in line)
    said = {key: value.strip("\"'") for key, value in lines}
    return {"id": said.get("ID", ""), "version": said.get("VERSION_ID", "")}


def main() -> None:
    """Print it."""
    python = {dist.metadata["Name"]: dist.version for dist in distributions()}
    found = {"interpreter": sys.version.split()[0], "python": python}
    json.dump({**found, "debian": read_packages(DPKG), "release": read_release(RELEASE)}, sys.stdout)


if __name__ == "__main__":
    main()
