"""`python -m fairlead_runtime`: read the input document, run what its kind says, leave a summary and an exit code.

0: done. 10: the input cannot work (ErrorInfo for the user). 20: the store or network. Anything else is a failing
program: its traceback goes to stderr and its last line into ErrorInfo ProgramFailed. No secret is ever printed.
`fetch` and `publish` are the two containers around a user's training container.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from fairlead.contract import env
from fairlead.contract.base import Model
from fairlead.contract.jobs import ErrorInfo, JobInput
from fairlead.contract.printable import in_lines, one_line

from .errors import BadInput, JobError, clip
from .store import open_store
from .summary import redact, write_summary

# kind -> "module:function", imported only when asked for: the server's image has no scikit-learn.
# A function takes the input document and the store, and returns its summary (None: it said all it had to say).
RUNNERS = {
    "Snapshot": "fairlead_runtime.snapshot.job:run",
    "Train": "fairlead_runtime.train.job:run",
    "Collect": "fairlead_runtime.collect:run",
    "Cleanup": "fairlead_runtime.cleanup:run",
    "Evaluate": "fairlead_runtime.evaluate.job:run",
    "Compare": "fairlead_runtime.compare.job:run",
    "Monitor": "fairlead_runtime.monitor.job:run",
    "Replay": "fairlead_runtime.replay.job:run",
    "Report": "fairlead_runtime.report.job:run",
    "Serve": "fairlead_runtime.serve:run",
    "fetch": "fairlead_runtime.train.container:fetch",
    "publish": "fairlead_runtime.train.container:publish",
}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_IO_THREADS")


def main(arguments: Sequence[str] = ()) -> int:
    """Run one Job and return its exit code."""
    signal.signal(signal.SIGTERM, _end)  # as process 1 there is no default action, and a pod would take 30 s to go
    _limit_threads()
    try:
        summary = _run(arguments[0] if arguments else "")
    except JobError as error:
        print(one_line(redact(str(error), os.environ)), file=sys.stderr)
        write_summary(error.to_error_info(), os.environ)
        return error.exit_code
    except Exception:  # the one place that may: a failing program is an outcome, and must be told as one
        return _program_failed()
    if summary is not None:
        write_summary(summary, os.environ)
    return env.EXIT_OK


def _run(command: str) -> Model | None:
    document = read_input()
    run = _runner(command or str(document.kind))
    return run(document, open_store())


def read_input() -> Any:
    """Return the input document; raise InputInvalid if it is not there or not one of the contract's."""
    path = Path(os.environ.get(env.INPUT_FILE, env.INPUT_PATH))
    try:
        return TypeAdapter[Any](JobInput).validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput("InputInvalid", f"the input document {path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput("InputInvalid", f"the input document is not of this version: {where}: {first['msg']}") from None


def _runner(name: str) -> Callable[[Any, Any], Model | None]:
    if name not in RUNNERS:
        raise BadInput("InputInvalid", f"{name!r} is none of {', '.join(RUNNERS)}")
    module, function = RUNNERS[name].split(":")
    runner: Callable[[Any, Any], Model | None] = getattr(importlib.import_module(module), function)
    return runner


def _program_failed() -> int:
    text = redact(traceback.format_exc(), os.environ)
    print(in_lines(text, "  "), file=sys.stderr, flush=True)  # indented: no value in it passes for progress
    last = text.strip().splitlines()[-1]
    write_summary(ErrorInfo(reason="ProgramFailed", message=clip(last)), os.environ)
    return 1


def _limit_threads() -> None:
    # a thread that spins at a barrier burns the pod's quota: HistGradientBoosting took minutes instead of seconds
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    cpus = os.environ.get(env.CPU_LIMIT, "")
    for variable in THREAD_VARIABLES if cpus else ():
        os.environ.setdefault(variable, cpus)


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
