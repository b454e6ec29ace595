"""What the schemas accept, the operator handles; what they should not accept is refused. `make soak` runs 10,000 each.

Hypothesis draws documents from each CRD's own schema (FAIRLEAD_EXAMPLES of them, FAIRLEAD_SEED says which); batches of
them go to a real API server while the operator runs.
"""

from __future__ import annotations

import functools
import json
import os
import time
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tests.support import planted
from tests.support.control_plane import ControlPlane
from tests.support.input_batches import Batches, Example
from tests.support.schema_values import HOSTILE, Draw, breach, holds, specs

from fairlead.api import names
from fairlead.api.names import OWN_KINDS, Resource
from fairlead.app.main import CONTROLLERS
from fairlead.kube.client import Client, Timeouts
from fairlead.kube.connection import connect

from .conftest import CRDS, Start

EXAMPLES = int(os.environ.get("FAIRLEAD_EXAMPLES", "60"))
SEED = int(os.environ.get("FAIRLEAD_SEED", "1"))
BATCH = 200
Json = dict[str, Any]
_STEMS = ("a", "rows-2", "x" * 30, "a-1-b", "z9")
_BAD_NAMES = ("9a", "A", "a.b", "a" * 41, "a_b", "-a", "a-", "{{}}", "ü", "")
_LABELS = ("team", "app.kubernetes.io/name", names.LABEL_OWNER, names.LABEL_ROLE, names.LABEL_MODEL)
_ASKS = (names.ANNOTATION_REFRESH, names.ANNOTATION_RETRY, names.ANNOTATION_ROLLBACK, names.ANNOTATION_OVERRIDE)
_ANNOTATIONS = (
    *_ASKS,
    names.ANNOTATION_RETRAIN,
    names.ANNOTATION_INPUT,
    names.ANNOTATION_APPLIED,
    "a",
    "example.com/b",
)


@functools.cache
def spec_schema(resource: Resource) -> Mapping[str, Any]:
    crd = yaml.safe_load((Path(CRDS) / f"{names.GROUP}_{resource.plural}.yaml").read_text())
    return dict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])


@st.composite
def metadata(draw: Draw) -> tuple[Json, str]:
    """Return metadata with odd labels and annotations, and what is wrong with its name."""
    found: Json = {"name": draw(st.sampled_from(_STEMS))}
    if draw(st.integers(0, 3)) == 0:
        found["labels"] = draw(st.dictionaries(st.sampled_from(_LABELS), st.sampled_from(["", "a", "A.b_c", "x" * 63])))
    if draw(st.integers(0, 3)) == 0:
        values = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"])))
        found["annotations"] = draw(st.dictionaries(st.sampled_from(_ANNOTATIONS), values, max_size=4))
    if draw(st.integers(0, 49)) == 0:
        found["name"] = draw(st.sampled_from(_BAD_NAMES))
        return found, f"name {found['name']!r}"
    return found, ""


def example_of(resource: Resource) -> st.SearchStrategy[Example]:
    schema = spec_schema(resource)

    @st.composite
    def drawn(draw: Draw) -> Example:
        head, broken = draw(metadata())
        spec = draw(specs(schema))
        keeps = holds(schema, spec)
        if keeps and draw(st.integers(0, 9)) == 0:
            spec, broken = draw(breach(schema, spec))
        document = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": head, "spec": spec}
        return Example(document, keeps and not broken, broken or "a CEL rule")

    return drawn()


def draw_examples(resource: Resource, count: int, number: int) -> list[Example]:
    """Return different examples; Hypothesis only draws here, since an operator cannot be run anew for each."""
    found: list[Example] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @seed(SEED * 1_000_003 + number)
    @given(example_of(resource))
    def collect(example: Example) -> None:
        found.append(example)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collect()
    return found


def batches_of(resource: Resource) -> Iterator[list[Example]]:
    """Yield batches until EXAMPLES are drawn; each object gets a name of its own."""
    number, left = 0, EXAMPLES
    while left > 0:
        found = draw_examples(resource, min(BATCH, left), number)
        for place, example in enumerate(found):
            if example.document["metadata"]["name"] in _STEMS:
                example.document["metadata"]["name"] += f"-{number}-{place}"
        number, left = number + 1, left - len(found)
        yield found


