"""Running a small function app in the test's own process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import azure.functions as func
import httpx

from local.host import Host, HostOptions
from tests.host.doubles import FakeClock, MemoryQueues

LOOK_SECONDS = 0.01

SETTINGS = {"Storage": "only-its-presence-counts"}
HOST_JSON: Mapping[str, Any] = {
    "version": "2.0",
    "extensions": {
        "http": {"routePrefix": ""},
        "queues": {"batchSize": 16, "newBatchThreshold": 8, "visibilityTimeout": "00:00:30", "maxPollingInterval": "00:00:02"},
    },
}


@dataclass(frozen=True, slots=True)
class Running:
    """A host at work on queues in memory, and a client of its HTTP side."""

    host: Host
    clock: FakeClock
    queues: MemoryQueues
    client: httpx.AsyncClient

    @property
    def as_admin(self) -> dict[str, str]:
        """Headers with the master key."""
        return {"x-functions-key": self.host.master_key}


@asynccontextmanager
async def running(
    app: func.FunctionApp,
    data: Path,
    *,
    host_json: Mapping[str, Any] = HOST_JSON,
    settings: Mapping[str, str] = SETTINGS,
    clock: FakeClock | None = None,
    grace: float = 5,
) -> AsyncIterator[Running]:
    """Run an app."""
    clock = clock or FakeClock()
    queues = MemoryQueues(clock)
    options = HostOptions(data=data, host_json=host_json, environment=settings, grace=grace)
    async with (
        Host(app, options, queues=queues, clock=clock, random=lambda: 0.5) as host,
        httpx.AsyncClient(base_url=host.url) as client,
    ):
        await clock.settle()
        yield Running(host, clock, queues, client)


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait for what another process or thread does; the test's own timeout ends a wait without an end."""
    while True:
        if await condition():
            return
        await asyncio.sleep(LOOK_SECONDS)
