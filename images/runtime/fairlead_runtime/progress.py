"""Progress lines on stdout: `FAIRLEAD {json}`, read by the operator from the pod's log.

Called by the Jobs; never more than a line per step, and never a value out of the data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from fairlead.contract import env
from fairlead.contract.training import Progress

from .errors import clip

MAX_METRICS = 10


def report(done: int, total: int, message: str = "", metrics: Mapping[str, float] | None = None) -> None:
    """Print one progress line and flush it; a metric that is no finite number is left out."""
    finite = {name: value for name, value in (metrics or {}).items() if math.isfinite(value)}
    progress = Progress(
        done=done, total=total, message=clip(message, 200), metrics=dict(list(finite.items())[:MAX_METRICS])
    )
    print(env.PROGRESS_PREFIX + json.dumps(progress.to_json_object()), flush=True)
