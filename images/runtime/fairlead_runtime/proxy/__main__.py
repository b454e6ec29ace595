"""`python -m fairlead_runtime.proxy`: stand in front of the server in the same pod, until SIGTERM.

0: drained and ended. 10: the artifact cannot be had (ErrorInfo in the termination message). 20: the store.
"""

from __future__ import annotations

import logging
import os
import sys

from fairlead.contract.jobs import ServeInput
from fairlead.contract.printable import one_line
from fairlead_runtime.__main__ import read_input
from fairlead_runtime.errors import BadInput, JobError
from fairlead_runtime.summary import redact, write_summary

from .process import run


def main() -> int:
    """Run the proxy and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        document = read_input()
        if not isinstance(document, ServeInput):
            raise BadInput("InputInvalid", f"the input document is of kind {document.kind}, a proxy needs Serve")
        return run(document, os.environ)
    except JobError as error:
        print(one_line(redact(str(error), os.environ)), file=sys.stderr)
        write_summary(error.to_error_info(), os.environ)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
