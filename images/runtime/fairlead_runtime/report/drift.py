"""The drift report: what one window of requests looked like beside the training data, worst first.

Made from a `content.Report` alone. Shows shares per bin and column names, never a row. Called by `monitor.run`.
"""

from __future__ import annotations

from fairlead.contract.drift import FeatureDrift, PerformanceResult, PredictionDriftResult
from fairlead.contract.gates import LOWER_IS_BETTER

from .bars import distributions, ranked, span
from .content import Distribution, FeatureReport, Report, Tone
from .markup import Child, Html, badge, code, section, table, tag
from .numbers import number, percent
from .page import page, tiles, verdict

MOST_PLOTS = 9
MOST_ROWS = 50
EFFECTS = {"KS": "KS statistic D", "ChiSquare": "Cramér's V", "PSI": "PSI", "JS": "JS distance"}


def render_report(report: Report) -> bytes:
    """Return the page as UTF-8 HTML."""
    subtitle = tag(
        "span", f"{report.inference_service} in {report.namespace} · version {report.model_version} · ",
        code(report.digest),
    )  # fmt: skip
    parts = [_performance, _ranking, _features, _plots, _outputs, _method]
    body = [_verdict(report), _tiles(report), *(part(report) for part in parts)]
    footer = "Shares and figures only: no request is quoted. This file loads nothing from anywhere."
    return page("drift report", report.name, subtitle, *body, footer=footer)


def _verdict(report: Report) -> Html:
    window = f"Requests from {_time(report.window_start)} to {_time(report.window_end)} UTC, against the training data."
    if not report.enough_rows:
        text = f"Too few requests to say: {report.rows:,} of the {report.min_rows:,} needed"
        return verdict("quiet", text, window)
    found = _findings(report)
    if not found:
        return verdict("good", "Nothing has drifted", window)
    tone: Tone = "bad" if report.performance is not None and report.performance.dropped else "unsure"
    text = "; ".join(found)
    return verdict(tone, text[0].upper() + text[1:], window)


def _findings(report: Report) -> list[str]:
    found = []
    if report.performance is not None and report.performance.dropped:
        found.append(f"{report.performance.metric.replace('_', ' ')} has dropped to {number(report.performance.value)}")
    if report.data_drift:
        worst = [f.drift.name for f in report.features if f.drift.drifted][:3]
        count = report.drifted_features
        inputs = "1 input" if count == 1 else f"{count} inputs"
        found.append(f"{inputs} drifted ({', '.join(worst)}{'…' if count > 3 else ''})")
    if report.predictions is not None and report.predictions.drifted:
        found.append("the predictions have drifted")
    if report.labels is not None and report.labels.drifted:
        found.append("the true labels have drifted")
    return found


def _time(text: str) -> str:
    return text.replace("T", " ").removesuffix("Z").removesuffix("+00:00")[:16]


def _tiles(report: Report) -> Html:
    shown = [("requests in the window", f"{report.rows:,}")]
    if report.features:
        shown.append(("inputs drifted", f"{report.drifted_features} of {len(report.features)}"))
    if report.performance is not None and report.performance.labels:
        shown.append(("requests with a label", f"{report.performance.labels:,}"))
        shown.append((report.performance.metric.replace("_", " "), number(report.performance.value)))
    if report.predictions is not None:
        shown.append((f"predictions, {EFFECTS[report.predictions.test]}", number(report.predictions.effect)))
    return tiles(shown)


def _performance(report: Report) -> Html | None:
    found = report.performance
    if found is None:
        return None
    lead = "From feedback, joined to the requests by id; a drop counts only when the whole interval lies beyond it."
    headings: list[Child] = ["Metric", "", "Value", "Interval", "", "At evaluation", "Limit", "Labels"]
    row = _performance_row(found, report.performance_limit)
    message = tag("p", found.message)
    return section("Performance", message, table(headings, [row], frozenset({2, 3, 5, 6, 7})), lead=lead)


