"""When a timer function is due: NCRONTAB expressions and time spans, always in UTC, as in Azure.

Rules: azure-webjobs-sdk-extensions ``TimerSchedule.cs``, ``CronSchedule.cs``; the syntax is NCrontab's (atifaziz/NCrontab).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Protocol

from croniter import CroniterError, croniter

from local.host.configuration import time_span

SHORTEST_MONITORED = timedelta(minutes=1)
_OCCURRENCES_LOOKED_AT = 10


class Schedule(Protocol):
    """Tells the next occurrence."""

    def next(self, after: datetime) -> datetime:
        """Give the first occurrence later than this time."""


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """An NCRONTAB expression: six fields, the seconds first, or five without them."""

    expression: str

    def next(self, after: datetime) -> datetime:
        """Give the next occurrence; a day must match the day of month *and* the day of week, unlike Unix cron."""
        found: datetime = croniter(self.expression, after, second_at_beginning=True, day_or=False).get_next(datetime)
        return found


@dataclass(frozen=True, slots=True)
class IntervalSchedule:
    """A time span: the next occurrence is so long after the last."""

    interval: timedelta

    def next(self, after: datetime) -> datetime:
        """Add the interval."""
        return after + self.interval


def parse_schedule(text: str) -> Schedule:
    """Read a schedule; raise ValueError when it is neither an NCRONTAB expression nor a time span."""
    fields = text.split()
    if len(fields) in {5, 6} and _is_cron(text):
        return CronSchedule(text)
    try:
        interval = time_span(text)
    except ValueError:
        raise ValueError(f"schedule {text!r} is neither an NCRONTAB expression nor a time span") from None
    if interval <= timedelta(0):
        raise ValueError(f"schedule {text!r} must be longer than no time at all")
    return IntervalSchedule(interval)


def _is_cron(text: str) -> bool:
    try:
        croniter(text, second_at_beginning=True, day_or=False)
    except CroniterError:
        return False
    return True


def _occurrences(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    for _ in range(_OCCURRENCES_LOOKED_AT):
        after = schedule.next(after)
        yield after


def is_monitored(schedule: Schedule, now: datetime) -> bool:
    """Tell whether the schedule monitor serves this schedule: not when it comes more than once a minute."""
    return all(later - earlier >= SHORTEST_MONITORED for earlier, later in pairwise(_occurrences(schedule, now)))
