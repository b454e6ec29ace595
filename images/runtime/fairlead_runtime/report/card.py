"""The model card: what a version is, where it came from, how good it is, what it passed, and what is not known.

Made from a `content.Card` alone, so the page and the JSON beside it can never disagree. Called by `evaluate.run`.
"""

from __future__ import annotations

from fairlead.contract.gates import LOWER_IS_BETTER, GateOutcome, GateResult

from . import curves
from .bars import ranked, span
from .content import Card, MetricRow, SliceRow, Tone
from .markup import Child, Html, badge, code, facts, section, table, tag
from .numbers import number, size
from .page import page, tiles, verdict

TONES: dict[GateOutcome, Tone] = {
    GateOutcome.PASSED: "good",
    GateOutcome.FAILED: "bad",
    GateOutcome.INCONCLUSIVE: "unsure",
}
MOST_IMPORTANCES = 20
MOST_INPUTS = 60
MOST_CLASSES = 12  # a larger confusion matrix is unreadable
HEADLINES = ("roc_auc", "accuracy", "f1", "log_loss", "r2", "mean_absolute_error", "root_mean_squared_error")


def render_card(card: Card) -> bytes:
    """Return the page as UTF-8 HTML."""
    subtitle = tag("span", f"{card.task} · model {card.model} · namespace {card.namespace} · ", code(card.digest))
    parts = [_gates, _metrics, _plots, _slices, _importances, _description, _lineage, _limits]
    footer = f"Evaluation {card.input_digest} · this file loads nothing from anywhere."
    body = [_verdict(card), _tiles(card), *(part(card) for part in parts)]
    return page("model card", card.name, subtitle, *body, footer=footer)


def _verdict(card: Card) -> Html:
    total, failed = len(card.gates), [g.name for g in card.gates if g.outcome == GateOutcome.FAILED]
    unsure = [g.name for g in card.gates if g.outcome == GateOutcome.INCONCLUSIVE]
    where = f"Measured on {card.rows:,} rows of {card.dataset} that this version was not trained on."
    if card.split == "Train":
        where = f"Measured on {card.rows:,} rows of {card.dataset} from its training part."
    if not total:
        return verdict("quiet", "No gates were asked for", where)
    if failed:
        return verdict("bad", f"{len(failed)} of {_gates_word(total)} failed: {', '.join(failed)}", where)
    if unsure:
        return verdict("unsure", f"{len(unsure)} of {_gates_word(total)} not decided: {', '.join(unsure)}", where)
    return verdict("good", "The gate passed" if total == 1 else f"All {total} gates passed", where)


def _gates_word(count: int) -> str:
    return "1 gate" if count == 1 else f"{count} gates"


def _tiles(card: Card) -> Html:
    by_name = {row.name: row for row in card.metrics}
    shown = [(name.replace("_", " "), number(by_name[name].value)) for name in HEADLINES if name in by_name][:3]
    return tiles([*shown, ("rows measured", f"{card.rows:,}"), ("artifact", size(card.size_bytes))])


def _gates(card: Card) -> Html | None:
    if not card.gates:
        return None
    lead = (
        "A gate passes on the bound of its interval (one-sided 95 %), not on the value; "
        "the bar is the interval, the dot the value, the upright line the limit."
    )
    headings: list[Child] = ["Gate", "Outcome", "Value", "Limit", "", "Rows"]
    rows = [_gate_row(gate) for gate in card.gates]
    return section("Gates", table(headings, rows, frozenset({2, 3, 5})), lead=lead)


def _gate_row(gate: GateResult) -> list[Child]:
    tone = TONES[gate.outcome]
    picture = span(gate.value, (gate.low, gate.high), gate.limit, tone)
    name = tag("div", tag("strong", gate.name), tag("small", gate.message), class_="wide")
    rows = f"{gate.rows:,}" if gate.rows else ""
    return [name, badge(gate.outcome.value, tone), _figure(gate.value), _figure(gate.limit), picture, rows]


def _figure(value: float | None) -> str:
    return "" if value is None else number(value)


