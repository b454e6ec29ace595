"""When a cron schedule is due, in UTC; a thin face of cronsim, which reads what Debian's cron reads.

Used by every planner with a schedule of its own. It never reads a clock: the caller says when it is.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}


class BadSchedule(ValueError):  # noqa: N818 - said of the schedule, raised to be shown
    """The text is not a cron schedule; the message is for people."""


def next_time(schedule: str, after: datetime) -> datetime:
    """Return the first scheduled minute strictly after `after`, in UTC.

    Raises:
        BadSchedule: the schedule cannot be read, or names a day that never comes.
    """
    return _first(schedule, after, reverse=False)


def last_time(schedule: str, at: datetime) -> datetime:
    """Return the newest scheduled minute at or before `at`, in UTC; a missed one is found that way.

    Raises:
        BadSchedule: the schedule cannot be read, or names a day that never comes.
    """
    minute = at.astimezone(UTC).replace(second=0, microsecond=0)
    following = next_time(schedule, minute)
    return _first(schedule, following, reverse=True)


def _first(schedule: str, start: datetime, *, reverse: bool) -> datetime:
    text = _MACROS.get(schedule.strip(), schedule)
    try:
        found: datetime = next(CronSim(text, start.astimezone(UTC), reverse=reverse))
    except CronSimError as error:
        raise BadSchedule(
            f"schedule {schedule!r}: {error}; write five fields such as '0 3 * * 1', or @daily"
        ) from error
    except StopIteration as error:
        raise BadSchedule(f"schedule {schedule!r} names a day that never comes") from error
    return found
