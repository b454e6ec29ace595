"""`python -m fairlead_runtime.proxy`: stand in front of the server in the same pod, until SIGTERM."""

from __future__ import annotations

import sys

from fairlead_runtime.serve.entry import run_with_input

from .process import run


def main() -> int:
    """Run the proxy and return its exit code."""
    return run_with_input(run, "proxy")


if __name__ == "__main__":
    sys.exit(main())
