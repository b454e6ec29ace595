"""The images as they are built: nobody's root, nothing to write to, no shell, and only what is pinned."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hack.sbom.__main__ import IMAGES, build_bill, look_inside, plain, read_pins

ROOT = Path(__file__).resolve().parents[2]
# What a restricted pod gives them, and no shell at all: /dev/null stands in its place.
FENCE = (
    "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none",
    "-v", "/dev/null:/usr/bin/sh:ro", "-v", "/dev/null:/usr/bin/dash:ro", "-v", "/dev/null:/usr/bin/bash:ro",
)  # fmt: skip
SAYS = {"operator": "FAIRLEAD_", "server": "input document", "jobs": "input document"}


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_nobody_without_a_shell_on_a_root_that_it_cannot_write(name: str) -> None:
    image = f"fairlead-{name}:dev"
    config = json.loads(docker("inspect", image, "--format", "{{json .Config}}").stdout)
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"][0] == "/opt/venv/bin/python"
    assert not config.get("Cmd")
    done = docker("run", "--rm", *FENCE, image)
    assert done.returncode not in (0, 125, 126, 127, 139), done.stderr  # it began, and says what it lacks
    assert SAYS[name] in done.stderr, done.stderr
    assert "Read-only file system" not in done.stderr


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_holds_what_is_pinned_and_no_tool_to_get_more(name: str) -> None:
    found = look_inside(f"fairlead-{name}:dev")
    pins = read_pins((ROOT / "requirements" / f"{name}.txt").read_text())
    inside = {plain(package): version for package, version in found["python"].items()}
    assert not {"pip", "setuptools", "uv"} & inside.keys()
    wrong = {package: version for package, version in inside.items() if pins.get(package, ("", []))[0] != version}
    assert not wrong, f"not as requirements/{name}.txt pins it: {wrong}"
    bill = build_bill(f"fairlead-{name}:dev", found, pins)
    python = [component for component in bill["components"] if component.get("purl", "").startswith("pkg:pypi")]
    assert len(python) == len(inside)
    assert all(component["externalReferences"][0]["hashes"] for component in python)
    assert bill["components"][0]["name"] == "cpython"
    assert found["release"]["id"] == "debian"
    assert {"libc6", "libssl3t64", "zlib1g"} <= found["debian"].keys()


@pytest.mark.parametrize("name", IMAGES)
def test_no_file_of_an_image_raises_rights(name: str) -> None:
    look = (
        "import os, stat\n"
        "for top, _, files in os.walk('/', topdown=True):\n"
        "    if top.startswith(('/proc', '/sys', '/dev')): continue\n"
        "    for name in files:\n"
        "        path = os.path.join(top, name)\n"
        "        try: mode = os.lstat(path).st_mode\n"
        "        except OSError: continue\n"
        "        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID): print(path)\n"
    )
    done = docker("run", "--rm", *FENCE, "--entrypoint", "/opt/venv/bin/python", f"fairlead-{name}:dev", "-c", look)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert not done.stdout.split(), "set-user-id or set-group-id"
