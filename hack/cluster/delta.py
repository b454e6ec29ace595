"""An image as the node needs it when it has all but the last layer: an archive of a megabyte, not of hundreds.

The last layer of our images is our code, one folder that nothing below it has. It is read back from
the image and put into a layer of its own; the layers below are only named, for the node has them.
So a change of code is in the node within a second or two.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hack.cluster.archive import host_architecture
from hack.cluster.shell import StepError, ask, ask_bytes

CODE = "opt/fairlead"
OCI = "application/vnd.oci.image."
CONFIG_KEYS = ("Env", "Entrypoint", "Cmd", "User", "WorkingDir", "Labels")


@dataclass
class Archive:
    """An OCI layout in the making: blobs by digest, and what its index lists."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, content: bytes) -> dict[str, Any]:
        """Adds a blob; its descriptor."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[digest] = content
        return {"mediaType": OCI + kind, "digest": digest, "size": len(content)}

    def tar(self) -> bytes:
        """The layout as one tar file."""
        index = {"schemaVersion": 2, "manifests": self.manifests}
        files = {f"blobs/sha256/{digest.removeprefix('sha256:')}": blob for digest, blob in self.blobs.items()}
        files |= {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return out.getvalue()


def inspect(name: str) -> dict[str, Any]:
    """What Docker knows of an image."""
    found: list[dict[str, Any]] = json.loads(ask(["docker", "image", "inspect", name]) or "[]")
    if not found:
        raise StepError(f"{name} is not built: run `make images`")
    return found[0]


def below_code(image: Mapping[str, Any]) -> list[str]:
    """Digests of the layers below the code."""
    layers: list[str] = image["RootFS"]["Layers"]
    return layers[:-1]


def add_image(archive: Archive, name: str, image: Mapping[str, Any], sizes: Mapping[str, int], layer: bytes) -> None:
    """Adds an image made of layers in the node (with their sizes) and of this last one."""
    below = below_code(image)
    top = archive.add("layer.v1.tar", layer)
    config = {
        "architecture": host_architecture(),
        "os": "linux",
        "config": {key: image["Config"][key] for key in CONFIG_KEYS if image["Config"].get(key)},
        "rootfs": {"type": "layers", "diff_ids": [*below, top["digest"]]},
    }
    named = [{"mediaType": f"{OCI}layer.v1.tar", "digest": digest, "size": sizes[digest]} for digest in below]
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}manifest.v1+json",
        "config": archive.add("config.v1+json", json.dumps(config).encode()),
        "layers": [*named, top],
    }
    entry = archive.add("manifest.v1+json", json.dumps(manifest).encode())
    archive.manifests.append(entry | {"annotations": {"io.containerd.image.name": name}})


def code_layer(name: str) -> bytes:
    """The code of an image as a layer; the container it is read from is never started."""
    container = ask(["docker", "create", name])
    if container is None:
        raise StepError(f"no container of {name} could be made to read its code from")
    try:
        copied = ask_bytes(["docker", "cp", f"{container}:/{CODE}", "-"])
    finally:
        ask(["docker", "rm", container])
    if copied is None:
        raise StepError(f"{name} has no /{CODE}")
    return moved(copied, CODE.rpartition("/")[0])


def moved(tar: bytes, folder: str) -> bytes:
    """The same files below another folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(tar)) as source, tarfile.open(fileobj=out, mode="w") as target:
        for member in source:
            member.name = f"{folder}/{member.name}"
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
    return out.getvalue()