@pytest_asyncio.fixture
async def patient(plane: ControlPlane) -> AsyncIterator[Client]:
    """The user's hands, which wait also for a crowded API server."""
    slow = Timeouts(connect_s=60, read_s=120, write_s=120, list_s=120)
    client = Client(await connect(str(plane.kubeconfig())), timeouts=slow, user_agent="user")
    yield client
    await client.close()


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("resource", OWN_KINDS, ids=lambda resource: resource.kind)
async def test_what_is_accepted_is_handled_and_the_rest_refused(
    resource: Resource, start: Start, api: Client, patient: Client, namespace: str
) -> None:
    await planted.plant(api, namespace)
    running = await start(CONTROLLERS, leader_elect="false")
    batches = Batches(patient, running.operator, namespace, resource)
    began, tally = time.monotonic(), batches.tally
    for examples in batches_of(resource):
        await batches.run(examples)
        if EXAMPLES >= 1000:
            said = f"{tally.accepted} accepted, {tally.refused} refused, {len(tally.faults)} faults"
            print(f"{time.monotonic() - began:.0f} s: {said}", flush=True)
        assert len(tally.faults) < 20, _report(resource, batches, began)
    print(_report(resource, batches, began))
    assert not tally.faults, _report(resource, batches, began)
    assert tally.accepted > EXAMPLES / 2
    assert tally.refused > EXAMPLES / 20


def _report(resource: Resource, batches: Batches, began: float) -> str:
    tally = batches.tally
    figures = {
        "kind": resource.kind,
        "accepted": tally.accepted,
        "refused": tally.refused,
        "most reconciles of one object": tally.most_reconciles,
        "most requests an object, mean of a batch": round(tally.most_requests, 1),
        "seconds": round(time.monotonic() - began),
        "states": dict(tally.states.most_common()),
    }
    return "\n".join([json.dumps(figures), f"{len(tally.faults)} faults", *tally.faults[:20]])


def _large(resource: Resource) -> Json:
    """Return a spec within the schema's bounds whose child is over Kubernetes' 256 KiB of annotations."""
    if resource == names.DATASET:
        allowed = [f"{number:0>250}" for number in range(4)]
        columns = [{"name": f"c{number}", "type": "Category", "allowed": allowed} for number in range(400)]
        return {"source": {"http": {"url": "http://a"}}, "format": "CSV", "schema": {"columns": columns}}
    container = {"image": "example.com/trainer:1", "args": ["a" * 16384] * 30}
    return {"dataset": {"name": "rows"}, "model": "m", "trainer": {"container": container}}


@pytest.mark.parametrize("resource", [names.DATASET, names.TRAINING_RUN], ids=lambda resource: resource.kind)
async def test_a_spec_that_is_too_large_for_its_child_is_stalled(
    resource: Resource, start: Start, patient: Client, namespace: str
) -> None:
    await planted.plant(patient, namespace)
    running = await start(CONTROLLERS, leader_elect="false")
    batches = Batches(patient, running.operator, namespace, resource)
    head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "large"}}
    await batches.run([Example({**head, "spec": _large(resource)}, accepted=True)])
    assert not batches.tally.faults, batches.tally.faults[0][:2000]
    assert dict(batches.tally.states) == {"Stalled Invalid": 1}


async def test_a_refusal_that_quotes_an_emoji_is_said(start: Start, patient: Client, namespace: str) -> None:
    running = await start(CONTROLLERS, leader_elect="false")
    batches = Batches(patient, running.operator, namespace, names.DATASET)
    head = {"apiVersion": names.DATASET.api_version, "kind": "Dataset", "metadata": {"name": "ship"}}
    spec = {"source": {"http": {"url": "http://a"}}, "format": "CSV", "nodeSelector": {"a": "\U0001f6a2"}}
    await batches.run([Example({**head, "spec": spec}, accepted=True)])
    assert not batches.tally.faults, batches.tally.faults[0][:2000]
    assert dict(batches.tally.states) == {"Stalled Invalid": 1}
