"""The simulated tenant's clock: real time, moved by an offset that tests and the control interface set."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def system_time() -> datetime:
    """The machine's time in UTC."""
    return datetime.now(UTC)


class Clock:
    """Tells the simulation's time. Tests pass a source of their own, so that no test waits for real time."""

    def __init__(self, source: Callable[[], datetime] = system_time) -> None:
        self._source = source
        self.offset = timedelta(0)

    def now(self) -> datetime:
        """The time now: aware, UTC, offset included."""
        return self._source() + self.offset

    def advance(self, seconds: float) -> None:
        """Move the clock ahead by `seconds` (back, where they are negative)."""
        self.offset += timedelta(seconds=seconds)


def timestamp(moment: datetime) -> str:
    """`moment` as Graph writes times: `2026-08-20T10:00:00Z`, whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
