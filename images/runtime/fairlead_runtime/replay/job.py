"""Runs a replay: the newest captured requests to the stable revision and to the candidate, before its first user.

Both answer the same rows one after the other, in turns, so that a busy node hits both. The same input has the same
replay: one that is in the store is said again. A candidate that fails is a result and ends well. The entry of kind
Replay in `__main__`.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fairlead.contract import env, keys
from fairlead.contract.base import canonical_json, digest_of
from fairlead.contract.jobs import ReplayCheck, ReplayInput, ReplaySummary
from fairlead_runtime.errors import ObjectNotFound, StoreError, clip
from fairlead_runtime.evaluate.groups import Group, groups_of
from fairlead_runtime.hashing import hasher_of
from fairlead_runtime.progress import report
from fairlead_runtime.serve.loading import Fetched, fetch
from fairlead_runtime.store import Store, get_json, put_folder

from .ask import Answer, Arm, NotServedError, UnreachableError
from .captured import Captured, read_newest
from .compare import compare

WARM_UP = 10  # requests to each that are not counted: a first answer loads what later ones find
BUDGET_S = 240.0  # what was sent by then is compared
MOST_SLICES = 10  # of a column, the commonest values
MOST_CHECKS = 10  # in the summary; all are in the store
_REPORT_EVERY = 100
_WORDS = {
    "Disagreement": "of its answers differ",
    "Errors": "points more of its answers failed",
    "Latency": "points more of its answers were slow",
}


@dataclass(frozen=True)
class _Answers:
    """What both said to the same rows."""

    stable: list[Answer]
    candidate: list[Answer]


def run(job: ReplayInput, store: Store) -> ReplaySummary:
    """Return the summary of this replay, made now or found in the store."""
    folder = keys.replay(job.namespace, job.name, digest_of(job))
    try:
        return ReplaySummary.model_validate(get_json(store, folder + keys.RESULT)["summary"])
    except ObjectNotFound:
        pass
    summary, checks = _replayed(job, store)
    summary = summary.model_copy(update={"result_key": folder + keys.RESULT})
    document = {"summary": summary.to_json_object(), "checks": [check.to_json_object() for check in checks]}
    put_folder(store, folder, {}, (keys.RESULT, canonical_json(document)))
    return summary


def _replayed(job: ReplayInput, store: Store) -> tuple[ReplaySummary, list[ReplayCheck]]:
    stable, candidate = _fetched(job, store)
    captured = read_newest(store, job, stable.signature, stable.profile)
    why = _why_not(job, captured, candidate)
    if why:
        return _not_possible(why, len(captured.rows)), []
    try:
        answers = _ask_both(job, captured)
    except NotServedError:
        why = "A server does not know the route for replays: it was born before an upgrade, or is not Fairlead's own."
        return _not_possible(why, 0), []
    except (
        UnreachableError
    ) as error:  # a pod that the cluster took away proves nothing; a crash is seen by the operator
        raise StoreError("ServerUnreachable", f"the server at {error} cannot be reached") from None
    checks = compare(answers.stable, answers.candidate, _groups(job, captured, len(answers.stable)), job.limits)
    return _judged(job, len(answers.stable), checks), checks


def _fetched(job: ReplayInput, store: Store) -> tuple[Fetched, Fetched]:
    with tempfile.TemporaryDirectory(dir=os.environ.get(env.WORK_DIR)) as work:
        return fetch(store, job.stable, Path(work) / "stable"), fetch(store, job.candidate, Path(work) / "candidate")


def _why_not(job: ReplayInput, captured: Captured, candidate: Fetched) -> str:
    """Return why there is nothing to send, in a sentence, or an empty text."""
    count, least = len(captured.rows), job.min_requests
    if count < least:
        found = f"Only {count} requests" if count else "No request"
        return (
            f"{found} of {job.stable.version} {'are' if count else 'is'} captured, {least} are needed; "
            "set capture.percent, or wait for more."
        )
    lacking = [*captured.lacking, *(c.name for c in candidate.signature.inputs if c.name not in captured.frame.columns)]
    if lacking:
        named = ", ".join(dict.fromkeys(lacking))
        return f"Captured requests do not show {named}, which the models take (identifiers and hashed numbers never)."
    return ""


def _not_possible(why: str, requests: int) -> ReplaySummary:
    return ReplaySummary(outcome="NotPossible", message=clip(why), requests=requests)


def _ask_both(job: ReplayInput, captured: Captured) -> _Answers:
    token = hasher_of(os.environ, job.namespace, job.name).token
    with closing(Arm(job.stable_url, token)) as stable, closing(Arm(job.candidate_url, token)) as candidate:
        return _in_turns(captured, stable, candidate)


def _in_turns(captured: Captured, stable: Arm, candidate: Arm) -> _Answers:
    for row in captured.rows[:WARM_UP]:
        stable.ask(row)
        candidate.ask(row)
    until, answers = time.monotonic() + BUDGET_S, _Answers([], [])
    for number, row in enumerate(captured.rows):
        if number % 2:
            answers.stable.append(stable.ask(row))
        answers.candidate.append(candidate.ask(row))
        if not number % 2:
            answers.stable.append(stable.ask(row))
        if number % _REPORT_EVERY == 0:
            report(number, len(captured.rows), "replaying captured requests")
        if time.monotonic() > until:
            break
    return answers


def _groups(job: ReplayInput, captured: Captured, count: int) -> list[Group]:
    frame = captured.frame.head(count)
    return [group for name in job.slices if name in frame.columns for group in groups_of(frame, name)[:MOST_SLICES]]


def _judged(job: ReplayInput, count: int, checks: Sequence[ReplayCheck]) -> ReplaySummary:
    failed = [check for check in checks if check.failed]
    whole = [check for check in checks if not check.slice]
    sent = f"{count} captured requests of {job.stable.version} were sent to {job.candidate.version} and to it"
    said = "; ".join(map(_sentence, failed[:3] if failed else whole))
    more = f"; {len(failed) - 3} more comparisons failed" if len(failed) > 3 else ""
    return ReplaySummary(
        outcome="Failed" if failed else "Passed",
        message=clip(f"{sent}: {said}{more}."),
        requests=count,
        compared=len(checks),
        checks=list(checks[:MOST_CHECKS]),
    )


def _sentence(check: ReplayCheck) -> str:
    where = f" where {check.slice} ({check.requests} requests)" if check.slice else ""
    unit = "% " if check.signal == "Disagreement" else ""
    proven = f", surely over {check.low:g}" if check.failed else ""
    return f"{check.percent:g} {unit}{_WORDS[check.signal]}{where}{proven} (limit {check.limit:g})"
