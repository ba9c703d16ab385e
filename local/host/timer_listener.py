"""The timer trigger: one run at a time, its schedule remembered between starts, one host for each data directory.

Behaviour re-implemented from azure-webjobs-sdk-extensions ``TimerListener.cs`` and ``ScheduleMonitor.cs``. Where Azure keeps the
status and the lock in blobs of ``azure-webjobs-hosts``, this host keeps files of the same shape in its data directory.
"""

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.host.clock import Clock, sleep_unless
from local.host.schedule import Schedule

logger = logging.getLogger("local.host.timer")

NEVER = datetime.min.replace(tzinfo=UTC)
"""What .NET's default DateTime says of a timer that never ran."""
LOCK_RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """When a timer ran last and is due next."""

    last: datetime
    next: datetime
    last_updated: datetime

    def as_json(self) -> dict[str, str]:
        """Give the status as the worker and the status file have it."""
        return {
            "Last": self.last.isoformat(),
            "Next": self.next.isoformat(),
            "LastUpdated": self.last_updated.isoformat(),
        }


class ScheduleMonitor:
    """Keeps the status of each timer in ``timers/{host id}/{function}/status``, so that a missed occurrence is made up for."""

    def __init__(self, directory: Path, host_id: str) -> None:
        self._directory = directory / "timers" / host_id

    def read(self, function_name: str) -> ScheduleStatus | None:
        """Give the status; None when there is none or it can't be read."""
        try:
            stored = json.loads(self._path(function_name).read_text(encoding="utf-8"))
            return ScheduleStatus(*(datetime.fromisoformat(stored[name]) for name in ("Last", "Next", "LastUpdated")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("timer %s: its status can't be read and starts anew: %s", function_name, error)
            return None

    def write(self, function_name: str, status: ScheduleStatus) -> None:
        """Keep the status; a reader sees the old one or the new one, never a part. A full disk doesn't stop the schedule."""
        path = self._path(function_name)
        unfinished = path.with_suffix(".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(status.as_json()), encoding="utf-8")
            unfinished.replace(path)
        except OSError as error:
            logger.warning("timer %s: its status can't be kept: %s", function_name, error)

    def _path(self, function_name: str) -> Path:
        return self._directory / function_name / "status"


class TimerLock:
    """At most one host with this data directory runs timers; the operating system frees the lock when its host dies."""

    def __init__(self, directory: Path, host_id: str) -> None:
        self._path = directory / "locks" / host_id / "timers"
        self._file: int | None = None

    def take(self) -> bool:
        """Take the lock; tell whether it is ours now."""
        if self._file is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(opened)
            return False
        self._file = opened
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


Execute = Callable[[dict[str, Any]], Awaitable[None]]
"""Run the function with the timer's JSON (IsPastDue, Schedule, ScheduleStatus). Never raises an Exception."""


class TimerListener:
    """Runs one timer function when it is due."""

    def __init__(
        self,
        function_name: str,
        schedule: Schedule,
        execute: Execute,
        clock: Clock,
        monitor: ScheduleMonitor | None,
        *,
        run_on_startup: bool = False,
    ) -> None:
        self.function_name = function_name
        self._schedule = schedule
        self._execute = execute
        self._clock = clock
        self._monitor = monitor
        self._run_on_startup = run_on_startup
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Run the function at each occurrence until ``stop`` is called; a run under way is awaited."""
        now = self._clock.now()
        status, past_due = self._start(now)
        if past_due or self._run_on_startup:
            status = await self._invoke(status, is_past_due=past_due, scheduled=False)
        while not await sleep_unless(self._stopping, self._clock, (status.next - self._clock.now()).total_seconds()):
            status = await self._invoke(status, is_past_due=False, scheduled=True)

    def stop(self) -> None:
        """Begin no more runs."""
        self._stopping.set()

    def timer_json(self, status: ScheduleStatus | None, *, is_past_due: bool) -> dict[str, Any]:
        """Give what the worker is told of an occurrence; the status only where it is monitored."""
        told = status.as_json() if status is not None and self._monitor is not None else None
        return {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": told, "IsPastDue": is_past_due}

    def _start(self, now: datetime) -> tuple[ScheduleStatus, bool]:
        first = ScheduleStatus(last=NEVER, next=self._schedule.next(now), last_updated=now)
        if self._monitor is None:
            return first, False
        stored = self._monitor.read(self.function_name)
        if stored is None:
            self._monitor.write(self.function_name, first)
            return first, False
        status = self._with_present_schedule(stored, now)
        if status != stored:
            self._monitor.write(self.function_name, status)
        return status, now > status.next

    def _with_present_schedule(self, stored: ScheduleStatus, now: datetime) -> ScheduleStatus:
        """Compute the next occurrence anew when the schedule has changed since; then it is not past due."""
        reference = stored.last if stored.last != NEVER else stored.last_updated
        expected = self._schedule.next(reference)
        if expected == stored.next:
            return stored
        ahead = expected if expected >= now else self._schedule.next(now)
        return replace(stored, last=NEVER, next=ahead, last_updated=reference)

    async def _invoke(self, status: ScheduleStatus, *, is_past_due: bool, scheduled: bool) -> ScheduleStatus:
        invoked_at = self._clock.now()
        await self._execute(self.timer_json(status, is_past_due=is_past_due))
        # A timer may wake slightly early; counted from there, the same occurrence would come twice.
        counted_from = max(invoked_at, status.next) if scheduled else invoked_at
        status = ScheduleStatus(last=counted_from, next=self._schedule.next(counted_from), last_updated=counted_from)
        if self._monitor is not None:
            self._monitor.write(self.function_name, status)
        return status


async def run_when_alone(lock: TimerLock, listeners: list[TimerListener], clock: Clock, stopping: asyncio.Event) -> None:
    """Run the timers once the lock is ours; until then try again every 60 s, as Azure's singleton listeners do."""
    while not lock.take():
        if await sleep_unless(stopping, clock, LOCK_RETRY_SECONDS):
            return
    try:
        await asyncio.gather(*(listener.run() for listener in listeners))
    finally:
        lock.release()
