"""The host's time: everything that waits or reads the time does it through a clock that a test can drive."""

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """Tell the present time, in UTC with its zone set."""

    async def sleep(self, seconds: float) -> None:
        """Return when this many seconds have passed; a number below zero is zero."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Tell the present time, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(max(seconds, 0))


async def sleep_unless(event: asyncio.Event, clock: Clock, seconds: float) -> bool:
    """Wait until the time has passed or the event is set, whichever is first; tell whether the event is set."""
    waits = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(event.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return event.is_set()
