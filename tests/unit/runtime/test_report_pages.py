"""The pages people read: no name can become markup, nothing is loaded from anywhere, and the words are right."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from fairlead.contract.drift import FeatureDrift, PerformanceResult, PredictionDriftResult
from fairlead.contract.gates import GateOutcome, GateResult
from fairlead_runtime.evaluate.pictures import pictures
from fairlead_runtime.report.axes import ticks
from fairlead_runtime.report.card import render_card
from fairlead_runtime.report.content import Card, Distribution, FeatureReport, MetricRow, Report, SliceRow
from fairlead_runtime.report.drift import render_report
from fairlead_runtime.report.markup import join, tag
from fairlead_runtime.report.numbers import finite, number, percent, size
from fairlead_runtime.stats.metrics import Classified, Regressed

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"


class Page(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def outcomes(classes: int = 2, rows: int = 400) -> Classified:
    random = np.random.default_rng(1)
    truth = random.integers(0, classes, rows)
    logits = random.normal(size=(rows, classes)) + 1.5 * (truth[:, None] == np.arange(classes))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Classified(truth, probability.argmax(axis=1), tuple(f"{EVIL}{i}" for i in range(classes)), probability)


def card(name: str = "fraud-1", **more: Any) -> Card:
    measured = outcomes()
    gates = [
        GateResult(name=name, outcome=outcome, value=0.9, limit=0.8, low=0.85, high=None, rows=400, message=name)
        for outcome in GateOutcome
    ]
    fields: dict[str, Any] = {
        "name": name, "namespace": name, "model": name, "digest": f"sha256:{name}", "format": "onnx",
        "size_bytes": 4321, "task": "Classification", "target": name, "classes": list(measured.classes),
        "inputs": [(name, name)], "dataset": name, "revision": name, "split": "Test", "rows": 400,
        "input_digest": name, "champion": name, "lineage": [(name, name), ("Parameters", '{"a":"' + name + '"}')],
        "metrics": [MetricRow(name="roc_auc", value=0.9, low=0.85, high=0.95)], "gates": gates,
        "slices": [SliceRow(name=name, metric="recall", rows=40, value=0.5, gap=0.4, low=0.1, high=None)],
        "importances": [(name, 0.7), ("zero", 0.0)], "pictures": pictures(measured), "limits": [name],
    }  # fmt: skip
    return Card(**{**fields, **more})


def report(name: str = "fraud-drift", **more: Any) -> Report:
    both = Distribution(labels=[name, "b"], reference=[0.5, 0.5], current=[0.2, 0.8])
    feature = FeatureReport(
        drift=FeatureDrift(name=name, test="KS", effect=0.4, p_value=1e-9, drifted=True, importance=0.5),
        min_effect=0.1, nulls_reference=0.0, nulls_current=0.25, distribution=both,
    )  # fmt: skip
    output = PredictionDriftResult(test="JS", effect=0.3, threshold=0.1, drifted=True)
    fields: dict[str, Any] = {
        "name": name, "namespace": name, "inference_service": name, "model_version": name, "digest": name,
        "window_start": "2026-11-20T10:00:00Z", "window_end": "2026-11-21T10:00:00Z", "rows": 900, "min_rows": 100,
        "enough_rows": True, "correction": "Benjamini-Hochberg", "drifted_features": 1, "data_drift": True,
        "features": [feature], "predictions": output, "prediction_distribution": both, "labels": output,
        "label_distribution": both, "notes": [name],
        "performance": PerformanceResult(
            metric="accuracy", value=0.7, low=0.6, high=0.8, labels=90, dropped=True, message=name
        ),
    }  # fmt: skip
    return Report(**{**fields, **more})


@pytest.mark.parametrize("html", [render_card(card(EVIL)), render_report(report(EVIL))], ids=["card", "report"])
def test_no_name_becomes_markup(html: bytes) -> None:
    page = Page(html)
    assert not {"script", "img", "iframe", "object", "embed"} & set(page.tags)
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    assert any(EVIL in text for text in page.texts)  # it is shown as it is written
    assert page.open == []


@pytest.mark.parametrize("html", [render_card(card()), render_report(report())], ids=["card", "report"])
def test_a_page_asks_for_nothing_from_anywhere(html: bytes) -> None:
    page = Page(html)
    assert not [value for key, value in page.attributes if key in ("src", "href", "action", "srcset")]
    text = html.decode()
    assert "default-src 'none'" in text.replace("&#x27;", "'")
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_every_plot_is_well_formed() -> None:
    for html in (render_card(card()), render_report(report())):
        text = html.decode()
        for start in range(text.count("<svg")):
            part = "<svg" + text.split("<svg")[start + 1].split("</svg>")[0] + "</svg>"
            for element in ElementTree.fromstring(part).iter():
                numbers = [v for k, v in element.attrib.items() if k in ("x", "y", "width", "height", "cx", "cy", "x1")]
                assert all(np.isfinite(float(value)) for value in numbers)


def test_the_card_says_in_words_what_the_gates_said() -> None:
    text = "".join(Page(render_card(card())).texts)
    assert "1 of 3 gates failed: fraud-1" in text
    for word in ("Passed", "Failed", "Inconclusive", "ROC curve", "Calibration", "Confusion matrix", "0.1 to above"):
        assert word in text
    passed = [g for g in card().gates if g.outcome == GateOutcome.PASSED]
    assert "The gate passed" in "".join(Page(render_card(card(gates=passed))).texts)
    assert "No gates were asked for" in "".join(Page(render_card(card(gates=[]))).texts)


def test_cards_of_other_tasks_have_their_own_plots() -> None:
    random = np.random.default_rng(2)
    truth = random.normal(size=300)
    line = Regressed(truth, truth + random.normal(size=300))
    text = "".join(Page(render_card(card(classes=[], pictures=pictures(line)))).texts)
    assert "Residuals" in text
    assert "ROC" not in text
    many = outcomes(classes=7)
    drawn = pictures(many)
    assert len(drawn.roc) == 5
    assert drawn.calibration is None
    assert sum(map(sum, drawn.confusion)) == 400
    assert len(Page(render_card(card(classes=list(many.classes), pictures=drawn))).tags) > 100


def test_pictures_stay_small_and_hold_the_ends_of_the_curve() -> None:
    drawn = pictures(outcomes(rows=20_000))
    points = drawn.roc[0].points
    assert len(points) <= 162
    assert (points[0], points[-1]) == ((0.0, 0.0), (1.0, 1.0))
    area = np.trapezoid([y for _, y in points], [x for x, _ in points])
    assert area == pytest.approx(drawn.roc[0].area, abs=0.003)
    assert len(render_card(card(pictures=drawn))) < 100_000


def test_the_report_leads_with_what_was_found() -> None:
    text = "".join(Page(render_report(report())).texts)
    assert "Accuracy has dropped to 0.7; 1 input drifted (fraud-drift); the predictions have drifted" in text
    calm = report(drifted_features=0, data_drift=False, features=[], predictions=None, labels=None, performance=None)
    assert "Nothing has drifted" in "".join(Page(render_report(calm)).texts)
    few = report(rows=7, enough_rows=False, features=[])
    assert "Too few requests to say: 7 of the 100 needed" in "".join(Page(render_report(few)).texts)


def test_text_is_escaped_wherever_it_stands() -> None:
    assert tag("p", "<b>", title='"x"') == '<p title="&quot;x&quot;">&lt;b&gt;</p>'
    assert join("<", tag("br"), None, 1.5) == "&lt;<br/>1.5"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.90312, "0.9031"), (0.85, "0.85"), (12345.6, "12,346"), (0.00012345, "0.00012"), (0, "0"), (None, "n/a"),
     (float("nan"), "n/a"), (-2.51349, "-2.513"), (float("inf"), "n/a")],
)  # fmt: skip
def test_numbers_are_written_for_people(value: float | None, text: str) -> None:
    assert number(value) == text


def test_sizes_shares_and_ticks() -> None:
    assert (size(512), size(2048), size(3 * 2**20)) == ("512 B", "2.0 KiB", "3.0 MiB")
    assert (percent(0.0312), percent(0.5), percent(0)) == ("3.1 %", "50 %", "0 %")
    assert finite(float("inf")) is None
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(5, 5) == [5]
