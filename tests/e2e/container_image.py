"""The image of a user's own server: built from the jobs image that is there, put into the cluster's node."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from hack.cluster import docker, settings

NAME = "fairlead-e2e-fastapi:dev"
SOURCE = Path(__file__).parent / "images" / "fastapi"
EXAMPLE = Path(__file__).parents[2] / "examples" / "container"
THERE = {"pydantic"}  # the jobs image has it, with all that it needs; and it has binaries, made for another Python


def ready() -> str:
    """Build the image, load it, and return its name."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "context"
        shutil.copytree(SOURCE, context)
        shutil.copy(EXAMPLE / "app.py", context)
        for package in _packages("fastapi", "uvicorn"):
            _copy(package, context / "site")
        _run(["docker", "build", "--tag", NAME, str(context)], env=docker.build_environment())
    node = settings.load().node
    take = ["docker", "exec", "-i", node, "ctr", "-n", "k8s.io", "images", "import", "--all-platforms", "-"]
    with subprocess.Popen(["docker", "save", NAME], stdout=subprocess.PIPE) as save:
        done = subprocess.run(take, stdin=save.stdout, capture_output=True, text=True, check=False)
    assert save.returncode == 0, f"{NAME} could not be read back"
    assert done.returncode == 0, done.stderr
    return NAME


def _packages(*wanted: str) -> Iterator[Distribution]:
    """Yield these packages of this environment and what they need, but for what is there."""
    waiting, seen = list(wanted), set(THERE)
    while waiting:
        name = re.split(r"[ ;<>=!\[(~]", waiting.pop())[0].lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # for another Python or system
        waiting += [need for need in package.requires or () if "extra ==" not in need]
        yield package


def _copy(package: Distribution, into: Path) -> None:
    for file in package.files or ():
        if ".." in file.parts or file.suffix == ".pyc":
            continue
        target = into / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(file.locate()), target)


def _run(command: list[str], env: Mapping[str, str]) -> None:
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}\n{done.stderr}"
