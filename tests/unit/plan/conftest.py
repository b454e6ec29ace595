"""Makes the happenings of serving known to the stories."""

import tests.unit.plan.serving  # noqa: F401