def _performance_row(found: PerformanceResult, limit: float | None) -> list[Child]:
    tone, word = _performance_word(found, limit)
    ends = f"{number(found.low)} to {number(found.high)}" if found.value is not None else ""
    picture = span(found.value, (found.low, found.high), limit, tone)
    return [
        found.metric.replace("_", " "), badge(word, tone), number(found.value), ends, picture,
        number(found.reference), number(limit), f"{found.labels:,}",
    ]  # fmt: skip


def _performance_word(found: PerformanceResult, limit: float | None) -> tuple[Tone, str]:
    if found.dropped:
        return "bad", "Dropped"
    if found.value is None or found.low is None or found.high is None:
        return "quiet", "Unknown"
    inside = limit is None or (found.high <= limit if found.metric in LOWER_IS_BETTER else found.low >= limit)
    return ("good", "Holds") if inside else ("unsure", "Undecided")


def _ranking(report: Report) -> Html | None:
    shown = [f for f in report.features if f.min_effect > 0][:15]
    if not shown:
        return None
    rows = [(f.drift.name, f.drift.effect / f.min_effect, "hot" if f.drift.drifted else "soft") for f in shown]
    lead = "Effect of each input as a multiple of its limit, ordered by drift times importance; coloured is drifted."
    return section("Which inputs moved", ranked(rows, "effect as a multiple of its limit", 1.0), lead=lead)


def _features(report: Report) -> Html | None:
    if not report.features:
        return None
    lead = "An input has drifted when both hold: chance is ruled out (p under 0.05 after correction), and the effect " \
           "reaches its limit."  # fmt: skip
    headings: list[Child] = ["Input", "", "Effect", "Limit", "p, corrected", "Importance", "Missing, training", "now"]
    rows = [_feature_row(feature) for feature in report.features[:MOST_ROWS]]
    rest = len(report.features) - len(rows)
    note = tag("p", f"{rest} more are in the JSON beside this page.", class_="lead") if rest > 0 else None
    return section("Inputs", table(headings, rows, frozenset(range(2, 8))), note, lead=lead)


def _feature_row(feature: FeatureReport) -> list[Child]:
    drift = feature.drift
    word = badge("Drifted", "unsure") if drift.drifted else badge("Steady", "quiet")
    return [
        tag("span", drift.name, tag("small", EFFECTS.get(drift.test, drift.test))), word, number(drift.effect),
        number(feature.min_effect), _p(drift), percent(drift.importance) if drift.importance is not None else "",
        percent(feature.nulls_reference), percent(feature.nulls_current),
    ]  # fmt: skip


def _p(drift: FeatureDrift) -> str:
    if drift.p_value is None:
        return ""
    return "< 0.0001" if drift.p_value < 1e-4 else f"{drift.p_value:.4f}"


def _plots(report: Report) -> Html | None:
    shown = [f for f in report.features if f.drift.drifted][:MOST_PLOTS] or report.features[:3]
    if not shown:
        return None
    figures = [distributions(f.drift.name, f.distribution, f"{f.drift.test} {number(f.drift.effect)}") for f in shown]
    return section("Distributions", tag("div", *figures, class_="plots"))


def _outputs(report: Report) -> Html | None:
    pairs = [
        ("Predictions", report.predictions, report.prediction_distribution),
        ("True labels", report.labels, report.label_distribution),
    ]
    figures = [_output(title, result, both) for title, result, both in pairs if result is not None and both is not None]
    return section("What comes out", tag("div", *figures, class_="plots")) if figures else None


def _output(title: str, result: PredictionDriftResult, both: Distribution) -> Html:
    word = badge("Drifted", "unsure") if result.drifted else badge("Steady", "quiet")
    note = f"{EFFECTS[result.test]} {number(result.effect)}, limit {number(result.threshold)}"
    return tag("div", word, distributions(title, both, note))


def _method(report: Report) -> Html | None:
    notes = list(report.notes)
    if report.correction:
        notes.insert(0, f"p-values are corrected over {len(report.features)} inputs by {report.correction}.")
    return section("How this was made", tag("ul", *(tag("li", note) for note in notes))) if notes else None
