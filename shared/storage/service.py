"""The clients of Azure Storage: opened once for each process, with short retries, closed by the container."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from azure.data.tables.aio import TableServiceClient
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from shared.domain.steps import Queue
from shared.ports import ConflictError
from shared.settings import Settings
from shared.storage import Storage
from shared.storage.accounts import TableAccounts
from shared.storage.bindings import TableBindings
from shared.storage.deadletters import TableDeadLetters
from shared.storage.directory import TableDirectory
from shared.storage.due import TableDueIndex
from shared.storage.errors import translated
from shared.storage.grants import TableGrantStore
from shared.storage.layout import TABLES
from shared.storage.queues import StorageEventQueue, StorageNudges, StoragePoisonQueues, StorageProbeQueue
from shared.storage.table import Table, side_by_side

TIMEOUTS = {"connection_timeout": 5, "read_timeout": 15}
"""Seconds: an operation that hangs must end well within a run's budget."""
TABLE_RETRIES = {"retry_total": 2, "retry_connect": 2, "retry_read": 2, "retry_status": 0, "retry_backoff_factor": 0.2}
"""A dropped connection is tried again at once, for requests that may be repeated (never a transaction).

No status is: the SDK would repeat even a POST after a 503, and would sleep for as long as Retry-After says. The engine waits
better, without holding an instance.
"""
QUEUE_RETRIES = {
    "retry_total": 2,
    "retry_status": 0,
    "initial_backoff": 0,
    "increment_base": 1,
    "random_jitter_range": 0,
}
"""The same for queues, a second apart; a message that is put twice does no harm."""


@dataclass(frozen=True, slots=True)
class Service:
    """The open clients."""

    tables: TableServiceClient
    queues: QueueServiceClient
    resources: AsyncExitStack

    def table(self, name: str) -> Table:
        """Return one table."""
        return Table(self.tables.get_table_client(name))

    def queue(self, name: str) -> QueueClient:
        """Return a queue whose messages are written in base64, as the queue trigger reads them (functions-host 1.1)."""
        return self.queues.get_queue_client(name, message_encode_policy=TextBase64EncodePolicy())

    def raw_queue(self, name: str) -> QueueClient:
        """Return a queue whose messages are read as they are."""
        return self.queues.get_queue_client(name)

    def storage(self) -> Storage:
        """Return the ports."""
        return Storage(
            grants=TableGrantStore(self.table("grants")),
            due=TableDueIndex(self.table("due")),
            nudges=StorageNudges({queue: self.queue(queue) for queue in Queue}),
            events=StorageEventQueue(self.queue(Queue.GRANT_EVENTS)),
            probes=StorageProbeQueue(self.queue(Queue.MAIL_PROBES)),
            dead_letters=TableDeadLetters(self.table("deadletters")),
            poison=StoragePoisonQueues(self.raw_queue),
            bindings=TableBindings(self.table("bindings")),
            accounts=TableAccounts(self.table("accounts")),
            directory=TableDirectory(self.table("directory")),
            close=self.resources.aclose,
        )

    async def create_missing(self) -> None:
        """Create every table and queue that is missing, side by side."""
        tables = [partial(_create, self.tables.create_table, entry.name) for entry in TABLES]
        queues = [partial(_create, self.queues.create_queue, str(name)) for name in Queue]
        await side_by_side([*tables, *queues], len(TABLES) + len(Queue))


async def open_service(settings: Settings) -> Service:
    """Open the clients and create what is missing; close them again when that fails."""
    async with AsyncExitStack() as resources:
        tables, queues = await _clients(settings, resources)
        service = Service(await resources.enter_async_context(tables), await resources.enter_async_context(queues), resources)
        await service.create_missing()
        return Service(service.tables, service.queues, resources.pop_all())


async def _clients(settings: Settings, resources: AsyncExitStack) -> tuple[TableServiceClient, QueueServiceClient]:
    for_tables: dict[str, Any] = TIMEOUTS | TABLE_RETRIES
    for_queues: dict[str, Any] = TIMEOUTS | QUEUE_RETRIES
    if settings.storage_connection:
        text = settings.storage_connection.get_secret_value()
        return (
            TableServiceClient.from_connection_string(text, **for_tables),
            QueueServiceClient.from_connection_string(text, **for_queues),
        )
    credential = await resources.enter_async_context(_credential(settings))
    return (
        TableServiceClient(str(settings.storage_table_url), credential=credential, **for_tables),
        QueueServiceClient(str(settings.storage_queue_url), credential=credential, **for_queues),
    )


def _credential(settings: Settings) -> Any:
    """Return the managed identity where App Service runs the app, and whoever is signed in elsewhere.

    Source: learn.microsoft.com/azure/developer/python/sdk/authentication/best-practices.
    """
    from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential  # noqa: PLC0415 - not for Azurite

    if settings.site_name:
        return ManagedIdentityCredential(client_id=settings.storage_client_id)
    return DefaultAzureCredential()


async def _create(creation: Callable[[str], Awaitable[object]], name: str) -> None:
    """Create what the name says; what exists already is no error."""
    with suppress(ConflictError), translated():
        await creation(name)
