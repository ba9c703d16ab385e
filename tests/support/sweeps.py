"""What a sweep costs: an Azurite with any number of grants, some of them due, and every request that a sweep makes, counted.

Azurite looks through a whole partition for each insert, and all due rows are one partition: writing 100,000 of them through its
protocol takes minutes. So the grants that are due are made by Grantline itself, and the rows of all others are put into the file
that Azurite keeps its tables in while it is stopped. Table storage sees no difference between the two.
"""

import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import pytest
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.queue.aio import QueueClient

from local import azurite
from shared import settings
from shared.container import Container, Overrides, build
from shared.domain import schedule
from shared.domain.decision import Decision
from shared.domain.grant import Direction, Grant, Intent, Scope, Step
from shared.domain.steps import STEPS, StepName, StepState
from shared.ports import DueRow
from shared.storage import keys
from shared.storage.due import PARTITION, VERSION, _row_key
from shared.storage.grants import GRANT_ROW
from shared.storage.table import each
from tests.support.app_settings import APP_SETTINGS

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
SIX_HOURS = timedelta(hours=6)
AT_ONCE = 8
DATABASE = "__azurite_db_table__.json"
Request = tuple[str, str]
"""A request's method, and what it is for: its table or queue, without keys."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one sweep found, asked for and sent: the requests by kind, the queries' filters, the nudges that are in the queue."""

    found: int
    requests: Counter[Request]
    filters: tuple[str, ...]
    nudges: int
    seconds: float


@asynccontextmanager
async def grants(location: Path, *, due: int, of: int) -> AsyncIterator[Container]:
    """Open Grantline on an Azurite that keeps its files at ``location`` and has ``of`` complete grants, ``due`` of them due."""
    async with await azurite.start(location) as storage, opened(storage) as parts:
        await each(lambda grant: parts.storage.due.put(DueRow(NOW, grant.grant_id)), map(complete, range(due)), AT_ONCE)
        await each(lambda grant: parts.storage.grants.create(Decision(grant)), map(complete, range(due)), AT_ONCE)
    later = [grant_id(number) for number in range(due, of)]
    fill(location, "grants", ({**keys.entity(one, GRANT_ROW, {"version": 1}), "account_id": one} for one in later))
    fill(location, "due", (keys.entity(PARTITION, _row_key(due_row(one)), {"version": VERSION}) for one in later))
    async with await azurite.start(location) as storage, opened(storage) as parts:
        yield parts


@asynccontextmanager
async def opened(storage: azurite.Azurite) -> AsyncIterator[Container]:
    """Open Grantline on this storage, at ``NOW``."""
    loaded = settings.load(APP_SETTINGS | {"AzureWebJobsStorage": storage.connection_string})
    parts = await build(loaded, Overrides(clock=lambda: NOW))
    try:
        yield parts
    finally:
        await parts.close()


async def swept(parts: Container) -> Sweep:
    """Sweep once, and count what that takes."""
    begun = time.perf_counter()
    with counted() as (requests, filters):
        found = await parts.engine.sweep()
    seconds = time.perf_counter() - begun
    queue = str(STEPS[StepName.DAILY_SYNC].queue)
    async with QueueClient.from_connection_string(parts.settings.storage_connection.get_secret_value(), queue) as client:  # type: ignore[union-attr] # an Azurite has one
        nudges = (await client.get_queue_properties()).approximate_message_count
    return Sweep(found, requests, tuple(filters), nudges or 0, seconds)


@contextmanager
def counted() -> Iterator[tuple[Counter[Request], list[str]]]:
    """Count every request that leaves through the Azure SDK's transport, retries too, and keep the filters of queries."""
    requests: Counter[Request] = Counter()
    filters: list[str] = []
    send = AioHttpTransport.send

    async def sent(self: AioHttpTransport, request: Any, **options: Any) -> Any:
        address = urlsplit(request.url)
        requests[request.method, re.sub(r"\(.*\)", "", unquote(address.path).split("/", 2)[2])] += 1
        filters.extend(unquote(part.removeprefix("$filter=")) for part in address.query.split("&") if part.startswith("$filter="))
        return await send(self, request, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AioHttpTransport, "send", sent)
        yield requests, filters


def grant_id(number: int) -> str:
    """Return the id of a grant, and of its tenant: spread evenly, as real ones are."""
    return str(UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))


def complete(number: int) -> Grant:
    """Return a complete grant whose daily sync is due now."""
    name = grant_id(number)
    intent = Intent((Direction.INBOUND,), Scope(), "standard")
    grant = Grant(name, name, "Contoso", intent, NOW, "an operator", tenant_id=name, indexed_at=NOW)
    done = (Step(each, StepState.DONE, finished_at=NOW) for each in STEPS if not STEPS[each].is_removal)
    for step in done:
        grant = grant.with_step(replace(step, clock=NOW if step.name is StepName.DAILY_SYNC else None))
    return grant


def due_row(name: str) -> DueRow:
    """Return the due row of a grant whose next look is its next daily sync."""
    return DueRow(schedule.ceil_minute(schedule.daily_slot(name, NOW, SIX_HOURS)), name)


def fill(location: Path, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Put rows into a table of an Azurite that is stopped, beside those that it has."""
    database = json.loads((location / DATABASE).read_text())
    kept = next(each for each in database["collections"] if each["name"] == f"{azurite.ACCOUNT}${table}")
    at = NOW.strftime("%Y-%m-%dT%H:%M:%S.0000000Z")
    for row in rows:
        stamped = {**row, "Timestamp": at, "Timestamp@odata.type": "Edm.DateTime"}
        etag = f"W/\"datetime'{at.replace(':', '%3A')}'\""
        names = {"PartitionKey": row["PartitionKey"], "RowKey": row["RowKey"]}
        kept["data"].append({**names, "properties": stamped, "lastModifiedTime": at, "eTag": etag, "meta": {"revision": 0}})
    kept["data"].sort(key=lambda each: (each["PartitionKey"], each["RowKey"]))
    for number, document in enumerate(kept["data"], start=1):
        document["$loki"] = number
    kept["maxId"] = len(kept["data"])
    order = range(len(kept["data"]))
    for name, index in kept["binaryIndices"].items():
        index["values"] = sorted(order, key=lambda number, name=name: kept["data"][number][name])  # type: ignore[misc] # bound early
    (location / DATABASE).write_text(json.dumps(database))
