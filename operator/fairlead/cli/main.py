"""`kubectl fairlead`: reads the words, runs one verb, turns errors into one sentence.

Exit codes: 0 done (wait: Ready); of wait 1 refused, 2 inconclusive, 3 time is up; 4 wrong words, forbidden or no
cluster, so that a pipeline never takes a typing error for a verdict.
The entry point `kubectl-fairlead` on PATH is what makes it a plugin of kubectl.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from fairlead.contract.base import duration_s
from fairlead.contract.printable import in_lines
from fairlead.kube.connection import NoConnectionError
from fairlead.kube.errors import KubeError

from . import commands
from .asks import CannotAskError, Decision
from .commands import Session
from .lineage import UnknownAnswerError
from .manifests import ManifestError
from .planning import Telling, plan, plan_offline
from .saved import SavedError
from .subjects import Subject, SubjectError, read_subject
from .tracing import lineage
from .waiting import Wish, wait

FAILED = 4
# What a person did or met; anything else is a fault of ours and shows where.
TOLD = (
    KubeError,
    NoConnectionError,
    CannotAskError,
    SubjectError,
    SavedError,
    UnknownAnswerError,
    ManifestError,
    OSError,
)
Verb = Callable[[Session, argparse.Namespace], Awaitable[int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    given = _build_parser().parse_args(arguments)
    try:
        return asyncio.run(_run(given))
    except TOLD as error:
        print(in_lines(f"kubectl fairlead {given.verb}: {error}"), file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130


async def _run(given: argparse.Namespace) -> int:
    subject = _subject(given)  # wrong words are told before the cluster is asked
    if subject is not None:
        given.subject = subject
    if getattr(given, "objects", None):
        return await plan_offline(given, Telling(commands.say, commands.timestamp()))
    async with commands.open_session(given.kubeconfig, given.context, given.namespace) as session:
        code: int = await given.run(session, given)
        return code


def _subject(given: argparse.Namespace) -> Subject | None:
    return read_subject(given.words) if hasattr(given, "words") else None


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="kubectl fairlead", description="What Fairlead does, why, and what a person decides.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add(verbs, "tree", "the namespace's objects and how they hand over", lambda s, _: commands.show_tree(s))
    _add_subject(verbs, "why", "why an object is as it is", lambda s, g: commands.show_why(s, g.subject))
    _add_waiting(verbs)
    planning = _add(verbs, "plan", "what would happen if these manifests were applied; writes nothing", plan)
    planning.add_argument("-f", "--file", required=True, action="append", metavar="FILE", help="-: standard input")
    planning.add_argument(
        "--objects", metavar="FILE", help="saved objects instead of the cluster's, which is not asked"
    )
    tracing = _add(verbs, "lineage", "what made an answer: version, gates, approver, data, code, image", lineage)
    tracing.add_argument("answer", metavar="ANSWER", help="its id, revision or version; -: its headers, by stdin")
    tracing.add_argument("-A", "--all-namespaces", action="store_true", help="search all namespaces")
    tracing.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default text")
    decisions: tuple[tuple[str, Decision], ...] = (("approve", "Approved"), ("reject", "Rejected"))
    for verb, decision in decisions:
        deciding = _add_named(verbs, verb, "MODELVERSION", f"{verb} a version, as yourself", _deciding(decision))
        deciding.add_argument("--reason", required=True, help="why; it is recorded in the object")
    requests = (
        ("rollback", "INFERENCESERVICE", "return to the last good revision now"),
        ("retry", "INFERENCESERVICE", "try again what ended without a verdict"),
        ("retrain", "DRIFTMONITOR", "retrain now, without waiting for drift or cooldown"),
        ("refresh", "DATASET", "read the source again now"),
    )
    for verb, what, text in requests:
        _add_named(verbs, verb, what, text, lambda s, g: commands.request(s, g.verb, g.name))
    _add_named(verbs, "promote", "INFERENCESERVICE", "let a revision serve that is ready and waits for a person",
               lambda s, g: commands.promote(s, g.name))  # fmt: skip
    lifting = _add_named(
        verbs, "override", "INFERENCESERVICE", "lift the refusal of a version, on record",
        lambda s, g: commands.override(s, g.name, g.version, g.reason),
    )  # fmt: skip
    lifting.add_argument("--version", required=True, metavar="MODELVERSION", help="the refused version")
    lifting.add_argument("--reason", required=True, help="why; it is recorded in the object")
    _add_keeping(verbs)
    return parser


def _add_waiting(verbs: _Verbs) -> None:
    """Add the verb that pipelines wait with."""
    waiting = _add_subject(
        verbs, "wait", "until it is decided: exit 0 passed, 1 refused, 2 inconclusive, 3 time is up", _waiting
    )
    waiting.add_argument("--timeout", type=_duration, default="10m", metavar="DURATION", help="default 10m")
    waiting.add_argument("--version", default="", metavar="MODELVERSION", help="of a service: what becomes of it")
    waiting.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit report: gates, rollout")
    waiting.add_argument("--summary", type=Path, metavar="FILE", help="append Markdown, as to $GITHUB_STEP_SUMMARY")


def _waiting(session: Session, given: argparse.Namespace) -> Awaitable[int]:
    return wait(session, Wish(given.subject, given.timeout, given.version, given.junit, given.summary))


def _add_keeping(verbs: _Verbs) -> None:
    """Add the verbs for those who keep an installation."""
    saving = _add(verbs, "backup", "all objects with what was decided, as a file", commands.backup)
    saving.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    saving.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    restoring = _add(verbs, "restore", "put back what a backup holds; what exists is left alone", commands.restore)
    restoring.add_argument("-f", "--file", required=True, metavar="FILE", help="the backup; -: standard input")
    gathering = _add(verbs, "gather", "a support bundle: objects, events, logs, metrics; no secrets", commands.gather)
    gathering.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    gathering.add_argument("--operator-namespace", help="default: wherever an operator is found")
    gathering.add_argument("-o", "--output", metavar="FILE", help="default: fairlead-<time>.tar.gz")


class _Parser(argparse.ArgumentParser):
    """Ends with our own code where words are wrong: 2 is a verdict."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how the verb is used."""
        self.print_usage(sys.stderr)
        self.exit(FAILED, f"{self.prog}: {message}\n")


def _deciding(decision: Decision) -> Verb:
    return lambda session, given: commands.decide(session, given.name, decision, given.reason)


def _duration(text: str) -> float:
    try:
        return duration_s(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


_Verbs: TypeAlias = "argparse._SubParsersAction[_Parser]"


def _add(verbs: _Verbs, verb: str, text: str, run: Verb) -> argparse.ArgumentParser:
    parser = verbs.add_parser(verb, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("-n", "--namespace", help="default: the context's")
    parser.add_argument("--context", help="context of the kubeconfig; default: the current one")
    parser.add_argument("--kubeconfig", help="file; default: KUBECONFIG, else ~/.kube/config")
    parser.set_defaults(run=run)
    return parser


def _add_named(verbs: _Verbs, verb: str, what: str, text: str, run: Verb) -> argparse.ArgumentParser:
    parser = _add(verbs, verb, text, run)
    parser.add_argument("name", metavar=what)
    return parser


def _add_subject(verbs: _Verbs, verb: str, text: str, run: Verb) -> argparse.ArgumentParser:
    parser = _add(verbs, verb, text, run)
    parser.add_argument("words", nargs="+", metavar="KIND/NAME", help="such as mver/fraud-2 or InferenceService/fraud")
    return parser


if __name__ == "__main__":
    sys.exit(main())
