"""Small root file systems from Debian packages, for the images where no registry can be reached.

Packages are unpacked, not installed: no package manager, no shell unless named, no maintainer
scripts, so what those would have done that matters is done here in plain sight.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import versions
from hack.cluster.settings import Settings
from hack.cluster.shell import Log, StepError, ask, run

NODE_PACKAGES = [
    "systemd",
    "containerd",
    "runc",
    "containernetworking-plugins",
    "conntrack",
    "iptables",
    "nftables",
    "iproute2",
    "ethtool",
    "util-linux",
    "mount",
    "kmod",
    "jq",
    "curl",
    "procps",
    "ca-certificates",
]
NET_PACKAGES = ["iptables", "nftables", "conntrack", "ca-certificates"]
# base-files says which Debian it is: scanners look for that before they look for packages.
PYTHON_PACKAGES = ["python3", "ca-certificates", "libstdc++6", "tzdata", "base-files"]
BUILD_PACKAGES = ["python3-venv", "dash", "coreutils", "findutils", "diffutils", "sed", "grep", "libc-bin"]
EXCLUDES = (
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/lintian/*",
)
# Parts of the standard library that no service imports.
PYTHON_EXTRAS = ["test", "idlelib", "tkinter", "turtledemo", "pydoc_data", "lib2to3", "__phello__"]
LEFTOVERS = [
    "etc/apt",
    "var/lib/dpkg",
    "var/lib/apt",
    "var/cache",
    "usr/share/bash-completion",
    "usr/share/perl5",
    "usr/share/debconf",
    "usr/share/pixmaps",
    "usr/share/applications",
    "usr/share/common-licenses",
]
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"
# Where images without a package manager list what they hold: a file a package, as distroless has it.
PACKAGE_LIST = "var/lib/dpkg/status.d"
GROUP = "root:x:0:\nnonroot:x:65532:\n"


@dataclass(frozen=True)
class Root:
    """A root to make: its packages, how they get in, and what is done to it afterwards."""

    name: str
    variant: str  # of mmdebstrap: extract (unpack only) or minbase (a whole Debian)
    packages: tuple[str, ...]
    finish: Callable[[Path, Log], None]
    revision: int = 1  # raise when `finish` changes

    def tar(self, settings: Settings) -> Path:
        """Where its tar file is kept, keyed by all that decides its content."""
        text = f"{self.variant} {self.packages} {EXCLUDES} {versions.DEBIAN} {self.revision}"
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        return settings.cache / "roots" / f"{self.name}-{versions.DEBIAN}-{key}.tar"


def mirror() -> str:
    """The Debian mirror this machine uses, as apt itself tells it."""
    listed = ask(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages",
         "Origin: Debian", "Label: Debian"]
    )  # fmt: skip
    if not listed:
        raise StepError("apt names no Debian mirror; run `apt-get update`, or see sources.list(5)")
    return listed.splitlines()[0]


def make(settings: Settings, root: Root, log: Log) -> None:
    """Makes a root as a tar file, which appears only when complete."""
    target = root.tar(settings)
    work = target.with_suffix(".work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    # What is unpacked but not installed is listed nowhere; the packages themselves say what they are.
    keep = ["--skip=cleanup/apt/cache"] if root.variant == "extract" else []
    run(
        log,
        ["mmdebstrap", f"--variant={root.variant}", "--format=directory", *keep,
         f"--include={','.join(root.packages)}", *(f"--dpkgopt={line}" for line in EXCLUDES),
         versions.DEBIAN, work / "root", mirror()],
    )  # fmt: skip
    _merge_usr(work / "root")
    root.finish(work / "root", log)
    shutil.rmtree(work / "root" / "dev")
    (work / "root" / "dev").mkdir()
    run(
        log,
        ["tar", "--create", "--numeric-owner", "--sort=name", "--mtime=@0", "--file",
         work / "root.tar", "--directory", work / "root", "."],
    )  # fmt: skip
    (work / "root.tar").rename(target)
    shutil.rmtree(work)


def _merge_usr(root: Path) -> None:
    """The links that Debian's base package makes: /bin, /sbin and /lib live under /usr."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if not (root / name).is_symlink() and (root / "usr" / name).is_dir():
            (root / name).symlink_to(f"usr/{name}")


def finish_node(root: Path, log: Log) -> None:
    """A node keeps its package manager: people look around in there with it."""
    shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)


def finish_net(root: Path, _log: Log) -> None:
    """iptables under its usual names: what update-alternatives would have done."""
    for name in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            link = root / "usr/sbin" / f"{name}{suffix}"
            link.unlink(missing_ok=True)
            link.symlink_to("xtables-nft-multi")
    _finish_common(root)


def finish_python(root: Path, log: Log) -> None:
    """A Python that starts fast from a read-only root: its standard library compiled."""
    library = next((root / "usr/lib").glob("python3.[0-9]*"))
    for name in PYTHON_EXTRAS:
        shutil.rmtree(library / name, ignore_errors=True)
    if not (root / "usr/bin/dash").exists():
        shutil.rmtree(library / "ensurepip", ignore_errors=True)
        for static in library.glob("config-*"):
            shutil.rmtree(static)
    python = f"/usr/bin/{library.name}"
    run(log, ["chroot", root, python, "-m", "compileall", "-q", f"/usr/lib/{library.name}"])
    _finish_common(root)


def finish_build(root: Path, log: Log) -> None:
    """The same with a shell and pip, for the stages that make virtual environments."""
    (root / "usr/bin/sh").unlink(missing_ok=True)
    (root / "usr/bin/sh").symlink_to("dash")
    finish_python(root, log)


def _finish_common(root: Path) -> None:
    """Users, a place for temporary files, and the certificate bundle its package would generate."""
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_text("".join(path.read_text() for path in certificates))
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    controls = read_controls(root / "var/cache/apt/archives")
    for name in LEFTOVERS:
        shutil.rmtree(root / name, ignore_errors=True)
    write_list(root / PACKAGE_LIST, controls)
    for program in (root / "usr/bin").glob("d*"):
        if program.name.startswith(("dpkg", "debconf")):
            program.unlink()


def read_controls(archives: Path) -> dict[str, str]:
    """Returns name -> control paragraph of every package in a folder."""
    found: dict[str, str] = {}
    for archive in sorted(archives.glob("*.deb")):
        name, control = (ask(["dpkg-deb", "--field", archive, *which]) for which in (["Package"], []))
        if not name or not control:
            raise StepError(f"dpkg-deb cannot read {archive}")
        found[name] = control
    if not found:
        raise StepError(f"{archives} holds no package: what is in the root could not be listed")
    return found


def write_list(folder: Path, controls: Mapping[str, str]) -> None:
    """Writes a file for each package; nothing but the packages decides its bytes."""
    folder.mkdir(parents=True)
    for name, control in controls.items():
        (folder / name).write_text(control.rstrip("\n") + "\n")


NODE = Root("node", "minbase", tuple(NODE_PACKAGES), finish_node)
NET = Root("net", "extract", tuple(NET_PACKAGES), finish_net)
PYTHON = Root("python", "extract", tuple(PYTHON_PACKAGES), finish_python, revision=2)
BUILD = Root("build", "extract", (*PYTHON_PACKAGES, *BUILD_PACKAGES), finish_build, revision=2)
