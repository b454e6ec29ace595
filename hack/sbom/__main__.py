"""`make sbom`: writes artifacts/sbom/<image>.cdx.json (CycloneDX 1.6) for each of our images.

Each Python package carries the hashes that its requirement is pinned to, so that the bill and the build speak of the
same bytes. Debian packages are those of dpkg's list, or of `status.d` in a base without a package manager; they are
named as Syft names them, so that scanners find the advisories of their sources. Needs the images; changes nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "artifacts" / "sbom"
IMAGES = ("operator", "server", "jobs")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)")
Json = dict[str, Any]


def read_pins(text: str) -> dict[str, tuple[str, list[str]]]:
    """Return name -> (version, sha256 hashes) of a requirements file; names as PyPI compares them."""
    pins: dict[str, tuple[str, list[str]]] = {}
    current: list[str] = []
    for line in text.splitlines():
        pin = _PIN.match(line)
        if pin:
            current = []
            pins[plain(pin[1])] = (pin[2], current)
        current += re.findall(r"--hash=sha256:([0-9a-f]{64})", line)
    return pins


def plain(name: str) -> str:
    """Return a distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def look_inside(image: str) -> Json:
    """Return what `inside.py` says of an image."""
    sent = (Path(__file__).parent / "inside.py").read_text(encoding="utf-8")
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", "--entrypoint", "/opt/venv/bin/python"]
    done = subprocess.run([*command, image, "-"], input=sent, capture_output=True, text=True, check=True)
    found: Json = json.loads(done.stdout)
    return found


def build_bill(image: str, found: Mapping[str, Any], pins: Mapping[str, tuple[str, list[str]]]) -> Json:
    """Return the CycloneDX document; the same contents give the same one."""
    debian = _debian(found["debian"], found["release"])
    components = [_interpreter(found["interpreter"]), *_python(found["python"], pins), *debian]
    text = json.dumps([image, components], sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": image, "name": image.partition(":")[0]}},
        "components": components,
    }


def _interpreter(version: str) -> Json:
    purl = f"pkg:generic/cpython@{version}"
    return {"type": "application", "bom-ref": purl, "name": "cpython", "version": version, "purl": purl}


def _python(packages: Mapping[str, str], pins: Mapping[str, tuple[str, list[str]]]) -> Iterator[Json]:
    for name, version in sorted(packages.items(), key=lambda item: plain(item[0])):
        purl = f"pkg:pypi/{plain(name)}@{quote(version)}"
        component: Json = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        pinned, hashes = pins.get(plain(name), ("", []))
        if pinned == version and hashes:  # of every file of the release that the build may take
            files = [{"alg": "SHA-256", "content": digest} for digest in hashes]
            where = {"type": "distribution", "url": purl}
            component["externalReferences"] = [{**where, "hashes": files}]
        yield component


def _debian(packages: Mapping[str, Mapping[str, str]], release: Mapping[str, str]) -> Iterator[Json]:
    distribution, version = release.get("id", ""), release.get("version", "")
    if distribution:
        yield {"type": "operating-system", "bom-ref": "os", "name": distribution, "version": version}
    for name, package in sorted(packages.items()):
        said = {"arch": package["arch"], "distro": f"{distribution}-{version}".strip("-")}
        said["upstream"] = _source(package["source"])
        qualifiers = "&".join(f"{key}={quote(value, safe='')}" for key, value in said.items() if value)
        purl = f"pkg:deb/debian/{quote(name)}@{quote(package['version'])}" + (f"?{qualifiers}" if qualifiers else "")
        yield {"type": "library", "bom-ref": purl, "name": name, "version": package["version"], "purl": purl}


def _source(said: str) -> str:
    """Return the source package as a purl says it: `zlib (1:1.3)` is `zlib@1:1.3`."""
    name, _, version = said.partition(" ")
    return f"{name}@{version.strip('()')}" if version else name


def main() -> None:
    """Write a bill for each image and say how long it is."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name in IMAGES:
        image = f"fairlead-{name}:dev"
        pins = read_pins((ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8"))
        bill = build_bill(image, look_inside(image), pins)
        path = OUT / f"fairlead-{name}.cdx.json"
        path.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}: {len(bill['components'])} components\n")


if __name__ == "__main__":
    main()
