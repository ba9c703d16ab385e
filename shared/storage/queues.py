"""The storage queues. Bodies are base64: the queue trigger expects it by default, the Python SDK does not do it by default."""

import math
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta

from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from shared.domain.grant import Event, Grant, Nudge
from shared.domain.probes import Probe
from shared.domain.steps import STEPS, Queue
from shared.messages import cloud_event, encode_nudge, encode_probe
from shared.ports import ConflictError
from shared.storage.errors import translated
from shared.storage.limits import MissingError

POISON_SUFFIX = "-poison"
"""What the functions host appends to a queue's name (functions-host 1.1.7)."""
LONGEST_DELAY = timedelta(days=7)
"""How long Queue storage keeps a message invisible (learn.microsoft.com/rest/api/storageservices/put-message)."""
NUDGE_LIFE = timedelta(days=7)
"""How long a nudge lives once it is visible: by then the sweep has sent others."""
PROBE_LIFE = timedelta(hours=1)
"""How long an order of a test message lives: by then the proof has ended without it."""
FOREVER = -1
"""The life of an event: whoever reads it may be away for long."""
GET = 32
"""How many messages Queue storage returns at once, at the most."""
DRAIN_AT_ONCE = 320
"""How many poison messages one call takes; the next call takes the next ones."""
DRAIN_LEASE = timedelta(minutes=2)
"""How long a message that is being kept is invisible: kept again after a crash."""


class StorageNudges:
    """Implements ``ports.Nudges``."""

    def __init__(self, queues: Mapping[Queue, QueueClient]) -> None:
        self._queues = queues

    async def send(self, nudge: Nudge, *, delay: timedelta) -> None:
        """Put the nudge on the queue of its step, invisible for ``delay`` (at most 7 days, whole seconds, rounded up)."""
        seconds = math.ceil(min(max(delay, timedelta()), LONGEST_DELAY).total_seconds())
        life = seconds + int(NUDGE_LIFE.total_seconds())
        with translated():
            await self._queues[STEPS[nudge.step].queue].send_message(
                encode_nudge(nudge), visibility_timeout=seconds, time_to_live=life
            )


class StorageEventQueue:
    """Implements ``ports.EventQueue``."""

    def __init__(self, queue: QueueClient) -> None:
        self._queue = queue

    async def publish(self, grant: Grant, event: Event) -> None:
        """Put the event on the queue as a CloudEvents 1.0 JSON message with id ``grant id/seq``; it never expires."""
        with translated():
            await self._queue.send_message(cloud_event(grant, event), time_to_live=FOREVER)


class StorageProbeQueue:
    """Implements ``ports.ProbeQueue``."""

    def __init__(self, queue: QueueClient) -> None:
        self._queue = queue

    async def order(self, grant: Grant, probe: Probe) -> None:
        """Put the order on the queue as JSON; it lives no longer than it is of use."""
        with translated():
            await self._queue.send_message(encode_probe(grant, probe), time_to_live=int(PROBE_LIFE.total_seconds()))


class StoragePoisonQueues:
    """Implements ``ports.PoisonQueues``; ``queue_named`` opens a queue whose messages are neither encoded nor decoded."""

    def __init__(self, queue_named: Callable[[str], QueueClient]) -> None:
        self._queue_named = queue_named

    async def drain(self, queue: str, keep: Callable[[str], Awaitable[object]], limit: int = DRAIN_AT_ONCE) -> int:
        """Await ``keep(body)`` for each message of ``queue``'s poison queue, deleting each after it is kept; return the count.

        Takes ``limit`` messages at the most. A poison queue that does not exist is empty.
        """
        client = self._queue_named(queue + POISON_SUFFIX)
        lease = int(DRAIN_LEASE.total_seconds())
        count = 0
        try:
            with translated():
                messages = client.receive_messages(
                    messages_per_page=min(GET, limit), max_messages=limit, visibility_timeout=lease
                )
                async for message in messages:
                    await keep(decode_body(message.content))
                    await _delete(client, message)
                    count += 1
        except MissingError:
            return count
        return count


async def _delete(client: QueueClient, message: QueueMessage) -> None:
    """Delete a message; one whose lease has run out is left to its next reader."""
    with suppress(MissingError, ConflictError), translated():
        await client.delete_message(message)


def decode_body(text: str) -> str:
    """Return a message's body: what it says in base64, else its text as it is."""
    try:
        return b64decode(text, validate=True).decode()
    except ValueError:
        return text
