"""Makes, loads and removes the kind cluster that people and the end-to-end tests both use.

Run as `python3 -m hack.cluster <verb>` from the top of the checkout. Nothing here is imported by
product code, and nothing outside the Python standard library is imported here: it has to work on a
machine where nothing has been installed yet.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - said before a module that an older one cannot read is imported
    found = ".".join(str(part) for part in sys.version_info[:2])
    sys.exit(
        f"Python 3.11 or newer is needed, and {sys.executable} is {found}.\n"
        "  Install a newer one; then again, naming it: make PYTHON=python3.13 ..."
    )
