"""Which time a check looks at: from the scheduled minute backwards, never before the last promotion.

Called by `monitor.job`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_SCHEDULED = re.compile(r"-(\d{8,9})$")  # minutes since 1970: eight digits from 1989 to 2160
_BELIEVABLE = timedelta(days=7)  # a number further away is part of a name somebody chose
_LONGEST = timedelta(days=400)


@dataclass(frozen=True)
class Window:
    """Start (inclusive) and end (exclusive), UTC."""

    start: datetime
    end: datetime

    @property
    def key(self) -> str:
        """Return the end as report folders are named."""
        return self.end.strftime("%Y%m%dT%H%MZ")

    def hours(self) -> list[tuple[str, str]]:
        """Return (YYYY-MM-DD, HH) of every hour that the window touches."""
        return hours_between(self.start, self.end)


def hours_between(start: datetime, end: datetime) -> list[tuple[str, str]]:
    """Return (YYYY-MM-DD, HH) of every hour that [start, end) touches, at most 400 days."""
    hour = max(start, end - _LONGEST).replace(minute=0, second=0, microsecond=0)
    found = []
    while start < end and hour < end:
        found.append((hour.strftime("%Y-%m-%d"), hour.strftime("%H")))
        hour += timedelta(hours=1)
    return found


def window_of(job_name: str, now: datetime, window_s: float, not_before: str | None) -> Window:
    """Return the window of a check; a Job that was not made by a CronJob looks at the time up to now."""
    end = _scheduled(job_name, now) or now.replace(second=0, microsecond=0)
    start = end - timedelta(seconds=window_s)
    if not_before:
        start = max(start, instant(not_before))
    return Window(min(start, end), end)


def instant(text: str) -> datetime:
    """Return an RFC 3339 time; one without an offset is UTC."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def rfc3339(moment: datetime) -> str:
    """Return a time as Kubernetes writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _scheduled(job_name: str, now: datetime) -> datetime | None:
    match = _SCHEDULED.search(job_name)
    if match is None:
        return None
    moment = datetime.fromtimestamp(int(match.group(1)) * 60, UTC)
    return moment if abs(moment - now) <= _BELIEVABLE else None
