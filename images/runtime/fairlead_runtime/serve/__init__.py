"""The server of one model version: answers predictions, counts them for the judge, captures them for drift.

Layers, each knowing only those above it: `signature`, `ids`, `counters`, `connection`, `http` -> `columns`, `models`
(what a model needs and gives) -> `predict`, `oip` (the public endpoints), `control`, `capture` -> `process`.
A prediction never passes through pydantic, a DataFrame or a framework: those were measured to be the cost.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairlead.contract.jobs import ServeInput
    from fairlead_runtime.store import Store


def run(document: ServeInput, store: Store) -> None:
    """Serve until SIGTERM; for `python -m fairlead_runtime`, which dispatches by the document's kind."""
    from .process import serve  # noqa: PLC0415 - a Job that imports a neighbour needs no event loop

    code = serve(document, os.environ)
    if code:
        raise SystemExit(code)
