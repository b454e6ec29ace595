"""A model's bytes in the store, known by digest: written once, and refused when they are not the named ones.

The digest covers the files that decide what is served: the model file and `signature.json`. Lineage and profile
lie beside them and are not part of it, since two trainings of the same bytes differ in time and attempt.
Written by train and publish; read by evaluate and serve.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from fairlead.contract import env, keys
from fairlead.contract.base import Model, canonical_json
from fairlead.contract.jobs import ArtifactRef

from .digest import FileEntry, artifact_digest, file_entry
from .errors import BadInput, ObjectNotFound
from .s3 import S3Client, settings_from
from .store import Store, put_folder

MODEL_FILES = {
    "onnx": "model.onnx",
    "skops": "model.skops",
    "joblib": "model.joblib",
    "xgboost": "model.ubj",
    "lightgbm": "model.txt",
}


class ArtifactManifest(Model):
    """`manifest.json` of an artifact; `files` are what the digest covers, the model file and the signature."""

    version: Literal[1] = 1
    digest: str
    format: str
    files: list[FileEntry]
    beside: list[FileEntry] = Field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """The bytes of the files that are served."""
        return sum(entry.size for entry in self.files)


def describe_artifact(
    form: str, serving: Mapping[str, bytes | Path], beside: Mapping[str, bytes | Path]
) -> ArtifactManifest:
    """Return the manifest, with the digest over the serving files."""
    files = [file_entry(name, content) for name, content in sorted(serving.items())]
    others = [file_entry(name, content) for name, content in sorted(beside.items())]
    return ArtifactManifest(digest=artifact_digest(files), format=form, files=files, beside=others)


def write_artifact(store: Store, folder: str, manifest: ArtifactManifest, contents: Mapping[str, bytes | Path]) -> None:
    """Write an artifact's folder, its manifest last; a folder that is already whole stays as it is."""
    put_folder(store, folder, contents, (keys.MANIFEST, canonical_json(manifest.to_json_object())))


def fetch_artifact(store: Store, reference: ArtifactRef, into: Path) -> ArtifactManifest:
    """Copy an artifact's files to `into` and return its manifest, every byte checked against the digest asked for.

    `lineage.json` and `profile.json` come along when they are there. Raise ArtifactNotFound, DigestMismatch or
    UnsupportedUri. An artifact made elsewhere is the folder at `s3://bucket/prefix/`, read with the store's own
    endpoint and keys; its digest is taken over its model file and signature.json.
    """
    if reference.uri:
        return _fetch_foreign(reference, into)
    folder = keys.model(reference.namespace, reference.model, reference.digest)
    try:
        manifest = ArtifactManifest.model_validate(json.loads(store.get_bytes(folder + keys.MANIFEST)))
        for entry in (*manifest.files, *manifest.beside):
            store.get_file(folder + entry.path, into / entry.path)
    except ObjectNotFound as error:
        raise BadInput("ArtifactNotFound", f"{reference.version}: the store has no {error.key}") from None
    check_digest(manifest, reference, into)
    return manifest


def check_digest(manifest: ArtifactManifest, reference: ArtifactRef, folder: Path) -> None:
    """Raise DigestMismatch, with both digests, unless the files in `folder` are the ones the reference names."""
    found = artifact_digest(file_entry(entry.path, folder / entry.path) for entry in manifest.files)
    if found != reference.digest or manifest.digest != reference.digest:
        raise BadInput(
            "DigestMismatch",
            f"{reference.version}: the bytes in the store have digest {found}, {reference.digest} was asked for; "
            "they were changed after training and will not be used",
        )


def _fetch_foreign(reference: ArtifactRef, into: Path) -> ArtifactManifest:
    parts = urlsplit(reference.uri or "")
    if parts.scheme != "s3":
        raise BadInput("UnsupportedUri", f"artifact.uri {reference.uri!r}: write s3://bucket/prefix/")
    prefix = parts.path.strip("/") + "/"
    client = S3Client(settings_from(os.environ, "FAIRLEAD_STORE_", env.STORE_SECRET), parts.netloc)
    names = {entry.key.removeprefix(prefix) for entry in client.entries(prefix)}
    model = [(form, file) for form, file in MODEL_FILES.items() if file in names]
    if len(model) != 1 or keys.SIGNATURE not in names:
        raise BadInput(
            "ArtifactNotFound",
            f"artifact.uri {reference.uri}: put exactly one of {', '.join(MODEL_FILES.values())} and a "
            f"{keys.SIGNATURE} there",
        )
    wanted = {model[0][1], keys.SIGNATURE}
    beside = {keys.PROFILE, keys.LINEAGE} & names
    for name in wanted | beside:
        client.get_file(prefix + name, into / name)
    manifest = describe_artifact(
        model[0][0], {name: into / name for name in wanted}, {name: into / name for name in beside}
    )
    check_digest(manifest, reference, into)
    return manifest
