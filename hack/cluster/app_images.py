"""Builds the project's own images: operator, server, jobs. An image is rebuilt when its inputs changed.

What goes in is copied to a context of its own first, so that the build sees only that, and a digest
over it is written on the image as a label: the next run compares and is done in a second.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import debian, docker, versions
from hack.cluster.settings import REPO, Settings
from hack.cluster.shell import Log, StepError, ask, run

LABEL = "dev.fairlead.inputs"
STAGE_LABEL = "dev.fairlead.stage"  # on our build stages: what they leave may go after a week
BUILD_IMAGE = f"fairlead-build:{versions.DEBIAN}"
LEFT_OUT = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


@dataclass(frozen=True)
class AppImage:
    """One of our images: its Dockerfile and target, and the paths of the checkout that go in."""

    name: str
    dockerfile: str
    target: str | None
    inputs: tuple[str, ...]


COMMON = "images/slim.py"
RUNTIME = (
    "images/runtime/Dockerfile",
    "images/runtime/fairlead_runtime",
    "operator/fairlead/__init__.py",
    "operator/fairlead/contract",
    COMMON,
)
IMAGES = (
    AppImage(
        "fairlead-operator:dev",
        "images/operator/Dockerfile",
        None,
        ("images/operator/Dockerfile", "operator/fairlead", "requirements/operator.txt", COMMON),
    ),
    AppImage(
        "fairlead-server:dev",
        "images/runtime/Dockerfile",
        "server",
        (*RUNTIME, "requirements/server.txt"),
    ),
    AppImage(
        "fairlead-jobs:dev",
        "images/runtime/Dockerfile",
        "jobs",
        (*RUNTIME, "requirements/server.txt", "requirements/jobs.txt"),
    ),
)


def files(image: AppImage) -> Iterator[Path]:
    """Every file that goes in, in a stable order."""
    for name in image.inputs:
        path = REPO / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in found:
            if file.is_file() and not LEFT_OUT.intersection(file.parts) and file.suffix != ".pyc":
                yield file
        if not found:
            raise StepError(f"{name} is empty or missing: {image.name} cannot be built")


def digest(settings: Settings, image: AppImage, bases: tuple[str, str]) -> str:
    """A digest over all inputs and the bases' ids."""
    total = hashlib.sha256(repr((image, bases, [image_id(name) for name in bases])).encode())
    for file in files(image):
        total.update(str(file.relative_to(REPO)).encode() + b"\0" + file.read_bytes())
    return total.hexdigest()[:24]


def image_id(name: str) -> str | None:
    """The id of an image of this machine's engine, if it has one of that name."""
    return ask(["docker", "image", "inspect", "--format", "{{.Id}}", name])


def bases(source: str) -> tuple[str, str]:
    """Names of the base and the build image: published ones, or those made by `make_bases`."""
    if source == "registry":
        return versions.PUBLISHED_BASE_IMAGE, versions.PUBLISHED_BASE_IMAGE
    return versions.BUILT_BASE_IMAGE, BUILD_IMAGE


def bases_ready(settings: Settings) -> bool:
    """Whether both bases are there and of the roots of these very versions."""
    return all(
        ask(["docker", "image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', name])
        == root.tar(settings).name
        for name, root in ((versions.BUILT_BASE_IMAGE, debian.PYTHON), (BUILD_IMAGE, debian.BUILD))
    )


def make_bases(settings: Settings, log: Log) -> None:
    """Imports the two Python roots as images."""
    for name, root in ((versions.BUILT_BASE_IMAGE, debian.PYTHON), (BUILD_IMAGE, debian.BUILD)):
        label = f"LABEL {LABEL}={root.tar(settings).name}"
        run(log, ["docker", "import", "--change", label, root.tar(settings), name])


def fresh(settings: Settings, image: AppImage, source: str) -> bool:
    """Whether the image is there and was made from these very inputs."""
    template = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    found = ask(["docker", "image", "inspect", "--format", template, image.name])
    return found == digest(settings, image, bases(source))


def build(settings: Settings, image: AppImage, source: str, log: Log) -> None:
    """Builds one image from a context of its own."""
    base, build_base = bases(source)
    label = digest(settings, image, (base, build_base))
    context = settings.cache / "contexts" / image.name.split(":")[0]
    _lay_out(image, context)
    command = ["docker", "build", "--file", str(context / image.dockerfile), "--tag", image.name]
    command += ["--label", f"{LABEL}={label}"]
    command += ["--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"BUILD_IMAGE={build_base}"]
    if source == "build":  # a bridge of the engine need not reach what the machine reaches
        command += ["--network", "host"]
    if "PIP_INDEX_URL" in os.environ:
        command += ["--build-arg", "PIP_INDEX_URL"]
    if image.target:
        command += ["--target", image.target]
    before = image_id(image.name)
    run(log, [*command, str(context)], env=docker.build_environment())
    if before not in {None, image_id(image.name)}:
        # Only the image that lost its name: a prune would take the builder's own cache as well.
        ask(["docker", "image", "rm", str(before)])
    old_stages = ["--filter", f"label={STAGE_LABEL}", "--filter", "until=168h"]
    ask(["docker", "image", "prune", "--force", *old_stages])


def _lay_out(image: AppImage, context: Path) -> None:
    """Copies the inputs, and this machine's certificate bundle where it has one of its own."""
    shutil.rmtree(context, ignore_errors=True)
    for file in files(image):
        target = context / file.relative_to(REPO)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    bundle = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    if bundle and Path(bundle).is_file():
        shutil.copyfile(bundle, context / "requirements" / "ca.crt")


def size_mb(name: str) -> float:
    """The size of an image as the engine tells it."""
    found = ask(["docker", "image", "inspect", "--format", "{{.Size}}", name])
    return int(found or 0) / 1e6
