"""The image of a user's own server: built from the jobs image that is there, put into the cluster's node."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hack.cluster import docker, settings

NAME = "fairlead-e2e-fastapi:dev"
SOURCE = Path(__file__).parent / "images" / "fastapi"
EXAMPLE = Path(__file__).parents[2] / "examples" / "container"
PACKAGES = (
    "annotated_doc",
    "anyio",
    "click",
    "fastapi",
    "h11",
    "idna",
    "sniffio",
    "starlette",
    "uvicorn",
)  # no binaries


def ready() -> str:
    """Build the image, load it, and return its name."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "context"
        shutil.copytree(SOURCE, context)
        shutil.copy(EXAMPLE / "app.py", context)
        for package in PACKAGES:
            _copy(package, context / "site")
        command = ["docker", "build", "--tag", NAME, str(context)]
        _run(command, env=docker.build_environment())
    node = settings.load().node
    save = subprocess.Popen(["docker", "save", NAME], stdout=subprocess.PIPE)
    take = ["docker", "exec", "-i", node, "ctr", "-n", "k8s.io", "images", "import", "--all-platforms", "-"]
    done = subprocess.run(take, stdin=save.stdout, capture_output=True, text=True, check=False)
    assert save.wait() == 0, f"{NAME} could not be read back"
    assert done.returncode == 0, done.stderr
    return NAME


def _copy(package: str, into: Path) -> None:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return  # a version of the others that does not need it
    origin = Path(found.origin)
    if origin.name == "__init__.py":
        shutil.copytree(origin.parent, into / package, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        into.mkdir(exist_ok=True)
        shutil.copy(origin, into)


def _run(command: list[str], env: Mapping[str, str]) -> None:
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}\n{done.stderr}"
