"""Who may what: a matrix of people, verbs and kinds, and the policies that guard decisions, on a real API server."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest_asyncio
from tests.support.chart_rights import CLUSTER_ROLE, GUARDED, bind, can_i, client_as, install_rights
from tests.support.control_plane import ControlPlane
from tests.support.eventually import eventually

from fairlead.api.names import ANNOTATION_OVERRIDE, INFERENCE_SERVICE, MODEL_VERSION, OWN_KINDS, TRAINING_RUN
from fairlead.kube.client import Client
from fairlead.kube.errors import ForbiddenError, KubeError

from .conftest import NAMESPACE

KINDS = tuple(resource.plural for resource in OWN_KINDS)
READ, WRITE = {"get", "list", "watch"}, {"create", "update", "patch", "delete", "deletecollection"}
DECIDE = {"approve", "approve-as", "override", "override-as"}
# person -> roles; what they may do with every kind; and besides with single kinds. All else is refused.
PEOPLE: dict[str, tuple[tuple[str, ...], set[str], dict[str, set[str]]]] = {
    "nobody": ((), set(), {}),
    "vera": (("view",), READ, {}),
    "erin": (("edit",), READ | WRITE, {}),
    "adam": (("admin",), READ | WRITE, {"modelversions": {"approve"}, "inferenceservices": {"override"}}),
    "anna": (("fairlead-approve",), set(), {"modelversions": READ | {"update", "patch", "approve"}}),
    "otto": (
        ("fairlead-override",),
        set(),
        {"modelversions": READ, "inferenceservices": READ | {"update", "patch", "override"}},
    ),
}
DIGEST = "sha256:" + "a" * 64
As = Callable[[str], Awaitable[Client]]


@pytest_asyncio.fixture
async def guarded(api: Client) -> str:
    """A namespace in which the chart's policies hold and the people have their roles."""
    await install_rights(api)
    name = f"rights-{secrets.token_hex(4)}"
    await api.create(NAMESPACE, "", {"metadata": {"name": name, "labels": {GUARDED: "true"}}})
    for person, (roles, _, _) in PEOPLE.items():
        await bind(api, name, person, *roles)
    return name


@pytest_asyncio.fixture
async def as_(plane: ControlPlane) -> AsyncIterator[As]:
    """Speak as a person."""
    clients: list[Client] = []

    async def speak(user: str) -> Client:
        clients.append(await client_as(plane, user))
        return clients[-1]

    yield speak
    for client in clients:
        await client.close()


async def test_the_matrix_of_people_verbs_and_kinds(api: Client, guarded: str) -> None:
    async def known() -> bool:
        return await can_i(api, "otto", "override", "inferenceservices", guarded)

    await eventually(known, 15, what="the API server knows the bindings")
    wrong = []
    for person, (_, everywhere, besides) in PEOPLE.items():
        for kind in KINDS:
            for verb in sorted(READ | WRITE | DECIDE):
                expected = verb in everywhere | besides.get(kind, set())
                if await can_i(api, person, verb, kind, guarded) != expected:
                    wrong.append(f"{person} {'may not' if expected else 'may'} {verb} {kind}")
            # Status is the operator's alone: who writes it could claim that a version was evaluated.
            for verb in ("patch", "update"):
                if await can_i(api, person, verb, f"{kind}/status", guarded):
                    wrong.append(f"{person} may {verb} {kind}/status")
    assert not wrong, "\n".join(wrong)


def service(name: str = "fraud", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": "InferenceService",
        "metadata": {"name": name, **metadata},
        "spec": {"model": {"name": "fraud"}},
    }


def overriding(who: str, why: str = "the upstream bug is mended") -> dict[str, Any]:
    return {"metadata": {"annotations": {ANNOTATION_OVERRIDE: f"{DIGEST} by {who}: {why}"}}}


async def refusal(call: Awaitable[Any]) -> str:
    try:
        await call
    except KubeError as error:
        return str(error)
    return ""


async def until_refused(attempt: Callable[[], Awaitable[Any]], words: str) -> None:
    """Wait until the policy is in force: the API server reads a new one within seconds."""

    async def refused() -> bool:
        return words in await refusal(attempt())

    await eventually(refused, 30, what=words)


