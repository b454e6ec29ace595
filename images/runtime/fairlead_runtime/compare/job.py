"""Holds a shadow's captured answers against those that users got, question by question.

Two captured rows are of the same question when all inputs that both captured are equal; the first of one are paired
with the first of the other. So no id has to survive a gateway, and rows that only one of them sampled are left out.
Finding a difference is a result and ends well. The entry of kind Compare in `__main__`; it never changes a capture.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fairlead.contract import keys
from fairlead.contract.base import canonical_json, digest_of
from fairlead.contract.compare import Answering, CompareInput, CompareSummary, SliceDisagreement
from fairlead_runtime.captured_files import files_in, read_files, within
from fairlead_runtime.errors import ObjectNotFound, clip
from fairlead_runtime.hashing import MARK
from fairlead_runtime.monitor.window import hours_between, instant
from fairlead_runtime.stats.intervals import clopper_pearson
from fairlead_runtime.store import Store, get_json, put_folder

MAX_ROWS = 200_000  # of each revision: about 200 MB with 30 columns
TOLERANCE = 1e-3  # relative, of numbers: more is another answer
SLICES, VALUES, SLICE_ROWS = 10, 20, 30  # said at most; of a column that is cut; least in one that is said
_OUTPUTS = ("out.label", "out.value")


def run(job: CompareInput, store: Store) -> CompareSummary:
    """Return what was compared, now or before by a Job of the same input."""
    folder = keys.comparison(job.namespace, job.service, digest_of(job))
    try:
        return CompareSummary.model_validate(get_json(store, folder + keys.REPORT_JSON))
    except ObjectNotFound:
        pass
    found = compare(read_answers(store, job, job.stable), read_answers(store, job, job.candidate))
    summary = _summary(job, found, folder + keys.REPORT_JSON)
    put_folder(store, folder, {}, (keys.REPORT_JSON, canonical_json(summary.to_json_object())))
    return summary


@dataclass
class Compared:
    """Pairs of answers to the same question, and those that differ; also by (column, value) of text inputs."""

    pairs: int = 0
    differing: int = 0
    by_value: Counter[tuple[str, str]] = field(default_factory=Counter)
    differing_by_value: Counter[tuple[str, str]] = field(default_factory=Counter)


def read_answers(store: Store, job: CompareInput, of: Answering) -> pa.Table:
    """Return a revision's captured rows of the time in question, oldest first, at most MAX_ROWS."""
    start, end = instant(job.since), instant(job.until)
    found, rows = [], 0
    for date, hour in hours_between(start, end):
        folder = keys.captures(job.namespace, job.service, date, hour, of.version)
        for table in read_files(store, files_in(store, [folder])):
            mine = within(table, start, end)
            mine = mine.filter(pc.starts_with(mine["id"], of.ids))
            found.append(mine)
            rows += mine.num_rows
        if rows >= MAX_ROWS:
            break
    if not rows:
        return pa.table({"time": pa.array([], pa.timestamp("us", "UTC"))})
    return pa.concat_tables(found, promote_options="default").sort_by("time").slice(0, MAX_ROWS)


def compare(stable: pa.Table, candidate: pa.Table) -> Compared:
    """Return the pairs of both; without a column in common, or an answer of the same kind, there are none."""
    found = Compared()
    inputs = [name for name in stable.column_names if name.startswith("in.") and name in candidate.column_names]
    output = next((name for name in _OUTPUTS if name in stable.column_names and name in candidate.column_names), None)
    if not inputs or output is None:
        return found
    waiting: dict[tuple[Any, ...], deque[Any]] = defaultdict(deque)
    for question, answer in zip(_questions(stable, inputs), stable[output].to_pylist(), strict=True):
        waiting[question].append(answer)
    cut = _cut_columns(stable, inputs)
    for question, answer in zip(_questions(candidate, inputs), candidate[output].to_pylist(), strict=True):
        if not waiting.get(question):
            continue
        differs = not _same(waiting[question].popleft(), answer)
        found.pairs += 1
        found.differing += differs
        for at, name in cut:
            value = (name, str(question[at]))
            found.by_value[value] += 1
            found.differing_by_value[value] += differs
    return found


def _questions(table: pa.Table, inputs: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    columns = [
        [None if isinstance(v, float) and math.isnan(v) else v for v in table[name].to_pylist()] for name in inputs
    ]
    return zip(*columns, strict=True)


def _cut_columns(table: pa.Table, inputs: Sequence[str]) -> list[tuple[int, str]]:
    """Return place and name of text inputs with few values; hashes say nothing to a reader."""
    found = []
    for at, name in enumerate(inputs):
        kept = table.schema.field(name)
        hashed = MARK in (kept.metadata or {})
        if pa.types.is_string(kept.type) and not hashed and pc.count_distinct(table[name]).as_py() <= VALUES:
            found.append((at, name.removeprefix("in.")))
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=1e-9)
    return bool(one == other)


def _summary(job: CompareInput, found: Compared, report_key: str) -> CompareSummary:
    if not found.pairs:
        return CompareSummary(compared=0, disagreeing=0, report_key=report_key)
    bounds = clopper_pearson(found.differing, found.pairs, job.alpha)
    return CompareSummary(
        compared=found.pairs,
        disagreeing=found.differing,
        low_percent=round(100 * bounds.low, 4),
        high_percent=round(100 * bounds.high, 4),
        worst=_worst(found),
        report_key=report_key,
    )


def _worst(found: Compared) -> list[SliceDisagreement]:
    enough = [value for value, rows in found.by_value.items() if rows >= SLICE_ROWS and found.differing_by_value[value]]
    enough.sort(key=lambda value: found.differing_by_value[value] / found.by_value[value], reverse=True)
    return [
        SliceDisagreement(
            column=column,
            value=clip(value, 64),
            compared=found.by_value[column, value],
            disagreeing=found.differing_by_value[column, value],
        )
        for column, value in enough[:SLICES]
    ]
