"""From an input document to a loaded model: bytes by digest, the signature, the profile. Once, at start.

Nothing is loaded whose digest is not the one asked for, and no pickle without `trustPickle`. Called by `process`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fairlead.contract import keys
from fairlead.contract.jobs import ArtifactRef
from fairlead_runtime.artifact import MODEL_FILES, fetch_artifact
from fairlead_runtime.errors import BadInput
from fairlead_runtime.profile import ModelProfile
from fairlead_runtime.signature import Signature
from fairlead_runtime.store import Store

from .models import Model


@dataclass(frozen=True)
class Fetched:
    """A verified artifact on this machine."""

    model_file: Path
    form: str
    signature: Signature
    profile: ModelProfile | None


def fetch(store: Store, reference: ArtifactRef, into: Path) -> Fetched:
    """Copy an artifact and check every byte; raise DigestMismatch, ArtifactNotFound, PickleNotTrusted and the like."""
    into.mkdir(parents=True, exist_ok=True)
    manifest = fetch_artifact(store, reference, into)
    if manifest.format not in ("onnx", "joblib"):
        raise BadInput("UnsupportedFormat", f"{reference.version}: format {manifest.format!r} is not served yet")
    if manifest.format == "joblib" and not reference.trust_pickle:
        raise BadInput(
            "PickleNotTrusted",
            f"{reference.version} is a joblib file, and loading one runs the code in it; set trustPickle: true (in "
            "spec.source.artifact of a ModelVersion, in spec.trainer.container of a TrainingRun) if you trust its maker",
        )
    try:
        signature = Signature.model_validate_json((into / keys.SIGNATURE).read_bytes())
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput("SignatureInvalid", f"{reference.version}: {keys.SIGNATURE}: {where}: {first['msg']}") from None
    if not signature.inputs:
        raise BadInput("SignatureInvalid", f"{reference.version}: {keys.SIGNATURE} names no inputs")
    return Fetched(into / MODEL_FILES[manifest.format], manifest.format, signature, _profile(into / keys.PROFILE))


def load(fetched: Fetched) -> Model:
    """Return the model; raise ModelUnreadable, SignatureMismatch or FormatNotInImage."""
    if fetched.form == "onnx":
        from .onnx_model import OnnxModel  # noqa: PLC0415 - only the runtime that is needed is loaded

        return OnnxModel(fetched.model_file, fetched.signature)
    from .joblib_model import JoblibModel  # noqa: PLC0415

    return JoblibModel(fetched.model_file, fetched.signature)


def _profile(path: Path) -> ModelProfile | None:
    """Return the training profile; one that is absent or of another version only costs its histogram edges."""
    try:
        return ModelProfile.from_json(path.read_bytes())
    except (OSError, ValueError):
        return None