async def test_lifting_a_refusal_needs_the_verb_override_and_ones_own_name(api: Client, guarded: str, as_: As) -> None:
    erin, otto = await as_("erin"), await as_("otto")
    await eventually(lambda: can_i(api, "erin", "create", "inferenceservices", guarded), 15)
    await erin.create(INFERENCE_SERVICE, guarded, service())

    def lift(client: Client, who: str, why: str = "mended") -> Awaitable[Any]:
        return client.patch(INFERENCE_SERVICE, guarded, "fraud", overriding(who, why))

    await until_refused(lambda: lift(erin, "erin"), "erin may not lift refusals here; ask for the verb override")
    lifted = service("lifted", **overriding("erin")["metadata"])
    assert "may not lift refusals" in await refusal(erin.create(INFERENCE_SERVICE, guarded, lifted))
    assert "by otto: <why>" in await refusal(lift(otto, "kim"))
    assert "by otto: <why>" in await refusal(lift(otto, "kim", "as said by otto: fine"))
    assert "by otto: <why>" in await refusal(lift(otto, "otto2"))
    assert "by otto: <why>" in await refusal(
        otto.patch(INFERENCE_SERVICE, guarded, "fraud", {"metadata": {"annotations": {ANNOTATION_OVERRIDE: "yes"}}})
    )
    await lift(otto, "otto")
    # Everything else stays free: other annotations, spec, the same words again, and taking them away.
    await erin.patch(INFERENCE_SERVICE, guarded, "fraud", {"metadata": {"annotations": {"fairlead.dev/retry": "x"}}})
    await erin.patch(INFERENCE_SERVICE, guarded, "fraud", {"spec": {"scaling": {"minReplicas": 2}}})
    await lift(erin, "otto")
    await erin.patch(INFERENCE_SERVICE, guarded, "fraud", {"metadata": {"annotations": {ANNOTATION_OVERRIDE: None}}})
    assert "may not lift refusals" in await refusal(lift(erin, "otto"))


async def test_a_gitops_account_lifts_refusals_for_others_by_override_as(api: Client, guarded: str, as_: As) -> None:
    rules = [{"apiGroups": ["fairlead.dev"], "resources": ["inferenceservices"],
              "verbs": ["get", "create", "patch", "override", "override-as"]}]  # fmt: skip
    name = f"gitops-{guarded}"
    await api.create(CLUSTER_ROLE, "", {"metadata": {"name": name}, "rules": rules})
    await bind(api, guarded, "argo", name)
    argo, erin = await as_("argo"), await as_("erin")
    await eventually(lambda: can_i(api, "argo", "override-as", "inferenceservices", guarded), 15)
    await argo.create(INFERENCE_SERVICE, guarded, service())
    await until_refused(
        lambda: erin.patch(INFERENCE_SERVICE, guarded, "fraud", overriding("erin")), "may not lift refusals"
    )
    await argo.patch(INFERENCE_SERVICE, guarded, "fraud", overriding("kim@example.com"))


async def test_approval_and_its_waiver_need_the_verb_approve(api: Client, guarded: str, as_: As) -> None:
    """The e2e test goes the whole way; this one shows each refusal without a cluster."""
    erin, anna = await as_("erin"), await as_("anna")
    await eventually(lambda: can_i(api, "erin", "create", "modelversions", guarded), 15)
    version = {
        "apiVersion": MODEL_VERSION.api_version,
        "kind": "ModelVersion",
        "metadata": {"name": "fraud-1"},
        "spec": {"model": "fraud", "source": {"trainingRun": {"name": "fraud-1"}},
                 "evaluation": {"dataset": {"name": "rows"}}, "approval": {"required": True}},
    }  # fmt: skip
    await erin.create(MODEL_VERSION, guarded, version)
    waiving = {"spec": {"approval": {"required": False}}}
    await until_refused(
        lambda: erin.patch(MODEL_VERSION, guarded, "fraud-1", waiving), "erin may not approve ModelVersions here"
    )
    decision = {"decision": "Rejected", "by": "kim", "reason": "x"}
    assert "write your own name, anna" in await refusal(
        anna.patch(MODEL_VERSION, guarded, "fraud-1", {"spec": {"approval": decision}})
    )
    run = {
        "apiVersion": TRAINING_RUN.api_version,
        "kind": "TrainingRun",
        "metadata": {"name": "fraud-2"},
        "spec": {"dataset": {"name": "rows"}, "model": "fraud", "task": "Classification",
                 "trainer": {"sklearn": {"estimator": "sklearn.linear_model.LogisticRegression"}},
                 "versionTemplate": {"approval": {"required": False}}},
    }  # fmt: skip
    assert "needs the verb approve" in await refusal(erin.create(TRAINING_RUN, guarded, run))
    run["spec"] = {**run["spec"], "versionTemplate": {"approval": {"required": True}}}  # type: ignore[dict-item]
    await erin.create(TRAINING_RUN, guarded, run)


async def test_a_person_without_rights_sees_nothing(guarded: str, as_: As) -> None:
    nobody = await as_("nobody")
    for kind in OWN_KINDS:
        try:
            await nobody.get(kind, guarded, "fraud")
        except ForbiddenError:
            continue
        raise AssertionError(f"nobody reads {kind.plural}")