def _ends(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low == high:
        return ""
    return f"{number(low) if low is not None else 'below'} to {number(high) if high is not None else 'above'}"


def _metrics(card: Card) -> Html | None:
    if not card.metrics:
        return None
    scale = " The scale is 0 to 1." if card.classes else ""
    lead = f"On the {card.split.lower()} part; each bound holds with 95 % on its own.{scale}"
    headings: list[Child] = ["Metric", "Value", "Interval", "", "Better"]
    rows = [_metric_row(row) for row in card.metrics]
    return section("Metrics", table(headings, rows, frozenset({1, 2})), lead=lead)


def _metric_row(row: MetricRow) -> list[Child]:
    better = "lower" if row.name in LOWER_IS_BETTER else "higher"
    shares = row.low is not None and row.high is not None and row.low >= 0 and row.high <= 1
    picture = span(row.value, (row.low, row.high), None, "quiet", (0.0, 1.0)) if shares else None
    return [row.name.replace("_", " "), number(row.value), _ends(row.value, row.low, row.high), picture, better]


def _plots(card: Card) -> Html | None:
    drawn, pictures = [], card.pictures
    if pictures.roc:
        drawn.append(curves.roc(pictures.roc))
    if pictures.precision_recall:
        drawn.append(curves.precision_recall(pictures.precision_recall, pictures.base_rate))
    if pictures.calibration:
        drawn.append(curves.calibration(pictures.calibration, pictures.scores))
    if pictures.confusion and len(card.classes) <= MOST_CLASSES:
        drawn.append(curves.confusion(card.classes, pictures.confusion))
    if pictures.density:
        drawn.append(curves.predicted_against_true(pictures.density, *pictures.density_range))
    if pictures.residuals:
        drawn.append(curves.residuals(pictures.residuals))
    return section("How it does", tag("div", *drawn, class_="plots")) if drawn else None


def _slices(card: Card) -> Html | None:
    if not card.slices:
        return None
    lead = "Worst first: by how much each slice falls behind the whole, in units of the metric; negative is better."
    headings: list[Child] = ["Slice", "Metric", "Rows", "Value", "Gap", "Interval of the gap", ""]
    ends = [end for row in card.slices for end in (row.low, row.high, 0.0) if end is not None]
    rows = [_slice_row(row, (min(ends), max(ends))) for row in card.slices]
    return section("Slices", table(headings, rows, frozenset({2, 3, 4, 5})), lead=lead)


def _slice_row(row: SliceRow, scale: tuple[float, float]) -> list[Child]:
    ends = _ends(row.gap, row.low, row.high)
    picture = span(row.gap, (row.low, row.high), 0.0, "quiet", scale)
    return [row.name, row.metric.replace("_", " "), f"{row.rows:,}", number(row.value), number(row.gap), ends, picture]


def _importances(card: Card) -> Html | None:
    shown = sorted((pair for pair in card.importances if pair[1] > 0), key=lambda pair: -pair[1])[:MOST_IMPORTANCES]
    if not shown:
        return None
    rest = len(card.importances) - len(shown)
    lead = "Share of the model's use of each input." + (f" {rest} more with less are not shown." if rest > 0 else "")
    return section("What it looks at", ranked([(n, v, "f0") for n, v in shown], "feature importances"), lead=lead)


def _description(card: Card) -> Html:
    inputs = ", ".join(f"{name} ({kind})" for name, kind in card.inputs[:MOST_INPUTS])
    more = len(card.inputs) - MOST_INPUTS
    pairs: list[tuple[str, Child]] = [
        ("Predicts", card.target),
        ("Classes", ", ".join(card.classes)),
        ("Inputs", inputs + (f" and {more} more" if more > 0 else "")),
        ("Format", f"{card.format}, {size(card.size_bytes)}"),
        ("Measured on", f"{card.dataset}, {card.split.lower()} part, {card.rows:,} rows"),
        ("Data revision", code(card.revision)),
        ("Compared with", card.champion or "no champion"),
    ]
    return section("What it is", facts(pairs))


def _lineage(card: Card) -> Html | None:
    if not card.lineage:
        return None
    lead = "What exactly this version was made from; the same inputs make it again."
    pairs: list[tuple[str, Child]] = [(name, code(value) if _coded(value) else value) for name, value in card.lineage]
    return section("Lineage", facts(pairs), lead=lead)


def _coded(value: str) -> bool:
    """Whether a value is for copying rather than reading: a digest, a commit, a document."""
    hexadecimal = len(value) >= 7 and all(char in "0123456789abcdef" for char in value)
    return hexadecimal or value.startswith(("{", "[")) or "sha256:" in value


def _limits(card: Card) -> Html | None:
    return section("Limits", tag("ul", *(tag("li", text) for text in card.limits))) if card.limits else None
