"""Values of users stay values: in pages, metrics, logs, terminals, summaries and commands, whatever they hold.

Keys of the store are in test_hostile_keys.py; what admission refuses is in tests/integration/test_generated_input.py.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.runtime.test_report_pages import Page, card, report

from fairlead.api.dataset import Dataset, DatasetSpec, DatasetStatus
from fairlead.api.trainingrun import TrainingRun, TrainingRunSpec, TrainingRunStatus
from fairlead.app.logging import JsonFormatter, TextFormatter
from fairlead.app.metrics import Metrics
from fairlead.cli.commands import say
from fairlead.contract import env
from fairlead.contract.data import DatasetRevision
from fairlead.contract.jobs import ArtifactRef, ErrorInfo, ServeInput
from fairlead.plan.children import Image, build_job
from fairlead.plan.datasetjobs import snapshot_order
from fairlead.plan.trainjobs import build_train_job, train_order
from fairlead_runtime.report.card import render_card
from fairlead_runtime.report.drift import render_report
from fairlead_runtime.serve.counters import Counters, Edges
from fairlead_runtime.serve.metrics import render
from fairlead_runtime.summary import encode_summary

SAMPLES = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(2)>",
    "</style><svg onload=x>",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "-->",
    "]]>",
    "\nlevel=error forged",
    "\r\n2026-11-21T00:00:00Z error fairlead: forged",
    "\x1b[2J\x1b[H",
    "\x00",
    "\u2028forged",
    "\u202egnp.exe",
    "\x9b31m",
    'x"} 1\nfairlead_forged{a="',
    "\\",
    '\\"',
    "\\n",
    "a\\\nb",
    "$(FAIRLEAD_STORE_SECRET_KEY)",
    "$(id)",
    "`id`",
    "; rm -rf /",
    "' OR 1=1 --",
    "--help",
    "=cmd|' /C calc'!A0",
    "{{x}}",
    "%s%n%d",
    "{0.__class__}",
    "${jndi:ldap://x}",
    '{"kind":"Error"}',
    '\nFAIRLEAD {"done": 1}',
    "日本語",
    "",
)
HOSTILE = st.one_of(
    st.sampled_from(SAMPLES),
    st.text(max_size=40),
    st.tuples(st.text(max_size=5), st.sampled_from(SAMPLES)).map("".join),
)
FAST = settings(max_examples=60, deadline=None)


class Shape(Page):
    """Which elements a page has, and which attributes with which fixed values."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        self.note(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_startendtag(tag, attrs)
        self.note(tag, attrs)

    def note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen = getattr(self, "seen", set())
        self.seen |= {(tag, name, value if name in ("class", "style", "content") else None) for name, value in attrs}
        self.seen.add((tag, "", None))


def harmless(kind: str) -> set[Any]:
    """Return what pages of a kind are made of when all names are harmless."""
    build: Any = (
        (lambda name: render_card(card(name))) if kind == "card" else (lambda name: render_report(report(name)))
    )
    return set().union(*(Shape(build(name)).seen for name in ("fraud", "0123456789abcdef", '{"a": 1}')))


PLAIN = {kind: harmless(kind) for kind in ("card", "report")}


@pytest.mark.parametrize("kind", ["card", "report"])
@FAST
@given(name=HOSTILE.filter(bool))
def test_pages_are_made_of_the_same_elements_whatever_the_names(kind: str, name: str) -> None:
    page = Shape(render_card(card(name)) if kind == "card" else render_report(report(name)))
    assert page.seen <= PLAIN[kind], page.seen - PLAIN[kind]
    assert all(harmless_on_a_terminal(line) for text in page.texts for line in text.split("\n"))  # nor turns our words
    assert page.open == []


@FAST
@given(service=HOSTILE.filter(lambda t: 0 < len(t) <= 63), version=HOSTILE.filter(lambda t: 0 < len(t) <= 63))
def test_metrics_of_a_server_keep_their_labels(service: str, version: str) -> None:
    digest = "sha256:" + "a" * 64
    artifact = ArtifactRef(namespace="team", model="m", version=version, digest=digest)
    document = ServeInput(namespace="team", service=service, revision=digest, artifact=artifact)
    text = render(document, Counters(1, Edges.of(None, None), None)).decode()
    if "\r" in service + version:  # the reader ends lines there, Prometheus itself does not
        return
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert {name for sample in samples for name in sample.labels} <= {"service", "version", "code", "le"}
    assert {(sample.labels["service"], sample.labels["version"]) for sample in samples} == {(service, version)}


def test_the_operators_metrics_have_no_label_of_a_user() -> None:
    metrics = Metrics("host", process=False)
    labels = {name for family in metrics.registry.collect() for sample in family.samples for name in sample.labels}
    assert labels <= {"controller", "result", "name", "code", "method", "host", "le"}


def record(text: str, error: Exception | None = None) -> logging.LogRecord:
    info = (type(error), error, None) if error else None
    made = logging.LogRecord("fairlead", logging.WARNING, "x.py", 1, "Dataset %s waits", (text,), info)
    made.object = text
    return made


