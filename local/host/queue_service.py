"""The queue service as the queue listener needs it: a small port, and Azure Storage behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local.host.configuration import Connection, connection

# The listener has a back-off of its own: the SDK retries once, after one second (its default is three times, from 15 s on).
_CLIENT_OPTIONS: Mapping[str, Any] = {
    "retry_total": 1,
    "initial_backoff": 0,
    "increment_base": 1,
    "random_jitter_range": 0,
    "connection_timeout": 5,
    "read_timeout": 30,
}


class QueueServiceError(Exception):
    """Raised when the queue service refuses a call or can't be reached."""


class MessageLostError(QueueServiceError):
    """Raised when a message is no longer ours.

    Another reader has it (400 PopReceiptMismatch), it or its queue is gone (404), or the queue is being deleted (409).
    """


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message as it was taken from the queue; ``text`` is its text on the wire, not decoded."""

    id: str
    text: str
    dequeue_count: int
    pop_receipt: str
    inserted_on: datetime
    expires_on: datetime
    next_visible_on: datetime


class Queue(Protocol):
    """One queue. Every method raises QueueServiceError when the service fails."""

    name: str

    async def exists(self) -> bool:
        """Tell whether the queue is there."""

    async def receive(self, limit: int, visibility: float) -> list[ReceivedMessage]:
        """Take up to ``limit`` messages and hide them for ``visibility`` seconds."""

    async def update(self, message_id: str, pop_receipt: str, visibility: float) -> str:
        """Hide a message for ``visibility`` seconds from now; return its new pop receipt. Raise MessageLostError."""

    async def delete(self, message_id: str, pop_receipt: str) -> None:
        """Delete a message. Raise MessageLostError."""

    async def send(self, text: str) -> None:
        """Add a message; ``text`` goes on the wire as it is. The queue is created when it is missing."""


class Queues(Protocol):
    """Gives queues by the connection and the name that a binding has."""

    def queue(self, connection_name: str, queue_name: str) -> Queue:
        """Give a queue; raise ValueError when the connection has no app setting."""

    async def close(self) -> None:
        """Release what is open."""


_LOST_CODES = {"PopReceiptMismatch", "MessageNotFound", "QueueNotFound", "QueueBeingDeleted", "QueueDisabled"}


def _translate(error: AzureError) -> QueueServiceError:
    code = str(getattr(error, "error_code", None) or "")
    lost = code in _LOST_CODES or isinstance(error, ResourceNotFoundError)
    kind = MessageLostError if lost else QueueServiceError
    status = error.status_code if isinstance(error, HttpResponseError) else None
    return kind(f"{status or type(error).__name__} {code or error.message}".strip())


class _Translated:
    """Turns the SDK's exceptions into ours."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, AzureError):
            raise _translate(error) from error


def _received(message: Any) -> ReceivedMessage:
    return ReceivedMessage(
        id=message.id,
        text=message.content,
        dequeue_count=message.dequeue_count,
        pop_receipt=message.pop_receipt,
        inserted_on=message.inserted_on,
        expires_on=message.expires_on,
        next_visible_on=message.next_visible_on,
    )


class AzureQueue:
    """A queue of Azure Storage, or of Azurite."""

    def __init__(self, client: QueueClient) -> None:
        self._client = client
        self.name = client.queue_name

    async def exists(self) -> bool:
        """Tell whether the queue is there."""
        with _Translated():
            try:
                await self._client.get_queue_properties()
            except ResourceNotFoundError:
                return False
        return True

    async def receive(self, limit: int, visibility: float) -> list[ReceivedMessage]:
        """Take messages with one request."""
        with _Translated():
            pages = self._client.receive_messages(
                messages_per_page=limit, max_messages=limit, visibility_timeout=int(visibility)
            ).by_page()
            async for page in pages:
                return [_received(message) async for message in page]
        return []

    async def update(self, message_id: str, pop_receipt: str, visibility: float) -> str:
        """Set a message's invisibility anew."""
        with _Translated():
            updated = await self._client.update_message(message_id, pop_receipt, visibility_timeout=int(visibility))
        return str(updated.pop_receipt)

    async def delete(self, message_id: str, pop_receipt: str) -> None:
        """Delete a message."""
        with _Translated():
            await self._client.delete_message(message_id, pop_receipt)

    async def send(self, text: str) -> None:
        """Add a message, and the queue before it when it is missing."""
        with _Translated():
            try:
                await self._client.send_message(text)
            except ResourceNotFoundError:
                await self._create()
                await self._client.send_message(text)

    async def _create(self) -> None:
        try:
            await self._client.create_queue()
        except ResourceExistsError:
            return  # Another host has just created it.


class AzureQueues:
    """Queues of Azure Storage by app settings; one client for each connection, made at first use."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = settings
        self._services: dict[str, QueueServiceClient] = {}
        self._credentials: list[Any] = []

    def queue(self, connection_name: str, queue_name: str) -> AzureQueue:
        """Give a queue; raise ValueError when the connection has no app setting or can't be read."""
        service = self._services.get(connection_name)
        if service is None:
            service = self._services[connection_name] = self._service(connection(connection_name, self._settings))
        return AzureQueue(service.get_queue_client(queue_name))

    def _service(self, found: Connection) -> QueueServiceClient:
        if found.connection_string is not None:
            return QueueServiceClient.from_connection_string(found.connection_string, **_CLIENT_OPTIONS)
        # Imported where it is needed: it costs most of a second, and a local run has a connection string.
        from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415

        credential = DefaultAzureCredential(managed_identity_client_id=found.client_id)
        self._credentials.append(credential)
        return QueueServiceClient(str(found.queue_service_url), credential=credential, **_CLIENT_OPTIONS)

    async def close(self) -> None:
        """Close the clients and the credentials."""
        for opened in [*self._services.values(), *self._credentials]:
            await opened.close()
