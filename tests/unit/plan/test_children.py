"""What every pod of ours is: restricted, told its input, bounded in time, memory and disk."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.api import names
from fairlead.api.meta import PodOverrides
from fairlead.contract import env
from fairlead.contract.base import quantity
from fairlead.contract.jobs import CollectInput
from fairlead.plan.children import Image, JobOrder, Owner, build_job, container_resources, serving_env, store_env

OWNER = Owner(names.TRAINING_RUN, "demo", "a" * names.MAX_NAME, "uid-1")


def order(**more: Any) -> JobOrder:
    said = {"role": "evaluate", "overrides": PodOverrides(), "timeout_s": 60.5, **more}
    return JobOrder(owner=OWNER, document=CollectInput(result_key="runs/demo/a/"), image=Image("jobs:1"), **said)


def pod(body: dict[str, Any]) -> dict[str, Any]:
    return dict(body["spec"]["template"]["spec"])


def test_a_pod_meets_the_restricted_standard() -> None:
    spec = pod(build_job(order()))
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_every_writable_place_has_a_size() -> None:
    spec = pod(build_job(order()))
    assert all(v["emptyDir"].get("sizeLimit") for v in spec["volumes"] if "emptyDir" in v)
    mounts = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert {"/tmp", env.INPUT_MOUNT} < mounts
    assert {"name": env.WORK_DIR, "value": "/work"} in spec["containers"][0]["env"]


def test_the_input_is_mounted_where_the_pod_looks_for_it() -> None:
    body = build_job(order())
    annotations = body["spec"]["template"]["metadata"]["annotations"]
    assert json.loads(annotations[names.ANNOTATION_INPUT]) == CollectInput(result_key="runs/demo/a/").to_json_object()
    assert annotations[names.ANNOTATION_INPUT_DIGEST] == body["metadata"]["annotations"][names.ANNOTATION_INPUT_DIGEST]
    volume = next(v for v in pod(body)["volumes"] if v["name"] == "input")
    path = f"{env.INPUT_MOUNT}/{volume['downwardAPI']['items'][0]['path']}"
    assert path == env.INPUT_PATH


def test_a_job_ends_by_itself_and_stays_until_we_delete_it() -> None:
    spec = build_job(order(retries=3))["spec"]
    assert spec["activeDeadlineSeconds"] == 61
    assert spec["backoffLimit"] == 3
    assert "ttlSecondsAfterFinished" not in spec
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["template"]["spec"]["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert [rule["action"] for rule in spec["podFailurePolicy"]["rules"]] == ["Ignore", "FailJob", "Ignore"]


def test_the_same_order_is_the_same_name_and_another_attempt_is_another() -> None:
    assert order().name == order().name
    assert len(order(attempt=12).name) <= 63
    assert order(attempt=2).name == f"{order().name}-2"


def test_a_child_belongs_to_its_owner() -> None:
    metadata = build_job(order(queue_name="q"))["metadata"]
    reference = metadata["ownerReferences"][0]
    assert (reference["uid"], reference["controller"], reference["blockOwnerDeletion"]) == ("uid-1", True, True)
    assert metadata["labels"][names.LABEL_OWNER_KIND] == "TrainingRun"
    assert metadata["labels"]["kueue.x-k8s.io/queue-name"] == "q"


def test_the_stores_keys_come_from_its_secret_and_only_needed_ones_are_required() -> None:
    found = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in store_env()}
    assert set(found) == set(env.STORE_ENV)
    for variable, (key, required) in env.STORE_ENV.items():
        assert found[variable] == {"name": "fairlead-store", "key": key} | ({} if required else {"optional": True})


def test_a_server_knows_itself() -> None:
    known = {entry["name"] for entry in serving_env("server:1")}
    assert {env.INPUT_FILE, env.POD_UID, env.POD_NAME, env.IMAGE, env.CPU_LIMIT} < known
    assert env.JOB_NAME not in known


def test_overrides_reach_the_pod() -> None:
    said = {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "serviceAccountName": "trainer",
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "high",
    }
    spec = pod(build_job(order(overrides=PodOverrides.model_validate(said))))
    assert said.items() <= spec.items()


AMOUNTS = {
    "cpu": st.sampled_from(["100m", "1", 2, "2500m"]),
    "memory": st.sampled_from(["64Mi", "512Mi", "3Gi", "10Gi"]),
}
SOME = st.fixed_dictionaries({}, optional=AMOUNTS)


@given(requests=SOME, limits=SOME)
def test_limits_are_always_set_and_defaults_never_contradict_the_spec(requests: Any, limits: Any) -> None:
    found = container_resources(PodOverrides.model_validate({"resources": {"requests": requests, "limits": limits}}))
    for name in ("cpu", "memory"):
        low, high = quantity(found["requests"][name]), quantity(found["limits"][name])
        assert found["requests"][name] == str(requests.get(name, found["requests"][name]))
        assert found["limits"][name] == str(limits.get(name, found["limits"][name]))
        if not (name in requests and name in limits):
            assert low <= high


@pytest.mark.parametrize("exotic", ["1e9", "1Ei", "128974848k"])
def test_a_quantity_that_only_kubernetes_reads_is_left_alone(exotic: str) -> None:
    found = container_resources(PodOverrides.model_validate({"resources": {"requests": {"memory": exotic}}}))
    assert found["requests"]["memory"] == exotic
