"""One contract, two storages: every test that takes ``kept`` runs on the double and on Azurite."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pytest
import pytest_asyncio
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local import azurite
from shared import settings
from shared.settings import Settings
from shared.storage import Storage, open_storage
from tests.storage.examples import NOW
from tests.storage.memory import World, open_memory
from tests.support.app_settings import APP_SETTINGS


class Kept(Protocol):
    """A storage, and a look at its queues from outside."""

    storage: Storage

    async def bodies(self, queue: str) -> list[str]:
        """Return the bodies of the visible messages of a queue, as the queue trigger reads them."""

    async def put(self, queue: str, body: str) -> None:
        """Put a message on a queue, which is made if it is missing, as the functions host does."""


@dataclass
class InMemory:
    """The double."""

    storage: Storage
    world: World

    async def bodies(self, queue: str) -> list[str]:
        """Return the bodies of the visible messages."""
        return [message.body for message in self.world.queues.get(queue, []) if message.visible_at <= NOW]

    async def put(self, queue: str, body: str) -> None:
        """Put a message on a queue."""
        self.world.put(queue, body)


@dataclass
class OnAzurite:
    """Azurite, with clients of its own for what is checked from outside."""

    storage: Storage
    tables: TableServiceClient
    queues: QueueServiceClient

    async def bodies(self, queue: str) -> list[str]:
        """Return the bodies of the visible messages; each must be base64."""
        messages = self.queues.get_queue_client(queue).receive_messages(messages_per_page=32)
        return [b64decode(message.content, validate=True).decode() async for message in messages]

    async def put(self, queue: str, body: str) -> None:
        """Put a message on a queue in base64, and make the queue if it is missing."""
        await self.put_raw(queue, b64encode(body.encode()).decode())

    async def put_raw(self, queue: str, text: str) -> None:
        """Put a message on a queue as it is."""
        client = self.queues.get_queue_client(queue)
        if queue not in [found.name async for found in self.queues.list_queues(name_starts_with=queue)]:
            await client.create_queue()
        await client.send_message(text)

    async def wipe(self) -> None:
        """Delete all tables and queues: the next test finds Azurite as new."""
        tables = [table.name async for table in self.tables.list_tables()]
        queues = [queue.name async for queue in self.queues.list_queues()]
        await asyncio.gather(*map(self.tables.delete_table, tables), *map(self.queues.delete_queue, queues))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def connection() -> AsyncIterator[str]:
    """The connection string of an Azurite that the whole session shares."""
    async with await azurite.start() as running:
        yield running.connection_string


@pytest.fixture
def storage_settings(connection: str) -> Settings:
    """Settings that name Azurite."""
    return settings.load(APP_SETTINGS | {"AzureWebJobsStorage": connection})


@pytest_asyncio.fixture
async def on_azurite(storage_settings: Settings, connection: str) -> AsyncIterator[OnAzurite]:
    """The storage on Azurite, empty."""
    storage = await open_storage(storage_settings)
    async with (
        TableServiceClient.from_connection_string(connection) as tables,
        QueueServiceClient.from_connection_string(connection) as queues,
    ):
        kept = OnAzurite(storage, tables, queues)
        yield kept
        await kept.wipe()
    await storage.close()


@pytest.fixture
def in_memory() -> InMemory:
    """The double, empty."""
    world = World(clock=_now)
    return InMemory(open_memory(world), world)


@pytest.fixture(params=["in_memory", "on_azurite"])
def kept(request: pytest.FixtureRequest) -> Kept:
    """Each storage in turn."""
    found: Kept = request.getfixturevalue(request.param)
    return found


def _now() -> datetime:
    return NOW
