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
from .s3 import RETRY_DELAYS_S, S3Client, settings_from
from .store import Store, put_folder
from .web import Reasons, fetch_file, shown_url

MODEL_FILES = {
    "onnx": "model.onnx",
    "skops": "model.skops",
    "joblib": "model.joblib",
    "xgboost": "model.ubj",
    "lightgbm": "model.txt",
}
_WEB = Reasons(
    "ArtifactNotFound", "ArtifactDenied", "ArtifactUnreachable", "name the folder of the files in artifact.uri"
)


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
    endpoint and keys, or at `https://host/path/`, read without any; its digest is taken over its model file and
    signature.json.
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
    if parts.scheme in ("http", "https") and not parts.query and not parts.fragment:
        form, beside = _from_web(reference, into)
    elif parts.scheme == "s3":
        form, beside = _from_bucket(reference, parts.netloc, parts.path.strip("/") + "/", into)
    else:
        message = f"artifact.uri {shown_url(reference.uri or '')}: write s3://bucket/prefix/ or https://host/path/"
        raise BadInput("UnsupportedUri", message)
    manifest = describe_artifact(
        form,
        {name: into / name for name in (MODEL_FILES[form], keys.SIGNATURE)},
        {name: into / name for name in beside},
    )
    check_digest(manifest, reference, into)
    return manifest


def _from_bucket(reference: ArtifactRef, bucket: str, prefix: str, into: Path) -> tuple[str, set[str]]:
    """Copy the files and return the format and what lies beside model and signature."""
    client = S3Client(settings_from(os.environ, "FAIRLEAD_STORE_", env.STORE_SECRET), bucket)
    names = {entry.key.removeprefix(prefix) for entry in client.entries(prefix)}
    model = [(form, file) for form, file in MODEL_FILES.items() if file in names]
    if len(model) != 1 or keys.SIGNATURE not in names:
        raise BadInput(
            "ArtifactNotFound",
            f"artifact.uri {reference.uri}: put exactly one of {', '.join(MODEL_FILES.values())} and a "
            f"{keys.SIGNATURE} there",
        )
    beside = {keys.PROFILE, keys.LINEAGE} & names
    for name in {model[0][1], keys.SIGNATURE} | beside:
        client.get_file(prefix + name, into / name)
    return model[0][0], beside


def _from_web(reference: ArtifactRef, into: Path) -> tuple[str, set[str]]:
    """Copy the files that the format names, for nothing says what else lies there; profile and lineage if they do."""
    form = reference.format or "onnx"
    if form not in MODEL_FILES:
        raise BadInput("InputInvalid", f"{reference.version}: format {form!r} is none of {', '.join(MODEL_FILES)}")
    base = (reference.uri or "").rstrip("/") + "/"
    for name in (MODEL_FILES[form], keys.SIGNATURE):
        fetch_file(base + name, into / name, _WEB, RETRY_DELAYS_S)
    beside = set()
    for name in (keys.PROFILE, keys.LINEAGE):
        try:
            fetch_file(base + name, into / name, _WEB, RETRY_DELAYS_S)
        except BadInput:
            continue  # they only say more: without a profile there are no bins, without lineage no trace
        beside.add(name)
    return form, beside
