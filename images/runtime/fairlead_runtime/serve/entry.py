"""The entry of a pod that answers requests: read its input, run, and say by exit code and last words why it ended.

0: drained and ended. 10: the artifact cannot be had or served (ErrorInfo in the termination message). 20: the store.
Anything else is a failing program: its traceback is what the kubelet keeps. It must never print a secret, nor catch
what is no error of ours. Called by `__main__` of the server and of the proxy.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping

from fairlead.contract.jobs import ServeInput
from fairlead.contract.printable import one_line
from fairlead_runtime.__main__ import read_input
from fairlead_runtime.errors import BadInput, JobError
from fairlead_runtime.summary import redact, write_summary

Run = Callable[[ServeInput, Mapping[str, str]], int]


def run_with_input(run: Run, what: str) -> int:
    """Run a server or a proxy (`what`) with the pod's input and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        document = read_input()
        if not isinstance(document, ServeInput):
            raise BadInput("InputInvalid", f"the input document is of kind {document.kind}, a {what} needs Serve")
        return run(document, os.environ)
    except JobError as error:
        print(one_line(redact(str(error), os.environ)), file=sys.stderr)
        write_summary(error.to_error_info(), os.environ)
        return error.exit_code