@FAST
@given(text=HOSTILE)
def test_a_log_line_is_one_line_and_cannot_be_forged(text: str) -> None:
    line = JsonFormatter().format(record(text, ValueError(text)))
    assert line.isprintable()
    assert set(json.loads(line)) == {"time", "level", "logger", "message", "object", "trace"}
    first, *rest = TextFormatter().format(record(text, ValueError(text))).split("\n")
    assert harmless_on_a_terminal(first)
    assert all(line.startswith("    ") and harmless_on_a_terminal(line) for line in rest)


def harmless_on_a_terminal(line: str) -> bool:
    return not any(
        (ord(char) < 32 and char != "\t") or 127 <= ord(char) < 160 or char in "\u2028\u2029\u202e" for char in line
    )


@FAST
@given(text=HOSTILE)
def test_the_plugin_steers_no_terminal(text: str) -> None:
    shown: list[str] = []

    class Out:
        write = shown.append

        def flush(self) -> None: ...

    before, sys.stdout = sys.stdout, Out()  # type: ignore[assignment]
    try:
        say(f"Dataset rows: {text}")
    finally:
        sys.stdout = before
    assert all(harmless_on_a_terminal(line) for line in "".join(shown).split("\n"))


@FAST
@given(text=HOSTILE)
def test_a_summary_is_one_json_document_that_says_the_same(text: str) -> None:
    encoded = encode_summary(ErrorInfo(reason="ProgramFailed", message=text))
    assert json.loads(encoded) == {"kind": "Error", "version": 1, "reason": "ProgramFailed", "message": text}
    assert b"\n" not in encoded


def training(**trainer: Any) -> TrainingRun:
    spec = {"dataset": {"name": "rows"}, "model": "fraud", "task": "Classification", "trainer": trainer}
    raw = {"metadata": {"name": "run", "namespace": "team", "uid": "u-1"}, "spec": spec}
    return TrainingRun(raw, TrainingRunSpec.model_validate(spec), TrainingRunStatus())


def job_of(run: TrainingRun) -> dict[str, Any]:
    revision = DatasetRevision(name="rows", revision="sha256:aa")
    return build_train_job(train_order(run, revision, Image("ours:1"), 1))


@FAST
@given(texts=st.lists(HOSTILE, min_size=1, max_size=4), value=HOSTILE)
def test_words_of_a_users_container_reach_it_as_they_are_and_ours_not_at_all(texts: list[str], value: str) -> None:
    said = {"command": texts, "args": texts, "env": [{"name": "A", "value": value}], "hyperparameters": {"a": value}}
    pod = job_of(training(container={"image": "theirs:1", **said}))["spec"]["template"]["spec"]
    containers = {c["name"]: c for c in (*pod["initContainers"], *pod["containers"])}
    theirs = containers.pop("train")
    assert (theirs["command"], theirs["args"], theirs["env"]) == (texts, texts, said["env"])
    assert {mount["name"] for mount in theirs["volumeMounts"]} == {"ml", "train-tmp"}
    for name, ours in containers.items():
        assert ours["args"] == {"fetch": ["fetch"], "main": ["publish"]}[name]
        assert "command" not in ours
        assert {entry["value"] for entry in ours["env"] if "value" in entry} == {env.INPUT_PATH, "ours:1", "/work"}
        assert not {"train-tmp"} & {mount["name"] for mount in ours["volumeMounts"]}


@FAST
@given(value=HOSTILE, key=st.text(min_size=1, max_size=10))
def test_hyperparameters_travel_in_the_document_alone(value: str, key: str) -> None:
    trainer = {"estimator": "sklearn.linear_model.Ridge", "parameters": {key: value}}
    job = job_of(training(sklearn=trainer))
    template = job["spec"]["template"]
    document = json.loads(template["metadata"]["annotations"]["fairlead.dev/input"])
    assert document["trainer"]["sklearn"]["parameters"] == {key: value}
    plain = job_of(training(sklearn={**trainer, "parameters": {}}))["spec"]["template"]["spec"]
    assert template["spec"] == plain


def snapshot_job(source: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    """Return the Job that reads a source, of a Dataset that a user gave these labels."""
    spec = {"source": source, "format": "CSV", "target": "y"}
    metadata = {"name": "rows", "namespace": "team", "uid": "u-1", "labels": labels, "annotations": labels}
    dataset = Dataset({"metadata": metadata, "spec": spec}, DatasetSpec.model_validate(spec), DatasetStatus())
    return build_job(snapshot_order(dataset, "tick", Image("ours:1"), None))


@FAST
@given(text=HOSTILE, label=HOSTILE)
def test_addresses_travel_in_the_document_alone_and_labels_not_at_all(text: str, label: str) -> None:
    path = text.replace("\n", "").replace("\r", "")  # the schema's pattern ends at a line
    for kind, key, start in (("s3", "uri", "s3://bucket/"), ("http", "url", "https://example.com/")):
        job = snapshot_job({kind: {key: start + path}}, {"team": label})
        document = json.loads(job["spec"]["template"]["metadata"]["annotations"]["fairlead.dev/input"])
        assert document["source"][kind][key] == start + path
        plain = snapshot_job({kind: {key: start}}, {})
        assert job["spec"]["template"]["spec"] == plain["spec"]["template"]["spec"]
        assert job["spec"]["template"]["metadata"]["labels"] == plain["spec"]["template"]["metadata"]["labels"]
        assert job["metadata"]["labels"] == plain["metadata"]["labels"]
        assert job["metadata"]["annotations"].keys() == plain["metadata"]["annotations"].keys()
