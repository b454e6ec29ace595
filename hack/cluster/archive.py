"""Writes container images as files, with no engine: a program or two on top of a small root.

The format is that of `docker save`, which containerd imports as well. One archive holds many images
and each layer once. Bytes depend on the inputs only.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """An image to write: a root (a tar file, or none) and programs put into it by path."""

    name: str
    files: dict[str, Path]
    entrypoint: tuple[str, ...] = ()
    root: Path | None = None
    links: dict[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()


def host_architecture() -> str:
    """The architecture as images name it."""
    machine = platform.machine()
    return ARCHITECTURE.get(machine, machine)


def write(images: Sequence[Image], target: Path) -> None:
    """Writes one archive with all the images; it appears only when complete."""
    partial = target.with_suffix(".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    manifest = []
    written: dict[Path, str] = {}
    with tarfile.open(partial, "w") as archive:
        for image in images:
            layers = []
            if image.root is not None:
                layers.append(_add_root(archive, image.root, written))
            layers.append(_add_programs(archive, image))
            config = _config(image, layers)
            name = hashlib.sha256(config).hexdigest() + ".json"
            _add_bytes(archive, name, config)
            manifest.append(
                {
                    "Config": name,
                    "RepoTags": [image.name],
                    "Layers": [f"{digest}.tar" for digest in layers],
                }
            )
        _add_bytes(archive, "manifest.json", json.dumps(manifest).encode())
    partial.rename(target)


def _config(image: Image, layers: Sequence[str]) -> bytes:
    config = {
        "architecture": host_architecture(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Env": [f"PATH={PATH}", *image.env], "Entrypoint": list(image.entrypoint)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in layers]},
    }
    return json.dumps(config, sort_keys=True).encode()


def _add_root(archive: tarfile.TarFile, root: Path, written: dict[Path, str]) -> str:
    if root not in written:
        with root.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        archive.add(root, f"{digest}.tar", filter=_plain)
        written[root] = digest
    return written[root]


def _add_programs(archive: tarfile.TarFile, image: Image) -> str:
    """Adds the layer of an image's own files; a temporary file keeps it out of memory."""
    with tarfile.open(fileobj=(buffer := _Spool()), mode="w") as layer:
        for folder in sorted({str(Path(name).parent).strip("/") for name in image.files}):
            _add_folders(layer, folder)
        _add_folder(layer, "tmp", 0o1777)
        for name, source in sorted(image.files.items()):
            layer.add(source.resolve(), name.strip("/"), filter=_program)
        for name, to in sorted(image.links.items()):
            info = tarfile.TarInfo(name.strip("/"))
            info.type, info.linkname = tarfile.SYMTYPE, to
            layer.addfile(info)
        _add_bytes(layer, "etc/passwd", PASSWD.encode())
        _add_bytes(layer, "etc/nsswitch.conf", b"hosts: files dns\n")
    return buffer.move_to(archive)


PASSWD = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"


class _Spool(io.BytesIO):
    """A layer in the making; the biggest is about 150 MB."""

    def move_to(self, archive: tarfile.TarFile) -> str:
        digest = hashlib.sha256(self.getbuffer()).hexdigest()
        info = tarfile.TarInfo(f"{digest}.tar")
        info.size = self.getbuffer().nbytes
        self.seek(0)
        archive.addfile(info, self)
        return digest


def _add_folders(layer: tarfile.TarFile, folder: str) -> None:
    parts = [part for part in folder.split("/") if part]
    for index in range(len(parts)):
        _add_folder(layer, "/".join(parts[: index + 1]), 0o755)


def _add_folder(layer: tarfile.TarFile, name: str, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    layer.addfile(info)


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    archive.addfile(info, io.BytesIO(content))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def _program(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mode = 0o755
    return _plain(info)
