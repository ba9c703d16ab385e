"""The composition root: builds everything from the settings. The only place that knows which part implements which port."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from shared import settings as app_settings
from shared import telemetry
from shared.commands import Commands
from shared.domain import schedule
from shared.domain.grant import Facts, Grant, Row, Step
from shared.engine import Engine
from shared.inbox import Inbox
from shared.mailflow.snapshot import CHANGE_ROWS, FORMER_ROWS, WRITTEN_ROWS
from shared.microsoft import open_microsoft
from shared.ports import NOT_GRANTED, AccountRow, Clock, GrantStore, Microsoft, Nudges
from shared.resolver import DnsResolver
from shared.settings import Settings
from shared.storage import Storage, open_storage
from shared.web.links import OnboardingLinks
from shared.web.ownership import Ownership
from shared.web.redirects import ConsentFlow
from shared.web.site import Site
from shared.workflows.run import Clients, Run
from shared.workflows.table import WORKFLOWS


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class GrantJournal:
    """The record of changes in a tenant, as rows of the grant's partition (``workflows.run.Journal``)."""

    grants: GrantStore
    grant_id: str
    clock: Clock

    async def before(self, object_name: str, former: Mapping[str, Any], written: Mapping[str, Any]) -> None:
        """Insert one row for each former value; a row that is there already holds the older, true one."""
        formers = [
            self._row(f"{FORMER_ROWS}{object_name}|{name}", object=object_name, property=name, former=value)
            for name, value in former.items()
        ]
        writes = [
            self._row(f"{WRITTEN_ROWS}{object_name}|{name}", object=object_name, property=name, written=value)
            for name, value in written.items()
        ]
        inserted = (self.grants.insert(self.grant_id, row) for row in formers)
        await asyncio.gather(*inserted, *(self.grants.put(self.grant_id, row) for row in writes))

    async def after(self, object_name: str, result: Mapping[str, Any]) -> None:
        """Write what the last change of the object came to."""
        await self.grants.put(self.grant_id, self._row(f"{CHANGE_ROWS}{object_name}", **result))

    def _row(self, key: str, **value: Any) -> Row:
        return Row(key, {**value, "at": schedule.stamp(self.clock())})


@dataclass(frozen=True, slots=True)
class PartitionRows:
    """The rows of one grant's partition (``workflows.run.GrantRows``)."""

    grants: GrantStore
    grant_id: str

    async def row(self, key: str) -> Facts | None:
        """Return one row, or None."""
        return await self.grants.row(self.grant_id, key)

    async def rows(self, prefix: str, *, of: str = "") -> list[Row]:
        """Return the rows whose key begins with ``prefix``, in key order; those of another grant where ``of`` names one."""
        return await self.grants.rows(of or self.grant_id, prefix)

    async def put(self, row: Row) -> None:
        """Write one row; last one wins."""
        await self.grants.put(self.grant_id, row)


@dataclass(frozen=True, slots=True)
class Container:
    """Everything that a function needs, for one event loop."""

    settings: Settings
    storage: Storage
    microsoft: Microsoft
    engine: Engine
    inbox: Inbox
    site: Site

    async def list_account(self, account_id: str, account_name: str) -> None:
        """Put an account without a grant into the console's list; one that has a grant stays as it is."""
        if await self.storage.bindings.live_grant(account_id) is None:
            await self.storage.accounts.put(AccountRow(account_id, account_name, "", NOT_GRANTED, (), None, None, None))

    async def close(self) -> None:
        """Close every connection."""
        await self.microsoft.close()
        await self.storage.close()


@dataclass(frozen=True, slots=True)
class Overrides:
    """What tests put in the place of the real thing."""

    clock: Clock = utc_now
    nudges: Callable[[Nudges], Nudges] = field(default=lambda nudges: nudges)


async def _holds_step(grants: GrantStore, grant_id: str, step: Step) -> bool:
    """Tell whether the run that took ``step`` still holds it."""
    stored = await grants.load(grant_id)
    return stored is not None and stored.grant.steps[step.name].run_id == step.run_id


async def build(settings: Settings, overrides: Overrides | None = None) -> Container:
    """Build a container: storage and its tables opened, nothing of Microsoft's asked yet."""
    parts = overrides or Overrides()
    telemetry.set_up()
    storage = await open_storage(settings)
    microsoft = open_microsoft(settings)

    @asynccontextmanager
    async def open_run(grant: Grant, step: Step, deadline: datetime) -> AsyncIterator[Run]:
        clients = Clients(
            microsoft=open_microsoft(settings),
            journal=GrantJournal(storage.grants, grant.grant_id, parts.clock),
            rows=PartitionRows(storage.grants, grant.grant_id),
            directory=storage.directory,
            bindings=storage.bindings,
            probes=storage.probes,
            resolver=DnsResolver(*settings.dns_server) if settings.dns_server else None,
        )
        try:
            holds_step = partial(_holds_step, storage.grants, grant.grant_id, step)
            yield Run(grant, step, clients, settings, parts.clock, deadline, holds_step)
        finally:
            await clients.microsoft.close()

    engine = Engine(
        grants=storage.grants,
        due=storage.due,
        nudges=parts.nudges(storage.nudges),
        events=storage.events,
        accounts=storage.accounts,
        workflows=WORKFLOWS,
        open_run=open_run,
        clock=parts.clock,
    )
    commands = Commands(engine, storage.bindings, settings)
    consent = ConsentFlow(engine, Ownership(engine, storage.bindings), microsoft, settings)
    links = OnboardingLinks(engine, settings)
    return Container(
        settings=settings,
        storage=storage,
        microsoft=microsoft,
        engine=engine,
        inbox=Inbox(engine, commands, storage.dead_letters, storage.poison),
        site=Site(settings, storage.grants, storage.accounts, microsoft, commands, consent, links),
    )


_CONTAINERS: WeakKeyDictionary[asyncio.AbstractEventLoop, "asyncio.Future[Container]"] = WeakKeyDictionary()


async def current() -> Container:
    """Return this event loop's container, built from the environment at its first use.

    Clients of Azure and of Microsoft belong to the loop that first used them; a worker process has one loop.
    """
    loop = asyncio.get_running_loop()
    built = _CONTAINERS.get(loop)
    if built is None or (built.done() and (built.cancelled() or built.exception())):
        built = _CONTAINERS[loop] = asyncio.ensure_future(build(app_settings.load(os.environ)))
    return await asyncio.shield(built)


def install(container: Container) -> None:
    """Make ``container`` the running loop's own: for tests, and for whoever embeds the functions."""
    loop = asyncio.get_running_loop()
    built: asyncio.Future[Container] = loop.create_future()
    built.set_result(container)
    _CONTAINERS[loop] = built
