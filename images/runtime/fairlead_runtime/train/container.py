"""Around a user's training container: `fetch` lays out the rows before it, `publish` takes its model after it.

The folders are those of SageMaker's training images, below /opt/ml. Nothing that the user's program wrote is
executed here: this pod holds the store's keys, so a pickle is passed on unread. Called by `__main__` as `fetch` and
`publish`, with the run's TrainInput.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from fairlead.contract import env, keys
from fairlead.contract.jobs import TrainInput, TrainSummary
from fairlead_runtime.errors import BadInput, JobError, clip
from fairlead_runtime.progress import report
from fairlead_runtime.revision import SPLITS, RevisionManifest, fetch_parts, read_manifest, read_split
from fairlead_runtime.store import Store

from .derive import derive_signature, profile_foreign
from .describe import lineage
from .finish import Finished, find_result, finish

FORMATS = {".onnx": "onnx", ".skops": "skops", ".joblib": "joblib", ".ubj": "xgboost", ".txt": "lightgbm"}
MAX_METRICS = 20


def ml_dir() -> Path:
    """Return /opt/ml, or where the environment says it is mounted."""
    return Path(os.environ.get("FAIRLEAD_ML_DIR", env.ML_DIR))


def fetch(job: TrainInput, store: Store) -> None:
    """Write input/data/<split>/ (Parquet, and one CSV with a header), and the three files of input/config."""
    manifest = read_manifest(store, job.namespace, job.dataset)
    folder = keys.dataset_revision(job.namespace, job.dataset.name, job.dataset.revision)
    for number, split in enumerate(SPLITS, 1):
        target = ml_dir() / "input" / "data" / split.lower()
        target.mkdir(parents=True, exist_ok=True)
        paths = fetch_parts(store, folder, manifest, split, target)
        _write_csv(paths, target / f"{split.lower()}.csv")
        report(number, len(SPLITS), f"{split}: {manifest.rows_of(split)} rows")
    _write_config(job, manifest)


def _write_csv(paths: list[Path], out: Path) -> None:
    """Write all parts into one CSV, part by part, so that no more than one is in memory."""
    writer = None
    for path in paths:
        table = pq.read_table(path)
        writer = writer or arrow_csv.CSVWriter(out, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def _write_config(job: TrainInput, manifest: RevisionManifest) -> None:
    config = ml_dir() / "input" / "config"
    config.mkdir(parents=True, exist_ok=True)
    for name in ("model", "output"):
        (ml_dir() / name).mkdir(exist_ok=True)
        (ml_dir() / name).chmod(0o777)
    given = job.trainer.container.hyperparameters if job.trainer.container else {}
    # the contract's values are strings, whatever they were
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    features = [column.name for column in manifest.roles.default_features(manifest.columns)]
    channels = {
        split.lower(): {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"} for split in SPLITS
    }
    documents: dict[str, Any] = {
        "hyperparameters.json": texts,
        "resourceconfig.json": {"current_host": "algo-1", "hosts": ["algo-1"]},
        "inputdataconfig.json": channels,
        # not part of SageMaker's contract: what the columns are for
        "fairlead.json": {
            "task": job.task,
            "seed": job.seed,
            "features": features,
            "columns": [column.to_json_object() for column in manifest.columns],
            **manifest.roles.to_json_object(),
        },
    }
    for name, document in documents.items():
        (config / name).write_text(json.dumps(document, indent=1), encoding="utf-8")


def publish(job: TrainInput, store: Store) -> TrainSummary:
    """Return the summary of what the container left in model/ and output/, or of this attempt's earlier result.

    Raise ProgramFailed with the text of output/failure, NoModel, OutputIsLink, PickleNotTrusted, InvalidSignature,
    SignatureMissing, InvalidMetrics.
    """
    found = find_result(store, job)
    if found:
        return found
    _refuse_failure()
    path = _model_file()
    _refuse_untrusted(job, path)
    manifest = read_manifest(store, job.namespace, job.dataset)
    tables = {split: _rows(store, job, manifest, split) for split in ("Train", "Validation")}
    data = path.read_bytes()
    form = FORMATS[path.suffix]
    signature = derive_signature(job, manifest, tables["Train"], (form, data), path.parent)
    profile = profile_foreign(signature, data if form == "onnx" else None, tables["Train"], tables["Validation"])
    finished = Finished(
        form=form,
        file_name=f"model{path.suffix}",
        data=data,
        signature=signature,
        profile=profile.to_json(),
        lineage=lineage(job, None, {"trainerImage": job.trainer.container.image if job.trainer.container else ""}),
        metrics=_metrics(),
        parity="made by the container, not converted",
        parameters=job.trainer.container.hyperparameters if job.trainer.container else {},
        train_rows=manifest.rows_of("Train"),
    )
    return finish(store, job, finished)


def _rows(store: Store, job: TrainInput, manifest: RevisionManifest, split: Any) -> pa.Table:
    with tempfile.TemporaryDirectory(dir=os.environ.get(env.WORK_DIR)) as work:
        return read_split(store, job.namespace, job.dataset, split, Path(work), manifest)


def _refuse_failure() -> None:
    failure = ml_dir() / "output" / "failure"
    if failure.is_file():
        text = _own(failure).read_text(encoding="utf-8", errors="replace").strip()
        raise JobError("ProgramFailed", clip(text or "the container wrote an empty output/failure"))


def _model_file() -> Path:
    folder = ml_dir() / "model"
    left = [_own(path) for path in sorted(folder.glob("*"))] if folder.is_dir() else []
    found = [path for path in left if path.suffix in FORMATS and (path.suffix != ".txt" or path.name == "model.txt")]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise BadInput(
            "NoModel",
            "the container must leave one .onnx, .skops, .ubj (XGBoost), model.txt (LightGBM) or .joblib in "
            f"/opt/ml/model; there is {names}",
        )
    return found[0]


def _refuse_untrusted(job: TrainInput, path: Path) -> None:
    container = job.trainer.container
    if path.suffix == ".joblib" and not (container and container.trust_pickle):
        raise BadInput(
            "PickleNotTrusted",
            f"the container left {path.name}, and loading a joblib file runs the code in it, with the keys of the "
            "store; leave an .onnx file, or set spec.trainer.container.trustPickle: true if you trust the image",
        )


def _own(path: Path) -> Path:
    """Return a file of the container's; a link could name a file of this pod, which has the keys of the store."""
    if not path.resolve().is_relative_to(ml_dir().resolve()):
        raise BadInput("OutputIsLink", f"/opt/ml/{path.relative_to(ml_dir())} is a link; leave the file itself there")
    return path


def _metrics() -> dict[str, float]:
    path = ml_dir() / "output" / "metrics.json"
    if not path.is_file():
        return {}
    try:
        values = {str(name): float(number) for name, number in json.loads(_own(path).read_bytes()).items()}
    except (ValueError, AttributeError, TypeError):
        raise BadInput("InvalidMetrics", "output/metrics.json is not a JSON object of numbers by name") from None
    finite = {name: number for name, number in values.items() if math.isfinite(number)}
    return dict(list(finite.items())[:MAX_METRICS])
