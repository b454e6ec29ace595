"""From an input document to a loaded model: bytes by digest, the signature, the profile. Once, at start.

Nothing is loaded whose digest is not the one asked for, and no pickle without `trustPickle`. Called by `process`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from pydantic import ValidationError

from fairlead.contract import keys
from fairlead.contract.jobs import ArtifactRef
from fairlead_runtime.artifact import MODEL_FILES, fetch_artifact
from fairlead_runtime.errors import BadInput, JobError
from fairlead_runtime.profile import ModelProfile
from fairlead_runtime.signature import Signature
from fairlead_runtime.store import Store

from .bins import Bins, bins_of
from .models import Model

_LOADERS = {
    "onnx": ".onnx_model:OnnxModel",
    "skops": ".estimator_model:load_skops",
    "joblib": ".estimator_model:load_joblib",
    "xgboost": ".booster_model:load_xgboost",
    "lightgbm": ".booster_model:load_lightgbm",
}


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
    if manifest.format not in _LOADERS:
        known = ", ".join(_LOADERS)
        raise BadInput("UnsupportedFormat", f"{reference.version}: format {manifest.format!r} is none of {known}")
    if manifest.format == "joblib" and not reference.trust_pickle:
        raise BadInput(
            "PickleNotTrusted",
            f"{reference.version} is a joblib file, and loading one runs the code in it; set trustPickle: true "
            "(spec.source.artifact of a ModelVersion, spec.trainer.container of a TrainingRun) if you trust its maker",
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
    """Return the model; raise ModelUnreadable, SignatureMismatch, TypesNotTrusted or FormatNotInImage."""
    module, _, name = _LOADERS[fetched.form].partition(":")
    load_file = getattr(import_module(module, __package__), name)  # only the runtime that is needed is loaded
    model: Model = load_file(fetched.model_file, fetched.signature)
    return model


def bins_of_other(store: Store, reference: ArtifactRef) -> Bins | None:
    """Return the bins of the version that this one is compared with; None if they cannot be had: nobody waits for it.

    Only signature and profile are read.
    """
    if reference.uri:
        return None
    folder = keys.model(reference.namespace, reference.model, reference.digest)
    try:
        signature = Signature.model_validate_json(store.get_bytes(folder + keys.SIGNATURE))
    except (JobError, ValidationError):
        return None
    try:
        profile = ModelProfile.from_json(store.get_bytes(folder + keys.PROFILE))
    except (JobError, ValueError):
        profile = None
    return bins_of(signature, profile)


def _profile(path: Path) -> ModelProfile | None:
    """Return the training profile; one that is absent or of another version only costs its histogram edges."""
    try:
        return ModelProfile.from_json(path.read_bytes())
    except (OSError, ValueError):
        return None
