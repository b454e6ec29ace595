"""Captured requests and feedback of a window: profiles merged file by file, and labels joined to answers by id.

Memory holds one file and the profiles, never a window's rows; ids never leave this module. Called by `monitor.job`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from fairlead.contract import keys
from fairlead.contract.jobs import MonitorInput
from fairlead_runtime.captured_files import files_in, read_files, within
from fairlead_runtime.hashing import hasher_of
from fairlead_runtime.profile import PREDICTION, SCORE, ModelProfile, Profile, build_profile, merge
from fairlead_runtime.signature import Signature
from fairlead_runtime.store import Store

from .inputs import InputReader
from .window import Window, hours_between, instant

_ALPHABET = {char: place for place, char in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}
_OUTPUTS = ("out.label", "out.value", "out.probability")


@dataclass
class Requests:
    """What a window's requests look like: rows, and profiles with the training's bins."""

    rows: int = 0
    features: Profile | None = None
    predictions: Profile | None = None
    captured: set[str] = field(default_factory=set)  # input columns that any file has and that can be compared
    left_out: dict[str, str] = field(default_factory=dict)  # input columns that cannot be compared, and why


def read_requests(
    store: Store, job: MonitorInput, window: Window, profile: ModelProfile, signature: Signature
) -> Requests:
    """Return the merged profiles of the window's requests of this version."""
    found, reader = Requests(), _reader(job, profile, signature)
    folders = [
        keys.captures(job.namespace, job.inference_service, date, hour, job.artifact.version)
        for date, hour in window.hours()
    ]
    for table in read_files(store, files_in(store, folders)):
        rows = within(table, window.start, window.end)
        if rows.num_rows:
            _add(found, reader.read(rows), rows, profile, two_classes=len(signature.classes) == 2)
    found.left_out = reader.left_out
    found.captured -= reader.left_out.keys()
    return found


def _reader(job: MonitorInput, profile: ModelProfile, signature: Signature) -> InputReader:
    return InputReader(signature, profile.features, hasher_of(os.environ, job.namespace, job.inference_service))


def _add(
    found: Requests, inputs: dict[str, pa.ChunkedArray], rows: pa.Table, profile: ModelProfile, *, two_classes: bool
) -> None:
    features = _profile(inputs, profile.features, rows.num_rows)
    predictions = _profile(_answers(rows, two_classes), profile.predictions, rows.num_rows)
    found.rows += rows.num_rows
    found.captured |= inputs.keys()
    found.features = merge(found.features, features) if found.features else features
    found.predictions = merge(found.predictions, predictions) if found.predictions else predictions


def _answers(rows: pa.Table, two_classes: bool) -> dict[str, pa.ChunkedArray]:
    """Return the answers as the training profile names them; with more classes the score has another meaning."""
    names = {"out.label": PREDICTION, "out.value": PREDICTION}
    if two_classes:
        names["out.probability"] = SCORE
    return {names[name]: rows[name] for name in rows.column_names if name in names}


def _profile(columns: dict[str, pa.ChunkedArray], like: Profile, rows: int) -> Profile:
    table = pa.table(columns) if columns else pa.table({"": pa.nulls(rows)})
    return build_profile(table, edges_from=like)


def read_labelled(store: Store, job: MonitorInput, window: Window) -> pa.Table:
    """Return the answers (columns out.*) that got a label in this window, with that `label`.

    A label may come long after its request, so it counts when it comes; the request's hour is read from its id. Of
    several labels of one request the last one holds. Requests before `notBefore` or of other versions are left out.
    """
    folders = [keys.feedback(job.namespace, job.inference_service, date, hour) for date, hour in window.hours()]
    tables = [within(table, window.start, window.end) for table in read_files(store, files_in(store, folders))]
    if not any(table.num_rows for table in tables):
        return _NO_ANSWERS
    last = _last_per_id(pa.concat_tables([table.select(["id", "time", "label"]) for table in tables]))
    return _join(store, job, _since(last, job.not_before))


_NO_ANSWERS = pa.table({"id": pa.array([], pa.string()), "label": pa.array([], pa.string())})


def _join(store: Store, job: MonitorInput, labels: pa.Table) -> pa.Table:
    wanted, found = labels.select(["id", "label"]), []
    folders = [
        keys.captures(job.namespace, job.inference_service, date, hour, job.artifact.version)
        for date, hour in _hours_of(labels["id"].to_pylist())
    ]
    for table in read_files(store, files_in(store, folders)):
        answers = table.select([name for name in table.column_names if name == "id" or name in _OUTPUTS])
        found.append(answers.filter(pc.is_in(answers["id"], value_set=wanted["id"].combine_chunks())))
    if not any(table.num_rows for table in found):
        return _NO_ANSWERS
    answers = pa.concat_tables(found, promote_options="default")
    return answers.join(wanted, keys="id", join_type="inner").sort_by("id")


def _since(labels: pa.Table, not_before: str | None) -> pa.Table:
    """Return the labels of requests made by this service, none before the promotion."""
    least = instant(not_before) if not_before else datetime.fromtimestamp(0, UTC)
    moments = [made_at(response_id) for response_id in labels["id"].to_pylist()]
    return labels.filter(pa.array([moment is not None and moment >= least for moment in moments], pa.bool_()))


def _last_per_id(labels: pa.Table) -> pa.Table:
    newest = labels.sort_by([("id", "ascending"), ("time", "ascending")])
    ids = newest["id"].to_pylist()
    last = [i + 1 == len(ids) or ids[i + 1] != ids[i] for i in range(len(ids))]
    return newest.filter(pa.array(last))


def _hours_of(ids: Iterable[str]) -> list[tuple[str, str]]:
    """Return the hours in which these responses were made; an id that is none of ours is left out."""
    moments = sorted(moment for moment in map(made_at, ids) if moment is not None)
    return sorted({hour for moment in moments for hour in hours_between(moment, moment + timedelta(microseconds=1))})


def made_at(response_id: str) -> datetime | None:
    """Return when a response was made, from the ULID in its id: ten digits of milliseconds since 1970."""
    _, dash, ulid = response_id.partition("-")
    milliseconds = 0
    for char in ulid[:10]:
        if char not in _ALPHABET:
            return None
        milliseconds = milliseconds * 32 + _ALPHABET[char]
    if not dash or len(ulid) < 10 or milliseconds > 4e12:  # the year 2096
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
