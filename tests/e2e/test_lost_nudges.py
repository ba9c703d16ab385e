"""The whole grant with every nudge of a commit lost: the sweep alone finishes it, through the real host, queues and tables."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from local import demo, ports
from local.host.host import Host
from local.microsoft365.__main__ import ready
from local.microsoft365.clock import Clock
from local.microsoft365.server import Options, serve
from local.stack import app_settings_of
from shared import container as containers
from shared import settings as app_settings
from shared.domain.grant import SUCCESS_MESSAGE, Nudge
from shared.ports import DueIndex, Nudges
from tests.conftest import CONTRACTS
from tests.support.grantline import TestClock
from tests.support.hosts import hosted, never
from tests.support.stacks import quietly

SWEEP_PAUSE = 0.3
NEAR = timedelta(minutes=3)


@dataclass
class LosingNudges:
    """Loses what commits send; what the sweep sends arrives."""

    inner: Nudges
    lost: list[Nudge] = field(default_factory=list)

    async def send(self, nudge: Nudge, *, delay: timedelta) -> None:
        """Send the nudge, unless a commit does."""
        if nudge.cause == "sweep":
            await self.inner.send(nudge, delay=delay)
        else:
            self.lost.append(nudge)


@pytest.mark.timeout(240)
async def test_the_sweep_alone_finishes_a_grant(storage_connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No nudge of a commit arrives; time is moved from one due minute to the next."""
    console = f"http://localhost:{ports.reserve(0)}"
    contracts = CONTRACTS if CONTRACTS.is_dir() else None
    async with serve(Options(users=12, console=console, contracts=contracts)) as simulation:
        facts = ready(simulation)
        environment = app_settings_of(storage_connection, facts, console, "A" * 43)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        clock = TestClock()
        async with _host(environment, clock, tmp_path) as (host, losing):
            local = demo.Local(console, facts["url"], facts["ca_file"], facts["people"][0], lambda: host.master_key, never)
            due = (await containers.current()).storage.due
            sweeping = asyncio.create_task(_sweep_on(host, due, (clock, simulation.clock), console))
            receipt = await demo.run(local, demo.Plan(patience=30), quietly)
            sweeping.cancel()

    assert receipt["message"] == SUCCESS_MESSAGE
    assert len(losing.lost) >= 8


@asynccontextmanager
async def _host(environment: dict[str, str], clock: TestClock, data: Path) -> AsyncIterator[tuple[Host, LosingNudges]]:
    """Run the embedded host in this process on a container whose nudges are lost."""
    made: list[LosingNudges] = []

    def losing(inner: Nudges) -> Nudges:
        made.append(LosingNudges(inner))
        return made[0]

    container = await containers.build(app_settings.load(environment), containers.Overrides(clock, losing))
    try:
        async with hosted(container, environment, data) as host:
            yield host, made[0]
    finally:
        await container.close()


async def _sweep_on(host: Host, due: DueIndex, clocks: tuple[TestClock, Clock], console: str) -> None:
    """Move the time to the next due minute and run the sweep, again and again, as an operator may by the host's admin address.

    Microsoft's time is moved with ours: a sign-in that is minutes older than what it was begun with would not be a new one.

    The time stands still while a function runs, and while nothing but a person could move the grant: that wait is due in days.
    """
    clock, microsofts = clocks
    headers = {"x-functions-key": host.master_key}
    async with httpx.AsyncClient(base_url=console, headers=headers, trust_env=False) as client:
        while True:
            await asyncio.sleep(SWEEP_PAUSE)
            if host.drain_status()["outstandingInvocations"]:
                continue
            rows = await due.until(clock() + NEAR)
            if rows:
                clock.advance_to(rows[0].at)
                microsofts.offset = clock.offset
            answer = await client.post("/admin/functions/sweep", json={"input": ""})
            assert answer.status_code == 202
