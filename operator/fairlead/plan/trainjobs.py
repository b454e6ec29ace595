"""The Jobs of a TrainingRun: the one that trains, and the one that looks for a lost result.

A container trainer runs between two containers of ours: `fetch` lays out /opt/ml/input, `main` publishes what
/opt/ml/model holds. The user's container gets no key of the store, and shares nothing with ours but /opt/ml. It builds
and decides nothing; used by `plan/trainingrun.py` alone.
"""

from __future__ import annotations

from fairlead.api import names
from fairlead.api.meta import PodOverrides
from fairlead.api.trainingrun import TrainingRun
from fairlead.contract import env, keys
from fairlead.contract.base import duration_s
from fairlead.contract.data import DatasetRevision
from fairlead.contract.jobs import CollectInput, TrainInput
from fairlead.contract.training import ContainerTrainer

from .children import (
    MAIN,
    TMP_SIZE,
    Image,
    JobOrder,
    Json,
    build_job,
    container_resources,
    container_security,
    failure_policy,
    job_container,
    owner_of,
)

COLLECT_TIMEOUT_S = 600.0
COLLECT_RETRIES = 2
FETCH, TRAIN = "fetch", "train"
TRAIN_TMP = "train-tmp"  # its own: what lies in ours may be read, or run, with the keys of the store
ML_SIZE = "50Gi"


def train_order(run: TrainingRun, dataset: DatasetRevision, image: Image, retries: int) -> JobOrder:
    """Return the order of the Job that trains on the pinned revision."""
    spec = run.spec
    document = TrainInput(
        namespace=run.namespace,
        name=run.name,
        uid=run.uid,
        dataset=dataset,
        model=spec.model,
        task=spec.task,
        trainer=spec.trainer,
        search=spec.search,
        seed=spec.seed,
        code=spec.code,
    )
    return JobOrder(
        owner=owner_of(names.TRAINING_RUN, run),
        role="train",
        document=document,
        image=image,
        overrides=spec,
        timeout_s=duration_s(spec.timeout),
        retries=retries,
        queue_name=spec.queue_name,
    )


def collect_order(run: TrainingRun, image: Image) -> JobOrder:
    """Return the order of the Job that looks in the store for the result of this run."""
    overrides = PodOverrides.model_validate(run.spec.to_json_object() | {"resources": None})
    return JobOrder(
        owner=owner_of(names.TRAINING_RUN, run),
        role="collect",
        document=CollectInput(result_key=keys.run(run.namespace, run.name, run.uid) + keys.RESULT),
        image=image,
        overrides=overrides,
        timeout_s=COLLECT_TIMEOUT_S,
        retries=COLLECT_RETRIES,
    )


def build_train_job(order: JobOrder) -> Json:
    """Return the Job of a training order, whichever its trainer is."""
    job = build_job(order)
    document = order.document
    if isinstance(document, TrainInput) and document.trainer.container is not None:
        _surround(job, order, document.trainer.container)
    return job


def program_container(run: TrainingRun) -> str:
    """Return the name of the container whose lines tell how the training goes."""
    return TRAIN if run.spec.trainer.container is not None else MAIN


def _surround(job: Json, order: JobOrder, trainer: ContainerTrainer) -> None:
    """Put the user's container between ours, all of them seeing /opt/ml."""
    spec = job["spec"]
    pod = spec["template"]["spec"]
    shared = {"name": "ml", "mountPath": env.ML_DIR}
    fetch, publish = (job_container(order, name, [args]) for name, args in ((FETCH, "fetch"), (MAIN, "publish")))
    for container in (fetch, publish):
        container["volumeMounts"].append(shared)
    pod["initContainers"] = [fetch, _user_container(order, trainer, shared)]
    pod["containers"] = [publish]
    pod["volumes"].append({"name": "ml", "emptyDir": {"sizeLimit": ML_SIZE}})
    pod["volumes"].append({"name": TRAIN_TMP, "emptyDir": {"sizeLimit": TMP_SIZE}})
    spec["podFailurePolicy"] = failure_policy((FETCH, MAIN))


def _user_container(order: JobOrder, trainer: ContainerTrainer, shared: Json) -> Json:
    said = trainer.to_json_object()
    container: Json = {
        "name": TRAIN,
        "image": trainer.image,
        "env": said.get("env") or [],
        "resources": container_resources(order.overrides),
        "securityContext": container_security(read_only_root=False),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [shared, {"name": TRAIN_TMP, "mountPath": "/tmp"}],
    }
    return container | {field: said[field] for field in ("command", "args") if said.get(field)}
