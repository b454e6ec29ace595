"""`python -m fairlead_runtime.serve`: serve the artifact that the input document names, until SIGTERM."""

from __future__ import annotations

import sys

from fairlead_runtime.serve.entry import run_with_input

from .process import serve


def main() -> int:
    """Run the server and return its exit code."""
    return run_with_input(serve, "server")


if __name__ == "__main__":
    sys.exit(main())
