"""Manifests that cannot work are refused when they are applied, in words that name the field and the remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hack.demo.cluster import CONTEXT, PLURALS
from kubernetes import client, config
from tests.e2e import flights
from tests.e2e.team import manifest

Spec = dict[str, Any]
URI = "s3://lake/rows.csv"


def dataset(**changes: Any) -> tuple[str, Spec]:
    return "Dataset", flights.dataset_spec(URI, **changes)


def checks(**check: Any) -> tuple[str, Spec]:
    return dataset(checks=[{"name": "it", **check}])


def run(*estimator: str, **changes: Any) -> tuple[str, Spec]:
    return "TrainingRun", flights.run_spec(*estimator, **changes)


def gates(**gate: Any) -> tuple[str, Spec]:
    return "ModelVersion", flights.version_spec("flights-v1", gates=[{"name": "it", **gate}])


def version(**changes: Any) -> tuple[str, Spec]:
    return "ModelVersion", flights.version_spec("flights-v1", **changes)


def service(**changes: Any) -> tuple[str, Spec]:
    return "InferenceService", flights.service_spec(**changes)


def monitor(**changes: Any) -> tuple[str, Spec]:
    return "DriftMonitor", {"inferenceService": {"name": "flights"}, **changes}


CONTAINER = {"container": {"image": "example.com/train:1"}}
SPLIT = {"method": "Random", "trainPercent": 70, "validationPercent": 10, "testPercent": 30}
SEARCH = {"method": "Grid", "metric": "roc_auc", "space": {"C": {"choice": [1, 2]}}}
TEMPLATE = {"spec": flights.run_spec()}
ARTIFACT = {"artifact": {"uri": "s3://lake/model/", "digest": "sha256:" + "0" * 64}}

REFUSED = {
    "two sources": (dataset(source={"s3": {"uri": URI}, "http": {"url": "http://x/y"}}), "source: set exactly one of"),
    "no source": (dataset(source={}), "source: set exactly one of s3, http, persistentVolumeClaim, configMap"),
    "not an s3 uri": (dataset(source={"s3": {"uri": "lake/rows.csv"}}), "s3.uri"),
    "unknown format": (dataset(format="Excel"), 'supported values: "CSV", "JSONLines", "Parquet"'),
    "shares over 100": (dataset(split=SPLIT), "trainPercent, validationPercent and testPercent must sum to 100"),
    "split by no group": (dataset(split={"method": "Group"}), "split.groupColumn: name the column"),
    "split by no time": (dataset(split={"method": "Time"}, timestamp=None), "timestamp: name the time column"),
    "split by no target": (dataset(target=None), "target: name the target column when split.method is Stratified"),
    "frozen without columns": (dataset(schema={"policy": "Frozen"}), "schema.columns: list the columns"),
    "a check of nothing": (checks(column="late"), "checks[]: set exactly one of notNull, unique"),
    "a check of two things": (checks(column="late", notNull={}, unique={}), "checks[]: set exactly one of"),
    "a check of no column": (checks(notNull={}), "checks[].column: name the column"),
    "freshness of no time": (
        dataset(timestamp=None, checks=[{"name": "it", "freshness": {"maxAge": "1d"}}]),
        "freshness",
    ),
    "a schedule in words": (dataset(refresh={"schedule": "every day"}), "refresh.schedule"),
    "two trainers": (run(trainer={**CONTAINER, **flights.run_spec()["trainer"]}), "trainer: set exactly one of"),
    "search by a container": (run(trainer=CONTAINER, search=SEARCH), "search: goes with trainer.sklearn"),
    "an estimator that is no path": (run("LogisticRegression"), "trainer.sklearn.estimator"),
    "too many retries": (run(retries=50), "retries"),
    "a time without a unit": (run(timeout="90"), "timeout"),
    "two origins": (version(source={"trainingRun": {"name": "x"}, **ARTIFACT}), "source: set exactly one of"),
    "foreign bytes, no rows": (version(source=ARTIFACT), "evaluation: name the dataset for an external artifact"),
    "a digest cut short": (version(source={"artifact": {"uri": URI, "digest": "sha256:12"}}), "digest"),
    "a decision of nobody": (version(approval={"decision": "Rejected"}), "a decision names who (`by`) and why"),
    "a gate of nothing": (gates(), "gates[]: set exactly one of metric, fairness, latency, artifactSize"),
    "a metric without a limit": (gates(metric="accuracy"), "a metric needs min, max, versusChampion or slices"),
    "slices without a gap": (gates(metric="accuracy", slices=["origin"]), "slices and maxGap go together"),
    "a size without a unit": (gates(artifactSize={"max": "big"}), "artifactSize.max"),
    "family and version": (service(model={"name": "a", "version": "b"}), "model: set exactly one of name, version"),
    "more at least than at most": (
        service(scaling={"minReplicas": 3, "maxReplicas": 2}),
        "minReplicas must not be over",
    ),
    "scaled to nothing": (
        service(scaling={"minReplicas": 0}),
        "scaling.minReplicas: write 1 or more; nothing would wake a service that is scaled to zero",
    ),
    "a replay of too few": (
        service(rollout={"replay": {"requests": 100, "minRequests": 200}}),
        "rollout.replay: minRequests must not be over requests",
    ),
    "falling steps": (service(rollout={"stepsPercent": [50, 5]}), "steps must rise, for instance [5, 25, 50]"),
    "a step of all": (service(rollout={"stepsPercent": [5, 100]}), "each step is between 1 and 99"),
    "a hostname of no gateway": (service(traffic={"hostname": "a.example.com"}), "traffic.gateway: name the Gateway"),
    "an unknown strategy": (service(rollout={"strategy": "Rainbow"}), "Unsupported value"),
    "a port of the proxy": (
        service(predictor={"container": {"image": "example.com/a:1", "port": 15080}}),
        "predictor.container.port: 15080, 15081, 15082, 15090 are the proxy's in the same pod",
    ),
    "no time at all": (
        service(predictor={"container": {"image": "example.com/a:1", "timeout": "0s"}}),
        "predictor.container.timeout: is more than nothing",
    ),
    "root": (service(predictor={"container": {"image": "example.com/a:1", "runAsUser": 0}}), "runAsUser"),
    "two servers": (
        service(predictor={"container": {"image": "example.com/a:1"}, "runtime": {"workers": 2}}),
        "predictor.runtime: is our own server; leave it out beside predictor.container",
    ),
    "a replay to one's own server": (
        service(predictor={"container": {"image": "example.com/a:1"}}, rollout={"replay": {}}),
        "rollout.replay: only our own server takes replays",
    ),
    "a drop of no metric": (
        monitor(retrain={"triggers": {"performanceDrop": {}}, "template": TEMPLATE}),
        "performance: say the metric when retrain.triggers.performanceDrop is set",
    ),
    "performance without a limit": (monitor(performance={"metric": "accuracy"}), "set min, dropPercent or both"),
    "too few rows to say anything": (monitor(minRows=1), "minRows"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_at_apply(case: str, operator: str) -> None:
    (kind, spec), words = REFUSED[case]
    body = manifest(kind, "refused", {name: value for name, value in spec.items() if value is not None})
    config.load_kube_config(context=CONTEXT)
    with pytest.raises(client.ApiException) as refused:
        client.CustomObjectsApi().create_namespaced_custom_object(
            "fairlead.dev", "v1alpha1", "default", PLURALS[kind], body, dry_run="All"
        )
    assert refused.value.status == 422
    assert words in json.loads(refused.value.body)["message"]
