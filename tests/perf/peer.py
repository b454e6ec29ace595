"""The measured peer: a controller as kopf's own documentation writes them, doing the first step of a Dataset.

One `on.create` handler that makes the Job and says so in status; kopf's defaults everywhere else. The Job's body is
built by Fairlead's planner, so that both ask the same of the API server. Started by `tests/perf/processes.py`.
"""

from __future__ import annotations

import os
from typing import Any

import kopf
from kubernetes.aio import client, config

from fairlead.api import meta
from fairlead.api.dataset import DatasetSpec, DatasetStatus
from fairlead.plan.children import Image, build_job
from fairlead.plan.datasetjobs import snapshot_order

IMAGE = Image("example.com/jobs@sha256:0")


@kopf.on.startup()
async def configure(memo: kopf.Memo, **_: Any) -> None:
    await config.load_kube_config(config_file=os.environ["KUBECONFIG"])
    memo.jobs = client.BatchV1Api()


@kopf.on.cleanup()
async def close(memo: kopf.Memo, **_: Any) -> None:
    await memo.jobs.api_client.close()


@kopf.on.create("fairlead.dev", "v1alpha1", "datasets")
async def start_snapshot(body: kopf.Body, patch: kopf.Patch, namespace: str, memo: kopf.Memo, **_: Any) -> None:
    dataset = meta.read(dict(body), DatasetSpec, DatasetStatus)
    job = build_job(snapshot_order(dataset, "first", IMAGE, None))
    await memo.jobs.create_namespaced_job(namespace, job)
    patch.status["attempt"] = {"job": job["metadata"]["name"]}
